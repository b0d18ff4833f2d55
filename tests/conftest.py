"""Fixtures that tests of every room share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.family_models import FAMILIES, Family
from helpers.llava_models import make_batch, make_llava
from helpers.object_store import BUCKET, object_store


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """A tiny random model of each family in turn."""
    return FAMILIES[request.param]()


@pytest.fixture(scope="session")
def families() -> dict[str, Callable[..., Family]]:
    """Family name -> function that builds a new tiny model (`seed`, `text`, `samples`)."""
    return FAMILIES


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Sums in the same order on every machine, and no fight for the cores of a small one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _own_datasets_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of its own for `datasets`, which also holds the tables of conversations."""
    folder = tmp_path_factory.mktemp("datasets")
    before = os.environ.get("HF_DATASETS_CACHE")
    os.environ["HF_DATASETS_CACHE"] = str(folder)
    if "datasets" in sys.modules:  # has read the variable when it was imported
        sys.modules["datasets"].config.HF_DATASETS_CACHE = folder
    yield folder
    if before is None:
        del os.environ["HF_DATASETS_CACHE"]
    else:
        os.environ["HF_DATASETS_CACHE"] = before


@pytest.fixture(autouse=True, scope="session")
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for what plans count once and keep: not the user's, and one for all processes."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder of its own in that of the session
        root = root.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.delenv("PRUNESWEEP_CACHE", raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_tracking_server() -> Iterator[None]:
    """Sweeps of tests are mirrored into their own storage, never where the user's go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of a bucket of a real S3 server on loopback, which the environment leads to."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with object_store() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}"


@pytest.fixture(name="make_llava")
def _make_llava() -> Callable[..., Any]:
    """`helpers.llava_models.make_llava`."""
    return make_llava


@pytest.fixture(
    params=[{}, {"kv_heads": 4}, {"kv_heads": 2, "tied": True}], ids=["mha", "gqa4", "gqa2-tied"]
)
def llava(request: pytest.FixtureRequest) -> Any:
    """A tiny random LLaVA: one KV head per query head, shared KV heads, tied embeddings."""
    return make_llava(**request.param)


@pytest.fixture(name="make_batch")
def _make_batch() -> Callable[..., dict[str, Any]]:
    """`helpers.llava_models.make_batch`."""
    return make_batch


@pytest.fixture
def batch() -> dict[str, Any]:
    """A random batch of three samples for the tiny random models."""
    return make_batch()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray begins first: it takes longest, and nothing may wait for it at the end."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several processes each takes a file at a time, and one of them all that starts Ray."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "integration" if "/integration/" in file else file

    return ByFile(config, log)
