"""The tokenizer of an original checkpoint, and the tokens that a stock processor adds.

Llama's `tokenizer.model` is read with `sentencepiece` itself: transformers reads it through the
generated protobuf module of the sentencepiece package, which refuses a protobuf runtime older than
itself (sentencepiece 0.2.3 wants protobuf 7, lmms-eval pins 6).
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from trainables.common.names import first_line

ROW_MULTIPLE = 64  # tensor cores; as in the checkpoints that were published for the stock classes
_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_BESIDE = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_PROBES = (
    "A chat between a curious user and an artificial intelligence assistant.",
    "What is written here?\n  Two spaces, 1234 and a letter: \u00e9.",
)


def load_tokenizer(folder: Path, **settings: Any) -> Any:
    """The checkpoint's own tokenizer; remote code is never run.

    The settings win over those of its `tokenizer_config.json`.

    Raises:
        ValueError: if its files or a package that they need are missing.
    """
    if not any((folder / name).exists() for name in _FILES):
        raise ValueError(f"{folder} has no tokenizer: none of {', '.join(_FILES)}; copy it there")
    pieces = None
    try:
        # In a folder of their own, without a config.json of a model type that transformers lacks.
        with tempfile.TemporaryDirectory() as name:
            scratch = Path(name)
            told = _copy_files(folder, scratch)
            if not (folder / "tokenizer.json").exists() and (folder / "tokenizer.model").exists():
                pieces = _write_fast(folder / "tokenizer.model", scratch / "tokenizer.json", told)
            tokenizer = AutoTokenizer.from_pretrained(
                scratch, local_files_only=True, trust_remote_code=False, **settings
            )
    except ImportError as error:
        raise ValueError(
            f"the tokenizer in {folder} needs a package that is missing ({first_line(error)}); "
            "install it and convert again"
        ) from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"the tokenizer in {folder} cannot be read: {first_line(error)}") from None
    for text in _PROBES:
        if pieces and tokenizer.encode(text, add_special_tokens=False) != pieces.encode(text):
            raise ValueError(
                f"{folder / 'tokenizer.model'} is no byte-pair model of Llama's kind: rebuilt for "
                "transformers, it splits a sentence differently; put its tokenizer.json beside it"
            )
    return tokenizer


def grown_rows(rows: int, tokenizer: Any) -> int:
    """Rows of the stock embedding: the original's, or enough for the tokens that were added."""
    if len(tokenizer) <= rows:
        return rows
    return -(-len(tokenizer) // ROW_MULTIPLE) * ROW_MULTIPLE


def _copy_files(folder: Path, scratch: Path) -> dict[str, Any]:
    """Copy the tokenizer's files; return its settings, the code that they may name left out."""
    for name in (*_FILES, *_BESIDE):
        if (folder / name).exists() and name != "tokenizer.model":
            shutil.copyfile(folder / name, scratch / name)
    path = scratch / "tokenizer_config.json"
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if (folder / "tokenizer.model").exists():
        told = {"tokenizer_class": "LlamaTokenizer", "legacy": True} | told
    told.pop("auto_map", None)
    path.write_text(json.dumps(told), encoding="utf-8")
    return told


def _write_fast(path: Path, to: Path, told: dict[str, Any]) -> Any:
    """Write a `tokenizer.model` as a `tokenizer.json`; return the sentencepiece model."""
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.processors import TemplateProcessing

    pieces = SentencePieceProcessor(model_file=str(path))
    vocabulary = {pieces.id_to_piece(index): index for index in range(len(pieces))}
    tokenizer = Tokenizer(
        BPE(vocabulary, _merges(vocabulary), fuse_unk=True, byte_fallback=True, unk_token="<unk>")
    )
    start, end = pieces.id_to_piece(pieces.bos_id()), pieces.id_to_piece(pieces.eos_id())
    tokenizer.post_processor = TemplateProcessing(
        single=[
            *([start] if told.get("add_bos_token", True) else []),
            "$A",
            *([end] if told.get("add_eos_token", False) else []),
        ],
        special_tokens=[(start, pieces.bos_id()), (end, pieces.eos_id())],
    )
    tokenizer.save(str(to))
    return pieces


def _merges(vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third, the earliest piece first.

    A sentencepiece BPE joins the neighbours whose union has the best score, and scores fall with
    the index.
    """
    merges = []
    for piece in sorted(vocabulary, key=vocabulary.__getitem__):
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [pair for pair in halves if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    return merges
