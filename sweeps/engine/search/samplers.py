"""Which Optuna sampler a sweep searches with: the named ones, and one of the user's own."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.engine.spec.user_files import FUNCTION_IN_FILE, BadInputError, user_function

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

# Trials that a Gaussian process is told at most: a proposal from more takes seconds.
MOST_OF_GP = 100


class SamplerError(Exception):
    """A sampler raised, or proposed what the space does not contain; the message says where."""


def _tpe(seed: int, startup: int) -> BaseSampler:
    """Tree-structured Parzen estimators (Ozaki et al., GECCO 2020), joint over its factors."""
    from optuna.samplers import TPESampler

    return TPESampler(
        n_startup_trials=startup,
        multivariate=True,
        group=True,  # the space is conditional
        constant_liar=True,
        seed=seed,
    )


def _gp(seed: int, startup: int) -> BaseSampler:
    """Gaussian processes with expected hypervolume improvement (Daulton et al., 2006.05078)."""
    from optuna.samplers import GPSampler

    return GPSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)


def _nsga2(seed: int, startup: int) -> BaseSampler:
    """Crossover and mutation among the best so far, as many as the start-up trials."""
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(population_size=max(startup, 2), seed=seed)


def _random(seed: int, startup: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed)


# Our own (`ehvi.py`), which needs the cell and is no sampler of Optuna's; random at the start.
MODELS = ("auto", "ehvi")
SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    **dict.fromkeys(MODELS, _random),
    "gp": _gp,
    "nsga2": _nsga2,
    "random": _random,
    "tpe": _tpe,
}


def make_sampler(name: str, seed: int, startup: int) -> BaseSampler:
    """The sampler of that name, or what the function of `file.py:function` returns for the seed.

    Raises:
        BadInputError: the file or the function does not exist, raises, or returns no sampler.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import BaseSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name in SAMPLERS:
            return SAMPLERS[name](seed, startup)
        function = _function(name)
        try:
            made = function(seed)
        except Exception as error:
            raise BadInputError(f"sampler {name} {_raised(error, name)}") from None
    if not isinstance(made, BaseSampler):
        raise BadInputError(
            f"sampler {name} returned {made!r} ({_place(function)}); it is given a seed and must "
            "return an Optuna sampler (optuna.samplers.BaseSampler)"
        )
    return made


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Whatever is raised inside is the sampler's: a `SamplerError` that says what and where.

    Raises:
        SamplerError: in place of any other exception.
    """
    try:
        yield
    except BadInputError as error:
        raise SamplerError(str(error)) from error
    except OutOfRangeError as error:
        place = f" ({_place(_function(name))})" if FUNCTION_IN_FILE.fullmatch(name) else ""
        raise SamplerError(f"sampler {name}{place} proposed {error}") from error
    except Exception as error:
        raise SamplerError(f"sampler {name} {_raised(error, name)}") from error


class OutOfRangeError(ValueError):
    """A proposed value that its factor cannot have."""


def _function(name: str) -> Callable[[int], Any]:
    return user_function("sampler", name, "`def f(seed):` that returns an Optuna sampler")


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}, line {code.co_firstlineno}" if code else repr(function)


def _raised(error: Exception, name: str) -> str:
    """What was raised, and where: the innermost line of the user's file, where there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}, line {frames[-1].lineno}"
    if name not in SAMPLERS:
        whole = str(Path(name.rpartition(":")[0]).absolute())
        own = [f"{whole}, line {f.lineno}" for f in frames if f.filename == whole]
        place = own[-1] if own else _place(_function(name))
    return f"raised {type(error).__name__}: {' '.join(str(error).split())} ({place})"
