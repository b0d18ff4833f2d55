"""Hand-made trials, for tests of whatever reads records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from analysis.load import Trial, trial_of
from sweeps.engine.spec.ledger import Request
from trainables.common.files import write_json
from trainables.records import (
    GALLERY,
    RECORD,
    REPORT,
    REPORT_SAMPLES,
    REQUEST,
    ClosingReport,
    CostReport,
    EfficiencyReport,
    EvaluationReport,
    Gallery,
    GallerySample,
    InferenceMemory,
    Latency,
    Provenance,
    PruningReport,
    RecoveryReport,
    Signature,
    Status,
    TaskScore,
    TrialRecord,
)
from trainables.specs import (
    LossSpec,
    Method,
    Origin,
    PruningSpec,
    Quantization,
    RecoverySpec,
    Scope,
    Seeds,
    Split,
    TrialSpec,
)

DENSE_AVERAGE = 96.0
DENSE_MIB = 16.0
DENSE_PARAMS = 4_000_000


def make_evaluation(
    split: Split, retention: float, se: float | None, dense: bool
) -> EvaluationReport:
    """Scores whose average is `retention` times the dense average; chance averages 24."""
    average = DENSE_AVERAGE * retention
    return EvaluationReport(
        split=split,
        tasks={
            "tiny_attribute": TaskScore(score=average + 1, stderr=1.0, samples=300, chance=20.0),
            "tiny_counting": TaskScore(score=average - 1, stderr=1.0, samples=300, chance=28.0),
        },
        average=average,
        average_se=0.7,
        dense_average=None if dense else DENSE_AVERAGE,
        retention=None if dense else retention,
        retention_se=None if dense else se,
    )


def make_latency(ms: float | None, device: str = "cpu") -> Latency | None:
    """A latency with quartiles 1 ms below and 2 ms above; None for None."""
    if ms is None:
        return None
    return Latency(
        device=device, median_ms=ms, lower_ms=ms - 1, upper_ms=ms + 2, dense_median_ms=40, repeats=5
    )


def make_trial(
    trial_id: str = "t0",
    retention: float | None = 0.9,
    *,
    ratio: float = 0.3,
    weights_mib: float | None = None,
    tflops: float = 1.0,
    recovery_tflops: float = 5.0,
    report: float | None = None,
    latency_ms: float | None = None,
    device: str = "cpu",
    se: float | None = 0.01,
    status: Status = "completed",
    origin: Origin = "designed",
    method: Method = "layerwise",
    scope: Scope = "joint",
    loss: dict[str, Any] | None = None,
    data_fraction: float = 0.2,
    sweep: str = "demo",
    curves: str | None = None,
    seed: int = 0,
    recovery_settings: dict[str, Any] | None = None,
    signatures: tuple[Signature, ...] = (),
    quantization: Quantization = "none",
    packages: dict[str, str] | None = None,
) -> Trial:
    """A trial with search-split `retention` and, if given, report-split retention `report`.

    `seed` shifts all three seeds. `origin="reference"` with `retention=1.0` is the dense base.
    `retention=None` has no scores.
    """
    dense = origin == "reference" and retention == 1.0
    if scope == "none" or dense:
        recovery_tflops = 0.0
    recovery = RecoverySpec(
        scope="none" if dense else scope,
        loss=LossSpec(**(loss or {"alpha": 1.0, "gamma": 0.5})),
        data_fraction=data_fraction,
        **(recovery_settings or {}),
    )
    spec = TrialSpec(
        pruning=PruningSpec(method=method, ratio=ratio),
        recovery=recovery,
        seeds=Seeds().shifted(seed),
        quantization=quantization,
    )
    kept = round(DENSE_PARAMS * (1 - ratio))
    weights_mib = DENSE_MIB * (1 - ratio) if weights_mib is None else weights_mib
    score = None if status == "failed" else retention
    provenance = Provenance(
        prunesweep="0.1.0",
        packages=packages or {},
        started="2026-11-21T10:00:00+00:00",
        finished="2026-11-21T10:01:00+00:00",
    )
    record = TrialRecord(
        trial_id=trial_id,
        sweep=sweep,
        status=status,
        origin=origin,
        spec=spec,
        seeds=spec.seeds,
        signatures=signatures,
        pruning=PruningReport(
            method=method,
            target_ratio=ratio,
            ratio=ratio,
            plan_digest="ab",
            layers=12,
            kv_groups=(8,) * 12,
            neurons=(round(512 * (1 - ratio)),) * 12,
            lm_params_dense=DENSE_PARAMS,
            lm_params=kept,
        ),
        recovery=RecoveryReport(
            scope=recovery.scope,
            tflops=recovery_tflops,
            last_terms={"ce": 0.5} if recovery.scope != "none" else {},
            curves=curves,
        ),
        evaluation=(None if score is None else make_evaluation("search", score, se, dense)),
        efficiency=EfficiencyReport(
            params=kept + 500_000,
            lm_params=kept,
            weights_mib=weights_mib,
            tflops=tflops,
            memory=InferenceMemory(
                how="computed",
                weights_mib=weights_mib,
                kv_cache_mib=0.5,
                activations_mib=0.25,
                total_mib=weights_mib + 0.75,
            ),
        ),
        cost=CostReport(
            device="cpu", devices=1, device_seconds={"prune": 1.0, "recover": 9.0}, wall_seconds=10
        ),
        error="RuntimeError: loss is NaN" if status == "failed" else None,
        provenance=provenance,
    )
    closing = None
    if report is not None:
        closing = ClosingReport(
            trial_id=trial_id,
            evaluation=make_evaluation("report", report, se, dense),
            latency=make_latency(latency_ms, device),
            provenance=provenance,
        )
    return trial_of(record, closing)


def make_dense(**changes: Any) -> Trial:
    """The dense base: origin `reference`, ratio 0, retention 1 by definition."""
    settings = {"ratio": 0.0, "tflops": 2.0, "scope": "none", **changes}
    return make_trial("dense", 1.0, origin="reference", **settings)


def write_sweep(
    storage: Path, trials: list[Trial], sweep: str = "demo", space: str = "frontier"
) -> Path:
    """Lay `trials` out as the ledger does; returns the sweep's folder."""
    folder = storage / sweep
    for trial in trials:
        home = folder / "trials" / trial.trial_id
        home.mkdir(parents=True, exist_ok=True)
        write_json(home / REQUEST, trial.record.spec)
        write_json(home / RECORD, trial.record)
        if trial.report is not None:
            write_json(home / REPORT, trial.report)
    (folder / "sweep.json").write_text(
        json.dumps({"name": sweep, "question": "What does it cost?", "space": space})
    )
    return folder


def write_requests(folder: Path, trials: list[Trial]) -> None:
    """Ask for the trials of the sweep in `folder`, as `status` counts them."""
    for trial in trials:
        record = trial.record
        request = Request(
            trial_id=trial.trial_id, index=0, origin=record.origin, key=trial.trial_id,
            spec=record.spec,
        )  # fmt: skip
        write_json(folder / "trials" / trial.trial_id / REQUEST, request)


def write_gallery(
    folder: Path, said: dict[str, list[tuple[str, float]]], question: str = "What is it?"
) -> Gallery:
    """Give the sweep in `folder` a gallery, and its trials the samples that they were scored on.

    Args:
        folder: a sweep's folder, from `write_sweep`.
        said: (answer, score) per sample by trial; trials of one gallery answer equally many.
        question: of every sample; the truth of sample i is `truth i`, its picture is 4 x 3 pixels.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    path = folder / GALLERY
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = []
    for i in range(max(len(answers) for answers in said.values())):
        Image.new("RGB", (4, 3), (10 * i, 0, 0)).save(path.with_name(f"{i}.png"))
        names: dict[str, Any] = {"task": "tiny_counting", "doc_id": 7 * i, "image_id": f"tiny:{i}"}
        shown: dict[str, Any] = {"question": question, "truth": (f"truth {i}",)}
        picture: dict[str, Any] = {"picture": f"{i}.png", "width": 4, "height": 3}
        samples.append(GallerySample(**names, **shown, **picture))
    for trial_id, answers in said.items():
        rows = [
            {**dict(zip(("task", "doc_id", "image_id"), sample.key, strict=True)),
             "score": score, "weight": 1.0, "answer": text}
            for sample, (text, score) in zip(samples, answers, strict=False)
        ]  # fmt: skip
        other = {"task": "tiny_choice", "doc_id": 0, "image_id": "tiny:99", "answer": "A"}
        rows.append({**other, "score": 0.0, "weight": 1.0})  # of no interest here
        pq.write_table(pa.Table.from_pylist(rows), folder / "trials" / trial_id / REPORT_SAMPLES)
    gallery = Gallery(key="k", samples=tuple(samples))
    write_json(path, gallery)
    return gallery
