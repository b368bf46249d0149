"""Attention by the backend that is asked for, or a refusal in torch's own words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dltool.bench.workloads.attention import BACKENDS, plain, short
from dltool.errors import CannotRun

CHOICES = ("auto", *BACKENDS)


def only(name: str) -> AbstractContextManager[Any]:
    """Inside, `scaled_dot_product_attention` takes this backend or fails; with "auto" torch chooses."""
    if name == "auto":
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    chosen: AbstractContextManager[Any] = sdpa_kernel([getattr(SDPBackend, BACKENDS[name])])
    return chosen


def refuse_unless_taken(name: str, doing: str, ask: Callable[[], object]) -> None:
    """Try it once.

    Args:
        name: one of `CHOICES`.
        doing: what is tried, in words.
        ask: does it, with the least of work.

    Raises:
        CannotRun: the backend takes no such attention; says why.
    """
    with warnings.catch_warnings(record=True) as said, only(name):
        warnings.simplefilter("always")
        try:
            ask()
        except RuntimeError as error:
            if name == "auto" or "out of memory" in str(error):
                raise
            reasons = [str(warning.message).partition(" (Triggered")[0].strip() for warning in said]
            text = f"{name} refuses {doing}: {short(reasons or [plain(error)])}"
            raise CannotRun(text, remedy="Choose another: --sdpa auto,math") from None
