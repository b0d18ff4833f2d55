"""Keeps MLflow up to date beside a running sweep, in threads of the driver.

A failing MLflow never stops a sweep, and a silent one never holds its end up for long: requests to
a server have short timeouts (`store.py`), and a call that hangs all the same is left behind.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from analysis.answers.side_by_side import Answers
from analysis.load import load_sweep_trials
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.track.store import default_uri, is_database, load, reason, shown_uri
from sweeps.engine.track.tracking import Mirror


class MirrorThread:
    """Mirrors the ledger whenever it is woken.

    Attributes:
        uri: the tracking store, as it may be shown: without a password.
        error: what went wrong at the last attempt; None when all is mirrored.
        link: the page with the sweep's trials, once they are mirrored.
        patience_seconds: so long is a call waited for at the end that brings nothing forward, and
            twice that in all: a new SQLite database takes long on a slow disk, a server is to
            answer.

    Args:
        ledger: of the sweep.
        sweep: the sweep.
        uri: an MLflow server or store; None is SQLite in the ledger's storage.
        warn: is told, once, that MLflow could not be written while the sweep runs.
    """

    def __init__(
        self, ledger: Ledger, sweep: SweepSpec, uri: str | None, warn: Callable[[str], None]
    ) -> None:
        self._ledger, self._sweep, self._given, self._warn = ledger, sweep, uri, warn
        self.uri = shown_uri(uri or default_uri(ledger.storage))
        self.error: str | None = None
        self.link: str | None = None
        self.patience_seconds = 25.0 if uri and not is_database(uri) else 120.0
        self._warned = False
        self._mirror: Mirror | None = None
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Mirror soon; starts the thread at the first call, which opens the store (seconds)."""
        self._woken.set()
        if self._thread is None:
            self._start(self._loop)

    def stop(self) -> None:
        """End the thread after the sync it is in, if any, or leave it behind if that hangs."""
        self._stopped.set()
        self._woken.set()
        self._wait()

    def finish(self, files: Sequence[Path], more: str = "", answers: Answers | None = None) -> None:
        """Mirror everything once more: files and answers on the parent run, `more` in its note."""
        self.stop()
        if self._thread is None:  # one that hangs is not followed by another
            load()
            self._start(lambda: self._sync(files, finished=True, more=more, answers=answers))
            self._wait()

    def _start(self, work: Callable[[], None]) -> None:
        # A daemon: one that hangs does not keep the process.
        self._thread = threading.Thread(target=work, name="mlflow", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        """Until the thread has ended, or has brought nothing forward for `patience_seconds`."""
        while self._thread is not None:
            before = self._written
            self._thread.join(self.patience_seconds)
            if not self._thread.is_alive():
                self._thread = None
            elif self._written == before:
                self.error = f"no answer within {self.patience_seconds:g} s"
                return

    @property
    def _written(self) -> int:
        return self._mirror.written if self._mirror else 0

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait()
            self._woken.clear()
            if not self._stopped.is_set():
                self._sync(())
                if self.error and not self._warned:
                    self._warned = True
                    self._warn(
                        f"MLflow at {self.uri} could not be written ({self.error}). The sweep goes "
                        "on, and MLflow is tried again after every trial."
                    )

    def _sync(self, files: Sequence[Path], **rest: Any) -> None:
        try:
            if self._mirror is None:
                self._mirror = Mirror(self._ledger.storage, self._sweep.name, self._given)
            loaded = load_sweep_trials(self._ledger.folder, records=self._ledger.ended())
            more = "\n\n".join(text for text in (loaded.note, rest.pop("more", "")) if text)
            settings, others = self._sweep.model_dump(mode="json"), loaded.others
            self._mirror.sync(loaded.trials, settings, files, more=more, others=others, **rest)
            self.error, self.link = None, self._mirror.link
        except Exception as error:  # whatever MLflow or its server raises; the ledger has it all
            self.error = reason(error)
