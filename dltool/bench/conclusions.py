"""What the rows of a run say together, which none of them knows by itself.

The module of a workload may have a function for its own:

    def concluded(rows: Sequence[Measurement]) -> list[Measurement]: ...

It gets all rows of the run, and gives them back in the same order.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dltool.bench import WORKLOADS
from dltool.bench.against_triad import against_triad
from dltool.results import Measurement


def concluded(rows: Sequence[Measurement]) -> list[Measurement]:
    """The rows, completed by their workloads."""
    found = against_triad(rows)
    kinds = dict(WORKLOADS)
    modules = dict.fromkeys(kinds[row.workload].__module__ for row in rows if row.workload in kinds)
    for module in modules:
        conclude = getattr(sys.modules[module], "concluded", None)
        found = found if conclude is None else conclude(found)
    return found
