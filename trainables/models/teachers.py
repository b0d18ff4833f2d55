"""Whether one model's answers can teach another: both must read the same tokens. Torch-free."""

import filecmp
from pathlib import Path

from trainables.common.weights import read_config
from trainables.models.families.registry import adapter_for

READS = (
    "tokenizer.json",
    "tokenizer.model",
    "preprocessor_config.json",
    "processor_config.json",
)


def refuse_foreign_teacher(student: Path, teacher: Path) -> None:
    """Raise unless a teacher's checkpoint reads the same tokens and images as the student's.

    Args:
        student: folder of the dense model that was pruned.
        teacher: folder of the teacher.

    Raises:
        ValueError: another vocabulary, image-token count, tokenizer or image preprocessing.
    """
    if student == teacher:
        return
    way_out = "; take a larger model of the same family, or the dense model itself"
    own, other = _image_and_vocabulary(student), _image_and_vocabulary(teacher)
    for what, size in own.items():
        if size != other[what]:
            raise ValueError(
                f"{what} differ: {size} of the student, {other[what]} of the teacher{way_out}"
            )
    for name in READS:
        files = student / name, teacher / name
        if all(file.is_file() for file in files) and not filecmp.cmp(*files, shallow=False):
            raise ValueError(f"{name} of student and teacher differ{way_out}")


def _image_and_vocabulary(folder: Path) -> dict[str, int]:
    config = read_config(folder)
    adapter = adapter_for(config)
    return {
        "vocabulary sizes": adapter.language_shape(config).vocab_size,
        "tokens of an image": adapter.natural_image(config).tokens,
        "image token ids": adapter.image_token_id(config),
    }
