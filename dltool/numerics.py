"""How far a result may be from the exact one by rounding alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

_LARGEST = 0.5
"""What is further off is wrong whatever the format: nothing but zeros is off by 1."""


def product_tolerance(number_format: Mapping[str, str], k: int) -> float:
    """For a matrix product over `k`: the Frobenius norm of the error over that of the result, at most.

    Rounding of the output and of the factors enters once, of the sums as the square root of k (random signs). Integers are
    exact. Scales are no rounding: the reference multiplies by the same ones, and fp32 holds what they do to a sum.

    Args:
        number_format: a row of `catalog/dtypes.csv`.
        k: terms of each sum.
    """
    output = float(number_format["epsilon_out"])
    if output == 0:
        return 0.0
    rounding = max(output, float(number_format["epsilon_product"]))
    return min(_LARGEST, 2 * rounding + float(number_format["epsilon_accumulate"]) * math.sqrt(k))


def repeated_tolerance(number_format: Mapping[str, str], rounds: int) -> float:
    """For the same product added `rounds` times: the signs are not random then, so rounding may add up in full."""
    return float(number_format["epsilon_accumulate"]) * rounds


def recurrence_tolerance(epsilon: float, factor: float) -> float:
    """For x = a x + b, over and over, with |a| up to `factor`: each rounding is shrunk by all rounds that follow.

    Half a spacing a round, and their sum is that of a geometric series; doubled for the first b, which may be the largest.
    """
    return epsilon / (1 - factor)
