"""What `SweepSpec.sampler` may be."""

from sweeps.engine.spec.user_files import FUNCTION_IN_FILE
from trainables.common.names import unknown

# `auto` is the one that tests/benchmarks/search.py favours.
SAMPLER_NAMES = ("auto", "ehvi", "gp", "nsga2", "random", "tpe")


def check_sampler_name(name: str) -> str:
    """The name, if it is one, or has the form `file.py:function`.

    Raises:
        ValueError: neither; lists the names.
    """
    if name in SAMPLER_NAMES or FUNCTION_IN_FILE.fullmatch(name):
        return name
    raise ValueError(
        unknown("sampler", name, SAMPLER_NAMES) + " Or give file.py:function, a function of a seed "
        "that returns an Optuna sampler."
    )
