"""What makes two trial specs one trial.

Keys stand in ledgers for good, so a key must not change when a spec gains a field: `FIRST` lists
the fields that have been in keys from the start, and any other one enters only where its value is
not its default. So a finished sweep stays finished whatever is added later.
"""

from typing import Any

from analysis.bases import FREE
from sweeps.engine.spec.unpruned_parts import target_of
from trainables.models.families.shape import LanguageShape
from trainables.pruning.planning.methods import canonical_importance
from trainables.specs import Frozen, TrialSpec, digest
from trainables.specs.presets import effective_pruning

FIRST: dict[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "ModelSpec": "path revision dtype trust_remote_code",
        "DataSpec": "conversations image_folder max_tokens",
        "EvaluationSpec": "tasks search_limit batch_size max_new_tokens",
        "PruningSpec": "method preset units ranking depth depth_share protect_heads "
        "protect_neurons neuron_multiple steps",
        "RecoverySpec": "scope loss teacher data_fraction budget learning_rate lora_rank "
        "lora_alpha lora_dropout lora_targets batch_size micro_batch_size max_tokens_per_step "
        "length_groups warmup_fraction weight_decay clip_norm spike_factor zero_stage",
        "LossSpec": "alpha beta gamma label_smoothing logits js_weight temperature logits_tokens "
        "hidden hidden_layers hidden_tokens layer_map width_map normalize",
        "TeacherSpec": "model form top_k dtype quantize",
        "Budget": "epochs steps tokens tflops",
        "Seeds": "calibration data train",
    }.items()
}
# How the work is done decides no trial; how the report split is scored is decided when it is.
_PRACTICAL = {
    part: {name.removeprefix(f"{part}.") for name in FREE if name.startswith(f"{part}.")} | more
    for part, more in (("data", set[str]()), ("evaluation", {"report_limit"}))
}


def trial_key(spec: TrialSpec, shape: LanguageShape) -> str:
    """Digest of what a trial resolves to: specs with the same key are one trial."""
    pruning, target = effective_pruning(spec.pruning), target_of(spec, shape)
    # References and confirmations have no rungs.
    rung_fields: set[str] = set() if spec.rungs else {"rung_limit"}
    pruned: dict[str, Any] = {"widths": target.widths, "removed": target.removed}
    if pruning.prunes:
        pruned |= _plain(pruning, {"ratio", "size", "importance"})
        pruned["importance"] = canonical_importance(pruning)
    key: dict[str, Any] = {
        "model": _plain(spec.model),
        "data": _plain(spec.data, _PRACTICAL["data"]),
        "kept": pruned,
        "recovery": _lasting(spec.recovery, spec.recovery.canonical()),
        "evaluation": _plain(spec.evaluation, _PRACTICAL["evaluation"] | rung_fields),
        "seeds": _plain(spec.seeds),
        "rungs": spec.rungs,
        "baseline": _plain(spec.baseline) if spec.baseline else None,
    }
    if spec.quantization != "none":
        key["quantization"] = spec.quantization
    return digest(key)


def _plain(value: Frozen, exclude: set[str] | None = None) -> dict[str, Any]:
    return _lasting(value, value.model_dump(mode="json", exclude=exclude))


def _lasting(value: Frozen, dumped: dict[str, Any]) -> dict[str, Any]:
    """`dumped`, which `value` was dumped to, without later fields that stand at their default."""
    first, fields = FIRST.get(type(value).__name__, frozenset()), type(value).model_fields
    lasting: dict[str, Any] = {}
    for name, plain in dumped.items():
        own = getattr(value, name)
        default = fields[name].get_default(call_default_factory=True)
        if name in first or own != default:
            nested = isinstance(own, Frozen) and isinstance(plain, dict)
            lasting[name] = _lasting(own, plain) if nested else plain
    return lasting
