"""Vision-language models whose decoder layers differ in width; needs torch and transformers only.

No stock config can say that one layer has 20 heads and the next 26. Such a student is the stock
class with its linears resized after construction, to the sizes that `config.resized` lists:

    layers      path of the list of decoder layers
    attention   path of the attention within a layer
    linears     for every layer, path of a linear -> [out_features, in_features]
    heads       for every layer, [query heads, key/value heads]

This file goes along with an exported student as its modelling code, so that

    AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)

loads it anywhere. Without that argument every class of transformers refuses the folder: its
`model_type` is unknown, and where a stock class is named, its `text_config` is a sentence.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from torch import nn
from transformers import PreTrainedConfig

MODEL_TYPE = "prunesweep_resized"
MODULE = "modeling_resized"
HOW_TO_LOAD = (
    "the layers of this model differ in width: load it with "
    "AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True), after reading "
    f"{MODULE}.py"
)


class ResizedConfig(PreTrainedConfig):
    """The stock config of the family, with `resized` in it, under a model type of its own."""

    model_type = MODEL_TYPE
    base_config: dict[str, Any] | None = None
    base_model_type: str | None = None
    # Only for stock classes, which read this key and stop.
    text_config: str | None = None

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        """Itself: transformers asks before the model is there."""
        return self


class ResizedForConditionalGeneration:
    """What `AutoModelForImageTextToText` calls; the model itself is a subclass of a stock class."""

    config_class = ResizedConfig

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *args: Any, config: ResizedConfig, **kwargs: Any
    ) -> Any:
        """Load the model from `folder`, by the stock class's own `from_pretrained`."""
        base = config.base_config
        assert base is not None
        stock = getattr(transformers, base["architectures"][0])
        plain = stock.config_class.from_dict(base)
        # `AutoConfig` has taken this argument off the others and set it on the config outside.
        plain._attn_implementation = config._attn_implementation
        return resized_class(stock).from_pretrained(folder, *args, config=plain, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Nothing to do: `save_pretrained` writes the `auto_map`."""


@functools.cache
def resized_class(stock: type[Any]) -> type[Any]:
    """The subclass of a stock class that resizes its decoder layers; it keeps the stock name."""

    class Resized(stock):
        def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
            super().__init__(config, *args, **kwargs)
            resize(self, config.resized)

        def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
            super().save_pretrained(save_directory, **kwargs)
            _wrap(Path(save_directory))

    Resized.__name__ = Resized.__qualname__ = stock.__name__
    return Resized


def resize(model: nn.Module, resized: Mapping[str, Any]) -> None:
    """Give every decoder layer the widths that `resized` lists; weights are cut, on any device."""
    layers = model.get_submodule(resized["layers"])
    assert isinstance(layers, nn.ModuleList)
    for layer, linears, heads in zip(layers, resized["linears"], resized["heads"], strict=True):
        for path, (rows, columns) in linears.items():
            linear: Any = layer.get_submodule(path)
            linear.weight = _cut(linear.weight, rows, columns)
            if linear.bias is not None:
                linear.bias = _cut(linear.bias, rows)
            linear.out_features, linear.in_features = rows, columns
        attention: Any = layer.get_submodule(resized["attention"])
        # Phi-3 splits its fused projection by the config's number of heads.
        attention.config = LayerConfig(attention.config, *heads)
        queries, keys = heads
        counts = {"num_heads": queries, "num_key_value_heads": keys}
        for name in counts.keys() & vars(attention).keys():
            setattr(attention, name, counts[name])


class LayerConfig:
    """The text config as one layer's attention sees it: its own head counts, all else shared.

    A view rather than a copy, so that a later change of the attention implementation reaches it.
    """

    def __init__(self, shared: PreTrainedConfig, heads: int, kv_heads: int) -> None:
        self.shared = shared
        self.num_attention_heads = heads
        self.num_key_value_heads = kv_heads

    def __getattr__(self, name: str) -> Any:
        if name == "shared" or name.startswith("__"):  # asked by `copy` before there is one
            raise AttributeError(name)
        return getattr(self.shared, name)


def _cut(parameter: nn.Parameter, *sizes: int) -> nn.Parameter:
    kept = parameter.detach()[tuple(slice(size) for size in sizes)].clone()
    return nn.Parameter(kept, requires_grad=parameter.requires_grad)


def _wrap(folder: Path) -> None:
    """Turn a stock config.json into one that only this file loads, and put this file beside it."""
    path = folder / "config.json"
    base = json.loads(path.read_text(encoding="utf-8"))
    # Apart from its config, because a stock config class would take a nested one of its own type.
    base_model_type = base.pop("model_type")
    config = {
        "model_type": MODEL_TYPE,
        "architectures": [ResizedForConditionalGeneration.__name__],
        "auto_map": {
            "AutoConfig": f"{MODULE}.{ResizedConfig.__name__}",
            "AutoModelForImageTextToText": f"{MODULE}.{ResizedForConditionalGeneration.__name__}",
        },
        "text_config": HOW_TO_LOAD,
        "base_model_type": base_model_type,
        "base_config": base,
        "dtype": base.get("dtype"),
    }
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(__file__, folder / f"{MODULE}.py")
