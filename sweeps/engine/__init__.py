"""The sweep engine: spec, agenda, searcher, scheduler, ledger, runner, tracking, command line."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("prunesweep")
except PackageNotFoundError:  # a working_dir on a cluster node
    __version__ = "unknown"
