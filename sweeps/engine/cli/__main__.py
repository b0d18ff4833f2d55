"""`python -m sweeps.engine.cli`, for processes that start another."""

from sweeps.engine.cli import main

main()
