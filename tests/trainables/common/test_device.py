"""What is freed goes back to the system."""

import platform

import psutil
import pytest
import torch

from trainables.common.device import release_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps nothing")
def test_freed_tensors_leave_the_process() -> None:
    own = psutil.Process().memory_info
    tensors = [torch.ones(4096) for _ in range(8192)]  # 16 KiB each: none is mapped by itself
    del tensors[:-1]  # the last one holds the top of the heap
    before = own().rss
    release_memory()
    assert before - own().rss > 64 * 2**20
