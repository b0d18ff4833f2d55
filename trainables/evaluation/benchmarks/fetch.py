"""`prunesweep data fetch`: a benchmark's questions and images from the hub as typed parquet files.

Runs where the hub can be reached; what it writes needs neither the hub nor a token any more.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from filelock import FileLock

from trainables.common.contents import file_digest
from trainables.common.files import write_json
from trainables.common.names import first_line
from trainables.evaluation.benchmarks.benchmark import IMAGE_TABLE, Benchmark, Kind
from trainables.evaluation.benchmarks.checks import check_whole_images
from trainables.evaluation.benchmarks.copies import (
    CARD,
    IMAGE_NAMES,
    IMAGES,
    QUESTIONS,
    Copy,
    CopyCard,
    CopyFile,
    column_faults,
    image_names,
    read_copy,
)


def fetch(
    benchmark: Benchmark,
    to: Path,
    *,
    source: Path | None = None,
    revision: str | None = None,
    again: bool = False,
) -> tuple[Copy, bool]:
    """A copy of the benchmark's data in `to`/<task>, and whether it was made now.

    It appears in one step. A fetch that was killed leaves nothing that counts as a copy, and the
    next one goes on with the files that the hub's client has already stored on this machine.

    Args:
        benchmark: what to fetch.
        to: folder of copies.
        source: a local folder in the hub's layout, such as a snapshot; None asks the hub, with
            the token of `hf auth login` or HF_TOKEN.
        revision: a commit or branch of the hub's dataset; None is its newest.
        again: replace a copy that is there.

    Raises:
        ValueError: no hub, no such data, no right to it, not the columns that the task reads, or
            the copy that is there is not known to be of `revision`.
    """
    to.mkdir(parents=True, exist_ok=True)
    folder, part = to / benchmark.name, to / f".{benchmark.name}.part"
    with FileLock(to / f".{benchmark.name}.lock"):
        if (folder / CARD).is_file() and not again:
            there = read_copy(folder)
            if revision is not None and not (there.card.revision or "").startswith(revision):
                raise ValueError(
                    f"the copy in {there.folder} is of revision {there.card.revision or 'unknown'},"
                    f" and --revision {revision} is asked for; replace it with --again, or leave "
                    "--revision out"
                )
            return there, False
        shutil.rmtree(part, ignore_errors=True)  # of a fetch that was killed
        part.mkdir()
        try:
            with _explained(benchmark, source, part):
                commit, licence = _card(benchmark, source, revision)
                _write(benchmark, part, source, commit)
            _describe(benchmark, part, commit, licence)
            if folder.exists():
                shutil.rmtree(folder)
            os.rename(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return read_copy(folder), True


def _write(benchmark: Benchmark, part: Path, source: Path | None, commit: str | None) -> None:
    place = str(source) if source else benchmark.hub
    tables: list[tuple[str, str | None, Mapping[str, Kind]]] = [
        (QUESTIONS, benchmark.config, benchmark.columns)
    ]
    if benchmark.images_config:
        tables.append((IMAGES, benchmark.images_config, IMAGE_TABLE))
    for file, config, columns in tables:
        data = _load(place, config, benchmark.split, commit)
        lacking = [name for name in columns if name not in data.column_names]
        if lacking:
            raise ValueError(
                f"{place} has no columns {', '.join(lacking)} for task {benchmark.name!r}, but "
                f"{', '.join(data.column_names)}; another revision may have them (--revision)"
            )
        data.select_columns(list(columns)).to_parquet(part / file)
        faults = column_faults(pq.read_schema(part / file), columns)
        if faults:
            raise ValueError(
                f"{place} does not have the columns that task {benchmark.name!r} reads: "
                f"{'; '.join(faults)}; another revision may have them (--revision)"
            )


def _load(place: str, config: str | None, split: str, commit: str | None) -> Any:
    """One split as a `datasets.Dataset`; the other splits are not downloaded."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(place, config, revision=commit)
    except ValueError as error:  # no such config, or several and none is asked for
        raise ValueError(
            f"{place} has no data of the config {config or 'default'!r} "
            f"({' '.join(str(error).split())}); give a snapshot of the task's own dataset"
        ) from None
    files = builder.config.data_files or {}
    if split not in files:
        raise ValueError(f"{place} has no split {split!r}, but {', '.join(map(str, files))}")
    return datasets.load_dataset(
        "parquet",
        data_files={split: list(files[split])},
        split=split,
        features=builder.info.features,
    )


def _card(
    benchmark: Benchmark, source: Path | None, revision: str | None
) -> tuple[str | None, str | None]:
    """The commit that is fetched, and the licence that the dataset's card states."""
    if source is not None:
        readme = source / "README.md"
        front = readme.read_text("utf-8").split("---\n")[1:2] if readme.is_file() else []
        stated = (yaml.safe_load(front[0]) or {}) if front else {}
        return None, _text(stated.get("license"))
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(benchmark.hub, revision=revision)
    stated = info.card_data.to_dict() if info.card_data else {}
    return info.sha, _text(stated.get("license"))


def _describe(benchmark: Benchmark, part: Path, commit: str | None, licence: str | None) -> None:
    check_whole_images(benchmark, part / QUESTIONS)
    write_json(part / IMAGE_NAMES, image_names(benchmark, part / QUESTIONS))
    schema = pq.read_schema(part / QUESTIONS)
    files = {
        path.name: CopyFile(sha256=file_digest(path), size_bytes=path.stat().st_size)
        for path in sorted(part.iterdir())
    }
    card = CopyCard(
        task=benchmark.name,
        hub=benchmark.hub,
        config=benchmark.config,
        split=benchmark.split,
        revision=commit,
        licence=licence,
        rows=pq.read_metadata(part / QUESTIONS).num_rows,
        columns={name: str(schema.field(name).type) for name in benchmark.columns},
        files=files,
        fetched=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(part / CARD, card)


@contextmanager
def _explained(benchmark: Benchmark, source: Path | None, part: Path) -> Iterator[None]:
    """Turn what hub and network say into one sentence with the way out."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except (GatedRepoError, RepositoryNotFoundError) as error:
        asks = (
            "asks for its terms to be accepted"
            if isinstance(error, GatedRepoError)
            else "is not there, or is not shown without a token"
        )
        raise ValueError(
            f"{benchmark.hub}, the data of task {benchmark.name!r}, {asks}; open "
            f"https://huggingface.co/datasets/{benchmark.hub}, then `hf auth login` or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise ValueError(f"{benchmark.hub} has no such revision; leave --revision out") from None
    except (HTTPError, HFValidationError, DatasetsError, pa.ArrowException, OSError) as error:
        # huggingface_hub's OfflineModeIsEnabled is an OSError.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(
                f"there is no room for the data of task {benchmark.name!r} ({error.strerror}, "
                f"{error.filename or part}); free some, or give another folder with --to (HF_HOME "
                "is where the hub's client keeps what it downloads)"
            ) from None
        if source is not None:
            raise ValueError(
                f"{source} cannot be read as the data of task {benchmark.name!r} "
                f"({first_line(error)}); give a snapshot of {benchmark.hub}"
            ) from None
        raise ValueError(
            f"{benchmark.hub}, the data of task {benchmark.name!r}, cannot be fetched "
            f"({first_line(error)}); run this on a machine that reaches huggingface.co and copy "
            "the folder over, or give a snapshot with --source"
        ) from None


def _text(value: Any) -> str | None:
    if not value:
        return None
    return ", ".join(value) if isinstance(value, list) else str(value)
