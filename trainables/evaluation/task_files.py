"""Task files of one split: YAML that lmms-eval reads, pointing to local parquet files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import yaml

from trainables.common.contents import file_digest
from trainables.common.files import building
from trainables.common.provenance import versions
from trainables.embedded.tiny_dataset import TinyData
from trainables.evaluation.catalog import EMBEDDED_PREFIX

TEMPLATE = Path(__file__).parent / "tasks" / "tiny"
COPIED = ("_tiny_template_yaml", "utils.py")


def write_task_files(
    data: TinyData | None, split: str, folder: Path, others: Mapping[str, str] | None = None
) -> Path:
    """A folder of lmms-eval task files for one split, written on first use below `folder`.

    The folder's name holds a digest of its content, so it is never stale, and it appears in one
    step, so several processes may ask at once.

    Args:
        data: parquet files of the embedded tasks by kind and split; None leaves them out.
        split: `search` or `report`; both splits use the same task names.
        folder: where task folders are kept; created if it does not exist.
        others: files of other tasks, by name (`benchmark_files`).

    Raises:
        ValueError: a parquet file is missing.
    """
    files = {**(_embedded_files(data, split, folder) if data else {}), **(others or {})}
    content = hashlib.sha256("\0".join(f"{k}\0{v}" for k, v in files.items()).encode())
    target = folder / f"{split}-{content.hexdigest()[:12]}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with building(target) as part:
            for name, text in files.items():
                (part / name).write_text(text, encoding="utf-8")
    except OSError:
        if not target.is_dir():  # otherwise another process was faster, with the same content
            raise
    return target


def embedded_version(data: TinyData, task: str, split: str) -> dict[str, object]:
    """What the scores of an embedded task depend on besides the model and the limits.

    lmms-eval's version, the task's own code, and the content of its questions wherever they lie.
    """
    questions = data.tasks[task.removeprefix(EMBEDDED_PREFIX)][split]
    return {
        "code": [file_digest(TEMPLATE / name) for name in COPIED],
        "data": file_digest(questions),
        "versions": versions("lmms-eval"),
    }


def arrow_cache(folder: Path) -> Path:
    """Where `datasets` keeps its form of the data of the task files in `folder`.

    Beside them, not in the home folder: a shared store serves every node.
    """
    return folder / "arrow"


def _embedded_files(data: TinyData, split: str, folder: Path) -> dict[str, str]:
    files = {name: (TEMPLATE / name).read_text("utf-8") for name in COPIED}
    for kind, splits in data.tasks.items():
        if split not in splits or not splits[split].is_file():
            raise ValueError(
                f"the data of task '{EMBEDDED_PREFIX}{kind}' has no file for split {split!r} "
                f"({splits.get(split)}); generate the embedded data again"
            )
        task = {
            "include": COPIED[0],
            "task": f"{EMBEDDED_PREFIX}{kind}",
            "dataset_kwargs": {
                "data_files": {"test": str(splits[split].resolve())},
                "cache_dir": str(arrow_cache(folder).resolve()),
            },
        }
        files[f"{EMBEDDED_PREFIX}{kind}.yaml"] = yaml.safe_dump(task, sort_keys=False)
    return files
