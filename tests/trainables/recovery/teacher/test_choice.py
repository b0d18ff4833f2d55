"""Keeping the teacher's answers or not: sizes and times by hand, and every obstacle."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.models.families.registry import language_shape
from trainables.models.families.shape import LanguageShape
from trainables.recovery.teacher.cache_contents import contents_of_loss
from trainables.recovery.teacher.choice import (
    READ_BYTES_PER_SECOND,
    WRITE_BYTES_PER_SECOND,
    TokenCounts,
    choose_teacher,
    teacher_bytes,
    teacher_pass_seconds,
)
from trainables.specs import LossSpec, ModelSpec, TeacherSpec

GIB = 2**30
TOKENS = TokenCounts(samples=100, all=62_600, text=5_000, response=2_500)


@pytest.fixture(scope="module")
def llava_7b() -> LanguageShape:
    return language_shape(ModelSpec(path="llava-hf/llava-1.5-7b-hf"))


@pytest.mark.parametrize(
    ("loss", "teacher", "expected"),
    [
        (LossSpec(gamma=1), TeacherSpec(), 62_600 * 4096 * 2),
        (LossSpec(gamma=1, hidden_layers=3), TeacherSpec(), 62_600 * 3 * 4096 * 2),
        (LossSpec(gamma=1), TeacherSpec(dtype="float32"), 62_600 * 4096 * 4),
        (LossSpec(beta=1), TeacherSpec(), 2_500 * 4096 * 2),
        (LossSpec(beta=1, gamma=1), TeacherSpec(), 62_600 * 4096 * 2),
        (LossSpec(beta=1, gamma=1, hidden_tokens="text"), TeacherSpec(), 5_100 * 4096 * 2),
        (LossSpec(beta=1), TeacherSpec(form="top_k", top_k=64), 2_500 * 64 * 6),
        (LossSpec(beta=1, logits_tokens="all"), TeacherSpec(form="top_k"), 62_600 * 64 * 6),
    ],
)
def test_bytes_by_hand(loss: LossSpec, teacher: TeacherSpec, expected: int) -> None:
    cached = contents_of_loss(loss, teacher, 32, "bfloat16")
    assert teacher_bytes(cached, TOKENS, 4096) == expected + 80 * 100


def test_a_pass_of_the_teacher_by_hand(llava_7b: LanguageShape) -> None:
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32064 * 4096
    flops = 100 * (2 * weights * 626 + 4 * 32 * 4096 * 626**2)
    assert teacher_pass_seconds(llava_7b, TOKENS, 4e14) == pytest.approx(flops / 4e14)


def choose(teacher: TeacherSpec | None = None, size: int = GIB, **changes: Any) -> Any:
    given = {"uses": 10.0, "pass_seconds": 60.0, "free_bytes": 100 * GIB} | changes
    return choose_teacher(teacher or TeacherSpec(), size, **given)


def test_auto_keeps_what_is_used_often() -> None:
    chosen = choose()
    assert (chosen.mode, chosen.form, chosen.size_bytes) == ("cached", "hidden", GIB)
    assert chosen.seconds == 60 + GIB / WRITE_BYTES_PER_SECOND
    in_all = chosen.seconds + 10 * GIB / READ_BYTES_PER_SECOND
    assert chosen.reason == (
        f"each sample is used 10 times: {in_all:.0f} s with a cache, 10 min without"
    )


def test_auto_runs_the_teacher_where_that_costs_less() -> None:
    once = choose(uses=1.0)
    assert (once.mode, once.size_bytes, once.seconds) == ("online", 0, 0.0)
    assert once.reason == "each sample is used 1 times: 63 s with a cache, 60 s without"
    slow_to_read = choose(pass_seconds=0.5)
    assert slow_to_read.mode == "online"
    # The limit is where both cost the same: P + S / w + U S / r = U P.
    uses = (60 + GIB / WRITE_BYTES_PER_SECOND) / (60 - GIB / READ_BYTES_PER_SECOND)
    assert choose(uses=uses * 1.001).mode == "cached"
    assert choose(uses=uses * 0.999).mode == "online"


def test_auto_without_room_runs_the_teacher_and_says_why() -> None:
    limited = choose(TeacherSpec(max_cache_gib=0.5))
    assert limited.mode == "online"
    assert limited.reason == "the cache would take 1.00 GiB, above its limit of 512.0 MiB"
    full = choose(free_bytes=GIB // 4)
    assert full.mode == "online"
    assert full.reason == "the cache would take 1.00 GiB, but 256.0 MiB are free"


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (
            TeacherSpec(mode="cached", max_cache_gib=0.5),
            r"teacher\.mode='cached' needs .*form='top_k'",
        ),
        (TeacherSpec(form="top_k", max_cache_gib=0.5), r"form='top_k' needs .* lower .*top_k"),
    ],
)
def test_a_cache_that_was_asked_for_and_has_no_room(teacher: TeacherSpec, said: str) -> None:
    with pytest.raises(ValueError, match=rf"{said}.* or set teacher\.mode='online'"):
        choose(teacher)
    with pytest.raises(ValueError, match=r"1\.00 GiB, but 10\.0 MiB are free; raise teacher"):
        choose(teacher.model_copy(update={"max_cache_gib": 2.0}), free_bytes=10 * 2**20)


def test_what_is_asked_for_is_done_though_it_costs_more() -> None:
    cached = choose(TeacherSpec(mode="cached"), uses=1.0)
    assert (cached.mode, cached.reason) == ("cached", "teacher.mode='cached'")
    top_k = choose(TeacherSpec(form="top_k"), uses=1.0)
    assert (top_k.mode, top_k.form, top_k.reason) == ("cached", "top_k", "teacher.form='top_k'")
    online = choose(TeacherSpec(mode="online"), uses=100.0)
    assert (online.mode, online.reason) == ("online", "teacher.mode='online'")
