"""Task files of one split: YAML that lmms-eval reads, pointing to local parquet files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import yaml
from filelock import FileLock

from trainables.common.contents import file_digest
from trainables.common.files import building, remove_leftovers
from trainables.common.provenance import versions
from trainables.embedded.data import EmbeddedData
from trainables.embedded.sources import SOURCES, embedded_task
from trainables.evaluation.catalog import TASKS

TEMPLATE = Path(__file__).parent / "tasks" / "tiny"
COPIED = ("_tiny_template_yaml", "utils.py")


def write_task_files(
    data: Mapping[str, EmbeddedData],
    split: str,
    folder: Path,
    others: Mapping[str, str] | None = None,
) -> Path:
    """A folder of lmms-eval task files for one split, written on first use below `folder`.

    The folder's name holds a digest of its content, so it is never stale, and it appears in one
    step, so several processes may ask at once.

    Args:
        data: of embedded models, by their names.
        split: `search` or `report`; both splits use the same task names.
        folder: where task folders are kept; created if it does not exist.
        others: files of other tasks, by name (`benchmark_files`).

    Raises:
        ValueError: a parquet file is missing.
    """
    files = {**_embedded_files(data, split, folder), **(others or {})}
    content = hashlib.sha256("\0".join(f"{k}\0{v}" for k, v in files.items()).encode())
    target = folder / f"{split}-{content.hexdigest()[:12]}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{target.name}.lock"):
        remove_leftovers(target)
        if not target.is_dir():  # otherwise another process was faster, with the same content
            with building(target) as part:
                for name, text in files.items():
                    (part / name).write_text(text, encoding="utf-8")
    return target


def embedded_version(data: EmbeddedData, task: str, split: str) -> dict[str, object]:
    """What the scores of an embedded task depend on besides the model and the limits.

    lmms-eval's version, the task's own code, and the content of its questions wherever they lie.
    """
    kind = task.removeprefix(embedded_task(TASKS[task].collection, ""))
    return {
        "code": [file_digest(TEMPLATE / name) for name in COPIED],
        "data": file_digest(data.tasks[kind][split]),
        "versions": versions("lmms-eval"),
    }


def arrow_cache(folder: Path) -> Path:
    """Where `datasets` keeps its form of the data of the task files in `folder`.

    Beside them, not in the home folder: a shared store serves every node.
    """
    return folder / "arrow"


def _embedded_files(data: Mapping[str, EmbeddedData], split: str, folder: Path) -> dict[str, str]:
    if not data:
        return {}
    files = {name: (TEMPLATE / name).read_text("utf-8") for name in COPIED}
    shared = yaml.load(files[COPIED[0]], yaml.BaseLoader)["generation_kwargs"]
    for source, kind in ((s, k) for s, own in data.items() for k in own.tasks):
        name, splits = embedded_task(source, kind), data[source].tasks[kind]
        if split not in splits or not splits[split].is_file():
            raise ValueError(
                f"the data of task '{name}' has no file for split {split!r} "
                f"({splits.get(split)}); generate the embedded data again"
            )
        task: dict[str, object] = {
            "include": COPIED[0],
            "task": name,
            "generation_kwargs": shared | {"max_new_tokens": SOURCES[source].new_tokens},
            "dataset_kwargs": {
                "data_files": {"test": str(splits[split].resolve())},
                "cache_dir": str(arrow_cache(folder).resolve()),
            },
        }
        files[f"{name}.yaml"] = yaml.safe_dump(task, sort_keys=False)
    return files
