"""What is seen of a picture: its greys, which way up it is, what lies behind it, and damage.

A further kind of picture is a line of `GREYS`, `FORMATS`, `SEE_THROUGH`, `COLOURS` or `DAMAGED`.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from trainables.common.pictures import as_seen, picture_size, read_picture
from trainables.evaluation.answering.prompt_encoder import _image_key
from trainables.evaluation.benchmarks.checks import decode
from trainables.recovery.data.images import image_size, open_image

# Of PIL, about damage that it gets over.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]
RAMP = np.arange(65536).reshape(256, 256)  # every value of 16 bits, in rows of one level
LEVELS = np.repeat(np.arange(256), 256).reshape(256, 256)


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **how)
    return content.getvalue()


def seen(content: bytes) -> np.ndarray:
    return np.asarray(read_picture(io.BytesIO(content))).astype(int)


def array(values: np.ndarray, dtype: str) -> Image.Image:
    return Image.fromarray(values.astype(dtype))


def tiff(values: np.ndarray, dtype: str, **tags: int) -> bytes:
    """An uncompressed TIFF of one strip, by hand."""
    pixels = values.astype(dtype).tobytes()
    kind, bits = {"u": 1, "i": 2, "f": 3}[np.dtype(dtype).kind], np.dtype(dtype).itemsize * 8
    entries = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 1, 262: 1, 273: 8}
    entries |= {277: 1, 278: values.shape[0], 279: len(pixels), 339: kind}
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    end = ">" if dtype.startswith(">") else "<"
    table = b"".join(struct.pack(f"{end}HHII", t, 4, 1, v) for t, v in sorted(entries.items()))
    head = (b"MM\0*" if end == ">" else b"II*\0") + struct.pack(f"{end}I", 8 + len(pixels))
    return head + pixels + struct.pack(f"{end}H", len(entries)) + table + bytes(4)


def packed_12_bits(values: np.ndarray) -> bytes:
    pairs = values.reshape(-1, 2)
    first, second = pairs[:, 0], pairs[:, 1]
    whole = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    return tiff(whole.reshape(len(values), -1), "u1", _256=values.shape[1], _258=12)


GREYS: dict[str, Callable[[], bytes]] = {
    "PNG of 16 bits": lambda: saved(array(RAMP, "u2"), "PNG"),
    "PGM of 16 bits": lambda: b"P5 256 256 65535\n" + RAMP.astype(">u2").tobytes(),
    "plain PGM": lambda: b"P2 256 256 65535\n" + " ".join(map(str, RAMP.ravel())).encode(),
    "JPEG 2000 of 16 bits": lambda: saved(array(RAMP, "u2"), "JPEG2000"),
    "TIFF of 16 bits": lambda: tiff(RAMP, "<u2"),
    "TIFF of 16 bits, big end first": lambda: tiff(RAMP, ">u2"),
    "compressed TIFF": lambda: saved(array(RAMP, "u2"), "TIFF", compression="tiff_deflate"),
    "TIFF whose zero is white": lambda: tiff(65535 - RAMP, "<u2", _262=0),
    "TIFF of 12 bits": lambda: packed_12_bits(RAMP >> 4),
    "TIFF of 32 bits that holds 16": lambda: tiff(RAMP, "<i4"),
    "TIFF of 32 bits without sign": lambda: tiff(RAMP, "<u4"),
    "TIFF of 32 bits that holds 8": lambda: tiff(LEVELS, "<i4"),
    "TIFF of floats of 0 to 1": lambda: tiff(LEVELS / 255, "<f4"),
    "TIFF of floats of 0 to 255": lambda: tiff(LEVELS, "<f4"),
    "compressed TIFF of floats": lambda: saved(
        array(LEVELS / 255, "f4"), "TIFF", compression="tiff_lzw"
    ),
    "PNG of 8 bits": lambda: saved(array(LEVELS, "u1"), "PNG"),
    "TIFF of 8 bits whose zero is white": lambda: tiff(255 - LEVELS, "u1", _262=0),
}  # fmt: skip


@pytest.mark.parametrize("kind", GREYS)
def test_greys_keep_their_levels(kind: str) -> None:
    found = seen(GREYS[kind]())
    assert found.shape == (256, 256, 3)
    for channel in range(3):
        assert np.array_equal(found[:, :, channel], LEVELS)


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype("<f4"),
        LEVELS / 255 - 0.5,
        np.where(LEVELS == 7, np.nan, LEVELS / 255),
        np.full((2, 2), np.inf),
    ],
)
def test_greys_of_no_known_range_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="of no known range"):
        seen(tiff(values, "<f4"))
    with pytest.raises(ValueError, match="of no known range"):
        seen(tiff(RAMP - 9, "<i4"))


# A picture of 32 x 16 whose quarters tell how it lies, and how a camera that is turned writes it.
QUARTERS = np.array([[[230, 10, 10], [10, 230, 10]], [[10, 10, 230], [230, 230, 10]]])
UPRIGHT = QUARTERS.repeat(8, axis=0).repeat(16, axis=1)
WRITTEN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[274] = orientation
    return found


def late(content: bytes) -> bytes:
    """The PNG with its Exif behind its pixels."""
    at = content.index(b"eXIf") - 4
    length = 12 + int.from_bytes(content[at : at + 4])
    rest = content[:at] + content[at + length :]
    return rest[:-12] + content[at : at + length] + rest[-12:]


def xmp(orientation: int) -> PngImagePlugin.PngInfo:
    found = PngImagePlugin.PngInfo()
    text = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'
    found.add_itxt("XML:com.adobe.xmp", text, zip=True)
    return found


FORMATS: dict[str, Callable[[Image.Image, int], bytes]] = {
    "JPEG": lambda i, o: saved(i, "JPEG", exif=exif(o), quality=100, subsampling=0),
    "PNG": lambda i, o: saved(i, "PNG", exif=exif(o)),
    "PNG, Exif last": lambda i, o: late(saved(i, "PNG", exif=exif(o))),
    "PNG, by XMP": lambda i, o: saved(i, "PNG", pnginfo=xmp(o)),
    "WebP": lambda i, o: saved(i, "WEBP", exif=exif(o).tobytes(), lossless=True),
    "AVIF": lambda i, o: saved(i, "AVIF", exif=exif(o), quality=100, subsampling="4:4:4"),
    "TIFF": lambda i, o: saved(i, "TIFF", exif=exif(o)),
    "compressed TIFF": lambda i, o: saved(i, "TIFF", exif=exif(o), compression="tiff_lzw"),
    "MPO": lambda i, o: saved(i, "MPO", exif=exif(o), quality=100, subsampling=0),
}


@pytest.mark.parametrize("orientation", WRITTEN)
@pytest.mark.parametrize("kind", FORMATS)
def test_pictures_stand_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    written = array(np.ascontiguousarray(WRITTEN[orientation](UPRIGHT)), "u1")
    content = FORMATS[kind](written, orientation)
    (tmp_path / "picture").write_bytes(content)
    assert picture_size(tmp_path / "picture") == (32, 16)
    picture = read_picture(io.BytesIO(content))
    assert picture.size == (32, 16)
    assert np.abs(np.asarray(picture).astype(int) - UPRIGHT)[2:6, 2:14].max() < 12
    assert np.abs(np.asarray(picture).astype(int) - UPRIGHT)[10:14, 18:30].max() < 12
    assert as_seen(picture) is picture  # it is not turned again


def test_damaged_metadata_turn_nothing(tmp_path: Path) -> None:
    for bad in (
        b"Exif\0\0nonsense",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff",
    ):
        content = saved(array(UPRIGHT, "u1"), "JPEG", exif=bad)
        (tmp_path / "picture").write_bytes(content)
        assert (
            picture_size(tmp_path / "picture") == (32, 16) == read_picture(io.BytesIO(content)).size
        )


def palette(*colours: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    """Two pixels, one of each colour of a palette."""
    image = Image.new("P", (2, 1))
    image.putpalette([value for colour in colours for value in colour], mode)
    image.putdata([0, 1])
    return image


def two(mode: str, left: Any, right: Any) -> Image.Image:
    image = Image.new(mode, (2, 1), left)
    image.putpixel((1, 0), right)
    return image


RED, HIDDEN = (200, 0, 0), (9, 99, 199)
HALVES = two("RGBA", (*RED, 255), (*HIDDEN, 0))
# Red on the left; on the right a colour that nobody is to see.
SEE_THROUGH: dict[str, Callable[[], bytes]] = {
    "RGBA": lambda: saved(HALVES, "PNG"),
    "RGBA of 16 bits": lambda: chunks(
        16, 6, struct.pack(">8H", *(v * 257 for v in (*RED, 255, *HIDDEN, 0)))
    ),
    "a colour of RGB": lambda: saved(two("RGB", RED, HIDDEN), "PNG", transparency=HIDDEN),
    "an entry of a palette": lambda: saved(palette(RED, HIDDEN), "PNG", transparency=1),
    "entries of a palette": lambda: saved(palette(RED, HIDDEN), "PNG", transparency=b"\xff\0"),
    "a palette with alpha": lambda: saved(
        palette((*RED, 255), (*HIDDEN, 0), mode="RGBA"), "PNG"
    ),
    "GIF": lambda: saved(palette(RED, HIDDEN), "GIF", transparency=1),
    "WebP": lambda: saved(HALVES, "WEBP", lossless=True, exact=True),
    "TIFF": lambda: saved(HALVES, "TIFF"),
    "TGA": lambda: saved(HALVES, "TGA"),
    "DDS": lambda: saved(HALVES, "DDS"),
}  # fmt: skip
GREY_THROUGH: dict[str, Callable[[], bytes]] = {
    "LA": lambda: saved(two("LA", (80, 255), (33, 0)), "PNG"),
    "a grey of L": lambda: saved(two("L", 80, 33), "PNG", transparency=33),
    "a grey of 16 bits": lambda: chunks(
        16, 0, struct.pack(">2H", 80 << 8, 33 << 8), tRNS=struct.pack(">H", 33 << 8)
    ),
}


def chunks(bits: int, colour: int, line: bytes, **others: bytes) -> bytes:
    """A PNG of 2 x 1 by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, colour, 0, 0, 0))
    more = b"".join(chunk(kind.encode(), content) for kind, content in others.items())
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + line))
    return b"\x89PNG\r\n\x1a\n" + head + more + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", [*SEE_THROUGH, *GREY_THROUGH])
def test_what_is_transparent_is_white(kind: str) -> None:
    left = RED if kind in SEE_THROUGH else (80, 80, 80)
    content = {**SEE_THROUGH, **GREY_THROUGH}[kind]()
    assert seen(content).tolist() == [[list(left), [255, 255, 255]]]


def test_half_of_a_colour_is_mixed_with_white() -> None:
    content = saved(two("RGBA", (*RED, 128), (0, 0, 0, 64)), "PNG")
    left, right = seen(content)[0]
    assert np.abs(left - np.round((128 * np.array(RED) + 127 * 255) / 255)).max() <= 1
    assert np.abs(right - 191).max() <= 1


COLOURS: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "RGB of 16 bits": (
        lambda: chunks(16, 2, struct.pack(">6H", *(v << 8 | 77 for v in RED * 2))), RED),
    "CMYK": (lambda: saved(Image.new("CMYK", (2, 1), (0, 255, 255, 55)), "TIFF"), RED),
    "CMYK as Adobe writes it": (
        lambda: saved(Image.new("CMYK", (8, 8), (0, 255, 255, 55)), "JPEG", quality=100), RED),
    "one bit": (lambda: saved(Image.new("1", (2, 1), 1), "PNG"), (255, 255, 255)),
    "palette": (lambda: saved(palette(RED, RED), "PNG"), RED),
    "BMP": (lambda: saved(Image.new("RGB", (2, 1), RED), "BMP"), RED),
    "the first frame of a GIF": (
        lambda: saved(
            palette(RED, RED), "GIF", save_all=True, append_images=[palette(HIDDEN, RED)]
        ), RED),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLOURS)
def test_colours(kind: str) -> None:
    content, colour = COLOURS[kind]
    assert np.abs(seen(content()) - np.array(colour)).max() <= 2


@pytest.mark.parametrize(
    "make",
    [
        GREYS["PNG of 16 bits"],
        GREYS["TIFF of floats of 0 to 1"],
        SEE_THROUGH["entries of a palette"],
        lambda: FORMATS["JPEG"](array(UPRIGHT, "u1"), 6),
        lambda: FORMATS["WebP"](array(UPRIGHT, "u1"), 5),
    ],
)
def test_training_and_scoring_see_the_same(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(make())
    trained, scored = open_image(path, "s"), decode({"bytes": path.read_bytes(), "path": None})
    assert trained == scored
    assert image_size(path, "s") == trained.size
    assert as_seen(Image.open(path)) == trained  # what is answered of a picture that is open


def test_pictures_that_differ_in_their_palette_alone_are_two() -> None:
    one, other = palette(RED, HIDDEN), palette(HIDDEN, RED)
    assert one.tobytes() == other.tobytes()
    assert _image_key(one) != _image_key(other)
    assert _image_key(one) == _image_key(one.convert("RGB"))


NOISE = Image.frombytes("RGB", (64, 64), np.random.default_rng(0).bytes(3 * 64 * 64))
DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "text": b"<!DOCTYPE html><html>404</html>",
    "vector graphics": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "an LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "a bomb": chunks(8, 0, b"\0\0").replace(bytes([0, 0, 0, 2, 0, 0, 0, 1]), b"\0\0\xea\x60" * 2),
    "AVIF without content": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(64),
    "DDS of no known kind": b"DDS " + struct.pack("<7I", 124, 0x1007, 4, 4, 0, 0, 0) + bytes(96),
    "TIFF of floats in colour": tiff(np.zeros((2, 2)), "<f4", _277=3, _262=2),
    **{
        f"{part} of a {kind}": content[: int(len(content) * share)]
        for kind in ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DDS", "JPEG2000", "TGA")
        for content in [saved(NOISE, kind)]
        for part, share in (("half", 0.5), ("the head", 24 / len(content)))
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_one_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - a decoder's own words
        seen(DAMAGED[kind])
    assert len(str(caught.value).splitlines()) == 1
    assert "BytesIO" not in str(caught.value)
    (tmp_path / "picture").write_bytes(DAMAGED[kind])
    with suppress(ValueError):  # or its head is whole
        picture_size(tmp_path / "picture")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of PIL, about what it reads all the same
@pytest.mark.parametrize("kind", ["AVIF", "DDS", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP"])
def test_random_damage_is_a_picture_or_one_error(kind: str) -> None:
    rng, whole = np.random.default_rng(1), saved(NOISE, kind)
    failed = 0
    for _ in range(100):
        content = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 300), 4):
            content[at] = rng.integers(256)
        try:
            read_picture(io.BytesIO(bytes(content)))
        except ValueError:
            failed += 1
    assert failed


def test_a_truncated_picture_is_damaged_whatever_others_switched_on() -> None:
    from PIL import ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = True
    with pytest.raises(ValueError, match="truncated"):
        seen(DAMAGED["half of a JPEG"])


def test_no_file_is_no_damage(tmp_path: Path) -> None:
    for read in (read_picture, picture_size):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "nothing.png")
