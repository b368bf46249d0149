"""How far a result may be from the exact one by rounding alone."""

from __future__ import annotations

import math
from collections.abc import Mapping


def product_tolerance(number_format: Mapping[str, str], k: int) -> float:
    """For a matrix product over `k`: the Frobenius norm of the error over that of the result, at most.

    Rounding of the output and of the factors enters once, of the sums as the square root of k (random signs). Integers are
    exact.

    Args:
        number_format: a row of `catalog/dtypes.csv`.
        k: terms of each sum.
    """
    output = float(number_format["epsilon_out"])
    if output == 0:
        return 0.0
    rounding = max(output, float(number_format["epsilon_product"]))
    return 2 * rounding + float(number_format["epsilon_accumulate"]) * math.sqrt(k)
