"""An in-memory model in the form lmms-eval evaluates. Imported only where lmms-eval is."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lmms_eval.api.model import lmms
from PIL import Image

from trainables.common.pictures import as_seen
from trainables.evaluation.answering.generation import Answer, Question

GREY = (128, 128, 128)
DEFAULT_NEW_TOKENS = 16  # of a task that does not say
MOST_NEW_TOKENS = 1024  # the longest that a task here asks for; no generation goes on for ever

AnswerAll = Callable[[Sequence[Question]], Sequence[Answer]]


class InMemoryModel(lmms):
    """Answers lmms-eval's requests with a model that is already loaded; made anew for each call.

    Attributes:
        unfinished: document ids whose answer was cut off by the length limit.
    """

    is_simple = True

    def __init__(
        self,
        answer: AnswerAll,
        max_new_tokens: int | None = None,
        blank_images: bool = False,
        needed_tokens: int | None = None,
    ) -> None:
        """Ask `answer`.

        `max_new_tokens` overrides what the tasks say; else no answer needs to be longer than
        `needed_tokens`.
        """
        super().__init__()
        # Present, so that the evaluator does not build an Accelerator (it reads the environment of
        # a distributed launch); a single process never uses it.
        self.accelerator = None
        self.unfinished: set[int] = set()
        self._answer = answer
        self._max_new_tokens = max_new_tokens
        self._blank_images = blank_images
        self._needed_tokens = needed_tokens or MOST_NEW_TOKENS

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Greedy answers, in the order of the requests."""
        given = self._answer([self._question(request) for request in requests])
        ids = [request.args[3] for request in requests]
        self.unfinished |= {i for i, a in zip(ids, given, strict=True) if a.unfinished}
        return [answer.text for answer in given]

    def _question(self, request: Any) -> Question:
        text, settings, doc_to_visual, doc_id, task, split = request.args
        until = settings.get("until") or ()
        own = int(settings.get("max_new_tokens") or DEFAULT_NEW_TOKENS)
        asked = self._max_new_tokens or min(own, self._needed_tokens)
        return Question(
            text=text,
            images=partial(self._images, doc_to_visual, task, split, doc_id),
            max_new_tokens=min(asked, MOST_NEW_TOKENS),
            until=(until,) if isinstance(until, str) else tuple(until),
        )

    def _images(self, doc_to_visual: Any, task: str, split: str, doc_id: int) -> Sequence[Any]:
        try:
            images = doc_to_visual(self.task_dict[task][split][doc_id]) or ()
        except ValueError:
            raise  # of a benchmark's copy: it names the row of the copy
        except Exception as error:  # whatever a decoder raises
            raise ValueError(
                f"row {doc_id} of split {split!r}: its image cannot be read "
                f"({type(error).__name__}: {error}); mend the data, or leave the row out"
            ) from error
        return [blank(image) for image in images] if self._blank_images else images

    def clean(self) -> None:
        """Do nothing: the model belongs to the caller (the base class deletes it, in 0.8 s)."""

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Raise `NotImplementedError`: no known task asks for it."""
        raise NotImplementedError("tasks scored by log-likelihood are not supported")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Raise `NotImplementedError`: no known task asks for it."""
        raise NotImplementedError("tasks of several rounds are not supported")


def blank(image: Image.Image) -> Image.Image:
    """A grey image of the same size: as many image tokens, and nothing to see."""
    return Image.new("RGB", as_seen(image).size, GREY)
