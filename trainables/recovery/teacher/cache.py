"""Writes the teacher's answers to the training samples into a store, once for all trials.

Final hidden states serve every loss mixture, coefficient and data fraction; the top-k form serves
the logits term at one temperature. Only covered tokens are cached, so padding takes no room.

Shapes: B samples, T tokens, H hidden size, N cached tokens of a batch, K log-probabilities.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from trainables.models.collation import Batch, within_budget
from trainables.recovery.loss.coverage import positions_mask, sample_batch
from trainables.recovery.teacher.cache_contents import INDEX_BYTES, CacheContents
from trainables.recovery.teacher.choice import sized
from trainables.recovery.teacher.sample_store import NoRoomError, SampleStore, stored_keys

KIND = "teacher"
LOG_PROBS, TOKEN_IDS = "top_log_probs", "top_ids"
_HEAD_ROWS = 1024  # rows of logits in memory at a time
EVERY_SECONDS = 5.0  # between lines about the filling


@dataclass(frozen=True)
class Source:
    """The training data and the teacher, as the cache needs them.

    Attributes:
        key: content key of a sample (see `sample_key`).
        tokens: (input_ids, labels) of a sample.
        collate: a batch of samples, images included.
        states: the teacher's states of these numbers (see `layer_maps`) on a batch, [B, T, H] each.
        head: from its last state to logits; needed for `top_k` alone.
        layers: of the teacher.
        hidden_size: H.
        image_token_id: marks image tokens.
    """

    key: Callable[[int], str]
    tokens: Callable[[int], tuple[list[int], list[int]]]
    collate: Callable[[list[int]], Batch]
    states: Callable[[Batch, tuple[int, ...]], Sequence[Tensor]]
    head: nn.Module | None
    layers: int
    hidden_size: int
    image_token_id: int


def sample_key(ids: Sequence[int], labels: Sequence[int], images: Sequence[str]) -> str:
    """Key of one training sample: its tokens, which of them are answers, its images' digests."""
    whole = hashlib.blake2b(digest_size=16)
    for part in (ids, labels):
        whole.update(np.asarray(part, dtype=np.int64).tobytes())
        whole.update(b"|")
    whole.update("|".join(images).encode())
    return whole.hexdigest()


def find_store(
    root: Path, content: dict[str, Any], cached: CacheContents, samples: Sequence[str]
) -> tuple[SampleStore, CacheContents]:
    """The smallest complete cache that serves `cached`, and what it holds; else one of just that.

    Complete is one that holds all `samples` (keys); `content` is what the answers depend on
    besides, as plain JSON values.
    """
    own = SampleStore(root, KIND, {**content, "kept": cached.model_dump(mode="json")})
    if not own.missing(samples):
        return own, cached
    found = []
    for key in stored_keys(root, KIND):
        try:
            larger = CacheContents.model_validate(key.get("kept"))
        except ValidationError:
            continue
        if key != {**content, "kept": key["kept"]} or not larger.serves(cached):
            continue
        store = SampleStore(root, KIND, key)
        if not store.missing(samples):
            found.append((store, larger))
    return min(found, key=lambda pair: pair[0].nbytes, default=(own, cached))


def ensure_targets(
    store: SampleStore,
    cached: CacheContents,
    blocks: Sequence[Sequence[int]],
    source: Source,
    *,
    max_gib: float,
    tokens_per_batch: int = 8192,
) -> None:
    """Run the teacher over the samples that the store lacks; every rank and trial may call it.

    One process computes a block while the others wait; what is left undone is done by the next
    caller.

    Args:
        store: from `find_store`.
        cached: what it holds.
        blocks: samples that share their batches, also where only some of them are missing: in
            another batch the last bits of an answer may differ.
        source: data and teacher.
        max_gib: the store may not grow beyond this.
        tokens_per_batch: padding included.

    Raises:
        ValueError: the cache would outgrow its limit or the disk; nothing was computed.
    """
    by_key = [{source.key(i): i for i in block} for block in blocks]
    store.refresh()
    held = store.nbytes  # before a neighbour writes some of what is missing now
    missing = store.missing(key for block in by_key for key in block)
    if not missing:
        return
    samples = {key: i for block in by_key for key, i in block.items()}
    rows = 0
    for key in missing:
        sample = sample_batch(*source.tokens(samples[key]))
        rows += int(positions_mask(sample, cached.positions, source.image_token_id).sum())
    size = rows * cached.token_bytes(source.hidden_size) + len(missing) * INDEX_BYTES
    _refuse_without_room(store, size, held, max_gib * 2**30)
    print(f"teacher cache: {len(missing):,} to compute, about {sized(size)} of disk", flush=True)
    start = said = time.monotonic()
    for block in by_key:
        if not store.missing(block):
            continue
        with store.writing(max_bytes=int(max_gib * 2**30)) as writer:
            absent = {block[key] for key in store.missing(block)}
            lengths = {i: len(source.tokens(i)[0]) for i in block.values()}
            # Longest first shows a lack of memory at the start.
            order = sorted(lengths, key=lambda i: (-lengths[i], i))
            for batch in within_budget(order, lengths, tokens_per_batch):
                if not absent & set(batch):
                    continue
                for i, values in zip(batch, _answers(batch, cached, source), strict=True):
                    if i in absent:
                        writer.add(source.key(i), values)
        now, left = time.monotonic(), len(store.missing(missing))
        if now - said < EVERY_SECONDS and left:
            continue
        done, spent, said = len(missing) - left, now - start, now
        print(
            f"teacher cache: {done:,} of {len(missing):,}, {spent:.0f} s, "
            f"about {spent / done * left:.0f} s left",
            flush=True,
        )


def _refuse_without_room(store: SampleStore, needed: float, held: float, limit: float) -> None:
    """Raise unless `needed` bytes beyond those `held` stay within the limit and the disk."""
    way_out = (
        "raise teacher.max_cache_gib, cover fewer tokens (loss.hidden_tokens), lower "
        "data_fraction, or set teacher.mode='online'"
    )
    if held + needed > limit:
        raise NoRoomError(
            f"the teacher's cache would take {sized(held + needed)}, but its limit is "
            f"{sized(limit)}; {way_out}"
        )
    store.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(store.folder).free
    if needed > free:
        raise NoRoomError(
            f"the teacher's cache needs {sized(needed)} more, but {sized(free)} are free where the "
            f"store lies; free some or move the storage, or {way_out}"
        )


@torch.no_grad()
def _answers(indices: list[int], cached: CacheContents, source: Source) -> list[dict[str, Tensor]]:
    """The cached tensors of each sample, on the CPU."""
    batch = source.collate(indices)
    mask = positions_mask(batch, cached.positions, source.image_token_id)
    wanted = cached.states or (source.layers,)
    states = source.states(batch, wanted)
    rows = [state[mask.to(state.device)] for state in states]
    if cached.form == "top_k":
        assert source.head is not None
        assert cached.top_k is not None
        assert cached.temperature is not None
        log_probs, ids = top_log_probs(rows[-1], source.head, cached.top_k, cached.temperature)
        whole = {LOG_PROBS: log_probs.half(), TOKEN_IDS: ids.int()}
    else:
        dtype = getattr(torch, cached.dtype or "float32")
        named = zip(wanted, rows, strict=True)
        whole = {f"state_{number}": values.to(dtype) for number, values in named}
    counts = mask.sum(1).tolist()
    parts = {name: values.cpu().split(counts) for name, values in whole.items()}
    return [{name: rows[i] for name, rows in parts.items()} for i in range(len(indices))]


def top_log_probs(
    final: Tensor, head: nn.Module, k: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """The k largest log-probabilities of softmax(logits / temperature), falling, and their ids.

    From states [N, H] that feed a head to V logits: float32 and int64 [N, K], K = min(k, V).
    """
    values, ids = [], []
    for rows in final.split(_HEAD_ROWS):
        logits = head(rows).float() / temperature
        largest = logits.topk(min(k, logits.shape[-1]), dim=-1)
        values.append(largest.values - logits.logsumexp(-1, keepdim=True))
        ids.append(largest.indices)
    return torch.cat(values), torch.cat(ids)
