"""The command line: every module of this folder that has commands is found by itself.

`PLACE` of such a module says where in the help its commands stand; without one they come last.
Commands import what loads slowly themselves, so that each answers at once.
"""

import importlib
import math
import pkgutil
import sys

from sweeps.engine.cli.app import app as app

for _found in pkgutil.iter_modules(__path__):
    if _found.name != "__main__":
        importlib.import_module(f"{__name__}.{_found.name}")
app.registered_commands.sort(
    key=lambda each: getattr(sys.modules.get(each.callback.__module__), "PLACE", math.inf)
)


def main() -> None:
    """Entry point of the console script."""
    app()
