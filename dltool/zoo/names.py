"""The names that checkpoints of different age and origin give to the same tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_CONSTANTS = re.compile(
    r"(^|\.)(attn\.bias|attn\.masked_bias|rotary_emb\.inv_freq|embeddings\.position_ids"
    r"|EncDecAttention\.relative_attention_bias\.weight)$"
)
"""What older versions saved though no model needs it: causal masks, rotary frequencies, 0 1 2 3 ..., a bias never used."""
_OLDER = ((re.compile(r"\bLayerNorm\.gamma$"), "LayerNorm.weight"), (re.compile(r"\bLayerNorm\.beta$"), "LayerNorm.bias"))
_BODIES = ("transformer.", "bert.", "model.")
"""Where a model with a head keeps its body; the checkpoint of a body alone has its names without."""


def as_named(found: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names of the model.

    Older names become today's, constants that the model does not keep are left out, and the prefix of the body is put before
    the names or taken away. Into a body alone go the body's tensors alone, without the heads'.
    """
    wanted = model.state_dict().keys()
    named = {_today(key): tensor for key, tensor in found.items()}
    for body in _BODIES:
        here, there = (any(key.startswith(body) for key in keys) for keys in (wanted, named))
        if here and not there:
            named = {body + key if body + key in wanted else key: tensor for key, tensor in named.items()}
        elif there and not here and any(body + key in named for key in wanted):
            named = {key.removeprefix(body): tensor for key, tensor in named.items() if key.startswith(body)}
    return {key: tensor for key, tensor in named.items() if key in wanted or not _CONSTANTS.search(key)}


def unfilled(model: nn.Module, missing: Iterable[str]) -> list[str]:
    """Missing keys whose tensor was not filled under another name: a checkpoint may hold a tied tensor once."""
    lacking = set(missing)
    tensors = model.state_dict(keep_vars=True)
    filled = {id(tensor) for key, tensor in tensors.items() if key not in lacking}
    return [key for key in tensors if key in lacking and id(tensors[key]) not in filled]


def _today(key: str) -> str:
    for older, newer in _OLDER:
        key = older.sub(newer, key)
    return key
