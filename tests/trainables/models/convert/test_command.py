"""`prunesweep convert` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from transformers import LlavaForConditionalGeneration
from typer.testing import CliRunner

from sweeps.engine.cli import app


def test_it_converts_and_says_what_it_did(
    llava_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source, to, tower = llava_folder(), tmp_path / "stock", tmp_path / "clip"
    arguments = ["convert", str(source), "--to", str(to), "--vision-tower", str(tower)]
    result = CliRunner().invoke(app, [*arguments, "--dtype", "bfloat16", "--json"])
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout)
    assert done["model_class"] == "LlavaForConditionalGeneration"
    assert (done["layout"], done["dtype"], done["licence"]) == (
        "llava-v1.5",
        "bfloat16",
        "unknown",
    )
    assert "shard 1/1  model.safetensors" in result.stderr
    assert LlavaForConditionalGeneration.from_pretrained(to).num_parameters() > 0
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert again.stderr.count("\n") == 1
    assert "nothing is overwritten" in again.stderr
    second = CliRunner().invoke(app, [*arguments[:3], str(tmp_path / "b"), *arguments[4:]])
    assert f"LlavaForConditionalGeneration.from_pretrained('{tmp_path / 'b'}')" in second.stdout


def test_a_refusal_is_one_line_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    result = CliRunner().invoke(app, ["convert", str(tmp_path), "--to", str(tmp_path / "x")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "liuhaotian/llava-v1.5-7b" in result.stderr
    assert not (tmp_path / "x").exists()
