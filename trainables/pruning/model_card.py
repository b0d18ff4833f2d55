"""The model card of an exported student; torch-free."""

import re
from collections.abc import Sequence
from pathlib import Path

from trainables.common.weights import declared_licence
from trainables.models.families.registry import MODELS
from trainables.pruning.planning.planner import PrunePlan
from trainables.records import Z_95, ClosingReport, TrialRecord, quoted_scores
from trainables.specs import ModelSpec

SNIPPET = """```python
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "."  # where this file lies
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForImageTextToText.from_pretrained(folder{trust})

picture = Image.open("picture.png").convert("RGB")
question = {{"type": "text", "text": "What is in the picture?"}}
messages = [{{"role": "user", "content": [{{"type": "image"}}, question]}}]
prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
inputs = processor(images=picture, text=prompt, return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
print(processor.decode(answer, skip_special_tokens=True))
```"""


def model_card(
    spec: ModelSpec,
    folder: Path,
    plan: PrunePlan,
    record: TrialRecord | None,
    dtype: str,
    licence_files: list[str],
    loading: str,
    report: ClosingReport | None = None,
    *,
    own_code: bool = False,
    exported: bool = True,
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
        own_code: whether the folder brings the code that it loads with.
        exported: whether the weights lie beside the card; only then it says how to use them.
    """
    trust = ", trust_remote_code=True" if own_code else ""
    known = MODELS.get(spec.path)
    base = spec.path if known else _name_of(folder)
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
        f"A structurally pruned `{base}`, made by prunesweep; weights are {dtype}"
        + (", updates of the training are merged." if exported else "."),
        "",
        loading,
        "",
        *([*SNIPPET.format(trust=trust).splitlines(), ""] if exported else ()),
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
        *_cost(record, report),
        "## Licences",
        "",
        f"- base model: {licence}{files}",
        f"- training data: {_data_licence(record)}",
        "",
    ]
    return "\n".join(lines)


def _name_of(folder: Path) -> str:
    """The hub's name of a checkpoint that lies in the hub's cache; else the folder's."""
    *_, repository, _snapshots, _revision = ("", "", *folder.resolve().parts)
    cached = re.fullmatch(r"models--(.+?)--(.+)", repository)
    return "/".join(cached.groups()) if cached else folder.name


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
        if record is not None and not record.has_trained:
            text += (
                " It did not make the student better: these are the weights as they were pruned."
            )
    return ["## Recovery training", "", text, ""]


def _scores(record: TrialRecord | None, report: ClosingReport | None) -> list[str]:
    scores = quoted_scores(record, report) if record else None
    if scores is None:
        return ["## Scores", "", "Unknown: no evaluation was given.", ""]
    rows = [
        f"| {name} | {_with_interval(task.score, task.stderr)} | {task.samples} |"
        for name, task in scores.tasks.items()
    ]
    lines = [
        f"## Scores ({scores.split} split, lmms-eval)",
        "",
        "| task | score (95 % interval) | samples |",
        "|---|---|---|",
        *rows,
        f"| **average** | {_with_interval(scores.average, scores.average_se)} | |",
        "",
    ]
    if scores.split == "search":
        text = (
            "The sampler saw the search split, so these scores flatter; the trial was not scored "
            "on the report split."
        )
        lines += [text, ""]
    if scores.retention is not None:
        low, high = scores.retention_interval
        lines += [
            f"Retention: {scores.retention:.3f} (95 % interval {low:.3f} to {high:.3f}) of the "
            f"dense model's average, on the {scores.split} split.",
            "",
        ]
    noise = "The intervals hold the noise of the questions, not that of training with another seed"
    return [*lines, f"{noise}, and do not allow for this model's being the best of several.", ""]


def _with_interval(score: float, error: float) -> str:
    return f"{score:.1f} ({score - Z_95 * error:.1f} to {score + Z_95 * error:.1f})"


def _cost(record: TrialRecord | None, report: ClosingReport | None) -> list[str]:
    """Memory, work and latency of one image and prompt."""
    measured = record.efficiency if record else None
    if measured is None:
        return []
    lines = [f"- weights: {measured.weights_mib:,.1f} MiB ({measured.params:,} parameters)"]
    memory = report.memory if report and report.memory else measured.memory
    if memory is not None:
        lines.append(
            f"- memory while answering one prompt, {memory.how}: {memory.total_mib:,.1f} MiB"
        )
    lines.append(f"- work of one image and prompt: {measured.tflops:.4g} TFLOPs")
    latency = report.latency if report and report.latency else measured.latency
    if latency is not None:
        lines.append(
            f"- latency, batch {latency.batch}, on {latency.device}: {latency.median_ms:,.1f} ms "
            f"(quartiles {latency.lower_ms:,.1f} to {latency.upper_ms:,.1f}), where the dense "
            f"model takes {latency.dense_median_ms:,.1f} ms"
        )
    quantized = measured.quantization
    as_scored = f", quantized ({quantized})" if quantized != "none" else ""
    return [f"## Cost, as scored{as_scored}", "", *lines, ""]


def _data_licence(record: TrialRecord | None) -> str:
    """Only the embedded model's generated data have a known licence."""
    if record is not None and record.recovery is not None and record.recovery.scope == "none":
        return "none used"
    generated = record is not None and record.spec.data.conversations is None
    return "generated by prunesweep (apache-2.0)" if generated else "unknown"
