"""The command line in this process, as a user calls it."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from sweeps.engine.cli import app


def invoke(*arguments: object, code: int = 0) -> Any:
    """Run a command at 200 columns; its exit code is asserted."""
    given = [str(a) for a in arguments]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "200"}, prog_name="prunesweep")
    assert result.exit_code == code, (result.output, result.exception)
    return result


def refused(*arguments: object) -> str:
    """The one line on stderr of a command that is refused, of which nothing else is printed."""
    result = invoke(*arguments, code=2)
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return str(line)
