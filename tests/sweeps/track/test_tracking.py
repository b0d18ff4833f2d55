"""The MLflow mirror on a real SQLite store: what syncing again, deleting and foreign runs do."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.mirrors import children, csv_ids, everything, some_trials, sync
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.load import load_sweep, load_trials
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.track.experiment_page import NOTE
from sweeps.engine.track.mirroring import MirrorThread
from sweeps.engine.track.store import default_uri
from sweeps.engine.track.tracking import Mirror


def test_search_for_the_frontier_tag_equals_the_csv(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    assert set(children(mirror, "tags.frontier = 'true'")) == csv_ids(folder) == {"a", "b", "dense"}
    parent = mirror._client.get_run(mirror.parent_id())
    assert "frontier" not in parent.data.tags
    assert set(children(mirror, "tags.trial_id != ''")) == {t.trial_id for t in load_trials(folder)}

    # A better and smaller model moves the front: the tags of its siblings are rewritten.
    write_sweep(storage, [make_trial("star", 0.9, weights_mib=5.0, sweep=sweep)], sweep)
    sync(mirror, folder)
    assert set(children(mirror, "tags.frontier = 'true'")) == csv_ids(folder) == {"star", "dense"}


def test_syncing_again_changes_nothing_and_a_new_mirror_finds_its_runs(
    storage: Path, sweep: str
) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    sync(Mirror(storage, sweep), folder)
    before = everything(Mirror(storage, sweep))
    again = Mirror(storage, sweep)
    sync(again, folder)
    assert everything(again) == before
    runs = again._client.search_runs([again.experiment_id])
    assert len(runs) == len(before) + 1  # and one parent


def test_a_half_written_run_is_completed_not_repeated(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep)[:2], sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    whole = everything(mirror)
    run = children(mirror)["a"]
    mirror._client.delete_tag(run.info.run_id, "prunesweep.mirrored")  # a crash came before it
    again = Mirror(storage, sweep)
    sync(again, folder)
    assert everything(again) == whole


def test_what_was_written_is_not_looked_at_again_until_the_end(
    storage: Path, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    asked: list[str] = []
    for name in ("search_runs", "create_run", "set_tag", "log_batch"):
        call = getattr(mirror._client, name)

        def counted(*args: Any, name: str = name, call: Any = call, **named: Any) -> Any:
            asked.append(name)
            return call(*args, **named)

        monkeypatch.setattr(mirror._client, name, counted)
    write_sweep(storage, [make_trial("late", 0.1, weights_mib=20.0, sweep=sweep)], sweep)
    sync(mirror, folder)
    # The parent is written; of the children the new one alone.
    assert Counter(asked) == {"create_run": 1, "log_batch": 2}
    child = children(mirror)["a"]
    mirror._client.delete_run(child.info.run_id)
    sync(mirror, folder)
    assert "a" not in children(mirror)
    sync(mirror, folder, finished=True)
    assert children(mirror)["a"].data.params == child.data.params


@pytest.mark.parametrize("what", ["parent", "experiment"])
def test_what_was_deleted_in_mlflow_is_there_after_the_next_sync(
    storage: Path, sweep: str, what: str
) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    whole = everything(mirror)
    if what == "parent":
        mirror._client.delete_run(mirror.parent_id())
    else:
        mirror._client.delete_experiment(mirror.experiment_id)
    sync(mirror, folder)  # the same mirror: a sweep is running
    assert everything(mirror) == whole, "the same children below whichever parent"
    assert len(mirror._client.search_runs([mirror.experiment_id])) == len(whole) + 1


def test_trials_of_another_base_are_taken_off_and_come_back(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    trials = load_trials(folder)
    now = [t for t in trials if t.trial_id not in ("a", "b")]
    mirror.sync(now, {"question": "?"}, others=("a", "b"))
    assert children(mirror).keys() == {t.trial_id for t in now}
    mirror.sync(trials, {"question": "?"})
    assert children(mirror).keys() == {t.trial_id for t in trials}


def test_what_others_put_into_the_experiment_is_passed_over(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    whole = everything(mirror)
    below = {"mlflow.parentRunId": mirror.parent_id()}
    foreign = {
        mirror._client.create_run(mirror.experiment_id, tags=tags).info.run_id
        for tags in ({}, below, {**below, "trial_id": "unknown"}, {"trial_id": "a"})
    }
    for each in (mirror, Mirror(storage, sweep)):
        sync(each, folder, finished=True)
    runs = mirror._client.search_runs([mirror.experiment_id])
    ours = {run.info.run_id for run in runs} - foreign
    assert ours == {mirror.parent_id(), *(run_id for run_id, *_ in whole.values())}
    assert not any(run.data.metrics for run in runs if run.info.run_id in foreign)


def test_a_database_that_was_given_keeps_its_files_in_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in `mlruns` of whatever folder the command was given in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    storage, uri = tmp_path / "runs", f"sqlite:///{tmp_path}/other.db"
    folder = write_sweep(storage, [make_trial("a")])
    sync(Mirror(storage, "demo", uri), folder, files=[folder / "sweep.json"])
    assert list(Path.cwd().iterdir()) == []
    assert len(list((storage / "mlartifacts" / "demo").rglob("sweep.json"))) == 1


def test_a_database_that_cannot_grow_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk, of which MLflow prints hundreds of lines."""
    write_sweep(tmp_path, [make_trial("a"), make_dense()])
    Mirror(tmp_path, "demo").parent_id()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("DROP TABLE runs")
    told: list[str] = []
    ledger, sweep = Ledger(tmp_path, "demo"), SweepSpec(name="demo", question="?")
    mirror = MirrorThread(ledger, sweep, None, told.append)
    capfd.readouterr()
    mirror.finish([])
    assert mirror.error == "no such table: runs"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["per%20cent", "what?x", "a#b", "a b: é"])
def test_the_database_lies_in_the_storage_whatever_its_name(tmp_path: Path, name: str) -> None:
    storage = tmp_path / name
    mirror = Mirror(storage, "demo")
    sync(mirror, write_sweep(storage, [make_trial("a")]))
    assert (storage / "mlflow.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert set(children(mirror)) == {"a"}


def test_an_experiment_that_is_no_sweeps_is_left_alone(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    client = Mirror(storage, "other")._client
    theirs = client.create_experiment(sweep)
    client.create_run(theirs)
    told: list[str] = []
    mirror = MirrorThread(
        Ledger(storage, sweep), SweepSpec(name=sweep, question="?"), None, told.append
    )
    mirror.finish([])
    assert mirror.error == (
        f"its experiment '{sweep}' holds runs that are no sweep's; rename the experiment there, or "
        "the sweep"
    )
    assert len(client.search_runs([theirs])) == 1
    assert NOTE not in client.get_experiment(theirs).tags
    assert load_sweep(folder)["name"] == sweep


def test_another_storages_sweep_of_the_same_name_is_left_alone(
    storage: Path, sweep: str, tmp_path: Path
) -> None:
    theirs, uri = Mirror(storage, sweep, default_uri(storage)), default_uri(storage)
    sync(theirs, write_sweep(storage, some_trials(sweep), sweep))
    page = theirs._client.get_experiment(theirs.experiment_id).tags
    before = everything(theirs)
    ours = write_sweep(tmp_path, some_trials(sweep), sweep)
    for path in ours.glob("trials/*/record.json"):
        path.write_text(path.read_text().replace("2026-11-21T10:00:00", "2026-11-21T10:00:01"))
    mirror = Mirror(tmp_path, sweep, uri)
    mirror.sync([], {"question": "?"})  # before the first record nobody can tell
    with pytest.raises(BadInputError, match="holds another storage's sweep of this name"):
        sync(mirror, ours)
    assert everything(theirs) == before
    assert mirror.experiment.tags == page
    sync(Mirror(storage, sweep, uri), storage / sweep)  # while whose it is goes on


def test_a_given_uri_takes_the_same_path(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    sync(Mirror(storage, sweep), folder)
    given = Mirror(storage / "elsewhere", sweep, default_uri(storage))
    before = everything(given)
    sync(given, folder)
    assert everything(given) == before
    assert not (storage / "elsewhere").exists()
