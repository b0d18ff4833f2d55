"""When an answer ends: stop strings, the length limit, and logits that are no numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SPARE_TOKENS = 8  # a token may add no byte to the text, so a stop string may span a few more


class NaNLogitsError(ValueError):
    """A model's logits are NaN: it has no score, whatever the task."""


def refuse_nan(input_ids: Tensor, logits: Tensor) -> Tensor:
    """The logits, unless one of them is NaN.

    Raises:
        NaNLogitsError: argmax would turn NaN into an answer, and thus into a score.
    """
    if torch.isnan(logits).any():
        raise NaNLogitsError(
            "the model's logits are NaN, so it has no score; its weights or activations overflowed "
            "(lower the learning rate, or use bfloat16 instead of float16)"
        )
    return logits


def cut(text: str, until: Sequence[str]) -> str:
    """The text before the first stop string, without surrounding blanks.

    Blanks before the answer are no part of it, so that a first line break ends nothing.
    """
    text = text.lstrip()
    for stop in until:
        if stop:
            text = text.split(stop)[0]
    return text.strip()


class StopStrings:
    """Tells `generate` which answers of a batch have reached a stop string; one per batch.

    Only the end of an answer is decoded at each step: no stop string reaches further back than it
    has bytes, and a few tokens that add none. transformers' `StopStringCriteria` has one list of
    stop strings for the whole batch, and a line break before the answer ends it.
    """

    def __init__(self, tokenizer: Any, until: Sequence[Sequence[str]], prompt_tokens: int) -> None:
        """Watch for `until[row]` in what follows the first `prompt_tokens` tokens of each row."""
        self._tokenizer, self._prompt_tokens = tokenizer, prompt_tokens
        self._until = [[stop for stop in stops if stop] for stops in until]
        longest = max((len(s.encode()) for stops in self._until for s in stops), default=0)
        self._window = longest + SPARE_TOKENS
        self._begin = [0] * len(self._until)  # first token of a row that is not a leading blank
        self.reached = torch.tensor([False] * len(self._until))

    @property
    def needed(self) -> bool:
        """Whether any row has a stop string."""
        return any(self._until)

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Whether each row has ended [B]."""
        tokens = input_ids[:, self._prompt_tokens :]
        length = tokens.shape[1]
        watched = [i for i, stops in enumerate(self._until) if stops and not self.reached[i]]
        starts = [max(self._begin[i], length - self._window) for i in watched]
        ends = [tokens[i, start:] for i, start in zip(watched, starts, strict=True)]
        texts = self._tokenizer.batch_decode(ends, skip_special_tokens=True) if ends else []
        for i, start, text in zip(watched, starts, texts, strict=True):
            if start == self._begin[i]:
                text = text.lstrip()
                if not text:
                    self._begin[i] = length
                    continue
            self.reached[i] = any(stop in text for stop in self._until[i])
        return self.reached.to(input_ids.device)


def cut_off(tokens: Tensor, ends: Sequence[int], limit: int, reached: Tensor) -> list[bool]:
    """Whether the length limit cut each answer off: no end token, no stop string.

    Args:
        tokens: new tokens [B, T], padded on the right.
        ends: the model's end tokens.
        limit: most new tokens of an answer.
        reached: whether an answer has reached a stop string [B].
    """
    if tokens.shape[1] < limit:
        return [False] * len(tokens)
    ended = torch.isin(tokens, torch.tensor(list(ends), device=tokens.device)).any(dim=1)
    return [not e and not r for e, r in zip(ended.tolist(), reached.tolist(), strict=True)]
