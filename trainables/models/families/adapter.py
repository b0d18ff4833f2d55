"""The table of one architecture: where its parts live, and how its config describes a student.

Torch-free, so that the driver can plan a sweep without loading a model.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trainables.models.families.backbones import TextBackbone
from trainables.models.families.shape import LanguageShape, Projection

Join = Literal["concat", "pad"]


@dataclass(frozen=True)
class NaturalImage:
    """One image of a family's own size, as the model's `get_image_features` takes it.

    Attributes:
        pixel_values: shape of the pixel tensor, batch of one.
        tokens: image tokens that it becomes in the prompt.
        arguments: the other tensors that go with it, as nested integers.
    """

    pixel_values: tuple[int, ...]
    tokens: int
    arguments: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class VLMAdapter:
    """Where the parts of one vision-language architecture live.

    Paths are module paths from the root of the Hugging Face model.

    Attributes:
        name: of the family, for messages and tables.
        model_type: of the whole config.
        model_class: name of the class in `transformers`.
        backbone: table of its language model.
        natural_image: the image of the family's own size, for a config; size and work are stated
            for it.
        image_token: config key of the image token's id, and its default.
        image_inputs: tensors of the forward pass that hold images, and how those of several samples
            become one: they follow each other in the first dimension, and with `pad` the other
            dimensions are filled up with zeros, which the model knows to leave out.
        language_model: path of the decoder, which holds `layers` and `embed_tokens`.
        vision_tower: path of the vision tower.
        projector: path of what maps vision features into the language model's space.
        fixed_image_tokens: every image takes as many tokens, whatever its size.
        replays_vision: the forward pass is no more than: embed the tokens, put the projector's
            output in place of the image tokens, run the decoder. Not so where learned rows are put
            between the projected ones (LLaVA-NeXT), or where positions or deeper layers depend on
            the image besides (Qwen-VL).
        tied: default of the config's `tie_word_embeddings`.
        tied_by_text: the text config's flag ties too.
        lm_head: path of the head.
        flat: published configs keep the text config's keys at the top level.
        token_types: name of the input that says which tokens are image tokens (1, others 0), for
            models that do not see it from the ids.
        anchored: how many first layers take vision features of their own.
        processor_settings: what a processor counts an image's tokens by that it may have been saved
            without, and what the config says it is.
    """

    name: str
    model_type: str
    model_class: str
    backbone: TextBackbone
    natural_image: Callable[[Mapping[str, Any]], NaturalImage]
    image_token: tuple[str, int]
    image_inputs: Mapping[str, Join]
    language_model: str = "model.language_model"
    vision_tower: str = "model.vision_tower"
    projector: str = "model.multi_modal_projector"
    fixed_image_tokens: bool = False
    replays_vision: bool = False
    tied: bool = False
    tied_by_text: bool = False
    lm_head: str = "lm_head"
    flat: bool = False
    token_types: str = ""
    anchored: Callable[[Mapping[str, Any]], int] = lambda config: 0
    processor_settings: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda config: {}

    @property
    def layers(self) -> str:
        """Path of the list of decoder layers."""
        return f"{self.language_model}.layers"

    @property
    def embed(self) -> str:
        """Path of the token embedding."""
        return f"{self.language_model}.embed_tokens"

    @property
    def final_norm(self) -> str:
        """Path of the norm after the last layer."""
        return f"{self.language_model}.{self.backbone.final_norm}"

    @property
    def projections(self) -> tuple[Projection, ...]:
        """Every linear of a decoder layer; paths start at the layer."""
        return self.backbone.projections

    def matches(self, config: Mapping[str, Any]) -> bool:
        """Whether a `config.json` is of this architecture."""
        text = config.get("text_config") or {}
        own = self.backbone.model_type
        return config.get("model_type") == self.model_type and text.get("model_type", own) == own

    def language_shape(self, config: Mapping[str, Any]) -> LanguageShape:
        """Sizes of the language model of a `config.json`, absent keys at the family's defaults."""
        text = self._text(config)
        tied = config.get("tie_word_embeddings", self.tied)
        if self.tied_by_text:
            tied = tied or text.get("tie_word_embeddings", False)
        return self.backbone.shape(text, tied=bool(tied), anchored=self.anchored(config))

    def image_token_id(self, config: Mapping[str, Any]) -> int:
        """The id that marks the places of image features in `input_ids`."""
        key, default = self.image_token
        return int(config.get(key, default))

    def lora_target_regex(self, only: Sequence[str] | None = None) -> str:
        """Full-match pattern of linears of the decoder layers (for PEFT's `target_modules`).

        PEFT's "all-linear" would also hit the vision tower and the projector. The head is left out,
        as usual for LoRA.

        Args:
            only: last names of the linears, e.g. ("q_proj", "v_proj"); None is every linear.

        Raises:
            ValueError: if a name is not that of a linear.
        """
        paths = {p.path.rpartition(".")[2]: p.path for p in self.projections}
        if strange := sorted(set(only or ()) - set(paths)):
            raise ValueError(
                f"lora_targets names {', '.join(strange)}, but the linears of {self.name} are "
                f"{', '.join(paths)}"
            )
        chosen = [path for name, path in paths.items() if not only or name in only]
        names = "|".join(map(re.escape, chosen))
        return rf"{re.escape(self.layers)}\.\d+\.(?:{names})"

    def pruned_config(
        self, config: Mapping[str, Any], *, layers: Sequence[int], kv_groups: int, neurons: int
    ) -> dict[str, Any]:
        """The config of a student that keeps so much in every layer; the input is left alone.

        Args:
            config: the dense model's config as a dict.
            layers: dense indices of the kept decoder layers, rising.
            kv_groups: kept KV groups of each layer.
            neurons: kept MLP neurons of each layer.

        Raises:
            ValueError: if no stock config of the family can express the student.
        """
        shape = self.language_shape(config)
        if kv_groups != shape.num_key_value_heads and shape.fixed_heads:
            raise ValueError(
                f"{self.name}: {kv_groups} of {shape.num_key_value_heads} KV groups cannot be "
                "expressed by a stock config of this model, because "
                f"{self.backbone.why_fixed_heads}; prune layers or neurons instead "
                "(method='layerwise', or units='neurons')"
            )
        anchored = tuple(range(shape.anchored_layers))
        if tuple(layers[: len(anchored)]) != anchored:
            raise ValueError(
                f"{self.name}: the first {len(anchored)} layers cannot be removed, because vision "
                f"features are added after each of them; keep layers {list(anchored)} "
                f"(kept are {list(layers)})"
            )
        text = self.backbone.pruned(
            self._text(config), shape, layers=layers, kv_groups=kv_groups, neurons=neurons
        )
        return {**config, **text} if self._is_flat(config) else {**config, "text_config": text}

    def layer_shape(self, layer: Any, shape: LanguageShape) -> LanguageShape:
        """`shape` with the heads and neurons that this decoder layer's own linears have.

        A pruned student may have other widths in each layer, which its config does not know.
        """
        columns = {
            projection.unit: layer.get_submodule(projection.path).in_features
            for projection in self.projections
            if projection.axis == 1
        }
        heads = columns["kv_group"] // shape.head_dim
        return shape.model_copy(
            update={
                "num_attention_heads": heads,
                "num_key_value_heads": heads // shape.heads_per_group,
                "intermediate_size": columns["neuron"],
            }
        )

    def resized(self, shape: LanguageShape, widths: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """`config.resized` of layers that keep so many (KV groups, neurons) each (`resized`)."""
        query = next(p.path for p in self.projections if "q" in p.parts)
        linears = [shape.linears(*kept) for kept in widths]
        return {
            "layers": self.layers,
            "attention": query.rpartition(".")[0],
            "linears": [{p.path: p.size(sizes) for p in self.projections} for sizes in linears],
            "heads": [[groups * shape.heads_per_group, groups] for groups, _ in widths],
        }

    def _is_flat(self, config: Mapping[str, Any]) -> bool:
        return self.flat and not config.get("text_config")

    def _text(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The text config; its keys lie at the top level of an old flat config."""
        if self._is_flat(config):
            return {k: v for k, v in config.items() if k not in ("model_type", "vision_config")}
        text: Mapping[str, Any] = config.get("text_config") or {}
        return text
