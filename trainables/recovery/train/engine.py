"""A DeepSpeed engine around the student and its loss, and one optimizer step of it, or none.

Steps are skipped whose loss is not finite, or spikes.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainables.common.process_group import import_deepspeed, rank_and_world
from trainables.recovery.loss.terms import total_loss
from trainables.specs import LossSpec, RecoverySpec

WINDOW = 50  # losses that a spike is measured against
SETTLED = 10  # losses that must have been seen before anything counts as a spike
MOST_IN_A_ROW = 3
NOTHING = 1e-3  # a loss below it has nowhere to spike from: the student equals its teacher


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did.

    Attributes:
        terms: unweighted terms over the global batch.
        loss: their weighted sum.
        grad_norm: of the gradient before clipping; None where the engine does not say.
        skipped: why no weight was changed, or None.
    """

    terms: dict[str, float]
    loss: float
    grad_norm: float | None
    skipped: str | None


@contextmanager
def training_engine(
    objective: nn.Module, trained: Iterable[nn.Parameter], spec: RecoverySpec, device: torch.device
) -> Iterator[Any]:
    """The DeepSpeed engine: AdamW on the trained parameters, ZeRO of the spec's stage.

    The learning rate is set before each step, and so is the boundary of an accumulation, because
    the number of passes differs from step to step where passes are bounded by tokens.

    The block saves what it wants to keep: at its end, however it ends, the engine is let go, and
    with ZeRO-3 the student's weights stay partitioned.
    """
    with ExitStack() as stack:
        stack.callback(_let_go, objective)
        engine = _initialize(objective, trained, spec, device)
        stack.callback(engine.destroy)
        yield engine


def _let_go(objective: nn.Module) -> None:
    """Undo what keeps a student and its engine alive for the life of the process.

    A slot serves many trials, and Python's garbage collection does not see the ways from a
    parameter to the engine. `destroy` closes them, but there is no engine to destroy where memory
    ran out while it was built; and of the modules that ZeRO-3 notes it knows nothing.
    """
    from deepspeed.runtime.zero import parameter_offload, partitioned_param_coordinator

    for parameter in objective.parameters():
        if parameter._post_accumulate_grad_hooks:
            parameter._post_accumulate_grad_hooks.clear()
        vars(parameter).pop("_hp_mapping", None)
    parameter_offload.FWD_MODULE_STACK.clear()
    for method in vars(partitioned_param_coordinator.PartitionedParameterCoordinator).values():
        for cell in getattr(method, "__closure__", None) or ():  # a cache below a decorator
            if hasattr(cell.cell_contents, "cache_clear"):
                cell.cell_contents.cache_clear()


def _initialize(
    objective: nn.Module, trained: Iterable[nn.Parameter], spec: RecoverySpec, device: torch.device
) -> Any:
    deepspeed = import_deepspeed()
    parameters = list(trained)
    optimizer = torch.optim.AdamW(
        parameters, lr=0.0, betas=(0.9, 0.999), weight_decay=spec.weight_decay
    )
    bucket = max(2, min(sum(p.numel() for p in parameters), 2**28))
    bucket += bucket % 2  # DeepSpeed refuses an odd one
    half = device.type == "cuda"
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": spec.micro_batch_size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": spec.clip_norm or 0.0,
        "bf16": {"enabled": half},
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": spec.zero_stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
        },
        "steps_per_print": 10**9,
    }
    if half and spec.zero_stage > 1:
        # Many passes add up to one gradient, whose low digits bf16 would lose.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    engine, *_ = deepspeed.initialize(
        model=objective, optimizer=optimizer, config=config, dist_init_required=False
    )
    return engine


def optimizer_step(
    engine: Any,
    passes: Sequence[Callable[[], dict[str, Tensor]]],
    loss: LossSpec,
    learning_rate: float,
    judge: Callable[[float], str | None] | None,
) -> StepResult:
    """Run the passes of one global batch, then change the weights, or skip the step.

    A step is skipped through DeepSpeed's own way out of an overflow: a gradient that is not finite
    makes every worker drop what it has accumulated. A bad loss is known before the last backward
    pass, which is then made to give such a gradient.

    There are as many `passes` on every worker; each runs one forward pass and returns its terms.
    `judge` says why a step with this global loss is to be skipped, or None; without it none is.
    """
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate
    _, world = rank_and_world()
    sums: dict[str, Tensor] = {}
    values: dict[str, float] = {}
    value, reason = 0.0, None
    for number, run in enumerate(passes, start=1):
        engine.set_gradient_accumulation_boundary(number == len(passes))
        terms = run()
        for name, term in terms.items():
            sums[name] = sums[name] + term.detach() if name in sums else term.detach().clone()
        weighted = total_loss(terms, loss)
        if number == len(passes):
            stacked = torch.stack(list(sums.values()))
            if world > 1:
                dist.all_reduce(stacked)
            values = dict(zip(sums, stacked.tolist(), strict=True))
            value = sum(loss.weights[name] * term for name, term in values.items())
            reason = judge(value) if judge else None
            if reason:
                weighted = weighted * float("nan")
        # DeepSpeed averages over the workers; our terms are sums over them.
        engine.backward(weighted * world)
    engine.step()
    norm = engine.get_global_grad_norm()
    if engine.optimizer.overflow and reason is None:
        reason = "the gradient is not finite"
    return StepResult(values, value, None if norm is None else float(norm), reason)


def reason_to_skip(loss: float, recent: Sequence[float], factor: float | None) -> str | None:
    """Why a step with this loss is to be skipped, or None.

    A spike is a loss above `factor` times the median of `recent`, those of the last applied steps:
    one bad batch then costs a step rather than the run (Chowdhery et al., arXiv 2204.02311, section
    5.1, skip batches too).
    """
    if not math.isfinite(loss):
        return "the loss is not finite"
    if factor is not None and len(recent) >= SETTLED:
        usual = max(statistics.median(recent), NOTHING)
        if loss > factor * usual:
            return f"the loss is {loss:.4g}, above {factor:g} times its usual {usual:.4g}"
    return None


def window(recent: Sequence[float], loss: float) -> tuple[float, ...]:
    """The last losses with one more."""
    return (*recent, loss)[-WINDOW:]
