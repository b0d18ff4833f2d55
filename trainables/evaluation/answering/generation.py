"""Batched greedy answers of a vision-language model to questions about images."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainables.common.device import is_out_of_memory, release_memory
from trainables.evaluation.answering.prompt_encoder import PromptEncoder
from trainables.evaluation.answering.stopping import StopStrings, cut, cut_off, refuse_nan


@dataclass(frozen=True)
class Question:
    """One question; `images` is called when its batch is due, so that few images are in memory.

    Several images stand before the text, in their order, as in lmms-eval's own simple models.
    """

    text: str
    images: Callable[[], Sequence[Any]]
    max_new_tokens: int
    until: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the model said; `unfinished` when the length limit cut it off."""

    text: str
    unfinished: bool


class Answerer:
    """Answers questions with one model; remembers image features, and which batch size fits."""

    def __init__(self, model: Any, processor: Any, batch_size: int) -> None:
        """Answer with `model`, up to `batch_size` questions together."""
        self.batch_size = batch_size
        self._model, self._processor = model, processor
        self._encode = PromptEncoder(model, processor)

    def __call__(
        self, questions: Sequence[Question], after_batch: Callable[[], None] = lambda: None
    ) -> list[Answer]:
        """Greedy answers, in the order of the questions.

        Questions of similar length share a batch; padding is on the left; a batch ends when each of
        its answers has ended. Where memory runs out, batches are half as large from there on. After
        each batch `after_batch` is called.

        Raises:
            NaNLogitsError: a logit is NaN.
            torch.OutOfMemoryError: not even one question fits.
        """
        answers: dict[int, Answer] = {}
        waiting = deque(_batches(questions, self.batch_size))
        while waiting:
            batch = waiting.popleft()
            try:
                given = self._answer([questions[i] for i in batch])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
                given = None
            if given is None:  # outside the handler, which keeps the failed batch's tensors alive
                self._halve(len(batch))
                waiting = deque(
                    part for whole in (batch, *waiting) for part in _chunks(whole, self.batch_size)
                )
                continue
            answers.update(zip(batch, given, strict=True))
            after_batch()
        return [answers[i] for i in range(len(questions))]

    @torch.inference_mode()
    def _answer(self, asked: Sequence[Question]) -> list[Answer]:
        """Answers of one batch, whose questions share their longest answer."""
        inputs = self._encode([q.text for q in asked], [list(q.images()) for q in asked])
        until, limit = [q.until for q in asked], asked[0].max_new_tokens
        said, unfinished = _generate(self._model, self._processor, inputs, limit, until)
        return [
            Answer(cut(text, stops), open_end)
            for text, stops, open_end in zip(said, until, unfinished, strict=True)
        ]

    def _halve(self, size: int) -> None:
        self.batch_size = max(1, size // 2)
        self._encode.forget_images()
        release_memory()
        print(f"memory ran out; {self.batch_size} questions are answered together now", flush=True)


def _batches(questions: Sequence[Question], batch_size: int) -> Iterator[list[int]]:
    """Indices of questions with the same answer length, longest prompts first.

    Longest first shows a lack of memory at the start. Words stand for tokens: tokenizing all
    questions beforehand took longer than the padding it saved.
    """
    lengths = [(len(q.text.split()), len(q.text)) for q in questions]
    for new_tokens in sorted({q.max_new_tokens for q in questions}):
        group = [i for i, q in enumerate(questions) if q.max_new_tokens == new_tokens]
        group.sort(key=lambda i: lengths[i], reverse=True)
        yield from _chunks(group, batch_size)


def _chunks(indices: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _generate(
    model: Any,
    processor: Any,
    inputs: dict[str, torch.Tensor],
    max_new_tokens: int,
    until: Sequence[Sequence[str]],
) -> tuple[list[str], list[bool]]:
    """Greedy continuations of a left-padded batch, and whether the length limit cut each off."""
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    tokenizer = processor.tokenizer
    ends = model.generation_config.eos_token_id or tokenizer.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    padding = tokenizer.pad_token_id
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=ends,
        pad_token_id=ends[0] if padding is None else padding,
    )
    # Of embedded inputs `generate` returns, and shows the criterion, the new tokens alone.
    prompt = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
    stop = StopStrings(tokenizer, until, prompt)
    produced = model.generate(
        **inputs,
        generation_config=config,
        logits_processor=LogitsProcessorList([refuse_nan]),
        stopping_criteria=StoppingCriteriaList([stop] if stop.needed else []),
    )[:, prompt:]
    said: list[str] = tokenizer.batch_decode(produced, skip_special_tokens=True)
    return said, cut_off(produced, ends, max_new_tokens, stop.reached)
