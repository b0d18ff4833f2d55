"""What a store has built."""

from __future__ import annotations

import json
from typing import Any

from trainables.common.store import LOG, Store


def builds(store: Store, kind: str) -> list[dict[str, Any]]:
    """One row per entry of this kind ever built: `kind`, `digest`, `key`, `seconds`."""
    log = store.root / LOG
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [row for row in map(json.loads, lines) if row["kind"] == kind]
