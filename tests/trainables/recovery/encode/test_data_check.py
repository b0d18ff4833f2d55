"""The report on a file of conversations: counts by hand, and every kind of fault by its ids."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.conversations import write_conversations

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.recovery.data.conversations import ConversationData
from trainables.recovery.encode.data_check import DataReport, check_data
from trainables.recovery.encode.encoder import Encoder
from trainables.specs import DataSpec


def report(path: Path, **settings: Any) -> DataReport:
    given = {"model": None, "processes": 2, **settings}
    max_tokens = given.pop("max_tokens", 256)
    spec = DataSpec(conversations=str(path), max_tokens=max_tokens)
    return check_data(spec, progress=lambda what, done, of: None, **given)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Forty samples; three rows, one image that two samples show, and one image's path are bad."""
    path = write_conversations(tmp_path, 40)
    rows = json.loads(path.read_text())
    rows[3]["conversations"][1]["value"] = ""
    rows[4]["conversations"].pop()
    rows[5]["image"] = "gone.png"
    rows[6] = "text"
    rows[7]["image"] = "8.png"
    del rows[9]["image"]
    rows[9]["conversations"][0]["value"] = "what ?"
    (tmp_path / "8.png").write_bytes((tmp_path / "8.png").read_bytes()[:50])
    (tmp_path / "10.png").write_text("no image")
    path.write_text(json.dumps(rows))
    return path


def test_what_is_broken_is_listed_by_kind_and_id(damaged: Path) -> None:
    found = report(damaged)
    ids = {fault: [name for name, _ in samples] for fault, samples in found.broken.items()}
    assert ids == {
        "empty answer": ["sample-3"],
        "wrong speakers": ["sample-4"],
        "no object": ["row 6"],
        "missing image": ["sample-5"],
        "unreadable image": ["sample-7", "sample-8", "sample-10"],
    }
    for samples in found.broken.values():
        assert all(repr(name) in text or name in text for name, text in samples)
    assert (found.samples, found.text_only, found.images, found.shown_images) == (36, 1, 34, 35)
    assert found.turns == 36
    assert found.tokens is None


def test_counts_and_lengths_of_a_clean_file(
    tmp_path: Path, processor: Any, conversations: ConversationData
) -> None:
    found = report(write_conversations(tmp_path, 40), model="tiny")
    encoder = Encoder(processor, conversations, 256, LLAVA_LLAMA)
    lengths = [len(encoder.tokens(i)[0]) for i in range(40)]
    assert found.broken == {}
    assert (found.samples, found.text_only, found.images, found.turns) == (40, 0, 40, 40)
    assert found.answer_characters == sum(
        len(answer) for c in conversations.conversations for _, answer in c.turns
    )
    assert found.tokens is not None
    assert found.tokens["total"] == sum(lengths)
    assert found.tokens["p100"] == max(lengths)
    assert found.tokens["p50"] in sorted(lengths)[19:21]


def test_a_sample_of_which_no_answer_would_be_left(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "how many circles ? " * 9}, {"from": "gpt", "value": "2"}]
    path = write_conversations(tmp_path, 3, conversations=turns)
    found = report(path, model="tiny", max_tokens=32)
    assert [name for name, _ in found.broken["too long"]] == ["sample-0"]
    assert found.tokens is not None
    assert found.tokens["p100"] <= 32


def test_a_sample_that_a_meta_file_repeats_is_reported_once(damaged: Path) -> None:
    meta = damaged.parent / "meta.json"
    entry = {"root": str(damaged.parent), "annotation": damaged.name, "repeat_time": 3}
    meta.write_text(json.dumps({"part": entry}))
    once, thrice = report(damaged), report(meta)
    assert thrice.samples == 3 * once.samples
    assert thrice.images == once.images
    assert thrice.broken == once.broken


def test_what_cannot_be_read_at_all(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('[{"id": 1, ')
    with pytest.raises(ValueError, match="truncated"):
        report(tmp_path / "data.json")
    (tmp_path / "data.json").write_text("[]")
    with pytest.raises(ValueError, match="no usable conversation"):
        report(tmp_path / "data.json")
    with pytest.raises(ValueError, match="neither a known model nor a folder"):
        report(write_conversations(tmp_path, 1), model="no/such/model")


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    seen: dict[str, tuple[int, int | None]] = {}

    def progress(what: str, done: int, of: int | None) -> None:
        seen[what] = (done, of)

    path = write_conversations(tmp_path, 7)
    check_data(DataSpec(conversations=str(path)), None, 1, progress)
    assert seen == {"rows": (0, None), "samples": (7, 7), "images": (7, 7)}


def test_no_torch_without_a_model(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, 2)
    code = (
        "import sys\n"
        "from trainables.recovery.encode.data_check import check_data\n"
        "from trainables.specs import DataSpec\n"
        f"check_data(DataSpec(conversations={str(path)!r}), None, 1, lambda *_: None)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
