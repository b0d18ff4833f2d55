"""What is seen of a picture, everywhere alike: in training, calibration, scoring, and on paper.

Upright by its Exif orientation, greys of more than eight bits as 256 levels, what is transparent on
white, and as RGB. Only the first frame of a moving one is seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile

from trainables.common.names import first_line

BACKGROUND = (255, 255, 255)

_ORIENTATION, _BITS, _PHOTOMETRIC = 274, 258, 262  # tags of Exif and TIFF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Chunks of a PNG that may say how it is turned, and may stand behind its pixels.
_TURNS_PNG = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")


def read_picture(source: Path | IO[bytes]) -> Image.Image:
    """What is seen of a file, as RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged, of no known format, too large, or its greys are of no
            known range; says which.
    """
    with _opened(source) as image:
        return as_seen(image)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of what is seen, from the head of the file; decodes no pixels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture.
    """
    with _opened(path) as image:
        if image.format == "PNG":
            content = path.read_bytes()
            if any(chunk in content for chunk in _TURNS_PNG):
                image.load()
        width, height = image.size
        # PIL turns a TIFF itself.
        lies = image.format != "TIFF" and _orientation(image) > 4
        return (height, width) if lies else (width, height)


def as_seen(image: Image.Image) -> Image.Image:
    """What is seen of a picture, as RGB; one that was seen before comes back as it is.

    Raises:
        ValueError: its grey values are of no known range.
    """
    image.load()
    if image.mode == "RGB" and not image.info:
        return image
    orientation = _orientation(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _grey(image)
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(page, image.convert("RGBA"))
    seen = image.convert("RGB")
    if orientation in _UPRIGHT:
        seen = seen.transpose(_UPRIGHT[orientation])
    seen.info = {}  # its orientation is used up
    return seen


def _grey(image: Image.Image) -> Image.Image:
    """Greys of 12, 16 or 32 bits, or floats, as 8 bits, and alpha where one value is transparent.

    Of 16 bits the upper eight are kept, as PIL does with 16-bit colours.
    """
    values, levels = np.asarray(image), _levels(image)
    grey = Image.fromarray(levels.astype(np.uint8))
    hidden = image.info.get("transparency")
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey


def _levels(image: Image.Image) -> Any:
    """Greys of 0 to 255, [height, width]."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if image.mode.startswith("I;16"):
        if tags.get(_PHOTOMETRIC) == 0:  # white is zero
            values = np.invert(values)
        return values >> (min(tags.get(_BITS, (16,))) - 8)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if 0 <= low and high <= 1:
            return np.rint(values * 255)
        if 0 <= low and high <= 255:
            return np.rint(values)
    elif 0 <= low and high <= 255 and image.format != "PPM":  # whose values PIL takes to 16 bits
        return values
    elif 0 <= low and high <= 65535:
        return values >> 8
    raise ValueError(
        f"its grey values {low:g} to {high:g} are of no known range: integers of 8 or 16 bits, or "
        "floats of 0 to 1 or 0 to 255"
    )


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1, as it lies, too where the metadata are damaged, as viewers take it."""
    try:
        # PngImageFile's own one decodes the pixels first.
        return int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    except Exception:  # whatever a reader of damaged metadata raises
        return 1


@contextmanager
def _opened(source: Path | IO[bytes]) -> Iterator[Image.Image]:
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # lmms-eval switches it on for the whole process
    try:
        with Image.open(source) as image:
            if image.format == "EPS":
                raise ValueError("PostScript is a program, not a picture")
            yield image
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder of damaged files raises
        # PIL names a buffer's address, which says nothing.
        reason = first_line(error).partition(" <_io")[0]
        raise ValueError(reason or type(error).__name__) from None
