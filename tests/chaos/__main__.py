"""`python -m chaos --faults 500 --seed 1`: faults by kind, and every violation."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from chaos.campaign import campaign
from chaos.faults import KINDS


def main() -> int:
    """Run it; 1 where anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(KINDS), help="names, by commas")
    parser.add_argument("--workers", type=int, default=1, choices=(1, 2), help="of a trial")
    parser.add_argument("--folder", type=Path, help="for sweeps and logs, which stay there")
    given = parser.parse_args()
    kinds = tuple(given.kinds.split(","))
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        folder = given.folder or Path(scratch)
        found = campaign(folder, given.faults, given.seed, kinds, given.workers)
    print(f"\n{'fault':40}  times")
    for name in KINDS:
        print(f"{name:40}  {found.done[name]:5}")
    print(f"{'in all':40}  {found.done.total():5}, in {found.rounds} sweeps, {found.seconds:.0f} s")
    print(f"{'violations':40}  {len(found.wrong):5}")
    for what in found.wrong:
        print(f"- {what}")
    if found.wrong:
        again = f"FAULTS={given.faults} SEED={given.seed} WORKERS={given.workers}"
        print(f"repeat it with `make chaos {again}`")
    return 1 if found.wrong else 0


sys.exit(main())
