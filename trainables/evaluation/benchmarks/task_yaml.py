"""Task files of one split of a benchmark: lmms-eval's own, on a local copy, with our rows."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from trainables.evaluation.benchmarks.copies import Copy
from trainables.evaluation.benchmarks.installed import task_yaml

HOOKS = Path(__file__).parents[1] / "tasks" / "public" / "docs.py"


def benchmark_files(copy: Copy, rows: Sequence[int], cache: Path) -> dict[str, str]:
    """Names and contents of a task's files.

    Prompts, filters, scoring and answer lengths come from lmms-eval's file, which they include.

    Args:
        copy: the task's data.
        rows: of the copy, in the order in which they are asked.
        cache: where `datasets` may keep what it makes of the parquet files.

    Raises:
        ValueError: the installed lmms-eval does not have the task.
    """
    benchmark, name = copy.benchmark, copy.benchmark.name
    task: dict[str, object] = {
        "include": str(task_yaml(benchmark)),
        "task": name,
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {benchmark.split: str(copy.questions.resolve())},
            "cache_dir": str(cache.resolve()),
        },
    }
    if benchmark.max_new_tokens is not None:
        # Replaces the task's settings, which name nothing but a longer limit.
        task["generation_kwargs"] = {"max_new_tokens": benchmark.max_new_tokens}
    if benchmark.rows == "cider":
        # The task's own aggregations would compute seven scores, each tokenizing everything anew.
        task["metric_list"] = [
            {"metric": benchmark.metric, "aggregation": "bypass", "higher_is_better": True}
        ]
    calls = {"process_docs": "documents", "doc_to_visual": "visuals"}
    if benchmark.rows in ("mmmu", "mathvista"):
        calls["process_results"] = "results"
    hooks = "".join(f"{key}: !function docs.{name}__{part}\n" for key, part in calls.items())
    plan = {"folder": str(copy.folder.resolve()), "digest": copy.digest, "rows": list(rows)}
    return {
        HOOKS.name: HOOKS.read_text("utf-8"),
        f"{name}.yaml": yaml.safe_dump(task, sort_keys=False) + hooks,
        f"{name}.json": json.dumps(plan),
    }
