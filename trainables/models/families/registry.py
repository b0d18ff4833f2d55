"""The models and architectures that are known by name; torch-free.

To add an architecture, write its file beside `llava.py`: every module here that has `ADAPTERS` is
found. Its language model comes from `backbones.py`, or stands in the file too. To let `plan` count
a model's parameters without downloading it, write its facts into a YAML file of the family's name
beside (`llava.yaml` says what they mean).
"""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import yaml

from trainables.common.weights import read_config, stored_tensors, weight_files
from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.shape import LanguageShape
from trainables.specs import Frozen, ModelSpec

EMBEDDED = "tiny"
TINY_FOLDER = Path(__file__).parents[2] / "embedded" / "weights"
_LAST = 1000  # rank of what has none


class Maker(Protocol):
    """A module that puts a model together on a machine's first use; run by itself, it does so."""

    __name__: str

    def folder(self) -> Path:
        """Where the model lies, or will lie."""

    def obtain_parts(self) -> None:
        """Download what it is made of, unless that is here; raises ValueError."""

    def put_together(self) -> Path:
        """The model's folder, made unless it is there; raises ValueError. Needs torch."""


class ModelEntry(Frozen):
    """A model known by name.

    Attributes:
        summary: one line for `prunesweep list`.
        licence: of the weights; `unknown` is said rather than guessed.
        folder: where the weights are, for an embedded model.
        made_by: name of the `Maker` of a model that is put together; one with neither comes from
            the hub.
        config: architecture facts of a model that may not be here.
        params: parameters of the whole model, as its hub page states them.
        convert: the hub has it in its authors' own layout, which `prunesweep convert` turns into
            the one that `config` describes.
        rank: place in lists.
    """

    summary: str
    licence: str = "unknown"
    folder: Path | None = None
    made_by: str | None = None
    config: dict[str, Any] | None = None
    params: int | None = None
    convert: bool = False
    rank: int = _LAST


def find_families(
    package: str, folder: Path
) -> tuple[dict[str, VLMAdapter], dict[str, ModelEntry]]:
    """Architectures and published models of a package's modules that have `ADAPTERS`, by name.

    Both are in the order of their ranks, then of the modules' names.

    Raises:
        ValueError: two modules define the same name.
    """
    found = []
    for info in pkgutil.iter_modules([str(folder)]):
        if f"{package}.{info.name}" == __name__:
            continue
        adapters = getattr(importlib.import_module(f"{package}.{info.name}"), "ADAPTERS", None)
        if adapters is not None:
            facts = folder / f"{info.name}.yaml"
            said = yaml.safe_load(facts.read_text(encoding="utf-8")) if facts.exists() else {}
            found.append((said.get("rank", _LAST), info.name, adapters, said.get("models", {})))
    found.sort(key=lambda family: family[:2])
    owners: dict[str, str] = {}
    for _, module, adapters, published in found:
        for name in (*(adapter.name for adapter in adapters), *published):
            if name in owners:
                raise ValueError(
                    f"{name!r} is defined by both {package}.{owners[name]} and {package}.{module}; "
                    "give one of them another name"
                )
            owners[name] = module
    models = {
        name: ModelEntry(**{"rank": rank, **entry})
        for rank, _, _, published in found
        for name, entry in published.items()
    }
    return (
        {adapter.name: adapter for _, _, adapters, _ in found for adapter in adapters},
        dict(sorted(models.items(), key=lambda item: item[1].rank)),
    )


assert __package__
ADAPTERS, _PUBLISHED = find_families(__package__, Path(__file__).parent)
MODELS: dict[str, ModelEntry] = {
    EMBEDDED: ModelEntry(
        summary="embedded LLaVA of a few million parameters; runs anywhere",
        licence="apache-2.0",
        folder=TINY_FOLDER,
    ),
    **_PUBLISHED,
}


def adapter_for(config: Mapping[str, Any]) -> VLMAdapter:
    """The adapter of a `config.json`.

    Raises:
        ValueError: if the architecture is not supported; lists those that are.
    """
    for adapter in ADAPTERS.values():
        if adapter.matches(config):
            return adapter
    text = config.get("text_config")
    given = f"model_type={config.get('model_type')!r}"
    if isinstance(text, Mapping):
        given += f" with text model_type={text.get('model_type')!r}"
    known: dict[str, list[str]] = {}
    for adapter in ADAPTERS.values():
        known.setdefault(adapter.model_type, []).append(adapter.backbone.model_type)
    listed = "; ".join(f"{kind} with {', '.join(texts)}" for kind, texts in known.items())
    raise ValueError(
        f"{given} is not a supported architecture; supported are: {listed}. A checkpoint in its "
        "authors' own layout may be one that `prunesweep convert` knows. To add an architecture, "
        "write its table beside trainables/models/families/llava.py"
    )


def model_folder(spec: ModelSpec) -> Path | None:
    """The local folder of a model's checkpoint; None where it is not there yet.

    Nothing is downloaded here: not a hub model, and not what another one is put together from.

    Raises:
        ValueError: if `spec.path` is neither a known name nor an existing folder.
    """
    if maker := maker_of(spec):
        return made if (made := maker.folder()).is_dir() else None
    entry = MODELS.get(spec.path)
    if entry is not None:
        return entry.folder
    folder = Path(spec.path).expanduser()
    if folder.is_dir():
        return folder.resolve()
    close = difflib.get_close_matches(spec.path, MODELS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"model {spec.path!r} is neither a known model nor a folder on this machine.{hint} "
        f"Known: {', '.join(MODELS)}; for another one, download it and give its folder"
    )


def maker_of(spec: ModelSpec) -> Maker | None:
    """What puts the model together on a machine's first use; None of all other models."""
    entry = MODELS.get(spec.path)
    made_by = entry.made_by if entry else None
    return cast(Maker, importlib.import_module(made_by)) if made_by else None


def model_config(spec: ModelSpec) -> dict[str, Any]:
    """The model's `config.json`: from its folder, or the published facts of a known hub model."""
    folder = model_folder(spec)
    if folder is not None:
        return read_config(folder)
    config = MODELS[spec.path].config
    assert config is not None, f"registry entry {spec.path} has neither a folder nor a config"
    return config


def language_shape(spec: ModelSpec) -> LanguageShape:
    """Sizes of the model's language model; downloads nothing and imports no torch."""
    config = model_config(spec)
    return adapter_for(config).language_shape(config)


def check_model(spec: ModelSpec) -> VLMAdapter:
    """The model's adapter, after the checks that need no torch.

    A folder must hold a readable config of a supported architecture and complete safetensors files;
    for a hub model only the name is checked.

    Raises:
        ValueError: one clear sentence on the first thing that is wrong.
    """
    adapter = adapter_for(model_config(spec))
    folder = model_folder(spec)
    if folder is not None:
        for path in weight_files(folder):
            stored_tensors(path)
    return adapter


def refuse_unconverted(spec: ModelSpec) -> None:
    """Raise ValueError for a hub model that has to go through `prunesweep convert` first."""
    entry = MODELS.get(spec.path)
    if entry is not None and entry.convert:
        raise ValueError(
            f"{spec.path} is published in its authors' own layout; download it, run "
            "`prunesweep convert FOLDER --to NEW`, and give NEW as the model"
        )
