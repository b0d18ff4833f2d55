"""Speed of an evaluation through lmms-eval against a plain loop of single questions.

Usage: `python tests/benchmarks/evaluation.py [questions per kind]`, about a minute on one core.
Both answer the same questions with the embedded model, in one process on one thread; the answers
must be the same. Prints samples per second of each, and their ratio.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from trainables.evaluation.catalog import embedded_tasks
from trainables.evaluation.harness import evaluate
from trainables.evaluation.task_files import write_task_files
from trainables.models.registry import TINY_FOLDER
from trainables.models.tiny.data import TinyData, prepare

BATCH_SIZE = 32
NEW_TOKENS = 2


def plain_loop(model: Any, processor: Any, data: TinyData, limit: int) -> dict[str, list[str]]:
    """Answers one question at a time, with transformers alone."""
    answers: dict[str, list[str]] = {}
    for kind, files in data.tasks.items():
        rows = pq.read_table(files["search"]).slice(0, limit).to_pylist()
        said = answers.setdefault(f"tiny_{kind}", [])
        for row in rows:
            content = [{"type": "image"}, {"type": "text", "text": row["question"]}]
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
            inputs = processor(text=prompt, images=image, return_tensors="pt")
            with torch.inference_mode():
                out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            new = out[0, inputs["input_ids"].shape[1] :]
            said.append(processor.tokenizer.decode(new, skip_special_tokens=True).strip())
    return answers


def main() -> None:
    """Print samples per second of both ways."""
    limit = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    torch.set_num_threads(1)
    model = LlavaForConditionalGeneration.from_pretrained(TINY_FOLDER, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(TINY_FOLDER)
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare(Path(scratch))
        folder = write_task_files(data, "search", Path(scratch) / "tasks")

        def ours(limit: int) -> Any:
            return evaluate(
                model,
                processor,
                embedded_tasks(),
                "search",
                task_folder=folder,
                limit=limit,
                batch_size=BATCH_SIZE,
            )

        ours(2)  # imports, and the datasets' arrow files
        report, table = ours(limit)
        start = time.perf_counter()
        plain = plain_loop(model, processor, data, limit)
        seconds = time.perf_counter() - start
    same = all(list(table.tasks[task].answers) == said for task, said in plain.items())
    samples = table.samples
    print(f"questions            {samples} (average score {report.average:.1f})")
    print(f"same answers         {'yes' if same else 'NO'}")
    print(f"batched, lmms-eval   {report.samples_per_second:8.1f} samples/s, {table.seconds:.1f} s")
    print(f"one by one, plain    {samples / seconds:8.1f} samples/s, {seconds:.1f} s")
    print(f"ratio                {report.samples_per_second * seconds / samples:8.2f}")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
