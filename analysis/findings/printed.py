"""The study's printed rows as students, so that the claims can be tested on them too.

They have no samples, hence no errors. Retentions of its accuracy tables are recomputed from the
scores (`published/README.md` says why), those of the other tables are as printed. All recoveries
are on 5 % of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.findings.claims import FEW
from analysis.findings.students import Scores, Student
from analysis.published.entries import terms_of
from analysis.published.study import (
    load_published,
    published_accuracy,
    recomputed_retention,
)
from trainables.common.names import nearest
from trainables.specs import Scope


def printed_models() -> list[str]:
    """The models that the study has numbers of."""
    tables = load_published()
    rows = [
        row for topic in ("accuracy", "distillation", "generalization") for row in tables[topic]
    ]
    return sorted({row["model"] for row in rows})


def printed_students(model: str) -> list[Student]:
    """The pruned rows of a model; of one that is printed twice the first.

    Raises:
        ValueError: the study has no such model; lists those that it has.
    """
    if model not in printed_models():
        raise ValueError(
            f"the study's tables have no findings of '{model}'; they have "
            f"{', '.join(printed_models())}{nearest(model, printed_models())}"
        )
    accuracy = published_accuracy()
    found: dict[str, Student] = {}
    for row in accuracy:
        if row.model == model and row.method != "dense":
            student = _student(row.model_dump(), 100 * recomputed_retention(row, accuracy))
            found.setdefault(student.name, student)
    tables = load_published()
    for row in (*tables["distillation"], *tables["generalization"]):
        if row["model"] == model and row["method"] != "dense":
            student = _student(row, row["printed_retention_percent"])
            found.setdefault(student.name, student)
    return list(found.values())


def _student(row: Mapping[str, Any], retention: float) -> Student:
    recovery = str(row["recovery"])
    scope: Scope = "none" if recovery == "none" else "joint"
    if recovery.endswith("-projector"):
        recovery, scope = recovery.removesuffix("-projector"), "projector"
    terms = terms_of(recovery)
    ratio = float(row["nominal_ratio"])
    scores = Scores(retention, None, 100 - retention, None)
    parts = {"method": row["method"], "scope": scope, "loss": terms, "size": f"{ratio:.2f}"}
    return Student(
        name=f"{row['method']} {ratio:.2f} {scope} {terms}".rstrip(),
        origin="designed",
        method=row["method"],
        size=f"{ratio:.2f}",
        ratio=ratio,
        scope=scope,
        terms=terms,
        data_fraction=FEW if terms else 0.0,
        settings=parts,
        seeds=None,
        scores={"report": scores},
    )
