"""An object store, through fsspec: where a file system renames, it creates what is not there yet.

Amazon's S3 and whatever speaks its protocol, Google Cloud Storage, Azure Blob Storage. Objects are
named by their path below the URL. Each is put whole, and seen by everybody once it is.
"""

import errno
import functools
import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from trainables.common.names import first_line


class _Service(NamedTuple):
    """A kind of object store: the extra that brings its driver, and what says who one is."""

    extra: str
    driver: str
    variables: str
    options: Mapping[str, Any] = MappingProxyType({})


SERVICES = {
    "s3": _Service(
        "s3",
        "s3fs",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL for another service "
        "than Amazon's",
        # The driver's 5 and 15 are too short for a machine whose cores are all at work.
        {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60}},
    ),
    "gs": _Service("gs", "gcsfs", "GOOGLE_APPLICATION_CREDENTIALS"),
    "az": _Service("az", "adlfs", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"),
}
AT_ONCE = 64  # objects that are fetched at a time


class ObjectStoreError(OSError):
    """The object store cannot be used; says why, and the way out."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.errno = errno.EIO  # as of a disk that fails (see `storage_errors`)


class Entry(NamedTuple):
    """An object in a listing; `md5` is hexadecimal, None where the service does not tell it."""

    size: int
    md5: str | None


def is_url(storage: str) -> bool:
    """Whether a storage is an address rather than a folder."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", storage) is not None


@functools.lru_cache
def objects_at(url: str) -> "Objects":
    """The objects below a URL such as `s3://bucket/prefix`; nothing is asked of the service yet.

    Raises:
        ValueError: not such a URL, or its driver is not installed.
    """
    scheme, _, place = url.partition("://")
    service = SERVICES.get(scheme)
    if service is None or not place.strip("/"):
        kinds = ", ".join(f"{name}://BUCKET/PREFIX" for name in SERVICES)
        raise ValueError(f"{url} is no storage: give a folder that all machines see, or {kinds}")
    import fsspec  # which takes long to load

    try:
        files = fsspec.filesystem(scheme, use_listings_cache=False, **service.options)
    except ImportError:
        raise ValueError(
            f"{scheme}:// needs the package {service.driver}: install prunesweep with its extra, "
            f"`pip install 'prunesweep[{service.extra}]'`, on every machine"
        ) from None
    except Exception as error:  # a driver looks for credentials when it is made
        raise _explained(url, service, error) from error
    return Objects(url, service, files)


class Objects:
    """The objects below one URL.

    Every method raises `ObjectStoreError` where the service does not answer or refuses.
    """

    def __init__(self, url: str, service: _Service, files: Any) -> None:
        self.url, self._service, self._files = url, service, files
        self._root = files._strip_protocol(url).rstrip("/")

    def create(self, name: str, content: bytes) -> bool:
        """Put an object unless there is one of that name; whether it is there with this content.

        Of several who create it at once one succeeds. What was put and not confirmed, and is
        therefore put again, counts as put.
        """
        with self._told():
            try:
                self._files.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                with suppress(FileNotFoundError):
                    return bool(self._files.cat_file(self._path(name)) == content)
                return False
        return True

    def put(self, name: str, content: bytes | Path) -> None:
        """Put an object, in place of one that may be there."""
        with self._told():
            if isinstance(content, Path):
                self._files.put_file(str(content), self._path(name))
            else:
                self._files.pipe_file(self._path(name), content)

    def has(self, name: str) -> bool:
        """Whether there is an object of that name."""
        with self._told():
            return bool(self._files.exists(self._path(name)))

    def read(self, name: str) -> bytes:
        """The content of an object; FileNotFoundError where there is none."""
        with self._told(name):
            return bytes(self._files.cat_file(self._path(name)))

    def get(self, wanted: Mapping[str, Path]) -> None:
        """Write objects into files, many at a time; FileNotFoundError where one is gone."""
        names = [self._path(name) for name in wanted]
        with self._told("; ".join(wanted)):
            self._files.get(names, [str(path) for path in wanted.values()], batch_size=AT_ONCE)

    def listed(self, folder: str = "", deep: bool = True) -> dict[str, Entry]:
        """All objects below a folder, or right in it, by name."""
        with self._told():
            found = self._files.find(self._path(folder), None if deep else 1, detail=True)
        cut = len(self._root) + 1
        deepest = len(self._path(folder)) + 1
        return {
            name[cut:]: Entry(int(info["size"]), _md5(info))
            for name, info in found.items()
            # A driver that finds nothing asks for the folder itself, which may have come meanwhile;
            # not every driver knows how to look no deeper.
            if info["type"] == "file" and (deep or "/" not in name[deepest:])
        }

    def folders(self) -> list[str]:
        """Names of the folders right below the URL."""
        try:
            with self._told(self.url):
                found = self._files.ls(self._root, detail=True)
        except FileNotFoundError:  # nothing yet, unless the bucket is missing, which this says
            self.listed()
            return []
        rows = ((posixpath.basename(f["name"].rstrip("/")), f["type"]) for f in found)
        return sorted(name for name, kind in rows if kind == "directory")

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects, those that are there."""
        with self._told():
            for name in names:
                with suppress(FileNotFoundError):
                    self._files.rm_file(self._path(name))

    def modified(self, name: str) -> float:
        """When an object was put, in seconds since 1970 on the service's clock."""
        with self._told(name):
            return float(self._files.modified(self._path(name)).timestamp())

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    @contextmanager
    def _told(self, name: str | None = None) -> Iterator[None]:
        """Says what is wrong in a sentence; that an object is missing only where one is named."""
        try:
            yield
        except FileNotFoundError as error:
            if name is not None:
                raise FileNotFoundError(f"{self.url}/{name} is not there") from error
            raise _missing(self.url, error) from error
        except Exception as error:  # of the driver, its library and the network
            raise _explained(self.url, self._service, error) from error


def md5_of(path: Path) -> str:
    """The MD5 of a file, hexadecimal: what services tell of an object."""
    with path.open("rb") as file:
        new = functools.partial(hashlib.md5, usedforsecurity=False)
        return hashlib.file_digest(file, new).hexdigest()


def _md5(info: Mapping[str, Any]) -> str | None:
    """What a listing says of an object's content: S3 as its ETag, unless it was put in parts."""
    tag = str(info.get("ETag") or "").strip('"')
    if re.fullmatch("[0-9a-f]{32}", tag):
        return tag
    import base64

    told = info.get("md5Hash") or (info.get("content_settings") or {}).get("content_md5")
    if isinstance(told, str):
        told = base64.b64decode(told)
    return bytes(told).hex() if told else None


def _explained(url: str, service: _Service, error: Exception) -> ObjectStoreError:
    if isinstance(error, ObjectStoreError):
        return error
    kind = type(error).__name__
    if "Credential" in kind or isinstance(error, PermissionError):
        return ObjectStoreError(
            f"{url} refuses access ({first_line(error)}). Set {service.variables}, on every "
            "machine, to those of an account that may list, read, write and delete there"
        )
    if kind == "ResourceNotFoundError":  # Azure's, of a container
        return _missing(url, error)
    return ObjectStoreError(f"{url} does not answer ({kind}: {first_line(error)}). Try again later")


def _missing(url: str, error: Exception) -> ObjectStoreError:
    bucket = url.partition("://")[2].partition("/")[0]
    return ObjectStoreError(
        f"{url} cannot be used: {first_line(error)}. Create the bucket {bucket!r}, or name another "
        "one"
    )
