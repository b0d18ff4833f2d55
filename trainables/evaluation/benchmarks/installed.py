"""lmms-eval's own task files, found without importing it."""

import hashlib
import importlib.util
import re
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from trainables.evaluation.benchmarks.benchmark import Benchmark

_OURS = ("captions.py", "documents.py", "quick_extraction.py", "task_yaml.py")
# What task files and their code say when another model judges the answers.
_JUDGED = re.compile(r"gpt_eval|llm_as_judge|llm_judge|judge_model|openai", re.IGNORECASE)


@lru_cache(maxsize=1)
def tasks_folder() -> Path:
    """The folder of lmms-eval's tasks.

    Raises:
        ValueError: lmms-eval is not installed.
    """
    found = importlib.util.find_spec("lmms_eval")
    if found is None or not found.submodule_search_locations:
        raise ValueError("lmms-eval is not installed; `pip install 'lmms-eval>=0.7.3'`")
    return Path(next(iter(found.submodule_search_locations))) / "tasks"


def task_yaml(benchmark: Benchmark) -> Path:
    """The task's file.

    Raises:
        ValueError: this lmms-eval has none.
    """
    path = tasks_folder() / benchmark.yaml
    if not path.is_file():
        raise ValueError(
            f"lmms-eval {version('lmms-eval')} has no task file {benchmark.yaml} for "
            f"{benchmark.name!r}; install lmms-eval>=0.7.3"
        )
    return path


def code_version(benchmark: Benchmark) -> str:
    """lmms-eval's version and a digest of the task's code and YAML, what we add to it included."""
    beside = sorted(task_yaml(benchmark).parent.iterdir())
    theirs = [p for p in beside if p.suffix in (".py", ".yaml") or p.name.endswith("_yaml")]
    content = hashlib.sha256()
    for path in (*theirs, *(Path(__file__).with_name(name) for name in _OURS)):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{version('lmms-eval')}-{content.hexdigest()[:12]}"


def judged(text: str) -> bool:
    """Whether a task's file says that another model judges the answers."""
    return _JUDGED.search(text) is not None


def why_unsupported(name: str) -> str | None:
    """Why a task that lmms-eval has is not known here; None if it has no such task either."""
    found = file_naming(name, "task|group")
    if found is None:
        return None
    if judged(found[1]):
        return "lmms-eval has it, but scores it with a judge model, which is not supported here"
    return "lmms-eval has a group of that name; name its tasks"


def file_naming(name: str, keys: str) -> tuple[Path, str] | None:
    """The first of lmms-eval's YAML files in which one of the keys has that name, and its text."""
    if importlib.util.find_spec("lmms_eval") is None:
        return None
    named = re.compile(rf"^\s*(?:{keys})\s*:\s*[\"']?{re.escape(name)}[\"']?\s*$", re.MULTILINE)
    for path in sorted(tasks_folder().rglob("*.yaml")):
        text = path.read_text("utf-8", errors="replace")
        if named.search(text):
            return path, text
    return None
