"""How a model learns in one number format: the loss beside that of fp32, the score, the verdict. Inside a `Measurement`."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Learning(Struct, frozen=True, kw_only=True):
    """A training on real data, and what it is judged by."""

    model: str
    """With the options that make it small."""
    data: str
    metric: str
    """"accuracy", "miou", "perplexity_share" ...: what is to reach the target."""
    target: float | None
    """Null: nobody measured one."""
    value: float | None
    """Of the metric at the end; null: no number."""
    reached_s: float | None = None
    """Seconds of training until the metric was first as good as the target, looked at after each epoch."""
    reached_epoch: int | None = None
    epochs: int = 0
    steps: int = 0
    train_s: float = 0.0
    """Seconds of all steps, without what was asked in between."""
    scores: tuple[float | None, ...] = ()
    """The metric after each epoch."""
    metrics: Mapping[str, float | None] = {}
    """At the end: the metric and what else is usual for the task."""
    loss: tuple[float | None, ...] = ()
    """Means over equal parts of the steps, in order; null: no number."""
    reference: tuple[float | None, ...] = ()
    """The same of fp32 on the CPU, with the same weights at the start and the same order of samples."""
    band: tuple[float, ...] = ()
    """How far `loss` may be from `reference`, point by point."""
    rule: str = ""
    """How the band was reckoned."""
    seed: int = 0
    seeds: int = 0
    """How many trainings in fp32 the band follows from."""
    gradient_error: float | None = None
    """The worst relative difference of a gradient from that of fp32 on the CPU, same weights and batch; null: no number."""
    gradient_of: str = ""
    """The parameter whose gradient that was."""
    gradient_tolerance: float | None = None
    steps_left_out: int = 0
    """Steps whose scaled gradients overflowed, which loss scaling leaves out."""
    ok: bool = True
    verdict: str = ""
    """"learns", "does not learn as fp32 does" or "misses its target"."""
    reasons: tuple[str, ...] = ()
    """Why it is not ok."""
