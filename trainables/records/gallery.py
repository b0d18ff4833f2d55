"""The questions that all models of a sweep are shown with."""

from trainables.specs import Frozen


class GallerySample(Frozen):
    """One question of the report split, with what its task knows about it.

    `task`, `doc_id` and `image_id` name it as `REPORT_SAMPLES` does. `question` is the text that
    the models are asked, `truth` what counts as right (several where any of them does). `picture`
    is a file beside `GALLERY`, `width` x `height` pixels; several images of one question are one
    picture.
    """

    task: str
    doc_id: int
    image_id: str
    question: str
    truth: tuple[str, ...]
    picture: str
    width: int
    height: int

    @property
    def key(self) -> tuple[str, int, str]:
        """What names it in every model's samples."""
        return self.task, self.doc_id, self.image_id


class Gallery(Frozen):
    """A fixed handful of samples; `key` is the digest of what the choice was made for."""

    key: str
    samples: tuple[GallerySample, ...]
