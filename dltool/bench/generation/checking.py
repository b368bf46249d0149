"""Is it right? The scores with the cache against those of a forward of all tokens without one, and the tokens chosen."""

from __future__ import annotations

import math
from typing import Any

from dltool.bench import dtype_row, verified
from dltool.bench.generation.backends import only
from dltool.bench.generation.steps import Next, Session
from dltool.bench.workloads.kit import relative_error
from dltool.numerics import product_tolerance
from dltool.results import Verified

_LARGEST = 0.25
"""What is further off is wrong whatever the dtype: scores of another text are off by 1.4."""
_TIED = 10.0
"""Two tokens are as good as one another where their scores differ by less than so many tolerances of a usual score."""


def tolerance(dtype: str, layers: int, width: int) -> float:
    """For the scores of a model of so many layers, whose products of `width` terms are made in another order.

    Each layer rounds as a product does; what the layers round adds up as the square root of their number.
    """
    return min(_LARGEST, product_tolerance(dtype_row(dtype), width) * math.sqrt(max(1, layers)))


def prefill(session: Session, following: Next, most: float, room: bool) -> Verified:
    """The scores after the prompt; and, where there is `room` for it, those of one token more, which the cache is read for."""
    scores, token = session.left
    found, ids = [scores], session.ids
    if room:
        with session.torch.no_grad(), only(session.sdpa):
            found.append(following(token)[0])
        ids = session.torch.cat((ids, token), 1)
    return _compared(session, session.torch.stack(found, 1), ids, token, most)


def decode(session: Session, most: float) -> Verified:
    """The scores after the last token."""
    return _compared(session, session.left[0][:, None], session.ids, session.left[1], most)


def generate(session: Session, most: float) -> Verified:
    """The scores after all tokens but the last, which nobody reads, and every token chosen."""
    scores, tokens = session.left
    ids = session.torch.cat((session.ids, tokens[:, :-1]), 1)
    return _compared(session, scores[:, None], ids, tokens, most)


def _compared(session: Session, scores: Any, ids: Any, tokens: Any, most: float) -> Verified:
    """Of the first and the last sequence.

    Args:
        session: the model.
        scores: (N, S, vocabulary), after the last S of `ids`.
        ids: (N, T), everything that was read.
        tokens: (N, G), chosen after each of the last G of `ids`, or after each of those before the last where S is more.
        most: of the relative error.
    """
    torch = session.torch
    ends = sorted({0, len(ids) - 1})
    keep = max(scores.shape[1], tokens.shape[1])
    session.speaker.keep = keep
    try:
        with torch.no_grad(), only(session.sdpa):
            whole = session.speaker.scores(ids[ends]).float()
    finally:
        session.speaker.keep = 1
    error = relative_error(scores[ends].float(), whole[:, -scores.shape[1] :])
    strays = _strays(tokens[ends], whole[:, : tokens.shape[1]], most)
    what = f"the same {session.ids.shape[1]} tokens without a cache"
    if strays:
        return verified(f"{what}: {strays} of {tokens[ends].numel()} tokens are others", max(error, 1.0), most)
    return verified(f"{what}, tokens equal", error, most)


def _strays(tokens: Any, scores: Any, most: float) -> int:
    """Tokens that are clearly not the best: rounding decides between those that are as good as one another."""
    chosen = scores.gather(-1, tokens[..., None])[..., 0]
    usual = scores.square().mean(-1).sqrt()
    return int((scores.amax(-1) - chosen > _TIED * most * usual).sum())
