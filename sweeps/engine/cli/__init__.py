"""The command line: `app`, with a module for each group of commands.

Commands import what they need themselves, so that each answers at once.
"""

from sweeps.engine.cli import sweeping, results, evaluating, checkpoints, datasets as data  # noqa: F401, I001 (help's order)
from sweeps.engine.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the console script."""
    app()
