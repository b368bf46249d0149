"""Checkpoints of older versions of the reference, whose layers had other names."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn


def accept_old_keys(module: nn.Module, *renamed: tuple[str, str]) -> None:
    """Let a module load weights and biases under the names that its layers once had, given as (old, new)."""
    module._register_load_state_dict_pre_hook(partial(_rename, renamed))


def _rename(renamed: tuple[tuple[str, str], ...], state: dict[str, Any], prefix: str, *_: Any) -> None:
    for old, new in renamed:
        for kind in ("weight", "bias"):
            if f"{prefix}{old}.{kind}" in state:
                state[f"{prefix}{new}.{kind}"] = state.pop(f"{prefix}{old}.{kind}")
