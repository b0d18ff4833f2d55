"""An in-memory model in the form lmms-eval evaluates. Imported only where lmms-eval is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from lmms_eval.api.model import lmms
from PIL import Image

from trainables.evaluation.generation import Question, answer

GREY = (128, 128, 128)


class InMemoryModel(lmms):
    """Answers lmms-eval's requests with a model that is already loaded; made anew for each call."""

    is_simple = True

    def __init__(
        self,
        model: Any,
        processor: Any,
        batch_size: int,
        max_new_tokens: int | None = None,
        blank_images: bool = False,
    ) -> None:
        """Wrap `model`; `max_new_tokens` overrides what the tasks say."""
        super().__init__()
        # Present, so that the evaluator does not build an Accelerator (it reads the environment of
        # a distributed launch); a single process never uses it.
        self.accelerator = None
        self._model = model
        self._processor = processor
        self._batch_size = batch_size
        self._max_new_tokens = max_new_tokens
        self._blank_images = blank_images

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Greedy answers, in the order of the requests."""
        return answer(
            self._model, self._processor, [self._question(r) for r in requests], self._batch_size
        )

    def _question(self, request: Any) -> Question:
        text, settings, doc_to_visual, doc_id, task, split = request.args
        until = settings.get("until") or ()
        return Question(
            text=text,
            images=partial(self._images, doc_to_visual, task, split, doc_id),
            max_new_tokens=self._max_new_tokens or int(settings.get("max_new_tokens", 16)),
            until=(until,) if isinstance(until, str) else tuple(until),
        )

    def _images(self, doc_to_visual: Any, task: str, split: str, doc_id: int) -> Sequence[Any]:
        images = doc_to_visual(self.task_dict[task][split][doc_id]) or ()
        return [blank(image) for image in images] if self._blank_images else images

    def clean(self) -> None:
        """Do nothing: the model belongs to the caller (the base class deletes it, in 0.8 s)."""

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not supported: no known task asks for it.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("tasks scored by log-likelihood are not supported")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not supported: no known task asks for it.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("tasks of several rounds are not supported")


def blank(image: Image.Image) -> Image.Image:
    """A grey image of the same size: as many image tokens, and nothing to see."""
    return Image.new("RGB", image.size, GREY)
