"""What an MLflow run of a trial holds: params, tags and metrics, under the names of the contract.

Metrics carry the trial's own timestamps, so that writing them twice changes nothing. Scores of the
two splits have names of their own, `search/...` and `report/...`; `retention`, with its error and
interval, is what the frontier quotes: the report split's once there is one, which has the later
time, and MLflow shows, sorts and searches by that. Only the curves of the recovery have steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from analysis.axes import AXES
from analysis.load import Trial
from trainables.records import Comparison
from trainables.specs import Split, digest

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param

LAYOUT = 4  # of the names below; runs of another layout are written again
QUOTED = ("retention", "retention_se", "retention_low", "retention_high")
METRICS_PER_BATCH = 900  # MLflow takes 1,000 things at a time, params and tags among them
CURVE_POINTS = 100  # per term; more take longer to write than all else of a trial


# Params that are a word, and what they are of a trial.
WORDS: dict[str, Callable[[Trial], str]] = {
    "method": lambda trial: trial.method,
    "scope": lambda trial: trial.record.spec.recovery.scope if trial.loss else "none",
    "loss_terms": lambda trial: trial.loss.terms if trial.loss else "none",
    "quantization": lambda trial: trial.record.spec.quantization,
}


def trial_params(trial: Trial) -> list[Param]:
    """What the trial was asked to do; zeros and `none` where nothing was trained."""
    from mlflow.entities import Param

    recovery, seeds = trial.record.spec.recovery, trial.record.seeds
    alpha, beta, gamma = trial.weights
    trained = trial.loss is not None
    params = {
        **{name: word(trial) for name, word in WORDS.items()},
        "ratio_target": f"{trial.ratio_target:g}",
        "alpha": f"{alpha:.6g}",
        "beta": f"{beta:.6g}",
        "gamma": f"{gamma:.6g}",
        "data_fraction": f"{trial.data_fraction:.6g}",
        "lr": f"{trial.learning_rate:.6g}" if trained else "none",
        "lora_rank": str(recovery.lora_rank) if trained and recovery.scope == "joint" else "none",
        **{f"seed_{name}": str(value) for name, value in seeds.model_dump().items()},
        **{f"factor/{name}": str(value) for name, value in trial.record.factors.items()},
    }
    return [Param(key, value) for key, value in params.items()]


def trial_tags(trial: Trial) -> dict[str, str]:
    """Status, origin, method, size bucket; split, device, signs, products, error where known."""
    record = trial.record
    tags = {
        "sweep": record.sweep,
        "trial_id": trial.trial_id,
        "status": record.status,
        "origin": record.origin,
        "method": trial.method,
        "size_bucket": record.spec.pruning.amount,
    }
    if trial.split is not None and record.status == "completed":
        tags["split"] = trial.split
    if trial.latency is not None:
        tags["latency_device"] = trial.latency.device
    if record.spec.recovery.scope != "none":
        tags["kept"] = record.kept
    if record.signatures:
        tags["signatures"] = ",".join(s.name for s in record.signatures)
    if record.efficiency and record.efficiency.products:
        tags["products"] = record.efficiency.products.sentence
    if record.error:
        tags["error"] = record.error[:4000]
    return tags


def trial_metrics(trial: Trial) -> list[Metric]:
    """Every number of the trial; what was not measured, or is not finite, is left out.

    Only a completed trial has scores: those of an early-stopped one belong to another budget and
    would stand in the charts as if they were comparable.
    """
    record, report = trial.record, trial.report
    ended = milliseconds(record.provenance.finished) or 0
    reported = milliseconds(report.provenance.finished) if report else None
    closed = max(reported or 0, ended + 1)  # clocks of two machines may differ
    alpha, beta, gamma = trial.weights
    values: dict[str, float | None] = {
        name: trial.axes[name]
        for name, axis in AXES.items()
        if not axis.derived and not axis.measured
    }
    if record.efficiency and record.efficiency.parts:
        values |= {f"params/{part}": n for part, n in record.efficiency.parts}
    values |= {"alpha": alpha, "beta": beta, "gamma": gamma, "data_fraction": trial.data_fraction}
    values |= {f"factor/{name}": value for name, value in record.factors.items()}
    if record.cost:
        values |= {f"gpu_seconds/{k}": v for k, v in record.cost.device_seconds.items()}
    if recovery := record.recovery:
        training = recovery.speed.model_dump() if recovery.speed else {}
        training["skipped_steps"] = recovery.skipped_steps
        training["held_out_before"] = recovery.held_out_before
        training["held_out_after"] = recovery.held_out_after
        training["held_out_se"] = recovery.held_out_se
        training["spent_tflops"] = recovery.tflops  # of the student that was trained, kept or not
        training["clipped_fraction"] = recovery.clipped_fraction
        values |= {f"recovery/{name}": value for name, value in training.items()}
    found = metrics(values, ended)
    if record.status == "completed":
        moments: dict[Split, int] = {"search": ended, "report": closed}
        for split, when in moments.items():
            scores = _scores(trial, split)
            quoted = {name: value for name, value in scores.items() if name in QUOTED}
            named = {f"{split}/{name}": value for name, value in scores.items()}
            found += metrics(quoted | named, when)
        quiet = report is not None and report.latency is not None
        measured = {name: trial.axes[name] for name, axis in AXES.items() if axis.measured}
        found += metrics(measured | _quiet_values(trial), closed if quiet else ended)
    return found + _curves(trial, ended)


def _quiet_values(trial: Trial) -> dict[str, float | None]:
    """What was measured when nothing else ran, beside the median latency at batch 1."""
    report = trial.report
    batched, memory = (report.batched_latency, report.memory) if report else (None, None)
    values: dict[str, float | None] = {
        f"{name}/{what}": getattr(latency, what)
        for name, latency in (("latency", trial.latency), ("batched_latency", batched))
        if latency is not None
        for what in ("batch", "prefill_ms", "decode_ms", "tokens_per_second", "energy_joules")
    }
    if batched:
        values["batched_latency_ms"] = batched.median_ms
    if memory:
        values["measured_memory_mib"] = memory.total_mib
    return values


def metrics(values: Mapping[str, Any], when: int, step: int = 0) -> list[Metric]:
    """The metrics; what is not a finite number is left out."""
    from mlflow.entities import Metric

    return [
        Metric(name, float(value), when, step)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]


def batches(items: Sequence[Any], size: int) -> list[list[Any]]:
    """The items in turn, in lists of at most `size`; one empty list without any."""
    return [list(items[at : at + size]) for at in range(0, len(items) or 1, size)]


def milliseconds(moment: str) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 moment; None for anything else."""
    try:
        return int(datetime.fromisoformat(moment).timestamp() * 1000)
    except ValueError:
        return None


def trial_state(trial: Trial) -> str:
    """Digest of everything that a child run is written from, the frontier tag excepted."""
    parts = (trial.record, trial.report)
    return digest([LAYOUT, *(part.model_dump(mode="json") if part else None for part in parts)])


def _scores(trial: Trial, split: Split) -> dict[str, float | None]:
    evaluation = trial.evaluation(split)
    if evaluation is None:
        return {}
    retention, retention_se = trial.retention(split)
    scores: dict[str, float | None] = {
        "retention": retention,
        "retention_se": retention_se,
        "retention_low": evaluation.retention_low,
        "retention_high": evaluation.retention_high,
        **_difference("average", evaluation.paired),
        "score/average": evaluation.average,
        "image_gain": evaluation.image_gain,
        "samples_per_second": evaluation.samples_per_second,
    }
    for task, score in evaluation.tasks.items():
        scores |= {f"score/{task}": score.score, **_difference(task, score.paired)}
    return scores


def _difference(name: str, paired: Comparison | None) -> dict[str, float | None]:
    """Points gained on the dense base over the same samples, and their 95 % interval."""
    if paired is None:
        return {}
    return {
        f"difference/{name}": paired.difference,
        f"difference/{name}_low": paired.low,
        f"difference/{name}_high": paired.high,
    }


def _curves(trial: Trial, when: int) -> list[Metric]:
    """The recovery's terms by step, thinned evenly to about `CURVE_POINTS`; the last one stays."""
    recovery = trial.record.recovery
    if trial.folder is None or recovery is None or recovery.curves is None:
        return []
    path = trial.folder / recovery.curves
    if not path.exists():
        return []
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            rows[int(row.pop("step"))] = row
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # a line that a crash cut off
    steps = sorted(rows)
    stride = math.ceil(len(steps) / CURVE_POINTS) or 1
    return [
        m
        for step in sorted({*steps[::stride], *steps[-1:]})
        for m in metrics({f"train/{k}": value for k, value in rows[step].items()}, when, step)
    ]
