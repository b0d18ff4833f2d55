"""Family-wise error of the standings and coverage of the quoted intervals, before and after.

Command: `python tests/benchmarks/statistics.py [--sweeps 400]`, 0.3 s a sweep of each of 7 cases.

The simulation is `statistics_sweeps.py`. This file bears the name of a library module, which
scripts beside it would otherwise find here in its place.
"""

import sysconfig
from pathlib import Path

if __name__ == "__main__":
    from statistics_sweeps import main

    main()
else:
    library = Path(sysconfig.get_path("stdlib"), "statistics.py")
    exec(compile(library.read_text(encoding="utf-8"), library, "exec"))
