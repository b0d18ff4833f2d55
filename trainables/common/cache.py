"""Where this user's machine keeps what was downloaded or put together once."""

import os
from pathlib import Path

VARIABLE = "PRUNESWEEP_CACHE"


def cache() -> Path:
    """The folder that `PRUNESWEEP_CACHE` names, else `prunesweep` among the user's caches."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "prunesweep"
    return Path(os.environ.get(VARIABLE) or usual).expanduser()
