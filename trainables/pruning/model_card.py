"""The model card of an exported student; torch-free."""

from collections.abc import Sequence
from pathlib import Path

from trainables.common.weights import declared_licence
from trainables.models.families.registry import MODELS
from trainables.pruning.planning.planner import PrunePlan
from trainables.records import ClosingReport, TrialRecord, quoted_scores
from trainables.specs import ModelSpec


def model_card(
    spec: ModelSpec,
    folder: Path,
    plan: PrunePlan,
    record: TrialRecord | None,
    dtype: str,
    licence_files: list[str],
    loading: str,
    report: ClosingReport | None = None,
) -> str:
    """Markdown with the front matter of the hub: what was removed, how it was trained, the scores.

    Args:
        spec: the base model.
        folder: its checkpoint.
        plan: what is kept.
        record: of the trial; without it training and scores are said to be unknown.
        dtype: of the written weights.
        licence_files: names of the licence files beside the card.
        loading: how the model loads.
        report: of the trial, once the closing pass has scored it; its scores are then the ones.
    """
    known = MODELS.get(spec.path)
    base = spec.path if known else folder.name
    licence = known.licence if known else declared_licence(folder)
    groups, neurons = zip(*plan.kept_counts, strict=True)
    shape = plan.shape
    files = f" ({', '.join(licence_files)})" if licence_files else ""
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        f"license: {licence}",
        f"base_model: {base}" if "/" in base else "base_model: []",
        "tags: [pruned, prunesweep]",
        "---",
        "",
        f"# {base}, pruned {100 * plan.ratio:.1f} % {plan.method}",
        "",
        f"A structurally pruned `{base}`, made by prunesweep; weights are {dtype}, updates of the "
        "training are merged.",
        "",
        loading,
        "",
        "| | dense | this model |",
        "|---|---|---|",
        f"| language-model parameters | {plan.lm_params_dense:,} | {plan.lm_params:,} |",
        f"| layers | {shape.num_hidden_layers} | {len(plan.layers)} |",
        f"| attention heads per layer | {shape.num_attention_heads} | "
        f"{_span([count * shape.heads_per_group for count in groups])} |",
        f"| MLP neurons per layer | {shape.intermediate_size} | {_span(neurons)} |",
        "",
        f"Ratio: {plan.ratio:.4f} of the language model's parameters removed, embeddings and head "
        f"in the denominator (asked for: {_asked(plan)}). `prune_plan.json` lists what is "
        f"kept, of weights with SHA-256 digest `{plan.weights_digest or 'unknown'}`.",
        "",
        *_training(record),
        *_scores(record, report),
        "## Licences",
        "",
        f"- base model: {licence}{files}",
        f"- training data: {_data_licence(record)}",
        "",
    ]
    return "\n".join(lines)


def _span(counts: Sequence[int]) -> str:
    """The count that all layers have, or the smallest and the largest."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _asked(plan: PrunePlan) -> str:
    if plan.size is None:
        return f"{plan.target_ratio:g}"
    (unit, value), *_ = plan.size.model_dump(exclude_none=True).items()
    return f"{unit} {value:.10g} of the whole model, which has {plan.size_achieved:.10g}"


def _training(record: TrialRecord | None) -> list[str]:
    done = record.recovery if record else None
    if done is None:
        text = "Unknown: no trial record was given."
    elif done.scope == "none":
        text = "None."
    else:
        weights = ", ".join(f"{weight:.3g}" for weight in done.weights)
        text = (
            f"Scope `{done.scope}`, loss {done.loss_terms} (alpha, beta, gamma = {weights}), "
            f"{done.samples:,} samples, {done.tokens:,} tokens, {done.steps:,} steps, "
            f"{done.tflops:.4g} TFLOPs, peak learning rate {done.learning_rate:g}."
        )
    return ["## Recovery training", "", text, ""]


def _scores(record: TrialRecord | None, report: ClosingReport | None) -> list[str]:
    scores = quoted_scores(record, report) if record else None
    if scores is None:
        return ["## Scores", "", "Unknown: no evaluation was given.", ""]
    rows = [
        f"| {name} | {task.score:.1f} | {task.stderr:.1f} | {task.samples} |"
        for name, task in scores.tasks.items()
    ]
    lines = [
        f"## Scores ({scores.split} split, lmms-eval)",
        "",
        "| task | score | standard error | samples |",
        "|---|---|---|---|",
        *rows,
        f"| **average** | {scores.average:.1f} | {scores.average_se:.1f} | |",
        "",
    ]
    if scores.split == "search":
        text = (
            "The sampler saw the search split, so these scores flatter; the trial was not scored "
            "on the report split."
        )
        lines += [text, ""]
    if scores.retention is not None:
        error = f" ± {scores.retention_se:.3f}" if scores.retention_se is not None else ""
        kept = f"{scores.retention:.3f}{error} of the dense model's average"
        lines += [f"Retention: {kept}, on the {scores.split} split.", ""]
    return lines


def _data_licence(record: TrialRecord | None) -> str:
    """Only the embedded model's generated data have a known licence."""
    if record is not None and record.recovery is not None and record.recovery.scope == "none":
        return "none used"
    generated = record is not None and record.spec.data.conversations is None
    return "generated by prunesweep (apache-2.0)" if generated else "unknown"
