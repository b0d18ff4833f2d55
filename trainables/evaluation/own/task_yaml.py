"""lmms-eval tasks in a user's folder, or installed: found by their YAML, without lmms-eval."""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainables.common.contents import file_digest
from trainables.common.names import first_line
from trainables.embedded.sources import SOURCES, embedded_task
from trainables.evaluation.benchmarks.benchmark import BENCHMARKS
from trainables.evaluation.benchmarks.installed import file_naming, judged
from trainables.evaluation.own.vqa_file import vqa_file
from trainables.specs import EvaluationSpec, digest

_LOCAL = ("parquet", "json", "csv", "arrow")  # builders of `datasets` that read files of one's own


class _Loader(yaml.SafeLoader):
    """Reads `!function` as text."""


_Loader.add_multi_constructor("!", lambda loader, tag, node: f"!{tag} {node.value}")


@dataclass(frozen=True)
class TaskYaml:
    """A task's file and what stands in it, its includes' entries under its own."""

    path: Path
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.settings["task"])

    @property
    def split(self) -> str | None:
        """The split that is asked, as lmms-eval chooses it."""
        return self.settings.get("test_split") or self.settings.get("validation_split")

    @property
    def data_files(self) -> list[Path]:
        """Files of one's own that it reads; none where `datasets` fetches them."""
        if self.settings.get("dataset_path") not in _LOCAL:
            return []
        given = (self.settings.get("dataset_kwargs") or {}).get("data_files")
        return [self.path.parent / name for name in _texts(given)]

    @property
    def digest(self) -> str:
        """Of the code and YAML that lie beside it, and of its files of data."""
        beside = sorted(p for p in self.path.parent.iterdir() if p.is_file())
        code = [p for p in beside if p.suffix in (".py", ".yaml") or p.name.endswith("_yaml")]
        files = [*code, *self.data_files]
        named = [str(self.settings.get(key)) for key in ("dataset_path", "dataset_name")]
        return digest([self.name, *named, *((p.name, file_digest(p)) for p in files)])


def yaml_tasks(settings: EvaluationSpec) -> dict[str, TaskYaml]:
    """The tasks of the settings' folders by name.

    Raises:
        ValueError: a folder is missing or holds no task, or two tasks have one name.
    """
    found: dict[str, TaskYaml] = {}
    for folder in settings.task_folders:
        tasks = list(_in_folder(Path(folder)))
        if not tasks:
            raise ValueError(
                f"trial.evaluation.task_folders: {folder} holds no lmms-eval task, that is a .yaml "
                "file with a `task` and a `dataset_path`"
            )
        for task in tasks:
            if task.name in found:
                raise ValueError(f"{task.path} and {found[task.name].path} are both {task.name!r}")
            found[task.name] = task
    return found


def chosen_yaml(settings: EvaluationSpec) -> dict[str, TaskYaml]:
    """Those of the tasks that are YAML alone: of the settings' folders, or installed.

    Without a list of tasks they are all of the folders'.
    """
    own = yaml_tasks(settings)
    known = {
        *BENCHMARKS,
        *(embedded_task(s, kind) for s, source in SOURCES.items() for kind in source.kinds),
    }
    found: dict[str, TaskYaml] = {}
    for name in settings.tasks or own:
        if name in known or vqa_file(name) is not None:
            if name in own:
                raise ValueError(f"{own[name].path} is named like a known task; rename its `task`")
            continue
        task = own.get(name) or installed_task(name)
        if task is not None:
            found[name] = task
    return found


@functools.lru_cache(maxsize=64)
def installed_task(name: str) -> TaskYaml | None:
    """A task that comes with lmms-eval; None where it has none, or where a judge would score it."""
    found = file_naming(name, "task")
    return None if found is None or judged(found[1]) else read_task(found[0])


def read_task(path: Path) -> TaskYaml:
    """The task of a file.

    Raises:
        ValueError: it is no YAML.
    """
    return TaskYaml(path, _read(path))


def check_yaml(task: TaskYaml) -> None:
    """Refuse a task that could not be scored here, as far as its file says it.

    Raises:
        ValueError: names the file, and what is missing or does not fit.
    """
    kind = task.settings.get("output_type", "generate_until")
    if kind != "generate_until":
        raise ValueError(
            f"task {task.name!r} ({task.path}) has output_type {kind!r}, but only answers are "
            "scored here (generate_until)"
        )
    for key in ("doc_to_text", "doc_to_target", "doc_to_visual", "metric_list"):
        if not task.settings.get(key):
            raise ValueError(f"task {task.name!r} ({task.path}) has no {key}, which scoring needs")
    if task.split is None:
        raise ValueError(f"task {task.name!r} ({task.path}) has no test_split or validation_split")
    for path in task.data_files:
        if not path.is_file():
            raise ValueError(f"task {task.name!r} ({task.path}) reads {path}, which is not there")


def _in_folder(folder: Path) -> Iterator[TaskYaml]:
    if folder.is_file():
        files = [folder]
    elif folder.is_dir():
        files = sorted(p for p in folder.rglob("*.yaml") if not p.name.startswith("_"))
    else:
        raise ValueError(f"trial.evaluation.task_folders: there is no folder or file {folder}")
    for path in files:
        task = read_task(path)
        if isinstance(task.settings.get("task"), str) and "dataset_path" in task.settings:
            yield task


def _read(path: Path) -> dict[str, Any]:
    try:
        own = yaml.load(path.read_text("utf-8"), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read as YAML ({first_line(error)})") from None
    if not isinstance(own, dict):
        return {}
    merged: dict[str, Any] = {}
    for name in _texts(own.get("include")):
        merged |= _read(path.parent / name)
    return merged | own


def _texts(given: Any) -> list[str]:
    """All texts in nested lists and objects."""
    if isinstance(given, str):
        return [given]
    inner = given.values() if isinstance(given, dict) else given or ()
    return [text for item in inner for text in _texts(item)]


def stem_of(name: str) -> str:
    """A module's name for a task of any name."""
    return f"rows_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
