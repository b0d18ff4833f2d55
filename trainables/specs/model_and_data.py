"""What a trial starts from: the dense model and the conversations."""

from pydantic import Field

from trainables.specs.base import Dtype, Frozen


class ModelSpec(Frozen):
    """Which dense model is compressed.

    Attributes:
        path: a name of the model registry (`tiny`), a folder with a checkpoint in the Hugging Face
            layout, or a hub id.
        revision: of a hub id.
        dtype: of the stored student; the CPU path computes in float32.
        trust_remote_code: run modelling code that a checkpoint brings along.
    """

    path: str = "tiny"
    revision: str | None = None
    dtype: Dtype = "float32"
    trust_remote_code: bool = False


class DataSpec(Frozen):
    """Conversations and their image folder.

    Attributes:
        conversations: a JSON or JSONL file in the LLaVA or Bunny format (`id`, `image`,
            `conversations`), or InternVL's meta JSON; None is the embedded model's generated data.
        image_folder: what image paths start from; None is the file's own folder.
        linked_folders: folders elsewhere that images may lie in, too, mostly behind links such as
            LLaVA's `coco -> /datasets/coco`; any other way out of the image folder is refused.
        max_tokens: truncates a sample (text and image tokens together), never inside an image.
        skip_broken: leave broken samples out instead of refusing the file; every image is then
            decoded once before it is trained on.
        workers: processes that decode images ahead of the training loop; 0 decodes in the loop.
    """

    conversations: str | None = None
    image_folder: str | None = None
    linked_folders: tuple[str, ...] = ()
    max_tokens: int = Field(2048, ge=16)
    skip_broken: bool = False
    workers: int = Field(0, ge=0)
