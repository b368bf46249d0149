"""Attention in one piece on the meta device, where torch would take it apart and hold the maps that no GPU holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_inside = threading.RLock()
_depth = 0


@contextmanager
def fused_attention() -> Iterator[None]:
    """Inside, `scaled_dot_product_attention` of meta tensors is one fused operation with the flag `is_causal`, as on a GPU.

    Its memory is then that of flash attention: the output and one number per row, no maps. A mask that is learnt, heads of
    two widths and other odd calls go torch's own way.
    """
    import torch

    global _depth
    with _inside:
        _depth += 1
        library = torch.library.Library("aten", "IMPL") if _depth == 1 else None
        try:
            if library is not None:
                library.impl("scaled_dot_product_attention", _attend, "AutogradMeta")
            yield
        finally:
            _depth -= 1
            if library is not None:
                library._destroy()


def _attend(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    import torch

    # Shared heads (enable_gqa) are read where they are: the shapes of a kernel for meta tensors need not agree.
    if not _usual(query, key, value, attn_mask):
        return torch.ops.aten.scaled_dot_product_attention.default.decompose(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = attn_mask.to(query.dtype)
    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )
    return found[0]


def _usual(query: Any, key: Any, value: Any, attn_mask: Any) -> bool:
    """Whether a fused kernel takes it."""
    widths = {each.shape[-1] for each in (query, key, value)}
    learnt = attn_mask is not None and attn_mask.requires_grad
    return len(widths) == 1 and not learnt and all(each.dim() == 4 for each in (query, key, value))
