"""One folder that `transformers` loads: merged weights, processor, plan, licence and card."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from trainables.common.files import new_folder, write_json
from trainables.common.weights import copy_licences
from trainables.models.dense import DenseModel
from trainables.models.families.adapter import VLMAdapter
from trainables.models.quantizers import loading_config
from trainables.models.recovered import apply_recovered
from trainables.pruning.model_card import model_card
from trainables.pruning.planning.planner import PrunePlan
from trainables.pruning.surgery import apply_plan, is_stock
from trainables.records import EXPORTED_RECORD, EXPORTED_REPORT, ClosingReport, TrialRecord
from trainables.specs import Dtype


def export_student(
    dense: DenseModel,
    plan: PrunePlan,
    recovered: Path | None,
    to: Path,
    record: TrialRecord | None = None,
    dtype: Dtype | None = None,
    report: ClosingReport | None = None,
) -> Path:
    """Write the student as one merged checkpoint and return its folder.

    The folder holds safetensors weights (LoRA merged), config, generation config, processor,
    `prune_plan.json`, the base model's licence files and a model card. It loads with the class's
    own `from_pretrained` and with `AutoProcessor`; where layers differ in width, the folder has a
    modelling file besides and loads with `trust_remote_code=True`. It is written beside `to` and
    then renamed.

    Args:
        dense: the model that was pruned.
        plan: what is kept of it.
        recovered: file of `save_recovered`; None exports the student as it was pruned.
        to: a folder that does not exist yet, or an empty one.
        record: of the trial, quoted in the card.
        dtype: of the written weights; None takes that of the model's spec.
        report: of the closing pass, where the trial was scored there; quoted before the record.

    Raises:
        ValueError: if `to` is taken or cannot be written, or the plan is for other weights.
    """
    if plan.weights_digest and plan.weights_digest != dense.weights_digest:
        raise ValueError(
            f"the plan belongs to weights {plan.weights_digest[:12]}, but the model in "
            f"{dense.folder} has weights {dense.weights_digest[:12]}; export with the model that "
            "was pruned"
        )
    dtype = dtype or dense.spec.dtype
    with new_folder(to) as part:
        student = apply_plan(dense.model, dense.adapter, plan)
        if recovered is not None:
            apply_recovered(student, recovered)
        student.to(getattr(torch, dtype))
        student.config.dtype = getattr(torch, dtype)
        student.save_pretrained(part)
        dense.processor.save_pretrained(part)
        write_json(part / "prune_plan.json", plan)
        if record is not None:
            write_json(part / EXPORTED_RECORD, record)
        if report is not None:
            write_json(part / EXPORTED_REPORT, report)
        licences = copy_licences(dense.folder, part)
        how = loading(student, plan)
        if record is not None and record.spec.quantization != "none":
            how += " " + quantized_loading(record, dense.adapter, dtype)
        own = not is_stock(plan)
        card = model_card(
            dense.spec, dense.folder, plan, record, dtype, licences, how, report, own_code=own
        )
        (part / "README.md").write_text(card, encoding="utf-8")
    return to


def quantized_loading(record: TrialRecord, adapter: VLMAdapter, dtype: Dtype) -> str:
    """How the student loads quantized as its trial was scored, as some sentences of its card.

    The checkpoint itself stays unquantized, so that it can be quantized in another way as well.
    """
    quantization = record.spec.quantization
    text = (
        f"These weights are not quantized, but the trial was scored with them quantized "
        f"({quantization}). Give `from_pretrained` besides `quantization_config="
        f"{loading_config(quantization, adapter, dtype)}` to load them so."
    )
    products = record.efficiency.products if record.efficiency else None
    if products is not None and products.by_definition:
        text += (
            f" The library alone answers otherwise on such a processor as scored it: there "
            f"{products.sentence}."
        )
    return text


def loading(student: PreTrainedModel, plan: PrunePlan) -> str:
    """How the exported student loads, as a sentence or two of its card."""
    name = type(student).__name__
    if not is_stock(plan):
        return (
            "Its layers have head counts or widths that no stock config can express: it loads with "
            "`AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)`, which "
            f"runs `modeling_resized.py` of this folder on top of the stock `{name}`; or with "
            "prunesweep, which does not run it. Anything else refuses the folder."
        )
    text = f"It loads with plain transformers: `{name}.from_pretrained(folder)`."
    backbone = student.config.get_text_config().model_type
    groups, _ = plan.kept_counts[0]
    if backbone == "mistral" and groups < plan.shape.num_key_value_heads:
        text += (
            " Its language model is stored as a `mistral` config without a sliding window: where "
            "the base is a Llama, that is the same arithmetic, and Llama's own config refuses "
            "this number of heads."
        )
    return text
