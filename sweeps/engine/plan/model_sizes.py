"""Sizes and costs of known models, dense and pruned, from their configs alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.engine.spec.unpruned_parts import count
from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.registry import MODELS, adapter_for, model_config
from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Counted, Question
from trainables.pruning.planning.pruning_target import Target, resolve_target
from trainables.pruning.planning.sizes import kv_cache_bytes, model_size
from trainables.records import InferenceMemory, Parts
from trainables.specs import MIB, Frozen, Method, ModelSpec, PruningSpec

METHODS: tuple[Method, ...] = ("layerwise", "widthwise")
RATIOS = (0.15, 0.30, 0.45, 0.60)
BYTES_PER_WEIGHT = 2  # what models of this size are published in: bfloat16 or float16


class PrunedRow(Frozen):
    """One model, dense or pruned; two bytes per weight, one image of its own size and the prompt.

    Attributes:
        method: None is the dense model.
        ratio_target: of the language model's parameters, as asked.
        ratio: that is really removed.
        tflops: of one forward pass, 2 FLOPs per multiply-add.
        unreachable: why the ratio cannot be had; sizes are then the dense model's.
    """

    model: str
    method: Method | None = None
    ratio_target: float = 0.0
    ratio: float = 0.0
    layers: int
    tflops: float
    unreachable: str | None = None

    @property
    def cell(self) -> str:
        """Method and asked ratio, e.g. `layerwise 0.30`."""
        return f"{self.method} {self.ratio_target:.2f}" if self.method else "dense"


class ModelRow(PrunedRow):
    """Sizes: KV groups and MLP neurons of a layer, parameters of the whole model."""

    family: str
    kv_groups: int
    neurons: int
    params: int
    lm_fraction: float
    weights_mib: float


class CostRow(PrunedRow):
    """Costs: parameters by part, and the computed memory of answering at batch 1."""

    parts: Parts
    memory: InferenceMemory


@dataclass(frozen=True)
class Asked:
    """A model and its prunings."""

    name: str
    config: dict[str, Any]
    prunings: tuple[PruningSpec, ...]


@dataclass(frozen=True)
class Sized:
    """One pruning of a model, and what its rows are computed from.

    Attributes:
        shape: of the dense language model.
        target: what stays; everything, where the ratio cannot be reached.
        unreachable: why it cannot.
        counted: what needed torch to count.
        activations: bytes at the peak of the prefill; 0 if not asked for.
    """

    name: str
    adapter: VLMAdapter
    shape: LanguageShape
    pruning: PruningSpec
    target: Target
    unreachable: str | None
    counted: Counted
    activations: int


def model_rows(name: str | None = None) -> list[ModelRow]:
    """Sizes of every known model, or the one named, dense and at `RATIOS` for both methods.

    Raises:
        ValueError: the name is neither a known model nor a folder with a supported checkpoint.
    """
    return [_model_row(sized) for each in size(_usual(name), costs=False) for sized in each]


def cost_rows(name: str | None = None) -> list[CostRow]:
    """The same with costs."""
    return [cost_row(sized) for each in size(_usual(name)) for sized in each]


def size(models: Sequence[Asked], costs: bool = True) -> list[list[Sized]]:
    """Every pruning of every model, counted in one other process, which has torch.

    With `costs` activations are counted too, which takes longer.

    Raises:
        ValueError: a model cannot be counted.
    """
    found, questions = [], []
    for asked in models:
        adapter = adapter_for(asked.config)
        shape = adapter.language_shape(asked.config)
        targets = [_target(shape, pruning) for pruning in asked.prunings]
        # Only layers of different widths differ at their peak, and many students have the same.
        kinds = [tuple(sorted(set(target.widths))) for target, _ in targets]
        students = tuple(dict.fromkeys(kinds)) if costs else ()
        found.append((asked, adapter, shape, targets, kinds))
        questions.append(Question(config=asked.config, students=students))
    rows = []
    for (asked, adapter, shape, targets, kinds), question, counted in zip(
        found, questions, count(questions), strict=True
    ):
        peaks = dict(zip(question.students, counted.activations, strict=True))
        rows.append(
            [
                Sized(asked.name, adapter, shape, pruning, *target, counted, peaks.get(kind, 0))
                for pruning, target, kind in zip(asked.prunings, targets, kinds, strict=True)
            ]
        )
    return rows


def cost_row(sized: Sized) -> CostRow:
    """The costs of a pruned model."""
    shape, target, unpruned = sized.shape, sized.target, sized.counted.unpruned
    embeddings = shape.lm_params([]) - shape.hidden_size * (2 if shape.norm_bias else 1)
    weights = model_size(shape, target.widths, unpruned).weights_mib
    cache = kv_cache_bytes(shape, target.widths, unpruned) / MIB
    activations = sized.activations / MIB
    return CostRow(
        **_common(sized),
        parts=Parts(
            vision=sized.counted.vision,
            projector=sized.counted.projector,
            language_model=target.lm_params - embeddings,
            embeddings=embeddings,
        ),
        memory=InferenceMemory(
            how="computed",
            weights_mib=weights,
            kv_cache_mib=cache,
            activations_mib=activations,
            total_mib=weights + cache + activations,
        ),
    )


def _usual(name: str | None) -> list[Asked]:
    cells = [PruningSpec(method=method, ratio=ratio) for method in METHODS for ratio in RATIOS]
    names = [name] if name is not None else list(MODELS)
    return [
        Asked(each, model_config(ModelSpec(path=each)), (PruningSpec(), *cells)) for each in names
    ]


def _target(shape: LanguageShape, pruning: PruningSpec) -> tuple[Target, str | None]:
    """What is kept, and why it is everything if the ratio cannot be reached."""
    try:
        return resolve_target(shape, pruning), None
    except ValueError as error:
        return resolve_target(shape, PruningSpec()), str(error)


def _common(sized: Sized) -> dict[str, Any]:
    pruning, target = sized.pruning, sized.target
    return {
        "model": sized.name,
        "method": pruning.method if pruning.prunes else None,
        "ratio_target": pruning.ratio,
        "ratio": target.ratio,
        "layers": target.layers,
        "tflops": model_size(sized.shape, target.widths, sized.counted.unpruned).tflops,
        "unreachable": sized.unreachable,
    }


def _model_row(sized: Sized) -> ModelRow:
    target = sized.target
    size = model_size(sized.shape, target.widths, sized.counted.unpruned)
    return ModelRow(
        **_common(sized),
        family=sized.adapter.name,
        kv_groups=target.kv_groups,
        neurons=target.neurons,
        params=size.params,
        lm_fraction=target.lm_params / size.params,
        weights_mib=size.weights_mib,
    )
