"""Task files of one split of a user's lmms-eval task: its own, with our rows in our order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from trainables.evaluation.benchmarks.benchmark import IMAGE_NAME
from trainables.evaluation.own.looking import Look
from trainables.evaluation.own.task_yaml import TaskYaml, stem_of

_CODE = """from pathlib import Path

from trainables.evaluation.own.yaml_tasks import chosen_rows

process_docs = chosen_rows(Path(__file__).with_suffix(".json"))
"""


def yaml_task_files(task: TaskYaml, look: Look, rows: tuple[int, ...]) -> dict[str, str]:
    """Names and contents of a task's files: they include its own.

    Args:
        task: the user's.
        look: at its data.
        rows: of its documents, in the order in which they are asked.
    """
    stem = stem_of(task.name)
    test = task.settings.get("test_split")
    settings = {
        "include": str(task.path.resolve()),
        "task": task.name,
        "training_split": None,  # `process_docs` is called for every split that is named
        "fewshot_split": None,
        "validation_split": None if test else task.split,
    }
    plan = {"yaml": str(task.path.resolve()), "images": look.images, "rows": rows}
    # lmms-eval's task folders name what they read, and its data may change under the same name.
    plan["content"] = task.digest
    return {
        f"{stem}.yaml": yaml.safe_dump(settings, sort_keys=False)
        + f"process_docs: !function {stem}.process_docs\n",
        f"{stem}.py": _CODE,
        f"{stem}.json": json.dumps(plan),
    }


def chosen_rows(plan: Path) -> Callable[[Any], Any]:
    """`process_docs`: the task's own, then the rows of the split; called in lmms-eval's process."""
    asked = json.loads(plan.read_text("utf-8"))

    def documents(dataset: Any) -> Any:
        from lmms_eval.utils import load_yaml_config

        own = load_yaml_config(asked["yaml"], mode="full").get("process_docs")
        dataset = own(dataset) if callable(own) else dataset
        if len(dataset) != len(asked["images"]):
            raise ValueError("the task's data were changed meanwhile; start again")
        return dataset.add_column(IMAGE_NAME, list(asked["images"])).select(asked["rows"])

    return documents
