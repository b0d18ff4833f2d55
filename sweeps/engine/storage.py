"""Where runs are kept: a folder or an object store; how printed commands name it."""

import shlex
import uuid
from pathlib import Path

from trainables.common.copies import pull, remote_of, url_of, working_copy
from trainables.common.objects import is_url, objects_at

RUNS = Path("runs")


def storage_folder(given: str | Path) -> Path:
    """The folder of a storage: for the URL of an object store this machine's working copy.

    A command line's `Path` has lost a slash of its URL.

    Raises:
        ValueError: another address, or its driver is missing.
    """
    text = str(given)
    if not is_url(text):
        return Path(given)
    scheme, _, place = text.partition(":/")
    return working_copy(f"{scheme.lower()}://{place.strip('/')}")


def shown(storage: Path) -> str:
    """The storage as its user gives it."""
    return url_of(storage.absolute()) or str(storage)


def storage_option(storage: Path) -> str:
    """What a printed command needs besides to find the storage; empty for the default."""
    usual = storage.resolve() == RUNS.resolve()
    return "" if usual else f" --storage {shlex.quote(shown(storage))}"


def pulled(storage: Path, sweep: str | None = None, *, rest: bool = True) -> Path:
    """The storage, with what an object store holds of a sweep, or of every one, in its copy.

    Without `rest` only what the ledger reads. Weights are fetched when they are asked for.

    Raises:
        ObjectStoreError: it cannot be read.
    """
    if (place := remote_of(storage)) is not None:
        names = place.objects.folders() if sweep is None else [sweep]
        for name in names:
            if name != "store" and not name.startswith("."):
                pull(storage / name, rest=rest)
    return storage


def refusal(url: str) -> str:
    """Why this machine cannot use an object store, in a sentence; empty if it can."""
    name = f".seen-{uuid.uuid4().hex[:8]}"
    try:
        objects = objects_at(url)
        objects.create(name, b"")
        objects.folders()
        objects.delete([name])
    except (ValueError, OSError) as error:
        return str(error)
    return ""
