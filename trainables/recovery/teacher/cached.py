"""The teacher whose answers are on disk: reads the rows of a micro-batch's samples.

Shapes: T tokens of a sample, N and M rows of a micro-batch (see `targets`), H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.models.collation import Batch
from trainables.recovery.loss.coverage import positions_mask, sample_batch
from trainables.recovery.loss.layer_maps import TeacherNeeds
from trainables.recovery.loss.targets import Targets
from trainables.recovery.loss.terms import TopK
from trainables.recovery.teacher.cache import (
    LOG_PROBS,
    TOKEN_IDS,
    Source,
    ensure_targets,
    find_store,
)
from trainables.recovery.teacher.cache_contents import (
    CacheContents,
    Positions,
    cached_positions,
    contents_for,
)
from trainables.recovery.teacher.sample_store import SampleStore
from trainables.specs import Dtype, TeacherSpec


def cached_teacher(
    root: Path,
    content: dict[str, Any],
    needs: TeacherNeeds,
    spec: TeacherSpec,
    blocks: Sequence[Sequence[int]],
    source: Source,
    *,
    compute: Dtype,
    device: torch.device,
    tokens_per_batch: int = 8192,
) -> CachedTeacher:
    """A teacher for these samples, after the answers that the store lacks have been computed.

    `content` is what the answers depend on (see `find_store`), `compute` the type in which teacher
    and student compute; `blocks` hold every sample that will be asked for (see `ensure_targets`).

    Raises:
        ValueError: the cache would outgrow its limit or the disk.
    """
    least = contents_for(needs, spec, source.layers, compute)
    store, cached = find_store(root, content, least, [source.key(i) for b in blocks for i in b])
    ensure_targets(
        store, cached, blocks, source, max_gib=spec.max_cache_gib, tokens_per_batch=tokens_per_batch
    )
    return CachedTeacher(store, cached, needs, source, device, getattr(torch, compute))


class CachedTeacher:
    """Satisfies `targets.Teacher` from a store that holds every sample it is asked for.

    What the store holds (`cached`) serves the needs; `dtype` is the student's.
    """

    def __init__(
        self,
        store: SampleStore,
        cached: CacheContents,
        needs: TeacherNeeds,
        source: Source,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Take a store that `ensure_targets` has filled from the same source."""
        self.name = "cached top_k" if cached.form == "top_k" else "cached"
        reads_logits = needs.logits and cached.form == "hidden"
        self.head: nn.Module | None = source.head if reads_logits else None
        self._store, self._contents, self._needs, self._source = store, cached, needs, source
        self._device, self._dtype = device, dtype
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="teacher-cache")
        self._ahead: dict[tuple[int, ...], Future[Targets]] = {}

    def prefetch(self, indices: Sequence[int]) -> None:
        """Begin to read a micro-batch in a thread; the call for it then finds its answers ready.

        A disk is waited for there, and not while the device has nothing to do.
        """
        self._ahead[tuple(indices)] = self._reader.submit(self._read, indices)

    def __call__(self, indices: Sequence[int], batch: Batch) -> Targets:
        """Targets of the samples, in their order; see `targets.Teacher`.

        Raises:
            ValueError: a sample is not in the store.
        """
        ahead = self._ahead.pop(tuple(indices), None)
        read = ahead.result() if ahead else self._read(indices)
        hidden = tuple(self._moved(state, self._dtype) for state in read.hidden)
        if read.top_k is not None:
            log_probs = self._moved(read.top_k.log_probs, torch.float32)
            return Targets(hidden, top_k=TopK(log_probs, self._moved(read.top_k.ids, torch.int64)))
        if read.final is None:
            return Targets(hidden)
        shared = read.hidden and read.final is read.hidden[-1]
        return Targets(hidden, hidden[-1] if shared else self._moved(read.final, self._dtype))

    def _read(self, indices: Sequence[int]) -> Targets:
        """The targets as they are cached, on the CPU."""
        needs, samples = self._needs, [self._rows(i) for i in indices]
        hidden: tuple[Tensor, ...] = ()
        if needs.states:
            masks = self._masks(indices, cached_positions(needs.hidden_tokens, None))
            hidden = tuple(self._joined(samples, f"state_{s}", masks) for s in needs.states)
        if not needs.logits:
            return Targets(hidden)
        if hidden and needs.hidden_tokens == needs.logits_tokens != "text":
            return Targets(hidden, hidden[-1])  # the same rows of the same state
        masks = self._masks(indices, cached_positions(None, needs.logits_tokens))
        if self._contents.form == "hidden":
            return Targets(hidden, self._joined(samples, f"state_{self._source.layers}", masks))
        log_probs = self._joined(samples, LOG_PROBS, masks)
        return Targets(hidden, top_k=TopK(log_probs, self._joined(samples, TOKEN_IDS, masks)))

    def _rows(self, index: int) -> dict[str, Tensor]:
        try:
            return self._store.read(self._source.key(index))
        except KeyError:
            raise ValueError(
                f"sample {index} of the training data is not in the teacher's cache "
                f"{self._store.folder.name}; fill it with `ensure_targets` first"
            ) from None

    def _masks(
        self, indices: Sequence[int], positions: tuple[Positions, ...]
    ) -> list[Tensor] | None:
        """Per sample, which of its cached rows lie at these positions; None is all of them."""
        if positions == self._contents.positions:
            return None
        masks = []
        for index in indices:
            sample = sample_batch(*self._source.tokens(index))
            wanted = positions_mask(sample, positions, self._source.image_token_id)
            cached = positions_mask(sample, self._contents.positions, self._source.image_token_id)
            masks.append(wanted[cached])
        return masks

    def _joined(
        self, samples: list[dict[str, Tensor]], name: str, masks: list[Tensor] | None
    ) -> Tensor:
        """One tensor of all samples, row after row; in page-locked memory on its way to a GPU."""
        parts = [sample[name] for sample in samples]
        if masks is not None:
            parts = [part[mask] for part, mask in zip(parts, masks, strict=True)]
        shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        pinned = self._device.type == "cuda"
        whole = torch.empty(shape, dtype=parts[0].dtype, pin_memory=pinned)
        return torch.cat(parts, out=whole)

    def _moved(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """To the device beside what it is computing, and there into the type."""
        return value.to(self._device, non_blocking=True).to(dtype)
