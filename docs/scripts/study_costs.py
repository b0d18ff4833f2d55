"""The study's cost tables (2 and 7) beside our counts, and what its printed TFLOPs imply.

Run `python -m docs.scripts.study_costs`, with `--model` for one of its models, `--json` for all of
it as JSON. Nothing is downloaded: counts need configs, not weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from analysis.text_table import TextTable
from docs.scripts.study_rows import STUDY, Study, StudyRow, is_study_model, study_costs
from docs.scripts.study_tflops import Implied, ImpliedLength, implied, implied_lengths, verdicts
from trainables.common.names import unknown
from trainables.specs import EfficiencySpec

PROMPT = EfficiencySpec().prompt_tokens
MEMORY_RULE = (
    "MiB: what torch's caching allocator hands out on a GPU for every parameter at 2 bytes "
    "(vision tower and projector included) and for the tables of rotary positions that "
    "transformers of the study's time kept in every layer. Not in it: workspaces of libraries, "
    "some 8 MiB."
)
TFLOPS_RULE = (
    "TFLOPs: one forward pass of one image and {prompt} text tokens, 2 FLOPs per multiply-add, by "
    "torch's flop counter; all products of weights and of attention, logits at every position. The "
    "study does not say for which prompt it counted, nor what."
)
READING = (
    "What the printed TFLOPs imply (computed from them, used nowhere): tokens is the length of the "
    "sequence for which printed rows differ as computed ones do; outside, in TFLOPs, is what is "
    "then left besides layers and head, and passes how often vision tower and projector would have "
    "to see an image for it; error is the farthest that a row lies off."
)


def study_json(study: Study) -> dict[str, Any]:
    """Everything that is printed, as plain data."""
    rows = [
        {
            **row.model_dump(mode="json"),
            "memory_difference": row.memory_difference,
            "tflops_difference": row.tflops_difference,
        }
        for row in study.rows
    ]
    found = implied(study)
    return {
        "rows": rows,
        "implied": [each.model_dump(mode="json") for each in found],
        "verdicts": verdicts(found),
        "implied_lengths": [each.model_dump(mode="json") for each in implied_lengths(study)],
        "rules": {"memory": MEMORY_RULE, "tflops": TFLOPS_RULE.format(prompt=PROMPT)},
    }


def print_study(study: Study, console: Console) -> None:
    """The study's tables, our rules, and what its TFLOPs imply."""
    for number in dict.fromkeys(row.table for row in study.rows):
        for model in STUDY:
            rows = [r for r in study.rows if r.table == number and r.cost.model == model]
            if rows:
                console.print(f"The study's Table {number}, {model}", highlight=False)
                _table(rows).show(console)
    marked = any(row.marked for row in study.rows)
    lines = [
        "removed: of the language model's parameters, really; the study prints the nominal ratio.",
        MEMORY_RULE,
        TFLOPS_RULE.format(prompt=PROMPT),
    ]
    if marked:
        lines.append(
            "* The printed value is off the line of its neighbours (analysis/published/README.md)."
        )
    console.print("\n".join(lines) + "\n", highlight=False)
    found = implied(study)
    for model in dict.fromkeys(each.model for each in found):
        console.print(f"Implied by the printed TFLOPs, {model}", highlight=False)
        _implied_table([each for each in found if each.model == model]).show(console)
    lengths = [_length(each, study) for each in implied_lengths(study)]
    console.print("\n".join([READING, *verdicts(found), *lengths]), highlight=False)


def _table(rows: Sequence[StudyRow]) -> TextTable:
    columns = ("method", "removed", "MiB", "printed", "diff", "TFLOPs", "printed", "diff")
    cells = [
        (
            row.cost.cell,
            f"{row.cost.ratio:.4f}",
            f"{row.allocated_mib:,.0f}",
            f"{row.printed_mib:,.0f}" + _star(row, "memory"),
            f"{100 * row.memory_difference:+.2f} %",
            f"{row.cost.tflops:.2f}",
            f"{row.printed_tflops:.2f}" + _star(row, "tflops"),
            f"{100 * row.tflops_difference:+.1f} %",
        )
        for row in rows
    ]
    return TextTable(columns, cells)


def _star(row: StudyRow, what: str) -> str:
    return "*" if row.marked == what else ""


def _implied_table(found: Sequence[Implied]) -> TextTable:
    columns = ("rows", "attention", "tokens", "image + text", "outside", "passes", "error")
    cells = [
        (
            each.method,
            "counted" if each.attention else "not counted",
            str(each.tokens),
            f"{each.image_tokens} {each.tokens - each.image_tokens:+d}",
            f"{each.outside_tflops:.2f}",
            f"{each.passes:.2f}",
            f"{each.largest_error_tflops:.3f}",
        )
        for each in found
    ]
    return TextTable(columns, cells)


def _length(each: ImpliedLength, study: Study) -> str:
    dense = next(r for r in study.rows if r.cost.model == each.model and r.cost.method is None)
    return (
        f"{each.model}: our rule would give the printed {dense.printed_tflops:.2f} TFLOPs of the "
        f"dense model at {each.tokens} tokens ({each.image_tokens} of the image and "
        f"{each.tokens - each.image_tokens} of text)."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="the study's name of a model, or the registry's")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    if args.model and not is_study_model(args.model):
        parser.error(unknown("model of the study", args.model, STUDY))
    study = study_costs(args.model)
    if args.json:
        print(json.dumps(study_json(study), indent=1))
    else:
        print_study(study, Console())


if __name__ == "__main__":
    main()
