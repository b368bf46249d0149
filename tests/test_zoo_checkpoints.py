"""Checkpoints of every age fit: tied tensors once or twice, older names, constants, with and without the body's prefix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dltool import models
from dltool.errors import UsageError

TINY: dict[str, dict[str, Any]] = {
    "gpt2": {"layers": 1, "width": 8, "heads": 2, "vocab_size": 11, "max_position_embeddings": 6},
    "bert_base": {"layers": 1, "width": 8, "heads": 2, "vocab_size": 11, "max_position_embeddings": 6},
    "t5_small": {"layers": 1, "width": 8, "heads": 2, "head_width": 4, "inner": 8, "vocab_size": 11},
    "llama_3.2_1b": {"layers": 1, "width": 8, "inner": 8, "heads": 2, "kv_heads": 1, "vocab_size": 11},
    "llama_3_8b": {"layers": 1, "width": 8, "inner": 8, "heads": 2, "kv_heads": 1, "vocab_size": 11},
}
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def without(*keys: str) -> Change:
    return lambda held: {key: value for key, value in held.items() if key not in keys}


def with_(**more: Tensor) -> Change:
    return lambda held: held | {key.replace("__", "."): value for key, value in more.items()}


def older_norms(held: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {next((key.replace(new, old) for new, old in names.items() if new in key), key): held[key] for key in held}


def body_alone(body: str) -> Change:
    return lambda held: {key.removeprefix(body): value for key, value in held.items() if key.startswith(body)}


KINDS = [
    ("gpt2", {}, without()),
    ("gpt2", {}, without("lm_head.weight")),
    ("gpt2", {}, without("transformer.wte.weight")),
    ("gpt2", {}, with_(transformer__h__0__attn__bias=torch.ones(1, 1, 6, 6).tril())),
    ("gpt2", {}, with_(transformer__h__0__attn__masked_bias=torch.tensor(-1e4))),
    ("gpt2", {}, body_alone("transformer.")),
    ("bert_base", {"head": "pretraining"}, without("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")),
    ("bert_base", {"head": "pretraining"}, with_(bert__embeddings__position_ids=torch.arange(6)[None])),
    ("bert_base", {"head": "pretraining"}, older_norms),
    ("bert_base", {}, lambda held: {f"bert.{key}": value for key, value in held.items()}),
    ("bert_base", {}, with_(embeddings__position_ids=torch.arange(6)[None])),
    ("t5_small", {}, without("lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")),
    ("t5_small", {}, with_(decoder__block__0__layer__1__EncDecAttention__relative_attention_bias__weight=torch.ones(32, 2))),
    ("llama_3.2_1b", {}, without("lm_head.weight")),
    ("llama_3_8b", {}, with_(model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(2))),
]  # fmt: skip


@pytest.mark.parametrize("form", ["safetensors", "pt"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
def test_a_public_checkpoint_fits(kind: tuple[str, dict[str, Any], Change], form: str, tmp_path: Path) -> None:
    name, options, change = kind
    options = TINY[name] | options
    published = models.build(name, **options).state_dict()
    path = tmp_path / f"model.{form}"
    save(change(published), path)
    loaded = models.build(name, weights=path, **options).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in published.items())


def save(held: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".pt":
        torch.save(held, path)
    else:
        pytest.importorskip("safetensors.torch").save_file({key: value.clone() for key, value in held.items()}, path)


def test_the_body_of_a_checkpoint_with_heads_goes_into_a_body(tmp_path: Path) -> None:
    published = models.build("bert_base", head="pretraining", **TINY["bert_base"]).state_dict()
    torch.save(published, tmp_path / "model.pt")
    loaded = models.build("bert_base", weights=tmp_path / "model.pt", **TINY["bert_base"]).state_dict()
    assert all(torch.equal(value, published[f"bert.{key}"]) for key, value in loaded.items())


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("gpt2", "transformer.h.0.attn.c_attn.bias"),
        ("llama_3_8b", "lm_head.weight"),
    ],
)
def test_what_is_not_tied_must_be_there(name: str, missing: str, tmp_path: Path) -> None:
    held = models.build(name, **TINY[name]).state_dict()
    torch.save(without(missing)(held), tmp_path / "model.pt")
    with pytest.raises(UsageError, match=f"lacks {missing}"):
        models.build(name, weights=tmp_path / "model.pt", **TINY[name])


def test_a_tied_tensor_that_is_there_under_no_name_is_missing(tmp_path: Path) -> None:
    held = models.build("gpt2", **TINY["gpt2"]).state_dict()
    torch.save(without("lm_head.weight", "transformer.wte.weight")(held), tmp_path / "model.pt")
    with pytest.raises(UsageError, match=r"lacks transformer\.wte\.weight, lm_head\.weight"):
        models.build("gpt2", weights=tmp_path / "model.pt", **TINY["gpt2"])


def test_no_model_keeps_what_can_be_computed() -> None:
    for name, options in TINY.items():
        model = models.build(name, **options)
        assert model.state_dict().keys() == dict(model.named_parameters(remove_duplicate=False)).keys()
