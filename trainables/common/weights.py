"""What a checkpoint folder holds, read without torch: config, weights, digests, licence."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from trainables.common.contents import file_digest, json_digest
from trainables.specs import digest

SINGLE = "model.safetensors"
INDEX = f"{SINGLE}.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# What decides the results of a checkpoint beside its weights, by what it decides.
PARTS = {
    "config": ("config.json",),
    "code": ("*.py",),
    "generation": ("generation_config.json",),
    "processor": ("*processor_config.json",),
    "tokenizer": (
        "tokenizer*",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab*",
        "merges.txt",
        "*.model",
        "*.tiktoken",
    ),
    "template": ("chat_template*", "additional_chat_templates/*"),
}
LICENCES = ("LICENSE", "LICENCE", "NOTICE")
GLANCED = 1024  # bytes of a tensor
RESIZED = "prunesweep_resized"  # MODEL_TYPE of `resized`, which needs torch


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed `config.json` of a checkpoint folder; of one with per-layer widths the stock part.

    Raises:
        ValueError: if it is missing, unreadable or no JSON object.
    """
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(
            f"{folder} has no config.json, so it is no checkpoint; give the folder that "
            "`save_pretrained` wrote"
        )
    config = read_object(path)
    if config.get("model_type") == RESIZED:
        return {**config["base_config"], "model_type": config["base_model_type"]}
    return config


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ValueError: if it is unreadable or no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, but must hold a JSON object")
    return found


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a checkpoint, sorted by name.

    Raises:
        ValueError: if there are none, or one that the index names is missing.
    """
    files = listed_files(folder, SINGLE)
    if files is None:
        pickled = any((folder / name).exists() for name in PICKLED)
        hint = "; pickled weights are not read, convert them" if pickled else ""
        raise ValueError(f"{folder} has no {SINGLE} and no {INDEX}{hint}")
    return files


def listed_files(folder: Path, single: str) -> tuple[Path, ...] | None:
    """The files that the index of `single` names, sorted, or `single`; None if there is neither.

    Raises:
        ValueError: if the index cannot be read, or a file that it names is missing or elsewhere.
    """
    index = folder / f"{single}.index.json"
    if not index.exists():
        return (folder / single,) if (folder / single).is_file() else None
    try:
        parsed = json.loads(index.read_text(encoding="utf-8"))
        names = sorted(set(parsed["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is not a readable index of weights ({error!r})") from None
    away = [name for name in names if Path(name).name != name]
    if away:
        raise ValueError(
            f"{index} names {', '.join(map(repr, away))}, but the weights of a checkpoint lie "
            "beside their index; copy them there, and name them without a folder"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}, which its index names")
    return tuple(folder / name for name in names)


def stored_tensors(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type (`F32`, `BF16`, ...) of every tensor of a safetensors file, from its header.

    Raises:
        ValueError: if the header is damaged, or the file is not as long as it says.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}
            return {n: (tuple(p.get_shape()), p.get_dtype()) for n, p in parts.items()}
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}): it is truncated or damaged; "
            "copy or download it again"
        ) from None


def weights_digest(folder: Path) -> str:
    """Hex SHA-256 over the safetensors files' contents; kept while their sizes and times stay."""
    total = hashlib.sha256()
    for path in weight_files(folder):
        total.update(bytes.fromhex(file_digest(path)))
    return total.hexdigest()


def weights_glance(folder: Path) -> str:
    """Hex SHA-256 of the names and shapes of all tensors, and of a KiB in the middle of each.

    It tells weights apart that were trained differently without reading all of them.

    Raises:
        ValueError: a file is missing or damaged.
    """
    total = hashlib.sha256()
    for path in weight_files(folder):
        tensors = stored_tensors(path)
        total.update(digest(tensors, length=64).encode())
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
            for name in sorted(tensors):
                begin, end = header[name]["data_offsets"]
                taken = min(end - begin, GLANCED)
                file.seek(8 + size + begin + (end - begin - taken) // 2)
                total.update(file.read(taken))
    return total.hexdigest()


def checkpoint_contents(folder: Path) -> dict[str, str]:
    """Digests of all that decides what the model in a folder computes: `weights` and `PARTS`.

    What does not decide it is in none: the folder's place, the files' times, a README, the order
    of a JSON file's keys. A part without a file has the digest of nothing.

    Raises:
        ValueError: its weights are not there.
    """
    return {"weights": weights_digest(folder)} | checkpoint_parts(folder)


def checkpoint_parts(folder: Path) -> dict[str, str]:
    """Digests of what decides a checkpoint's results beside its weights, by `PARTS`."""
    return {
        part: digest({str(p.relative_to(folder)): _said(p) for p in _matching(folder, patterns)})
        for part, patterns in PARTS.items()
    }


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    return sorted(path for path in found if path.is_file())


def _said(path: Path) -> str:
    return json_digest(path) if path.suffix == ".json" else file_digest(path)


def copy_licences(folder: Path, to: Path) -> list[str]:
    """Names of a checkpoint's licence and notice files, copied.

    Raises:
        ValueError: one is a link that leaves the folder, or Hugging Face's cache of its model.
    """
    names = []
    cached = folder.parent.name == "snapshots"  # files are links to `blobs`, two folders up
    home = (folder.parents[1] if cached else folder).resolve()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(LICENCES):
            if not path.resolve().is_relative_to(home):
                raise ValueError(
                    f"{path} is a link to {path.resolve()}, outside of the model's folder, and "
                    "what it names would be published with the model; put the file itself there"
                )
            shutil.copyfile(path, to / path.name)
            names.append(path.name)
    return names


def declared_licence(folder: Path) -> str:
    """The licence that a checkpoint's model card declares, else `unknown`."""
    card = folder / "README.md"
    if card.is_file():
        head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), re.DOTALL)
        found = re.search(r"^license:\s*(\S+)\s*$", head[1], re.MULTILINE) if head else None
        if found:
            return found[1]
    return "unknown"
