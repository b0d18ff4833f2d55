"""Vision towers of LLaVA-type checkpoints, which name them but need not contain them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedConfig
from transformers.utils.constants import (
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from trainables.common.names import first_line
from trainables.common.weights import read_object
from trainables.models.convert.sources import Source, open_source
from trainables.models.families.registry import MODELS

PREFIX = "model.vision_tower.vision_tower."
INSIDE = "vision_model."

# The towers that the supported families were trained with, for checkpoints that contain the tower's
# weights but not its config: known models that have them whole.
KNOWN: dict[str, str] = {
    "clip-vit-large-patch14-336": "llava-hf/llava-1.5-7b-hf",
    "siglip-so400m-patch14-384": "HuggingFaceTB/SmolVLM-Instruct",
}
# How a tower's images are normalised where its checkpoint does not say.
_NORMALISED = {
    "CLIPVisionConfig": {"image_mean": OPENAI_CLIP_MEAN, "image_std": OPENAI_CLIP_STD},
    "SiglipVisionConfig": {
        "image_mean": IMAGENET_STANDARD_MEAN,
        "image_std": IMAGENET_STANDARD_STD,
    },
}


@dataclass(frozen=True, eq=False)
class Tower:
    """A vision tower: its config, how its images are normalised, and all tensors by LLaVA's names.

    Attributes:
        config: `CLIPVisionConfig` or `SiglipVisionConfig`.
        normalise: `image_mean` and `image_std` of the three channels.
        source: the checkpoint with the tower in it.
    """

    config: PreTrainedConfig
    normalise: dict[str, Any]
    source: Source

    @property
    def patches(self) -> int:
        """Patches of one image."""
        size, patch = self.config.image_size, self.config.patch_size
        return int((size // patch) ** 2)


def find_tower(config: Mapping[str, Any], source: Source, given: Path | None, kind: str) -> Tower:
    """The tower of a LLaVA-type checkpoint.

    Weights inside the checkpoint win over those of a folder, since they may have been trained.

    Args:
        config: the checkpoint's `config.json`, whose `mm_vision_tower` names the tower.
        source: the checkpoint's tensors.
        given: the tower's own checkpoint folder, if the user named one.
        kind: the tower's config class.

    Raises:
        ValueError: if weights or config of the tower are nowhere.
    """
    name = str(config.get("mm_vision_tower") or config.get("vision_tower") or "")
    folder = given or next(
        (p for p in (source.folder / name, Path(name)) if name and p.is_dir()), None
    )
    inside = any(tensor.startswith(PREFIX) for tensor in source.tensors)
    if folder is None and not inside:
        raise ValueError(
            f"{source.folder} does not contain its vision tower {name!r}; download that and give "
            "its folder with --vision-tower"
        )
    stock = _config(name, folder, kind)
    if not inside:
        assert folder is not None
        outside = open_source(folder).tensors.items()
        tower = {PREFIX + name: fact for name, fact in outside if name.startswith(INSIDE)}
        source = Source(source.folder, {**source.tensors, **tower})
    images = folder / "preprocessor_config.json" if folder else None
    said = read_object(images) if images and images.exists() else {}
    normalise = {key: list(said.get(key, value)) for key, value in _NORMALISED[kind].items()}
    return Tower(stock, normalise, source)


def _config(name: str, folder: Path | None, kind: str) -> PreTrainedConfig:
    stock: type[PreTrainedConfig] = getattr(transformers, kind)
    if folder is not None:
        try:
            return stock.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"the vision tower in {folder} has no usable config: {first_line(error)}"
            ) from None
    config = next((MODELS[of].config for known, of in KNOWN.items() if name.endswith(known)), None)
    if config is None:
        raise ValueError(
            f"the config of vision tower {name!r} is not known here (known: {', '.join(KNOWN)}); "
            "give its folder with --vision-tower"
        )
    sizes = {key: size for key, size in config["vision_config"].items() if key != "model_type"}
    found: PreTrainedConfig = stock.from_dict(sizes)
    return found
