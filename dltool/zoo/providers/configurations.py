"""`hf:CONFIG` and `diffusers:CONFIG`: models from a configuration, with random weights.

CONFIG is a JSON file, a folder that holds one, or a name on the Hugging Face hub, where it can be reached or was kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dltool.errors import CannotRun, UsageError
from dltool.zoo.providers import Source, package

_TOKENS = 512
"""Length of a text where the model takes longer ones."""
_TIMESTEPS = 1000
"""Steps of a diffusion, of which a denoiser is told one. Source: Ho et al. 2020, section 4."""
_CAPTION = 77
"""Tokens of a caption that conditions a diffusion. Source: Radford et al. 2021 (CLIP), section 2.4."""


def transformers(name: str, given: str) -> Source:
    """A model as its configuration's `architectures` names it, or as `AutoModel` chooses it."""
    found = package("transformers", name)
    path = Path(given)
    if path.exists():
        told = dict(_read(path, "config.json"))
        if "model_type" not in told:
            raise UsageError(f"{path} says no model_type", remedy="Give a configuration of transformers.")
        try:
            configuration = found.AutoConfig.for_model(told.pop("model_type"), **told)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{path}: {_line(error)}", remedy="Does this transformers know the model?") from None
    else:
        configuration = _asked(found.AutoConfig.from_pretrained, given)
    architecture = _class(found, (getattr(configuration, "architectures", None) or ["AutoModel"])[0])

    def make(**options: Any) -> Any:
        for option, value in options.items():
            setattr(configuration, option, value)
        made = architecture if hasattr(architecture, "main_input_name") else found.AutoModel.from_config
        return _named(made(configuration), configuration)

    return Source(name, make, _text_input(configuration), _task(architecture))


def _named(model: Any, configuration: Any) -> Any:
    """The model, taking its inputs in our order: an encoder and a decoder take tokens each, with a mask between them."""
    if not getattr(configuration, "is_encoder_decoder", False):
        return model
    from torch import nn

    class EncoderDecoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Any, decoder_tokens: Any) -> Any:
            return self.model(input_ids=tokens, decoder_input_ids=decoder_tokens)

    return EncoderDecoder()


def _text_input(configuration: Any) -> str | None:
    """Tokens, images, or (of both kinds, or others) not known."""
    vocabulary, side = getattr(configuration, "vocab_size", None), getattr(configuration, "image_size", None)
    if isinstance(vocabulary, int):
        longest = getattr(configuration, "max_position_embeddings", None) or getattr(configuration, "n_positions", None)
        tokens = f"int<{vocabulary}:N,{min(longest or _TOKENS, _TOKENS)}"
        return f"{tokens} + {tokens}" if getattr(configuration, "is_encoder_decoder", False) else tokens
    if isinstance(side, int):
        return f"float:N,{getattr(configuration, 'num_channels', 3)},{side},{side}"
    return None


def _task(architecture: Any) -> str | None:
    name = getattr(architecture, "__name__", "")
    for ending, task in (("ForCausalLM", "next-token"), ("LMHeadModel", "next-token")):
        if name.endswith(ending):
            return task
    return None


def diffusers(name: str, given: str) -> Source:
    """A model as its configuration's `_class_name` names it."""
    found = package("diffusers", name)
    path = Path(given)
    if path.exists():
        told = _read(path, "config.json")
    else:
        repository, _, folder = given.partition("#")
        told = _asked(found.ConfigMixin.load_config, repository, subfolder=folder or None)
    kind = _class(found, str(told.get("_class_name")))
    if kind is None or not hasattr(kind, "from_config"):
        raise UsageError(
            f"{given} is of no model of diffusers: _class_name is {told.get('_class_name')}",
            remedy="Give the configuration of a model, such as unet/config.json; on the hub OWNER/NAME#unet.",
        )

    def make(**options: Any) -> Any:
        return kind.from_config({**told, **options})

    return Source(name, make, _picture_input(told), "noise-prediction" if told.get("_class_name") == "UNet2DModel" else None)


def _picture_input(told: Mapping[str, Any]) -> str | None:
    """A picture, and for a denoiser the step and the caption."""
    side, channels = told.get("sample_size"), told.get("in_channels")
    if not isinstance(side, int) or not isinstance(channels, int):
        return None
    picture, kind = f"float:N,{channels},{side},{side}", str(told.get("_class_name"))
    if kind == "UNet2DModel":
        return f"{picture} + int<{_TIMESTEPS}:N"
    if kind == "UNet2DConditionModel" and isinstance(told.get("cross_attention_dim"), int):
        return f"{picture} + int<{_TIMESTEPS}:N + float:N,{_CAPTION},{told['cross_attention_dim']}"
    return picture if kind.startswith(("Autoencoder", "VQ")) else None


def _class(package: Any, name: str) -> Any:
    """A class of a package that imports its parts when they are asked for; None where it has none of this name."""
    try:
        return getattr(package, name, None)
    except Exception as error:  # whatever a package needs and this environment does not have
        raise CannotRun(
            f"{package.__name__} cannot give {name}: {_line(error)}",
            remedy="`dltool doctor` says which packages go with this PyTorch.",
        ) from None


def _read(path: Path, usual: str) -> dict[str, Any]:
    """A configuration from a file, or from the usual file of a folder."""
    file = path / usual if path.is_dir() else path
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}", remedy=f"Name a {usual}, or a folder that holds one.") from None
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}", remedy=f"Name a {usual}.") from None
    if not isinstance(told, dict):
        raise UsageError(f"{file} holds no configuration", remedy=f"Name a {usual}.")
    return told


def _asked(load: Any, name: str, **more: Any) -> Any:
    """What the hub, or what it left here, says of a name."""
    try:
        return load(name, **{key: value for key, value in more.items() if value is not None})
    except (OSError, ValueError) as error:
        raise CannotRun(
            f"there is no file {name}, and the Hugging Face hub gives no configuration of that name: {_line(error)}",
            remedy="Name a configuration file; a name needs the hub, or a copy that was kept here.",
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
