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


def lengthen_ids(sweep: Path) -> None:
    """Give every pruned trial of a ledger an id as long as the longest that a sweep makes (49)."""
    for folder in sorted((sweep / "trials").iterdir()):
        number, dash, _ = folder.name.partition("-")
        if dash:
            name = f"{number}-widthwise-45-projector_lora-ce+rkl+hidden-nf4"
            for file in folder.glob("*.json"):
                text = file.read_text(encoding="utf-8")
                file.write_text(text.replace(f'"{folder.name}"', f'"{name}"'), encoding="utf-8")
            folder.rename(folder.with_name(name))
