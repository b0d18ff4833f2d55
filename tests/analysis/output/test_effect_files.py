"""The files of a sweep's effects: content, self-containment, pictures, and what is refused."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import pytest
from helpers.trials import make_dense, make_trial, write_sweep
from rich.console import Console

from analysis.draw.effect_figure import (
    behind_rows,
    colour_range,
    forest_figure,
    setting_rows,
    ternary_figure,
)
from analysis.draw.png import HEIGHT, place
from analysis.effects.effect_texts import effects_summary, show_effects, weights
from analysis.effects.factor_effects import FactorReport
from analysis.effects.mixtures import MixtureReport
from analysis.effects.setting_effects import SensitivityReport
from analysis.load import Trial
from analysis.output.effect_files import find_effects, has_effects, write_effects


def mixtures() -> list[Trial]:
    """Five mixtures at the search, two of them repeated with two other seeds."""
    losses = {
        "ce": {"alpha": 1.0},
        "kl": {"alpha": 0.0, "beta": 1.0, "logits": "kl"},
        "ce+kl": {"alpha": 0.5, "beta": 0.5, "logits": "kl"},
        "ce+rkl": {"alpha": 0.25, "beta": 0.75},
        "ce+l2": {"alpha": 0.5, "gamma": 0.5},
        "kl+l2": {"alpha": 0.0, "beta": 0.5, "gamma": 0.5, "logits": "kl"},
        "ce+kl+l2": {"alpha": 0.4, "beta": 0.4, "gamma": 0.2, "logits": "kl"},
    }
    found = [make_dense(report=1.0)]
    for place_, (name, loss) in enumerate(losses.items()):
        found.append(make_trial(name, 0.8 + 0.01 * place_, loss=loss))
        if name in ("ce", "ce+kl"):
            found += [
                make_trial(f"{name}-{seed}", 0.8, loss=loss, seed=seed, origin="confirm",
                           report=0.8 + 0.01 * place_ + 0.001 * seed * place_)
                for seed in (1, 2)
            ]  # fmt: skip
    return found


def settings() -> list[Trial]:
    """A recipe at two ratios, with a higher and a lower rate."""
    return [
        make_trial(f"{ratio}-{place_}-{seed}", 0.9 + 0.01 * seed - shift, ratio=ratio, seed=seed,
                   recovery_settings={"learning_rate": rate})
        for ratio in (0.3, 0.6)
        for place_, (rate, shift) in enumerate(((1e-3, 0.0), (4e-3, 0.05), (5e-4, 0.001)))
        for seed in (0, 1)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    storage = tmp_path_factory.mktemp("runs")
    return {
        "mixtures": write_sweep(storage, mixtures(), "mixtures", "loss_coefficients"),
        "settings": write_sweep(storage, settings(), "settings", "sensitivity"),
        "frontier": write_sweep(storage, [make_dense()], "frontier"),
        "empty": write_sweep(storage, [make_dense()], "empty", "loss_coefficients"),
    }


def test_loss_mixtures_as_files(folders: dict[str, Path]) -> None:
    files = write_effects(folders["mixtures"])
    assert MixtureReport.model_validate_json(files.json.read_text()) == files.report
    rows = list(csv.DictReader(files.csv.open()))
    assert len(rows) == 7
    repeated = {row["terms"]: row for row in rows if row["report_seeds"]}
    assert set(repeated) == {"ce", "ce+kl"}
    assert float(repeated["ce+kl"]["report_retention"]) == pytest.approx(0.823)
    assert float(repeated["ce"]["report_behind"]) == pytest.approx(0.023)
    text = files.markdown.read_text()
    assert "The best mixture is 0.50 ce + 0.50 kl: it keeps 82.3%" in text
    assert "2 seeds" in text
    assert "Tukey" in text
    assert "jackknife" in text


@pytest.mark.parametrize("name", ["mixtures", "settings"])
def test_a_terminal_of_80_columns_shows_them(folders: dict[str, Path], name: str) -> None:
    file = StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None)
    show_effects(find_effects(folders[name]), console)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "|" not in text.replace("`| less", "")
    assert "…" not in text
    first = {
        "mixtures": ["Loss mixtures: demo", "The best mixture is 0.50 ce + 0.50 kl"],
        "settings": ["Sensitivity: demo", "Settings over all recipes", "-5.00"],
    }[name]
    assert all(part in text for part in first)


def test_sensitivity_as_files(folders: dict[str, Path]) -> None:
    files = write_effects(folders["settings"])
    assert SensitivityReport.model_validate_json(files.json.read_text()) == files.report
    rows = list(csv.DictReader(files.csv.open()))
    assert [(row["factor"], row["level"]) for row in rows] == [
        ("learning rate", "x 0.5"),
        ("learning rate", "x 4"),
    ] * 2
    assert [float(row["estimate"]) for row in rows] == pytest.approx([-0.1, -5.0] * 2)
    assert (
        "| learning rate | x 4 | harmful | layerwise 0.30, joint ce+l2 | -5.00 |"
        in files.markdown.read_text()
    )
    assert effects_summary(files.report) == (
        "Robust at every ratio: learning rate x 0.5. Harmful at some: learning rate x 4."
    )


@pytest.mark.parametrize("name", ["mixtures", "settings", "empty"])
def test_pictures_are_pictures(folders: dict[str, Path], name: str) -> None:
    files = write_effects(folders[name])
    assert files.png.read_bytes().startswith(b"\x89PNG")
    assert files.png.stat().st_size > 5_000


def test_plotly_accepts_every_property(folders: dict[str, Path]) -> None:
    from plotly.graph_objects import Figure

    report = find_effects(folders["mixtures"])
    assert isinstance(report, MixtureReport)
    figure = Figure(ternary_figure(report))
    best, *mixtures = figure.data
    assert (best.name, best.a[0], best.b[0]) == ("best of the repeated", 0.5, 0.5)
    assert sum(len(trace.a) for trace in mixtures) == 7
    assert all(
        a + b + c == pytest.approx(1.0)
        for trace in figure.data
        for a, b, c in zip(trace.a, trace.b, trace.c, strict=True)
    )
    assert Figure(forest_figure(behind_rows(report), "t")).data[0].x == (0.0, pytest.approx(-2.3))
    assert Figure(forest_figure(report.effects, "t"))
    sensitivity = find_effects(folders["settings"])
    assert isinstance(sensitivity, SensitivityReport)
    by_recipe = setting_rows(sensitivity)
    assert list(by_recipe) == ["layerwise 0.30, joint ce+l2", "layerwise 0.60, joint ce+l2"]
    for rows in by_recipe.values():
        assert Figure(forest_figure(rows, "t")).data[0].x == pytest.approx((-0.1, -5.0))


def test_places_in_the_triangle() -> None:
    assert place(1, 0, 0) == pytest.approx((0.5, HEIGHT))
    assert place(0, 2, 0) == pytest.approx((0.0, 0.0))
    assert place(0, 0, 3) == pytest.approx((1.0, 0.0))
    assert place(1, 1, 1) == pytest.approx((0.5, HEIGHT / 3))
    assert place(1, 1, 0) == pytest.approx((0.25, HEIGHT / 2))


def test_one_bad_mixture_does_not_take_the_contrast(folders: dict[str, Path]) -> None:
    report = find_effects(folders["mixtures"])
    assert isinstance(report, MixtureReport)
    points = report.points * 2
    bad = points[0].model_copy(update={"search_retention": 0.1})
    assert colour_range([*points, bad]) == (pytest.approx(80.0), pytest.approx(86.0))
    assert weights(bad) == "0.40 ce + 0.40 kl + 0.20 l2"


def test_sweeps_without_an_analysis_of_their_own_have_that_of_their_factors(
    folders: dict[str, Path],
) -> None:
    assert has_effects(folders["mixtures"])
    assert not has_effects(folders["frontier"])
    assert isinstance(find_effects(folders["frontier"]), FactorReport)


def test_effects_say_when_there_is_no_best_yet(folders: dict[str, Path]) -> None:
    files = write_effects(folders["empty"])
    assert "none can be called the best" in files.text
    assert json.loads(files.json.read_text())["points"] == []
