"""Starts of one trial in any order, killed, woken, published, against a model of who may write."""

from __future__ import annotations

import tempfile
from pathlib import Path

from helpers.trials import make_trial
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from trainables.common.attempts import claim, claim_within, new_attempt, owned
from trainables.common.files import read_json, write_json
from trainables.records import RECORD, TrialRecord
from trainables.trial.jobs import TrialJob
from trainables.trial.launch import publish

LOST = ".progress.json.1.part"  # what a process leaves that is killed while it writes


class Trial(RuleBasedStateMachine):
    """Processes are never known to be dead: each may wake up and write at any time."""

    starts = Bundle("starts")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.attempt = self.start = ""  # of the newest claim, and of the newest start within it
        self.written: dict[str, str] = {}
        self.record: TrialRecord | None = None

    def may_write(self, token: str) -> bool:
        return token in (self.attempt, self.start)

    @rule(target=starts)
    def begin(self) -> str:
        token = new_attempt()
        claim(self.folder, token)
        self.attempt = self.start = token
        assert not (self.folder / LOST).exists(), "of whoever was killed in the middle"
        return token

    @rule(target=starts, token=starts)
    def begin_workers(self, token: str) -> str:
        if not self.may_write(token) or "." in token:
            return token
        self.start = claim_within(self.folder, token)
        return self.start

    @rule(token=starts)
    def write(self, token: str) -> None:
        try:
            write_json(self.folder / "progress.json", {"by": token}, owned(self.folder, token))
        except RuntimeError:
            assert not self.may_write(token)
        else:
            assert self.may_write(token)
            self.written = {"by": token}

    @rule()
    def kill_in_the_middle(self) -> None:
        (self.folder / LOST).write_text("{")

    @rule(token=starts)
    def end(self, token: str) -> None:
        found = make_trial("t").record
        provenance = found.provenance.model_copy(update={"attempt": token})
        found = found.model_copy(update={"provenance": provenance})
        job = TrialJob(
            trial_id="t", sweep="s", origin="designed", spec=found.spec, folder=self.folder,
            store=self.folder, attempt=token,
        )  # fmt: skip
        try:
            publish(job, found)
        except RuntimeError:
            assert self.record is not None or not self.may_write(token)
        else:
            assert self.record is None, "a record is never rewritten"
            assert self.may_write(token)
            self.record = found

    @invariant()
    def what_lies_there_is_by_whom_it_should_be(self) -> None:
        if self.written:
            text = (self.folder / "progress.json").read_text()
            assert self.written["by"] in text
        there = (self.folder / RECORD).exists()
        assert there == (self.record is not None)
        if there:
            assert read_json(self.folder / RECORD, TrialRecord) == self.record


TestTrial = Trial.TestCase
TestTrial.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
