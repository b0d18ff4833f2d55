"""The study's tables: printed rows give the paper's tables back, trials fill the same cells."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from helpers.trials import DENSE_AVERAGE, make_dense, make_trial
from rich.console import Console

import analysis.published
from analysis.load import Trial, trial_of
from analysis.published.entries import Setting
from analysis.published.layout import StudyTable
from analysis.published.sheet import Sheet, fill, sheet_table
from analysis.published.study_tables import TABLES, study_table
from trainables.records import Comparison, EvaluationReport, TaskScore
from trainables.specs import Method

FOLDER = Path(analysis.published.__file__).parent
PRINTED = json.loads((FOLDER / "tables.json").read_text())
EXTENDED = json.loads((FOLDER / "extended.json").read_text())
LLAVA, BUNNY, INTERNVL = "llava-v1.5-7b", "bunny-v1.0-3b", "mini-internvl-chat-4b-v1.5"
SETTINGS = [s for t in TABLES.values() for s in t.settings]


def lines(sheet: Sheet) -> list[list[str]]:
    """The rows of the text, header first, without the names of the rows."""
    text = sheet_table(sheet)
    return [list(map(str, text.header[1:])), *(list(row[1:]) for row in text.rows)]


def raw(topic: str, **where: Any) -> list[dict[str, Any]]:
    return [row for row in PRINTED[topic] if row.items() >= where.items()]


def retention(setting: Setting) -> float:
    """Another one for each setting."""
    return 0.5 + 0.4 * SETTINGS.index(setting) / len(SETTINGS)


def trial_for(setting: Setting, name: str = "t", **changes: Any) -> Trial:
    """A trial of that setting, with the retention above unless another is given."""
    if setting == Setting():
        return make_dense(report=changes.get("report"), latency_ms=40.0)
    weights = {"ce": "alpha", "reverse_kl": "beta", "l2": "gamma"}
    loss: dict[str, Any] = {"alpha": 0.0}
    loss |= {weights[term]: 0.5 for term in setting.terms.split("+") if term}
    method: Method = "layerwise" if setting.method == "dense" else setting.method
    given = {
        "retention": retention(setting),
        "method": method,
        "ratio": setting.ratio,
        "scope": setting.scope,
        "loss": loss | {"hidden_layers": setting.hidden_layers} if setting.terms else None,
        "data_fraction": setting.data_fraction or 0.05,
        "quantization": setting.quantization,
        "latency_ms": 20.0,
    }
    return make_trial(name, **{**given, **changes})


def trials_of(table: StudyTable, **changes: Any) -> list[Trial]:
    return [
        trial_for(s, f"t{i}", report=retention(s) if s != Setting() else 1.0, **changes)
        for i, s in enumerate(table.settings)
    ]


@pytest.mark.parametrize("model", [LLAVA, BUNNY])
def test_table_1_is_what_is_printed(model: str) -> None:
    header, *rows = lines(fill(TABLES["table1"], published=model))
    assert header == ["MMMU", "GQA", "SQA", "MME-C", "MME-P", "POPE", "AVG", "AVG-%"]
    printed = raw("accuracy", table=1, model=model)
    order = [
        ("dense", 0),
        *((m, r) for m in ("widthwise", "layerwise") for r in (0.15, 0.3, 0.45, 0.6)),
    ]
    for row, (method, ratio) in zip(rows, order, strict=True):
        (own,) = (p for p in printed if (p["method"], p["nominal_ratio"]) == (method, ratio))
        numbers = [
            *own["scores"].values(),
            own["printed_average"],
            own["printed_retention_percent"],
        ]
        assert [float(cell.rstrip("*")) for cell in row] == numbers
    marked = [row[-1] for row in rows if row[-1].endswith("*")]
    assert marked == ([] if model == LLAVA else ["95.48*", "87.57*", "60.66*", "13.52*"])


def test_table_8_is_what_is_printed() -> None:
    _, *rows = lines(fill(TABLES["table8"], published=BUNNY))
    printed = raw("accuracy", table=8, model=BUNNY)
    assert [[float(c) for c in row[-2:]] for row in rows] == [
        [p["printed_average"], p["printed_retention_percent"]] for p in printed
    ]


@pytest.mark.parametrize(("name", "number"), [("table2", 2), ("table7", 7)])
@pytest.mark.parametrize("model", [LLAVA, BUNNY])
def test_the_cost_tables_are_what_is_printed(name: str, number: int, model: str) -> None:
    _, *rows = lines(fill(TABLES[name], published=model))
    printed = raw("cost", table=number, model=model)
    assert [[float(c.rstrip("*")) for c in row] for row in rows] == [
        [p["allocated_memory_mib"], p["tflops"]] for p in printed
    ]
    odd = [c for row in rows for c in row if c.endswith("*")]
    assert odd == (["8.03*", "5496*"] if (name, model) == ("table7", LLAVA) else [])


def test_the_tables_of_losses_and_of_hidden_states_are_what_is_printed() -> None:
    header, *rows = lines(fill(TABLES["table3"]))
    assert header == ["CE", "L2", "CE+L2", "RKL", "CE+RKL"]
    assert rows[0] == ["96.30", "95.51", "99.59", "96.88", "98.70"]
    assert rows[3] == ["69.38", "47.61", "72.62", "12.61", "69.85"]
    _, *rows = lines(fill(TABLES["table6"]))
    assert rows[0] == ["95.34", "95.17", "96.25"]
    assert rows[2] == ["87.08", "86.12", "84.84"]


def test_the_tables_of_quantization_and_of_the_third_model_are_what_is_printed() -> None:
    _, *rows = lines(fill(TABLES["table4"]))
    assert rows[0] == ["13.5", "62.28", "105.0 +/- 1.5"]
    assert rows[5] == ["5.4", "59.63", "108.0 +/- 5.85"]
    sheet = fill(TABLES["table9"])
    assert sheet.published == INTERNVL
    _, *rows = lines(sheet)
    printed = raw("generalization")
    assert [[float(c) for c in row] for row in rows] == [
        [p["printed_average"], p["printed_retention_percent"]] for p in printed
    ]


@pytest.mark.parametrize("topic", ["zero_shot", "best_recovered"])
@pytest.mark.parametrize("place", range(3))
def test_the_tables_of_nine_benchmarks_are_what_is_printed(topic: str, place: int) -> None:
    table = TABLES["extended-pruned" if topic == "zero_shot" else "extended-recovered"]
    header, *rows = lines(fill(table, published=table.models[place]))
    assert header == EXTENDED["columns"]
    printed = EXTENDED[topic][5 * place : 5 * place + 5]
    assert [[float(c) for c in row] for row in rows] == [
        [p[name] for name in header] for p in printed
    ]


def test_two_rows_of_the_extended_study_changed_places() -> None:
    """What `README.md` beside the data says: Table 1's 15 and 30 %, LLaVA, layerwise."""
    first = TABLES["table1"].printed(LLAVA)
    extended = TABLES["extended-pruned"].printed(LLAVA)
    low, high = Setting("layerwise", 0.15), Setting("layerwise", 0.30)
    assert extended[low].get("gqa") == first[high].get("gqa") != first[low].get("gqa")
    assert extended[high].get("gqa") == first[low].get("gqa")


def test_every_printed_row_has_its_cell() -> None:
    for table in TABLES.values():
        for model in table.models:
            assert set(table.printed(model)) == set(table.settings), (table.name, model)


@pytest.mark.parametrize("name", TABLES)
def test_trials_fill_every_table(name: str) -> None:
    table = TABLES[name]
    sheet = fill(table, trials_of(table), ["demo"])
    assert sheet.missing == ()
    assert sheet.split == "report"
    for cell in sheet.cells:
        assert cell.measured is not None, cell
        known = 1.0 if cell.setting == Setting() else retention(cell.setting)
        if cell.column in ("AVG", "tiny_attribute"):
            above = cell.column == "tiny_attribute"
            assert cell.measured.estimate == pytest.approx(DENSE_AVERAGE * known + above)
        elif cell.column.startswith("memory, MiB"):
            assert cell.measured.estimate == pytest.approx(16 * (1 - cell.setting.ratio))
        elif cell.column.startswith("AVG-%"):
            assert cell.measured.estimate == pytest.approx(100 * known)


@pytest.mark.parametrize("name", TABLES)
def test_what_a_sweep_lacks_is_named_and_the_rest_is_shown(name: str) -> None:
    table = TABLES[name]
    there, gone = table.settings[:-1], table.settings[-1]
    sheet = fill(table, [trial_for(s, f"t{i}") for i, s in enumerate(there)], ["demo"])
    assert sheet.missing == (gone,)
    assert f"Missing: {gone.label}." in sheet_table(sheet).plain()
    assert fill(table, [], ["demo"]).missing == tuple(table.settings)


def test_seeds_are_averaged_and_the_nearest_share_of_the_data_counts() -> None:
    setting = Setting("layerwise", 0.30, "joint", "ce")
    trials = [
        trial_for(setting, "more", retention=0.99, data_fraction=0.2),
        trial_for(setting, "one", retention=0.90),
        trial_for(setting, "two", retention=0.94, seed=1),
        trial_for(setting, "drawn", retention=0.5, origin="sampler"),
    ]
    sheet = fill(TABLES["table3"], trials, ["demo"])
    (cell,) = (c for c in sheet.cells if c.setting == setting)
    assert cell.measured is not None
    assert cell.measured.estimate == pytest.approx(92.0)
    assert cell.measured.error == pytest.approx(1.0), "the same questions: no smaller error"
    assert cell.trials == ("demo/one", "demo/two")
    shares = fill(TABLES["data"], [trial_for(s, s.label) for s in TABLES["data"].settings], ["d"])
    assert len({c.measured.estimate for c in shares.cells if c.measured}) == 20


def test_one_split_counts_for_the_whole_table() -> None:
    table = TABLES["table1"]
    trials = trials_of(table)
    some = [*trials[:5], *(trial_of(t.record) for t in trials[5:])]
    assert fill(table, some, ["demo"]).split == "search"
    assert "search split" in sheet_table(fill(table, some, ["demo"])).plain()


def test_costs_are_those_of_any_recovery() -> None:
    trial = trial_for(Setting("widthwise", 0.15, "projector", "ce"), weights_mib=13.0, tflops=0.7)
    sheet = fill(TABLES["table2"], [make_dense(), trial], ["demo"])
    found = [c.measured.estimate for c in sheet.cells if c.row == "widthwise 15%" and c.measured]
    assert found == [13.0, 0.7]


def test_what_a_reader_must_know_is_said() -> None:
    setting = Setting("layerwise", 0.15, "projector", "ce")
    trial = trial_for(setting, data_fraction=0.2)
    kept = trial_of(trial.record.model_copy(update={"kept": "untrained"}))
    text = sheet_table(fill(TABLES["scope"], [make_dense(), kept], ["demo"])).plain()
    assert "Kept as pruned, because training made it worse: layerwise 0.15 projector ce." in text
    assert "Recovered on 20 % of the data (the study: 5 %)." in text
    small = fill(TABLES["table2"], [make_dense()], ["demo"], LLAVA)
    assert any("different size" in note for note in small.notes)
    large = fill(TABLES["table2"], [make_dense(weights_mib=13_500.0)], ["demo"], LLAVA)
    assert not any("different size" in note for note in large.notes)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_folds_a_wide_table_and_loses_nothing(width: int) -> None:
    sheet = fill(TABLES["extended-pruned"], published=LLAVA)
    file = StringIO()
    table = sheet_table(sheet)
    table.show(Console(file=file, width=width, force_terminal=True, color_system=None))
    drawn = file.getvalue().splitlines()
    assert max(map(len, drawn)) <= width
    words = " ".join(drawn).split()
    for row in table.rows:
        assert all(cell in words for cell in row[1:])
    assert words.count("configuration") == {60: 2, 80: 2, 200: 1}[width]


def test_nine_benchmarks_fill_tables_of_six_with_averages_of_their_own() -> None:
    """A sweep of all nine: Table 1 averages six of them, the extended study's all."""
    nine = TABLES["extended-pruned"].printed(LLAVA)
    scale = {"mme_cognition": 8.0, "mme_perception": 20.0}

    def scored(setting: Setting, name: str) -> Trial:
        raw = {task: value.estimate for task, value in nine[setting].scores.items()}
        own = {task: score / scale.get(task, 1.0) for task, score in raw.items()}
        dense = {t: v.estimate / scale.get(t, 1.0) for t, v in nine[Setting()].scores.items()}
        tasks = {
            task: TaskScore(
                score=own[task], stderr=1.0, samples=9, raw=raw[task] if task in scale else None,
                paired=Comparison(dense=dense[task], difference=0.0, low=0.0, high=0.0),
            )
            for task in own
        }  # fmt: skip
        average, base = sum(own.values()) / 9, sum(dense.values()) / 9
        evaluation = EvaluationReport(
            split="search", tasks=tasks, average=average, average_se=1.0, dense_average=base,
            retention=average / base,
        )  # fmt: skip
        record = trial_for(setting, name).record
        return trial_of(record.model_copy(update={"evaluation": evaluation}))

    trial = scored(Setting("widthwise", 0.15), "t")
    six = {c.column: c for c in fill(TABLES["table1"], [trial], ["demo"]).cells
           if c.row == "widthwise 15%"}  # fmt: skip
    assert list(six) == ["MMMU", "GQA", "SQA", "MME-C", "MME-P", "POPE", "AVG", "AVG-%"]
    for column, cell in six.items():  # Table 1 prints the same scores
        assert cell.measured is not None
        assert cell.printed is not None
        assert cell.measured.estimate == pytest.approx(cell.printed.estimate, abs=0.011), column
    all_of_them = fill(TABLES["extended-pruned"], [trial], ["demo"])
    (cell,) = (c for c in all_of_them.cells if (c.row, c.column) == ("widthwise 15%", "AVG-%"))
    assert cell.measured is not None
    assert cell.measured.estimate == pytest.approx(90.87, abs=0.01)


def test_unknown_tables_are_refused() -> None:
    assert study_table("3") is study_table("Table 3") is TABLES["table3"]
    with pytest.raises(ValueError, match=r"Did you mean 'table3'\?"):
        study_table("tabel3")
    with pytest.raises(ValueError, match="no printed numbers are at hand"):
        study_table("table10")
    with pytest.raises(ValueError, match="not a known model of table3"):
        fill(TABLES["table3"], published=LLAVA)
    with pytest.raises(ValueError, match="name a sweep"):
        fill(TABLES["data"])
