"""The caching allocator's rules by hand, and a language model's tensors against real ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from docs.scripts.study_allocator import MIB, allocated_bytes, language_tensors
from trainables.models.families.llava import LLAVA_LLAMA


def test_small_requests_are_multiples_of_512() -> None:
    assert allocated_bytes([1, 512, 513, 0]) == 512 + 512 + 1024 + 512


def test_rests_of_up_to_one_mebibyte_count_as_allocated() -> None:
    # 86.5 MiB get a segment of 88: 1.5 are free again. 87.2 get 88 too: 0.8 are not.
    assert allocated_bytes([int(86.5 * MIB)]) == int(86.5 * MIB)
    assert allocated_bytes([int(87.2 * MIB)]) == 88 * MIB
    # Small segments are always split.
    assert allocated_bytes([MIB - 512]) == MIB - 512


def test_the_smallest_free_block_that_fits_is_taken() -> None:
    # 9 and 9 MiB leave 2 of a segment of 20. 1.5 MiB fit there, and what is left is not split off.
    nine, more = 9 * MIB, 3 * MIB // 2
    assert allocated_bytes([nine, nine]) == 2 * nine
    assert allocated_bytes([nine, nine, more]) == 20 * MIB
    # 6 MiB of the first segment are free besides the 2 of the second: the 1.5 go into the 2.
    assert allocated_bytes([7 * MIB, 7 * MIB, nine, nine, more]) == 34 * MIB


def test_tensors_are_those_of_the_real_language_model(family: Any) -> None:
    shape = family.adapter.language_shape(family.config)
    decoder = family.model.get_submodule(family.adapter.language_model)
    real = [p.numel() for p in decoder.parameters()]
    kept = [(shape.num_key_value_heads, shape.intermediate_size)] * shape.num_hidden_layers
    found = list(language_tensors(shape, kept))
    assert sum(found) == sum(real)
    if all(len(projection.parts) == 1 for projection in family.adapter.projections):
        assert sorted(found) == sorted(real)  # Phi-3 stacks several projections in one tensor


def test_narrower_layers_have_fewer_rows(make_llava: Any) -> None:
    shape = LLAVA_LLAMA.language_shape(make_llava(kv_heads=4, layers=2).config.to_dict())
    kept = [(3, 20), (2, 48)]
    head = shape.vocab_size * shape.hidden_size
    assert sum(language_tensors(shape, kept)) == shape.lm_params(kept) - head


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_allocates_as_much() -> None:
    """Requests like those of a pruned model's layers, in a fresh pool."""
    requests = [26 * MIB, int(51.6 * MIB), 8192, 17 * MIB + 512, 9 * MIB, 9 * MIB, 3 * MIB // 2] * 3
    torch.cuda.empty_cache()
    pool = torch.cuda.MemPool()
    before = torch.cuda.memory_allocated()
    with torch.cuda.use_mem_pool(pool):
        tensors = [torch.empty(size, dtype=torch.uint8, device="cuda") for size in requests]
    assert torch.cuda.memory_allocated() - before == allocated_bytes(requests)
    del tensors
