"""Cached targets equal those of a teacher that runs in every step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.teachers import CONTENT, CPU, LAYERS, SAMPLES, WIDTH, Data, cached, close

from trainables.models.collation import IGNORE
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.work import RecoveryFlops
from trainables.recovery.loss.layer_maps import TeacherNeeds
from trainables.recovery.loss.targets import Targets, Teacher
from trainables.recovery.loss.terms import total_loss
from trainables.recovery.teacher.cache import (
    ensure_targets,
    find_store,
    sample_key,
    top_log_probs,
)
from trainables.recovery.teacher.cache_contents import CacheContents, contents_for
from trainables.recovery.teacher.cached import CachedTeacher
from trainables.recovery.teacher.online import OnlineTeacher
from trainables.recovery.train.passes import Passes, RecoveryJob
from trainables.specs import LossSpec, RecoverySpec, TeacherSpec, TrialSpec


@pytest.fixture
def make_data(make_llava: Callable[..., Any]) -> Callable[..., Data]:
    def make(dtype: torch.dtype = torch.float32) -> Data:
        return Data(make_llava(kv_heads=4).to(dtype), dtype)

    return make


NEEDS = [
    TeacherNeeds((LAYERS,), "all", False, "response", 2.0),
    TeacherNeeds((2, LAYERS), "text", True, "response", 2.0),
    TeacherNeeds((2, LAYERS), "text", True, "text", 2.0),
    TeacherNeeds((LAYERS,), "response", True, "response", 2.0),
    TeacherNeeds((), "all", True, "text", 2.0),
    TeacherNeeds((0, 1, LAYERS), "all", True, "all", 2.0),
]


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_cached_equals_online(
    make_data: Callable[..., Data], tmp_path: Path, needs: TeacherNeeds, side: str
) -> None:
    data = make_data()
    teacher: Teacher = cached(data, tmp_path, needs)
    assert teacher.name == "cached"
    assert (teacher.head is data.model.lm_head) == needs.logits
    for indices in ([5, 0, 7], [3], list(range(SAMPLES))):
        close(
            teacher(indices, data.collate(indices, side)), data.online(needs, indices, side), 1e-6
        )


def test_cached_equals_online_in_bfloat16(make_data: Callable[..., Data], tmp_path: Path) -> None:
    data = make_data(torch.bfloat16)
    needs = TeacherNeeds((2, LAYERS), "all", True, "response", 2.0)
    teacher = cached(data, tmp_path, needs, tokens_per_batch=1)
    for index in range(SAMPLES):
        close(teacher([index], {}), data.online(needs, [index], "right"), 1e-3)


def test_every_batch_is_of_similar_length_and_each_sample_is_shown_once(
    make_data: Callable[..., Data], tmp_path: Path
) -> None:
    data = make_data()
    cached(data, tmp_path, NEEDS[0], tokens_per_batch=64)
    lengths = [length for batch in data.shown for length in batch]
    assert lengths == sorted((len(ids) for ids, _ in data.samples), reverse=True)
    assert all(len(batch) * max(batch) <= 64 for batch in data.shown)
    assert len(data.shown) < SAMPLES / 2


def test_ranks_that_ask_at_once_compute_everything_once(
    make_data: Callable[..., Data], tmp_path: Path
) -> None:
    ranks = [make_data() for _ in range(3)]
    barrier = threading.Barrier(len(ranks))

    def work(data: Data) -> Targets:
        barrier.wait()
        return cached(data, tmp_path, NEEDS[0], tokens_per_batch=1)([0, 5], {})

    with ThreadPoolExecutor(len(ranks)) as pool:
        answers = list(pool.map(work, ranks))
    assert sum(len(data.shown) for data in ranks) == SAMPLES
    for answer in answers:
        close(answer, ranks[0].online(NEEDS[0], [0, 5], "right"), 1e-6)


def test_nested_subsets_and_other_files_share_samples(
    make_data: Callable[..., Data], tmp_path: Path
) -> None:
    data = make_data()
    cached(data, tmp_path, NEEDS[0], blocks=[[4, 1, 8]])
    cached(data, tmp_path, NEEDS[0], blocks=[[4, 1, 8], [2, 9]])
    assert sorted(len(data.samples[i][0]) for i in (4, 1, 8, 2, 9)) == sorted(
        length for batch in data.shown for length in batch
    )
    shown = len(data.shown)
    data.samples.reverse()  # the same samples in another file, at other places
    data.pixels = data.pixels.flip(0)
    source = replace(
        data.source(),
        key=lambda i: sample_key(*data.samples[i], (f"image-{SAMPLES - 1 - i}",)),
    )
    contents = contents_for(NEEDS[0], TeacherSpec(), LAYERS, "float32")
    indices = [SAMPLES - 1 - i for i in (8, 2, 4, 1, 9)]
    store, _ = find_store(tmp_path, CONTENT, contents, [source.key(i) for i in indices])
    ensure_targets(store, contents, [indices], source, max_gib=1.0)
    assert len(data.shown) == shown
    teacher = CachedTeacher(store, contents, NEEDS[0], source, CPU, torch.float32)
    close(teacher(indices, {}), data.online(NEEDS[0], indices, "right"), 1e-6)


def test_what_is_kept_does_not_depend_on_who_came_first(
    make_data: Callable[..., Data], tmp_path: Path
) -> None:
    """A block that a killed writer left half done is run through in the same batches again."""
    data, blocks = make_data(), [[4, 1, 8, 3], [2, 9, 0]]
    needs = NEEDS[0]
    whole = cached(data, tmp_path / "whole", needs, blocks=blocks, tokens_per_batch=64)
    source, store = data.source(), whole._store
    contents = contents_for(needs, TeacherSpec(), LAYERS, "float32")
    torn, _ = find_store(tmp_path / "torn", CONTENT, contents, [])
    with torn.writing(max_bytes=2**30) as writer:
        writer.add(source.key(1), {k: v.clone() for k, v in store.read(source.key(1)).items()})
    ensure_targets(torn, contents, blocks, source, max_gib=1.0, tokens_per_batch=64)
    for index in (i for block in blocks for i in block):
        mine, theirs = (s.read(source.key(index)) for s in (torn, store))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_larger_complete_cache_serves_smaller_needs(
    make_data: Callable[..., Data], tmp_path: Path
) -> None:
    data = make_data()
    cached(data, tmp_path, TeacherNeeds((2, LAYERS), "all", True, "response", 2.0))
    shown = len(data.shown)
    for needs in NEEDS[:5]:
        teacher = cached(data, tmp_path, needs)
        assert len(data.shown) == shown  # nothing was computed
        expected = data.online(needs, [2, 3, 10], "right")
        shown += 1
        close(teacher([2, 3, 10], data.collate([2, 3, 10])), expected, 1e-6)
    assert len(list((tmp_path / "teacher").glob("*/key.json"))) == 1
    cached(data, tmp_path, NEEDS[5])  # asks for another state
    assert len(data.shown) > shown
    assert len(list((tmp_path / "teacher").glob("*/key.json"))) == 2


def test_an_incomplete_larger_cache_is_left_alone(
    make_data: Callable[..., Data], tmp_path: Path
) -> None:
    data = make_data()
    cached(data, tmp_path, NEEDS[0], blocks=[[0, 1]])
    teacher = cached(data, tmp_path, NEEDS[3])
    close(teacher([0, 11], {}), data.online(NEEDS[3], [0, 11], "right"), 1e-6)
    assert len(list((tmp_path / "teacher").glob("*/key.json"))) == 2


@pytest.mark.parametrize("change", [{"weights": "abd"}, {"images": "9 pixels"}])
def test_other_weights_or_settings_are_a_miss(
    make_data: Callable[..., Data], tmp_path: Path, change: dict[str, str]
) -> None:
    data = make_data()
    cached(data, tmp_path, NEEDS[0])
    source = data.source()
    contents = contents_for(NEEDS[0], TeacherSpec(), LAYERS, "float32")
    keys = [source.key(i) for i in range(SAMPLES)]
    store, _ = find_store(tmp_path, {**CONTENT, **change}, contents, keys)
    assert store.missing(keys) == keys


def test_what_was_read_ahead_is_the_same(make_data: Callable[..., Data], tmp_path: Path) -> None:
    data = make_data()
    teacher = cached(data, tmp_path, NEEDS[1])
    batches = ([5, 0, 7], [3], [5, 0, 7], [11, 2])
    plain = [teacher(indices, {}) for indices in batches]
    for indices in batches[:3]:
        teacher.prefetch(indices)
    for indices, expected in zip(batches, plain, strict=True):
        close(teacher(indices, {}), expected, 0.0)
    data.samples[3] = ([1, 2], [1, 2])
    other = CachedTeacher(
        teacher._store, teacher._contents, NEEDS[1], data.source(), CPU, torch.float32
    )
    other.prefetch([3])  # an error waits for the call
    with pytest.raises(ValueError, match="sample 3 of the training data is not in the teacher's"):
        other([3], {})


def test_a_pass_has_the_answers_of_the_next_read(
    make_data: Callable[..., Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read ahead, once, and only while another pass computes; the loss stays the same."""
    data = make_data()
    needs, loss = NEEDS[3], LossSpec(alpha=0.5, beta=0.5, gamma=0.5, hidden_tokens="response")
    teacher, events = cached(data, tmp_path, needs), list[tuple[str, tuple[int, ...]]]()
    for name in ("prefetch", "__call__"):
        method = getattr(CachedTeacher, name)

        def told(
            self: Any, indices: Any, *others: Any, _name: str = name, _do: Any = method
        ) -> Any:
            events.append((_name, tuple(indices)))
            return _do(self, indices, *others)

        monkeypatch.setattr(CachedTeacher, name, told)
    encoder: Any = SimpleNamespace(
        length=lambda i: len(data.samples[i][0]),
        tokens=data.samples.__getitem__,
        batch=lambda indices: data.collate(indices),
    )
    recovery = RecoverySpec(scope="joint", loss=loss, max_tokens_per_step=60)
    job = RecoveryJob(
        spec=TrialSpec(recovery=recovery),
        folder=tmp_path,
        attempt="",
        adapter=LLAVA_LLAMA,
        states=(LAYERS,),
        hidden_scale=(1.0,),
        teacher_width=WIDTH,
        flops=RecoveryFlops(),
    )
    student = data.model  # faces itself; its head is one of the loss's terms all the same
    student.get_submodule(LLAVA_LLAMA.projector).requires_grad_(True)
    online = OnlineTeacher(student, needs, LLAVA_LLAMA)
    sums = []
    for each in (teacher, online):
        passes = Passes(student, each, encoder, job, recovery, None)
        runs = passes.of(list(range(SAMPLES)), passes.objective)
        sums.append(sum(float(total_loss(run(), loss).detach()) for run in runs))
    plan = [tuple(part) for part in passes.plan(list(range(SAMPLES)))]
    assert len(plan) > 2
    assert events == [(name, part) for part in plan for name in ("prefetch", "__call__")]
    assert teacher._ahead == {}
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_a_changed_sample_is_a_miss(make_data: Callable[..., Data], tmp_path: Path) -> None:
    data = make_data()
    teacher = cached(data, tmp_path, NEEDS[0])
    ids, labels = data.samples[3]
    data.samples[3] = ([*ids[:-1], ids[-1] + 1], labels)
    with pytest.raises(ValueError, match="sample 3 of the training data is not in the teacher's"):
        teacher([3], {})


@pytest.mark.parametrize(("labels", "image"), [([IGNORE, 1], "a"), ([2, 1], "b")])
def test_labels_and_images_belong_to_a_sample(labels: list[int], image: str) -> None:
    assert sample_key([2, 1], labels, (image,)) != sample_key([2, 1], [2, 1], ("a",))


def test_top_k(make_data: Callable[..., Data], tmp_path: Path) -> None:
    data = make_data()
    needs = TeacherNeeds((), "all", True, "response", 2.0)
    teacher = cached(data, tmp_path, needs, TeacherSpec(form="top_k", top_k=5))
    assert (teacher.name, teacher.head) == ("cached top_k", None)
    indices = [6, 1, 2]
    final = data.online(needs, indices, "right").final
    assert final is not None
    whole = (data.model.lm_head(final).double() / 2.0).log_softmax(-1).sort(-1, descending=True)
    top = teacher(indices, data.collate(indices)).top_k
    assert top is not None
    assert torch.equal(top.ids, whole.indices[:, :5])
    assert torch.allclose(top.log_probs.double(), whole.values[:, :5], rtol=1e-3, atol=1e-4)
    assert teacher._store.nbytes < 5 * 6 * 12 * 13 + 4000


def test_top_k_above_the_vocabulary_is_the_whole_distribution() -> None:
    head = torch.nn.Linear(4, 7)
    values, ids = top_log_probs(torch.randn(3, 4), head, 64, 1.0)
    assert ids.shape == (3, 7)
    assert torch.allclose(values.exp().sum(-1), torch.ones(3))


def test_a_cache_above_its_limit_is_refused_before_anything_is_computed(
    make_data: Callable[..., Data], tmp_path: Path
) -> None:
    data = make_data()
    with pytest.raises(
        ValueError, match=r"take 21\.7 KiB, but its limit is 1\.0 KiB; .*max_cache_gib"
    ):
        cached(data, tmp_path, NEEDS[0], TeacherSpec(max_cache_gib=1e-6))
    assert data.shown == []


def test_a_cache_says_its_size_before_it_starts(
    make_data: Callable[..., Data], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data()
    needs = TeacherNeeds((1, 2, LAYERS), "all", False, "response", 2.0)
    teacher = cached(data, tmp_path, needs)
    first, *_, last = capsys.readouterr().out.splitlines()
    tokens = sum(len(ids) for ids, _ in data.samples)
    size = (tokens * 3 * WIDTH * 4 + 80 * SAMPLES) / 2**10
    assert first == f"teacher cache: 12 to compute, about {size:.1f} KiB of disk"
    assert last.startswith("teacher cache: 12 of 12, ")
    assert abs(teacher._store.nbytes / 2**10 - size) < 1


def test_a_head_in_chunks_equals_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    head, final = torch.nn.Linear(8, 20), torch.randn(50, 8)
    whole = top_log_probs(final, head, 4, 1.5)
    monkeypatch.setattr("trainables.recovery.teacher.cache._HEAD_ROWS", 7)
    parts = top_log_probs(final, head, 4, 1.5)
    assert torch.equal(whole[1], parts[1])
    assert torch.allclose(whole[0], parts[0], atol=1e-6)


def test_what_is_kept_is_part_of_the_key(make_data: Callable[..., Data], tmp_path: Path) -> None:
    data = make_data()
    for dtype in ("float32", "bfloat16"):
        cached(data, tmp_path, NEEDS[0], TeacherSpec(dtype=dtype))
    contents = CacheContents(form="hidden", positions=("all",), states=(LAYERS,), dtype="bfloat16")
    store, _ = find_store(tmp_path, CONTENT, contents, [])
    assert len(store) == SAMPLES
    assert store.read(data.source().key(0))["state_4"].dtype == torch.bfloat16
