"""Files of older versions, made into what this version writes: the one place for that.

`common.files.read_json` validates a file as this version writes it. Where that fails, `lifted` goes
through every JSON object of it, wherever it lies: the spec in a record, in a request or in a sweep.
Values from elsewhere (a sweep file, `--set`) never come here, so that a setting that is gone is
still refused there.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel

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


def _this_version(version: int) -> int:
    if version != RECORD_VERSION:
        raise ValueError(
            f"record_version={version}, but this version of prunesweep reads up to "
            f"{RECORD_VERSION}; use the version that wrote it, or a newer one"
        )
    return version


Version = Annotated[int, AfterValidator(_this_version)]


def lifted(kind: Any, value: Any) -> Any:
    """Parsed JSON as this version would have written it.

    Args:
        kind: what it is to be: a model, or an annotation that holds models.
        value: left as it was.
    """
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not isinstance(value, dict):
            return value
        fields = kind.model_fields
        plain = _lift(kind.__name__, value)
        return {k: lifted(fields[k].annotation, v) if k in fields else v for k, v in plain.items()}
    for part in get_args(kind):  # those that hold no model hand back what they get
        if isinstance(value, list):
            value = [lifted(part, each) for each in value]
        elif get_origin(kind) in (dict, Mapping):
            value = {key: lifted(part, each) for key, each in value.items()}
        else:
            value = lifted(part, value)
    return value


def _lift(kind: str, plain: Plain) -> Plain:
    gone = REMOVED.get(kind, frozenset())
    plain = {key: value for key, value in plain.items() if key not in gone}
    if kind == "PrunePlan" and "layers" in plain:  # named the one dense layer of each kept one
        rest = {key: value for key, value in plain.items() if key != "layers"}
        plain = {**rest, "sources": [[layer] for layer in plain["layers"]]}
    version = plain.get("record_version", 1)
    if kind not in STEPS or version > RECORD_VERSION:
        return plain
    for step in STEPS[kind][version - 1 :]:
        plain = step(plain)
    return {**plain, "record_version": RECORD_VERSION}
