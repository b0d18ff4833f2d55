"""Files of older versions, made into what this version writes: the one place for that.

`common.files.read_json` hands every JSON object of a file through `lift` before it is validated,
wherever it lies: the spec in a record, in a request or in a sweep. Values from elsewhere (a sweep
file, `--set`) never come here, so that a setting that is gone is still refused there.
"""

from collections.abc import Callable, Mapping
from typing import Any

Plain = dict[str, Any]

RECORD_VERSION = 2  # files without the number are of version 1

# By class: keys that older files hold and nobody reads any more.
REMOVED: Mapping[str, frozenset[str]] = {
    # Of the cache of vision features.
    "RecoverySpec": frozenset({"vision_cache"}),
    "RecoveryReport": frozenset({"vision"}),
    "Caches": frozenset({"vision"}),
    # Of successive halving, in the `sweep.json` of older sweeps.
    "RungSpec": frozenset({"reduction_factor"}),
}
# By class, for those with a `record_version`: what makes version 1 into 2, 2 into 3, ...
STEPS: Mapping[str, tuple[Callable[[Plain], Plain], ...]] = {
    "TrialRecord": (lambda plain: plain,),
    "ClosingReport": (lambda plain: plain,),
}


def lift(kind: str, plain: Plain) -> Plain:
    """The object as this version would have written it.

    Args:
        kind: name of the class that it is of.
        plain: parsed JSON; left as it was, and handed back where it is of this version already,
            which is the case of most of the 25 objects of a record.

    Raises:
        ValueError: a newer version wrote it.
    """
    gone = REMOVED.get(kind)
    if gone and not gone.isdisjoint(plain):
        plain = {key: value for key, value in plain.items() if key not in gone}
    if kind == "PrunePlan" and "layers" in plain:  # named the one dense layer of each kept one
        rest = {key: value for key, value in plain.items() if key != "layers"}
        plain = {**rest, "sources": [[layer] for layer in plain["layers"]]}
    if kind not in STEPS:
        return plain
    version = plain.get("record_version", 1)
    if version > RECORD_VERSION:
        raise ValueError(
            f"record_version={version}, but this version of prunesweep reads up to "
            f"{RECORD_VERSION}; use the version that wrote it, or a newer one"
        )
    if version == RECORD_VERSION:
        return plain
    for step in STEPS[kind][version - 1 :]:
        plain = step(plain)
    return {**plain, "record_version": RECORD_VERSION}
