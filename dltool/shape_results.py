"""What the search for the best shape and the look at a user's own shapes find out. JSON in and out, inside a `Report`."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Trial(Struct, frozen=True, kw_only=True):
    """One shape timed once in the course of a search: raw samples, kept whether they were lucky or not."""

    m: int
    n: int
    k: int
    stage: str
    """"calibrate", "coarse", "halve", "refine" or "confirm"."""
    seconds: tuple[float, ...] = ()
    """Seconds of one step, sample by sample."""
    steps: int = 1
    """Steps in each sample."""
    cost_s: float = 0.0
    """What it took of the budget, with preparation and warm-up."""
    error: str | None = None
    """Why this shape could not be run."""


class Finalist(Struct, frozen=True, kw_only=True):
    """A shape that came to the confirmation: all finalists timed in turn, so that drift meets them alike."""

    m: int
    n: int
    k: int
    rate: float
    """Operations per second at the median of the confirmation's samples, and of no others."""
    median_s: float
    ci95_s: tuple[float, float] | None
    samples: int
    behind: float | None = None
    """Its rate over the winner's, from pairs of neighbouring samples; None for the winner."""
    behind_ci95: tuple[float, float] | None = None

    @property
    def level(self) -> bool:
        """Whether it may be as fast as the winner: 1 is in the confidence interval of its share, or there is no interval."""
        return self.behind is not None and (self.behind_ci95 is None or self.behind_ci95[1] >= 1.0)


class Search(Struct, frozen=True, kw_only=True):
    """The search for the best shape of one dtype."""

    dtype: str
    device: str
    rate_unit: str
    lowest: int
    highest: int
    """The sides that were allowed."""
    tried: int
    """Different shapes that were timed."""
    candidates: int
    """Shapes of the grid before anything was left out."""
    pruned: Mapping[str, int] = {}
    """Reason to number of candidates that were left out for it."""
    spent_s: float = 0.0
    """Of the budget, without the final measurement."""
    resumed_s: float = 0.0
    """The part of it that was spent by an earlier, interrupted run."""
    ended: str = "budget"
    """"budget", "settled" (nothing was left that could be better), "interrupted" or "failed"."""
    finalists: tuple[Finalist, ...] = ()
    """The winner first."""
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()
    journal: str | None = None
    """Name of the file in the state directory that holds every trial."""
    failed: str | None = None
    """Why nothing was found."""


class Padding(Struct, frozen=True, kw_only=True):
    """A shape's neighbour with sides rounded up to whole tiles, timed in turn with it."""

    m: int
    n: int
    k: int
    gain: float
    """Time of the shape over that of its neighbour, which does the useful work and more: 1.2 saves a sixth of the time."""
    gain_ci95: tuple[float, float] | None
    pairs: int
    verdict: str
    """"faster", "slower", "same" or "can't tell"."""


class OwnShape(Struct, frozen=True, kw_only=True):
    """One of the user's shapes, as it is and as it would be at the ceiling."""

    m: int
    n: int
    k: int
    dtype: str
    name: str = ""
    count: int = 1
    """How often it occurs in a step."""
    kind: str = "gemm"
    """"gemm", "batched gemm", "convolution" or "attention"; all but the first are products in disguise (implicit GEMM)."""
    ops: int = 0
    """Operations of all occurrences together."""
    seconds: float | None = None
    """Of one occurrence, the median; None where it was not measured."""
    ci95_s: tuple[float, float] | None = None
    rate: float | None = None
    share_of_ceiling: float | None = None
    total_s: float | None = None
    """All occurrences at the measured rate."""
    ceiling_s: float | None = None
    """All occurrences at the ceiling."""
    padding: Padding | None = None
    not_measured: str | None = None


class Ceiling(Struct, frozen=True, kw_only=True):
    """The best rate of a dtype that was seen here."""

    dtype: str
    rate: float
    rate_unit: str
    m: int
    n: int
    k: int
    basis: str
    """"search" (the confirmed winner of a search in the same run) or "own shape" (one of the user's was still better)."""


class OwnShapes(Struct, frozen=True, kw_only=True):
    """What the user's shapes reach, and where the time would go at the ceiling."""

    source: str
    """The file or the model that they are from."""
    ceilings: tuple[Ceiling, ...] = ()
    shapes: tuple[OwnShape, ...] = ()
    """Those that lose most time first."""
    measured_s: float = 0.0
    """A step's products that were measured, together."""
    measured_at_ceiling_s: float = 0.0
    """The same at the ceiling."""
    not_measured_at_ceiling_s: float = 0.0
    """What those that were not measured would take there."""
    notes: tuple[str, ...] = ()
