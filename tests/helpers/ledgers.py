"""A ledger as an earlier version left it: a quickstart of version 0.1 (commit 5408947).

Trained tensors, logs and pictures were left out; everything else is as it was written.
"""

from __future__ import annotations

import shutil
from pathlib import Path

LEDGER_V1 = Path(__file__).parents[1] / "data" / "ledger_v1"
UNTRAINED = "019-layerwise-15-none"  # needs no trained tensors to be exported


def old_quickstart(storage: Path) -> Path:
    """The sweep's folder, copied into `storage`."""
    folder = storage / "quickstart"
    shutil.copytree(LEDGER_V1, folder)
    return folder
