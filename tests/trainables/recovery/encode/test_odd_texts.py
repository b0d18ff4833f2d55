"""Texts and templates that would train something else than is written: refused by the sample's id.

A further text is a line of `TEXTS`, a further template one of `TEMPLATES`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.conversations import write_conversations
from helpers.family_processors import VIDEO, make_processor
from PIL import Image

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.families.registry import ADAPTERS, TINY_FOLDER
from trainables.recovery.data.conversations import Conversation, ConversationData
from trainables.recovery.encode.data_check import check_data
from trainables.recovery.encode.encoder import Encoder
from trainables.specs import DataSpec

SOUND = Conversation("sound", (), (("why ?", "so"),))


def encoder(processor: Any, *samples: Conversation, **settings: Any) -> Encoder:
    data = ConversationData((SOUND, *samples), (), "")
    return Encoder(processor, data, 256, LLAVA_LLAMA, **settings)


# Question, answer, and the control token in them.
TEXTS: list[tuple[str, str, str | None]] = [
    ("say </s>", "so", "</s>"),
    ("why ?", "so </s> user: and", "</s>"),
    ("why ?", "<s>", "<s>"),
    ("<pad>", "so", "<pad>"),
    ("<unk>", "so", "<unk>"),
    ("what is <|start|> ?", "so", "<|start|>"),
    (f"what is {VIDEO} ?", "so", VIDEO),
    ("why ?", "<row_1_col_1>", "<row_1_col_1>"),
    ("<end_of_utterance>", "so", "<end_of_utterance>"),
    ("why ?", "the <ref>cat</ref><box>[[0, 1]]</box>", None),
    ("why ?", "the <|object_ref_start|>cat<|object_ref_end|>", None),
    ("why < s > ?", "</ s>", None),
    ("{{ bos_token }}", "{% raw %}", None),
]


@pytest.mark.parametrize(("question", "answer", "token"), TEXTS)
def test_no_text_acts_as_a_control_token(question: str, answer: str, token: str | None) -> None:
    processor = make_processor.__wrapped__("llava-llama")
    regions = ["<ref>", "</ref>", "<box>", "</box>", "<|object_ref_start|>", "<|object_ref_end|>"]
    processor.tokenizer.add_tokens(regions, special_tokens=True)
    odd = encoder(processor, Conversation("odd", (), (("why ?", "so"), (question, answer))))
    fault = odd.fault(1)
    if token is None:
        assert fault is None
        return
    assert fault is not None
    assert (fault.fault, fault.sample) == ("special tokens", "odd")
    assert f"answer 2 holds {token!r}" in fault.message
    assert odd.usable(np.arange(2)).tolist() == [0]


TURN = "{% for m in messages %}{{ m.role + ': ' }}"
ASKS = "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
TEXT = "{% set t = m.content | map(attribute='text') | join %}"
# A template, and how many of the samples' turns it can write: THOUGHTS has one and two.
TEMPLATES: dict[str, tuple[str, set[str]]] = {
    "plain": (TURN + TEXT + "{{ t }}\n" + ASKS, {"one", "two", "thought", "thoughts"}),
    "drops the thoughts of earlier turns": (
        TURN + TEXT + "{{ t if loop.last else t.split('</think>')[-1] }}\n" + ASKS,
        {"one", "two", "thought"},
    ),
    "writes empty thoughts into the last turn": (
        TURN + TEXT + "{% if loop.last and m.role == 'assistant' and '<think>' not in t %}"
        "{{ '<think></think>' }}{% endif %}{{ t }}\n" + ASKS,
        {"one", "thought", "thoughts"},
    ),
    "drops all thoughts": (TURN + TEXT + "{{ t.split('</think>')[-1] }}\n" + ASKS, {"one", "two"}),
    "counts from the end": (TURN + TEXT + "{{ loop.revindex }} {{ t }}\n" + ASKS, set()),
    "refuses a second turn": (
        TURN + TEXT + "{% if loop.index > 2 %}{{ raise_exception('one turn\nonly') }}{% endif %}"
        "{{ t }}\n" + ASKS,
        {"one", "thought"},
    ),
    "writes in capitals": (TURN + TEXT + "{{ t | upper }}\n" + ASKS, set()),
    "keeps the last turn alone": (
        "{% for m in messages[-2:] %}{{ m.role + ': ' }}" + TEXT + "{{ t }}\n" + ASKS,
        {"one", "thought"},
    ),
}
THOUGHTS = {
    "one": (("why ?", "so"),),
    "two": (("why ?", "so"), ("and ?", "so too")),
    "thought": (("why ?", "<think>a b</think>so"),),
    "thoughts": (("why ?", "<think>a b</think>so"), ("and ?", "<think>c</think>so too")),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_rewrites_is_refused_sample_by_sample(name: str) -> None:
    processor = make_processor.__wrapped__("qwen3-vl")
    processor.chat_template, sound = TEMPLATES[name]
    samples = [Conversation(name, (), turns) for name, turns in THOUGHTS.items()]
    data = ConversationData(tuple(samples), (), "")
    found = Encoder(processor, data, 256, ADAPTERS["qwen3-vl"])
    faults = [found.fault(i) for i in range(len(samples))]
    assert {s.id for s, fault in zip(samples, faults, strict=True) if fault is None} == sound
    for sample, fault in zip(samples, faults, strict=True):
        if fault is not None:
            assert (fault.fault, fault.sample) == ("chat template", sample.id)
            assert "\n" not in fault.message


def test_the_check_names_what_a_models_template_rewrites(tmp_path: Path) -> None:
    shutil.copytree(TINY_FOLDER, tmp_path / "model")
    template, _ = TEMPLATES["counts from the end"]
    marks = "{% for p in m.content if p.type == 'image' %}<image>{% endfor %}{{ t }}"
    changes = {"loop.revindex": "'' if messages | length < 3 else loop.revindex", "{{ t }}": marks}
    for old, new in changes.items():
        template = template.replace(old, new)
    (tmp_path / "model" / "chat_template.jinja").write_text(template)
    turns = [{"from": ("human", "gpt")[i % 2], "value": "red"} for i in range(4)]
    path = write_conversations(tmp_path, 3, conversations=turns, image=None)
    rows = path.read_text().replace("<image>\\n", "").replace('"image"', '"note"')
    path.write_text(rows)
    spec = DataSpec(conversations=str(path), skip_broken=True)
    found = check_data(spec, str(tmp_path / "model"), 1, lambda *_: None)
    assert {kind: [name for name, _ in bad] for kind, bad in found.broken.items()} == {
        "chat template": ["sample-0"]
    }


def test_images_are_looked_at_before_they_are_trained_on(tmp_path: Path) -> None:
    """The heads of all of them are whole."""
    processor = make_processor("llava-llama")
    samples = []
    for name in ("whole", "half"):
        path = tmp_path / f"{name}.png"
        Image.effect_noise((64, 64), 9).save(path)
        if name == "half":
            path.write_bytes(path.read_bytes()[:900])
        samples.append(Conversation(name, (path,), (("why ?", "so"),)))
    trusting = encoder(processor, *samples)
    assert trusting.usable(np.arange(3)).tolist() == [0, 1, 2]
    looking = encoder(processor, *samples, look=True)
    assert looking.usable(np.arange(3)).tolist() == [0, 1]
    fault = looking.fault(2)
    assert fault is not None
    assert (fault.fault, fault.sample) == ("unreadable image", "half")
    shutil.copyfile(tmp_path / "whole.png", tmp_path / "half.png")
    assert looking.usable(np.arange(3)).tolist() == [0, 1, 2]
