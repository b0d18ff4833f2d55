"""Keeps MLflow up to date beside a running sweep, in a thread of the driver."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.answers.side_by_side import Answers
from analysis.load import load_trials
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.track.tracking import Mirror, default_uri


class MirrorThread:
    """Mirrors the ledger whenever it is woken; a failing MLflow never stops a sweep.

    The store is opened in the thread, since a new database takes seconds. `error` holds the first
    line of what went wrong, for the user to be told once.
    """

    def __init__(self, ledger: Ledger, sweep: SweepSpec, uri: str | None) -> None:
        self._ledger, self._sweep, self._given = ledger, sweep, uri
        self.uri = uri or default_uri(ledger.storage)
        self.error: str | None = None
        self._mirror: Mirror | None = None
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Mirror soon; starts the thread at the first call."""
        self._woken.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="mlflow", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after the sync it is in, if any."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()

    def finish(self, files: Sequence[Path], more: str = "", answers: Answers | None = None) -> None:
        """Mirror everything once more: files and answers on the parent run, `more` in its note."""
        self._sync(files, finished=True, more=more, answers=answers)

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait()
            self._woken.clear()
            if not self._stopped.is_set():
                self._sync(())

    def _sync(self, files: Sequence[Path], **rest: Any) -> None:
        try:
            if self._mirror is None:
                self._mirror = Mirror(self._ledger.storage, self._sweep.name, self._given)
            trials = load_trials(self._ledger.folder)
            self._mirror.sync(trials, self._sweep.question, files, **rest)
            self.error = None
        except Exception as error:  # whatever MLflow or its server raises; the ledger has it all
            self.error = f"{type(error).__name__}: {error}".splitlines()[0]
