"""The house as `docs/architecture.md` draws it: who may import whom, and no circles."""

from __future__ import annotations

import ast
import graphlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Rooms from the lowest floor up. Rooms on one floor do not know each other; a room may import
# from every floor below it. A folder belongs to the longest name that it begins with.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("trainables.specs",),
    ("trainables.records",),
    ("trainables.common",),
    ("trainables.embedded",),
    ("trainables.models.families",),
    ("trainables.models",),
    ("trainables.models.convert", "trainables.pruning.planning"),
    ("trainables.pruning.scoring",),
    ("trainables.pruning", "trainables.efficiency"),
    ("trainables.evaluation.benchmarks", "trainables.evaluation.answering"),
    ("trainables.evaluation.own",),
    ("trainables.evaluation",),
    ("trainables.recovery.data",),
    ("trainables.recovery.encode",),
    ("trainables.recovery.loss",),
    ("trainables.recovery.teacher",),
    ("trainables.recovery.train",),
    ("trainables.trial",),
    ("search_spaces", "analysis"),
    ("analysis.published",),
    ("analysis.effects", "analysis.findings"),
    ("analysis.draw",),
    ("analysis.answers",),
    ("analysis.output",),
    ("analysis.report",),
    ("sweeps.engine",),
    ("sweeps.engine.spec",),
    ("sweeps.engine.search",),
    ("sweeps.engine.plan", "sweeps.engine.track"),
    ("sweeps.engine.simulate", "sweeps.engine.launch"),
    ("sweeps.engine.report",),
    ("sweeps.engine.run",),
    ("sweeps.engine.show",),
    ("sweeps.engine.cli",),
    ("sweeps",),
)
"""Where a whole package sees less than what lies below it."""
ONLY = {
    "analysis": ("analysis", "trainables.specs", "trainables.records", "trainables.common"),
    "search_spaces": ("search_spaces", "trainables.specs"),
}


def _modules() -> dict[str, Path]:
    tops = ("analysis", "search_spaces", "sweeps", "trainables")
    files = itertools.chain.from_iterable((ROOT / top).rglob("*.py") for top in tops)
    return {_name(file): file for file in files}


def _name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Modules of ours that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where they go"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield str(node.module)


def _graph() -> dict[str, set[str]]:
    known = _modules()
    return {name: set(_imports(file, known)) - {name} for name, file in known.items()}


def _folder(module: str) -> str:
    return module if _modules_cache[module].name == "__init__.py" else module.rpartition(".")[0]


_modules_cache = _modules()


def _room(module: str) -> str:
    folder = _folder(module)
    rooms = [r for floor in FLOORS for r in floor if folder == r or folder.startswith(f"{r}.")]
    return max(rooms, key=len, default=folder)


def _circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """One circle of the graph, as the way round it; empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_every_import_goes_down() -> None:
    floor = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
    wrong = set()
    for module, imported in _graph().items():
        for other in imported:
            here, there = _room(module), _room(other)
            if here == there or here not in floor:
                continue
            if there not in floor or floor[there] >= floor[here]:
                wrong.add((module, other))
    assert wrong == set()


def test_every_folder_has_its_floor() -> None:
    rooms = {room for floor in FLOORS for room in floor}
    tops = {"trainables", "trainables.recovery"}  # packages without code of their own
    assert {_room(module) for module in _modules_cache} - tops == rooms


def test_analysis_and_search_spaces_see_only_values() -> None:
    for module, imported in _graph().items():
        allowed = ONLY.get(module.partition(".")[0])
        if allowed:
            for other in imported:
                assert other.startswith(allowed), f"{module} imports {other}"


def test_there_is_no_circle_of_files_or_folders() -> None:
    graph = _graph()
    assert _circle(graph) == []
    folders: dict[str, set[str]] = {_folder(module): set() for module in graph}
    for module, imported in graph.items():
        folders[_folder(module)] |= {_folder(other) for other in imported} - {_folder(module)}
    assert _circle(folders) == []


def test_a_circle_would_be_seen() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) in (
        ["b", "c", "b"],
        ["c", "b", "c"],
    )
