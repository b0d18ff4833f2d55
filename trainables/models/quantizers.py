"""Which library makes each quantization, and how an exported checkpoint is loaded with it.

Torch-free, so that the driver can refuse what this machine does not have.
"""

import importlib.util

from trainables.models.families.adapter import VLMAdapter
from trainables.specs import Dtype, Quantization

LIBRARIES: dict[Quantization, str] = {
    "llm_int8": "bitsandbytes",
    "nf4": "bitsandbytes",
    "int8_weight_only": "torchao",
}


def check_quantization(quantization: Quantization) -> None:
    """Raise ValueError, with the alternatives, unless the quantization's library is there."""
    library = LIBRARIES.get(quantization)
    if library is None or importlib.util.find_spec(library) is not None:
        return
    others = ("none", *(name for name, other in LIBRARIES.items() if other != library))
    raise ValueError(
        f"quantization={quantization!r} needs {library}, which is not installed; "
        f"`pip install {library}`, or choose one of {', '.join(others)}"
    )


def loading_config(quantization: Quantization, adapter: VLMAdapter, dtype: Dtype) -> str:
    """The `quantization_config` of `from_pretrained` that quantizes what a trial quantizes.

    What it names to be left alone is what `quantization.quantize` leaves alone; without that list
    transformers would quantize the vision tower's and the projector's linears too.

    Args:
        quantization: any but `none`.
        adapter: of the checkpoint's architecture.
        dtype: in which the model is to compute.
    """
    kept = repr([adapter.vision_tower, adapter.projector, adapter.lm_head])
    if quantization == "llm_int8":
        return f"BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules={kept})"
    if quantization == "nf4":
        return (
            "BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', "
            f"bnb_4bit_compute_dtype={dtype!r}, llm_int8_skip_modules={kept})"
        )
    if quantization == "int8_weight_only":
        return f"TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert={kept})"
    raise ValueError("quantization='none' needs no config")
