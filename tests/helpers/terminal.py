"""A real terminal of a chosen width: a pseudo-terminal with a command of ours in it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ROOT = Path(__file__).parents[2]


def in_terminal(columns: int, folder: Path, *arguments: str, code: int = 0) -> list[str]:
    """The lines that `prunesweep ARGUMENTS` draws in `folder` on `columns` x 50 characters.

    Colours are taken out; the exit code is asserted.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    told = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"}
    environment = {name: value for name, value in os.environ.items() if name not in told}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sweeps.engine.cli", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment
    ) as process:
        os.close(theirs)
        written = b""
        while piece := _read(ours):
            written += piece
    os.close(ours)
    lines = ESCAPES.sub("", written.decode()).replace("\r", "").split("\n")
    assert process.returncode == code, "\n".join(lines)
    return [line.rstrip() for line in lines]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other end has closed
        return b""
