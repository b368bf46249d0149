"""How long each part of a case may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_CASE_S = 0.5
"""Below this a case has too few samples for an interval of its median; trying, warming up and checking need their part too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long to measure one case. Seconds."""

    case_s: float = math.inf
    """What all of the case may take; sampling ends then, but not before a third of its own time."""
    sampling_s: float = 2.0
    warmup_s: float = 2.0
    """The most that the warm-up may take; it ends earlier, as soon as it is steady."""
    sample_s: float = 0.01
    """Shortest sample: shorter steps are repeated within one, so that reading the clock costs nothing."""
    step_s: float = 0.5
    """Longest step: a case that would take longer is measured at a smaller size, which is said."""
    cap_s: float = 30.0
    """After so much wall time the case ends with what it has."""
    window: int = 5
    steady: float = 0.01
    """Medians of windows within this of one another are steady."""
    precision: float | None = None
    """Sampling ends early once the 95 % interval of the median is within this share of it on both sides; None: never."""
    budget_s: float | None = None
    """What all cases together may take; what one leaves over is shared by those after it. None: every case has this plan."""

    @classmethod
    def for_budget(cls, budget_s: float, case_count: int, *, precision: float | None = None) -> Plan:
        """Share a budget among cases; what trying, warming up and checking take is taken from the sampling."""
        share = budget_s / max(1, case_count)
        return cls(
            case_s=share * 0.98,
            sampling_s=share,
            warmup_s=min(0.25 * share, 5.0),
            step_s=share / 8,
            cap_s=max(2.0, share * 3),
            precision=precision,
            budget_s=budget_s,
        )

    def with_left(self, left_s: float, cases_left: int) -> Plan:
        """The plan of the next case when so much of the budget is left; a late run still gives each case its least."""
        if self.budget_s is None:
            return self
        return self.for_budget(max(left_s, LEAST_CASE_S * cases_left), cases_left, precision=self.precision)


def least_budget(case_count: int) -> float:
    """Seconds without which so many cases cannot all be measured."""
    return LEAST_CASE_S * case_count
