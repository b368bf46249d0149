"""Weights from files: safetensors, or torch's own format read without running what it holds; whole or in shards.

Large models are published in shards beside an index, a JSON file whose `weight_map` says which file holds which tensor.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.errors import CannotRun, UsageError
from dltool.zoo.names import as_named, unfilled

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model", "params_ema", "params")
"""Keys under which training programs keep the weights beside other things."""
_USUAL = (
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names of the weights in a folder as transformers and diffusers write them, the first that is there."""
_SHOWN = 3


def load(model: nn.Module, path: str | Path) -> None:
    """Fill a model with the weights of a file; every key must find its place.

    Raises:
        UsageError: the file cannot be read, is damaged, would run code, or does not fit the model.
        CannotRun: a safetensors file without the package safetensors.
    """
    found = as_named(read(Path(path)), model)
    try:
        answer = model.load_state_dict(found, strict=False)
    except RuntimeError as error:
        first = next((line.strip() for line in str(error).splitlines()[1:] if line.strip()), str(error))
        raise UsageError(f"{path} does not fit this model: {first}", remedy=_REMEDY) from None
    wrong = [("lacks", unfilled(model, answer.missing_keys)), ("has besides", list(answer.unexpected_keys))]
    told = "; ".join(f"{what} {_some(keys)}" for what, keys in wrong if keys)
    if told:
        raise UsageError(f"{path} does not fit this model: it {told}", remedy=_REMEDY)


_REMEDY = "Build the variant that the weights are of: `dltool models NAME` lists its options, such as num_classes."


def _some(keys: list[str]) -> str:
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their keys; also of an index and its shards, or of a folder that holds either.

    Raises:
        UsageError: see `load`.
        CannotRun: see `load`.
    """
    if path.is_dir():
        path = next((path / name for name in _USUAL if (path / name).exists()), path)
    try:
        with path.open("rb") as file:
            head = file.read(2)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", remedy="Name a file of weights.") from None
    if path.suffix == ".json":
        return _shards(path)
    if path.suffix == ".safetensors" or head not in (b"PK", b"\x80\x02"):
        return _safetensors(path)
    return _torch(path)


def _shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index names; they lie beside it."""
    try:
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        shards = [index.parent / Path(name).name for name in sorted(files) if not name.endswith(".json")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{index} is no index of shards", remedy="Name the file whose `weight_map` lists them.") from None
    found: dict[str, Tensor] = {}
    for shard in shards:
        found |= read(shard)
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise CannotRun("reading safetensors needs the package safetensors", remedy="pip install safetensors") from None
    try:
        loaded: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} holds no weights: {error}", remedy="Give a safetensors or torch file.") from None
    return loaded


def _torch(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UsageError(
            f"{path} holds more than tensors, and reading it would run code",
            remedy="Save its state_dict alone: torch.save(model.state_dict(), FILE).",
        ) from None
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} is damaged: {first}", remedy="Get it anew.") from None
    return _unwrapped(loaded, path)


def _unwrapped(loaded: Any, path: Path) -> dict[str, Tensor]:
    import torch

    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise UsageError(f"{path} holds no weights by name", remedy="Save a state_dict: torch.save(model.state_dict(), FILE).")
    return dict(loaded)
