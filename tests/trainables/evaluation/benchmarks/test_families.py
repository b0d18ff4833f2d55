"""Every family answers a benchmark's questions inside its own chat template, several images too."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainables.evaluation.harness import score_tasks
from trainables.evaluation.request import EvaluationRequest

NEW_TOKENS = 4
LETTER = "\n\nAnswer with the option's letter from the given choices directly."
OPEN = "\n\nAnswer the question using a single word or phrase."


def _question(row: dict[str, Any]) -> str:
    """MMMU's prompt, written out anew from its row."""
    if row["question_type"] == "open":
        return f"{row['question']}{OPEN}"
    options = ast.literal_eval(row["options"])
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip("ABC", options, strict=True))
    return f"{row['question']}\n{listed}{LETTER}"


def _plain_answer(model: Any, processor: Any, row: dict[str, Any]) -> str:
    """The processor's template and inputs, one question, plain `generate`."""
    images = [row[f"image_{i}"] for i in (1, 2) if f"image_{i}" in row]
    content = [*[{"type": "image"}] * len(images), {"type": "text", "text": _question(row)}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    inputs = processor(text=[prompt], images=[images], return_tensors="pt")
    with torch.no_grad():
        out = model.generate(
            **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=2, pad_token_id=0
        )
    new = out[0, inputs["input_ids"].shape[1] :]
    said: str = processor.tokenizer.decode(new, skip_special_tokens=True)
    return said.strip().split("\n\n")[0].strip()


def test_mmmu_in_the_familys_own_template(
    family: Any,
    family_processor: Callable[[str], Any],
    task_folder_of: Callable[..., Path],
    rows_of: Callable[[str], list[dict[str, Any]]],
) -> None:
    processor = family_processor(family.name)
    table = score_tasks(
        lambda: family.model,
        processor,
        EvaluationRequest(
            tasks=("mmmu_val",),
            split="search",
            task_folder=task_folder_of("mmmu_val"),
            batch_size=4,
            max_new_tokens=NEW_TOKENS,
        ),
    )
    rows = rows_of("mmmu_val")
    expected = tuple(_plain_answer(family.model, processor, row) for row in rows)
    assert table.tasks["mmmu_val"].answers == expected
