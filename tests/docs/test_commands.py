"""Every command of README and docs is run as it stands there, in a folder like its reader's.

A block that cannot be run here says why on its first line (```bash needs-gpu); its commands still
have to be ones that the command line takes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from helpers.ledgers import UNTRAINED, old_quickstart
from helpers.original_checkpoints import (
    random_tensors,
    train_byte_level,
    train_sentencepiece,
    write_bunny,
    write_llava,
)
from helpers.original_shapes import bunny_shapes, clip_shapes, llava_shapes
from typer.testing import CliRunner

from sweeps.engine.cli import app
from trainables.embedded.tiny_dataset import prepare
from trainables.models.families.registry import TINY_FOLDER

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKS = {"needs-gpu", "needs-cluster", "needs-hub", "needs-minutes"}
# What a reader fills in, and what keeps a test short.
FILLED_IN = {"quickstart/TRIAL": f"quickstart/{UNTRAINED}"}
ADDED = {
    "evaluate": ("--limit", "10"),
    "./Bunny-v1_0-3B": ("--vision-tower", "./siglip"),  # of the small one; the real one is known
}


@dataclass(frozen=True)
class Command:
    """One line of a block, continuation lines joined and comments gone."""

    document: str
    words: tuple[str, ...]
    marks: frozenset[str]

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.words)}"


def _read(document: Path) -> list[Command]:
    found = []
    text = document.read_text(encoding="utf-8")
    for marks, block in re.findall(r"```bash([^\n]*)\n(.*?)```", text, re.DOTALL):
        unknown = set(marks.split()) - MARKS
        assert not unknown, f"{document.name}: a block is marked {unknown}; known are {MARKS}"
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                found.append(Command(document.name, tuple(words), frozenset(marks.split())))
    return found


COMMANDS = [command for document in DOCUMENTS for command in _read(document)]
RUN = [command for command in COMMANDS if not command.marks]
PRUNESWEEP = [command for command in COMMANDS if "prunesweep" in command.words]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: a finished quickstart, data of his own, checkpoints of his own."""
    folder = tmp_path_factory.mktemp("reader")
    old_quickstart(folder / "runs")
    shutil.copytree(TINY_FOLDER, folder / "my-checkpoint")
    data = prepare(folder / "runs" / "store")
    some = json.loads(data.conversations.read_text(encoding="utf-8"))[:20]
    (folder / "mix.json").write_text(json.dumps(some), encoding="utf-8")
    questions = [
        {"image": sample["image"], "question": ask["value"], "answer": answer["value"]}
        for sample in some
        for ask, answer in [sample["conversations"][:2]]
    ]
    (folder / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
    for sample in some:
        (folder / "images" / sample["image"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data.image_folder / sample["image"], folder / "images" / sample["image"])
    _original_checkpoints(folder)
    return folder


def _original_checkpoints(folder: Path) -> None:
    """Small random ones in the layouts of their authors, under the names that the pages give."""
    made = folder / "made"
    tensors, clip = random_tensors(llava_shapes()), random_tensors(clip_shapes())
    write_llava(made, tensors, clip, train_sentencepiece()).rename(folder / "llava-v1.5-7b")
    (made / "clip").rename(folder / "clip-vit-large-patch14-336")
    tokenizer = train_byte_level(made)
    write_bunny(made, random_tensors(bunny_shapes()), tokenizer).rename(folder / "Bunny-v1_0-3B")
    (made / "siglip").rename(folder / "siglip")


def prunesweep(words: tuple[str, ...]) -> str:
    arguments = [FILLED_IN.get(word, word) for word in words]
    added = [more for word in words for more in ADDED.get(word, ())]
    result = CliRunner().invoke(app, [*arguments, *added])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize("command", RUN, ids=str)
def test_a_command_runs(command: Command, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    program, *rest = command.words
    words = tuple(rest)
    if program == "make":  # they are what CI runs
        subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    elif program == ".venv/bin/pre-commit":
        check = [sys.executable, "-m", "pre_commit", "validate-config"]
        subprocess.run(check, cwd=ROOT, check=True)
    elif program in ("python", ".venv/bin/python"):
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    elif words == ("ui",):
        prunesweep(("run", "quickstart"))  # has nothing left to do but MLflow's mirror
        _answers_in_a_browser()
    else:
        assert program == "prunesweep", command
        if words[0] == "evaluate" and not Path("student").exists():
            prunesweep(("export", "quickstart/TRIAL", "--to", "./student"))
        if words[0] == "register" and not Path("runs/mlflow.db").exists():
            prunesweep(("run", "quickstart"))
        assert prunesweep(words).strip()


def _answers_in_a_browser() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sweeps.engine.cli", "ui", "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        for _ in range(240):
            assert server.poll() is None, "it ended by itself"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as page:
                    assert b"MLflow" in page.read()
                    return
            except OSError:
                time.sleep(0.5)
        pytest.fail("no page within two minutes")
    finally:
        server.terminate()
        server.wait(30)


def _inline() -> list[Command]:
    """Commands within sentences, which may stand for a whole."""
    return [
        Command(document.name, tuple(shlex.split(code)), frozenset({"needs-minutes"}))
        for document in DOCUMENTS
        for code in re.findall(r"`(prunesweep [^`]+)`", document.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("command", [*PRUNESWEEP, *_inline()], ids=str)
def test_a_command_exists_with_its_options(command: Command) -> None:
    words = list(command.words[command.words.index("prunesweep") + 1 :])
    found: Any = typer.main.get_command(app)
    while hasattr(found, "commands"):
        name = words.pop(0)
        assert name in found.commands, f"{command}: there is no command {name!r}"
        found = found.commands[name]
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known | {"--help"}, command


def test_what_takes_minutes_is_planned_in_seconds(
    monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    monkeypatch.chdir(workplace)
    for command in COMMANDS:
        if "needs-minutes" in command.marks and command.words[:2] == ("prunesweep", "run"):
            assert "trials" in prunesweep(("plan", *command.words[2:]))


def test_the_sweep_of_the_page_is_one(tmp_path: Path) -> None:
    block, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/sweeps.md").read_text(), re.DOTALL)
    path = tmp_path / "my_sweep.py"
    path.write_text(block)
    from sweeps.engine.spec.loading import load_sweep

    assert load_sweep(str(path)).name == "my_sweep"


def test_links_and_pictures_are_there() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links {target}"


def test_readme_is_one_page() -> None:
    assert (ROOT / "README.md").stat().st_size <= 9 * 1024


def test_the_pre_commit_hook_calls_the_target_that_ci_calls() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (hook,) = (hook for repo in config["repos"] for hook in repo["hooks"])
    assert hook["entry"] in (ROOT / ".ci" / "run").read_text().splitlines()
