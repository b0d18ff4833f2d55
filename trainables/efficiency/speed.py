"""How fast this machine computes the layers of a model that lies nowhere yet.

`python -m trainables.efficiency.speed` reads a `SpeedQuestion` on stdin. A few layers of the
model's own class and widths, with random weights, stand for all of them.
"""

import statistics
import time
from collections.abc import Callable

import torch
import transformers

from trainables.common.replying import reply
from trainables.models.families.registry import adapter_for
from trainables.models.speed import ANSWERED, Speed, SpeedQuestion
from trainables.models.work import attention_channels, linear_weights

LAYERS = 2
SECONDS = 1.5  # per measurement
REPEATS = 3  # at least


def measure_speed(question: SpeedQuestion) -> Speed:
    """The speed of one core, by the time that this process had it: neighbours do not count."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config, adapter = question.config, adapter_for(question.config)
    shape = adapter.language_shape(config)
    count = min(shape.num_hidden_layers, max(LAYERS, shape.anchored_layers))
    few = adapter.pruned_config(
        config,
        layers=range(count),
        kv_groups=shape.num_key_value_heads,
        neurons=shape.intermediate_size,
    )
    kind = getattr(transformers, adapter.model_class)
    with torch.device("meta"):  # the vision tower is not needed
        whole = kind(kind.config_class.from_dict(few))
    empty = whole.get_submodule(adapter.language_model)
    layers = type(empty)(empty.config).eval().requires_grad_(False)
    shape = shape.model_copy(update={"num_hidden_layers": count})
    weights = linear_weights(shape) - shape.vocab_size * shape.hidden_size  # no head
    size = (question.samples, question.tokens, shape.hidden_size)
    tokens = question.samples * question.tokens
    passes = 2 * weights * tokens + 4 * attention_channels(shape) * tokens * question.tokens
    prompts, words = torch.randn(size), torch.randn(ANSWERED, 1, shape.hidden_size)

    def train() -> None:
        given = prompts.clone().requires_grad_()
        layers(inputs_embeds=given, use_cache=False).last_hidden_state.sum().backward()

    @torch.no_grad()
    def forward(given: torch.Tensor) -> None:
        layers(inputs_embeds=given, use_cache=False)

    return Speed(
        forward=passes / _seconds(lambda: forward(prompts)) / 1e12,
        # Gradients of activations pass every product once more, those of attention twice.
        training=(2 * passes + 4 * attention_channels(shape) * tokens * question.tokens)
        / _seconds(train)
        / 1e12,
        answering=2 * weights * ANSWERED / _seconds(lambda: forward(words)) / 1e12,
    )


def _seconds(work: Callable[[], None]) -> float:
    """Of one call, the median after one that warms up."""
    work()
    found, begun = list[float](), time.process_time()
    while len(found) < REPEATS or time.process_time() - begun < SECONDS:
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


if __name__ == "__main__":
    reply(lambda asked: measure_speed(SpeedQuestion.model_validate_json(asked)).model_dump_json())
