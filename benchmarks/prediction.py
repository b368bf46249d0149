#!/usr/bin/env python3
"""How good are predictions? Every published pair: the same model, precision and source on two boards, one from the other.

And every published figure from peaks and bandwidth alone. Writes catalog/prediction_errors.csv anew with --write.

python benchmarks/prediction.py [--write]
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence

from common import ROOT, verdict

from dltool.bench.known_pairs import Known, digest, errors, known_figures, known_pairs
from dltool.bench.networks.published import step_traffic
from dltool.bench.prediction import known_error
from dltool.model_results import KnownError

_LIMITS = {"transfer": 0.5, "train": 1.0, "infer": 1.0}
_SOURCE = "catalog/reference.csv and catalog/model_names.csv, by benchmarks/prediction.py"


def main() -> int:
    found = errors(step_traffic)
    for title, known in (
        ("from another board", known_pairs(step_traffic)),
        ("from the catalogue", known_figures(step_traffic)),
    ):
        print(f"\n{title}: the roofline over published")
        _by_model(known)
    if "--write" in sys.argv[1:]:
        _write(found)
    print()
    for kind, one in found.items():
        print(f"      {kind}: {one.pairs} predicted, off by {one.median:.3f} in the median, after a factor of {one.factor:.3f}")
    good = [verdict(f"{kind}: error that nine of ten stay below", one.p90, _LIMITS[kind]) for kind, one in found.items()]
    for kind, one in found.items():
        kept = known_error(kind)
        good.append(verdict(f"{kind}: that error against the one in the catalogue", one.p90 / kept.p90 if kept else 0.0, 1.01))
    return 0 if all(good) else 1


def _by_model(found: Sequence[Known]) -> None:
    groups = defaultdict(list)
    for one in found:
        groups[f"{one.model} {one.mode} {one.precision}"].append(one)
    for name, same in sorted(groups.items()):
        ratios = [one.predicted / one.published for one in same]
        worst = max(same, key=lambda one: one.error)
        way = f"{worst.board} from {worst.measured_on}" if worst.measured_on else worst.board
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"  {name:45} {len(same):3}  median {statistics.median(ratios):.2f}  {span}  worst {way}")


def _write(errors: dict[str, KnownError]) -> None:
    with (ROOT / "catalog/prediction_errors.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("kind", "pairs", "median", "p90", "factor", "rests_on", "tables", "source"))
        for kind, one in errors.items():
            table.writerow(
                (kind, one.pairs, f"{one.median:.3f}", f"{one.p90:.3f}", f"{one.factor:.4f}", one.rests_on, digest(), _SOURCE)
            )


if __name__ == "__main__":
    raise SystemExit(main())
