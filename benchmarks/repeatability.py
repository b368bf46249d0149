#!/usr/bin/env python3
"""Does the noise floor that `dltool bench selftest` prints hold? Runs a minute apart differ by less, nine times out of ten.

python benchmarks/repeatability.py [--runs 11] [--apart 60] [--budget 240]

A selftest first; then so many runs of the same cases, each in a process of its own, their starts so many seconds apart. Each
difference between neighbouring runs is held against the floor of its case, and judged as a gate would judge it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import time

from dltool import probe
from dltool.bench import elsewhere, noise, verdicts
from dltool.bench import selftest as selftests
from dltool.differences import Verdict


def main() -> int:
    asked = argparse.ArgumentParser()
    asked.add_argument("--runs", type=int, default=11)
    asked.add_argument("--apart", type=float, default=60.0)
    asked.add_argument("--budget", type=float, default=240.0)
    options = asked.parse_args()
    machine = probe.read(measure_clock=True)
    block_s = 0.0

    def measure(seconds: float) -> list:
        nonlocal block_s
        block_s = seconds
        return elsewhere.measure(sys.executable, [("selftest", {})], machine, "cpu", seconds, selftests.BLOCKS)

    print(f"load average before the selftest: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    pairs = selftests.run(measure, options.budget)
    floors = [noise.of_case(case) for case in pairs]
    for note in selftests.notes(pairs):
        print(f"  {note}")
    runs = []
    for _ in range(options.runs):
        began = time.monotonic()
        runs.append(measure(block_s)[:: selftests.BLOCKS])
        time.sleep(max(0.0, options.apart - (time.monotonic() - began)))
    print(f"load average after the last run: {os.getloadavg()[0]:.1f}")
    within = alarms = total = 0
    for place, floor in enumerate(floors):
        known = verdicts.Noise(sd=floor.between_runs_sd, degrees=floor.runs - 1)
        of_case = [run[place] for run in runs]
        found = [
            (abs(math.log(b.median_s / a.median_s)), verdicts.judge(verdicts.apart(a.seconds, b.seconds, known)))
            for a, b in itertools.pairwise(of_case)
        ]
        good = sum(difference < math.log1p(floor.floor) for difference, _ in found)
        cried = sum(verdict in (Verdict.FASTER, Verdict.SLOWER) for _, verdict in found)
        worst = math.expm1(max(difference for difference, _ in found))
        name = f"{floor.workload} {floor.params.get('kernel') or floor.params.get('dtype')} {floor.params.get('m', '')}"
        print(f"{name:<18} floor {floor.floor:6.1%}  within {good} of {len(found)}, worst {worst:.1%}, false alarms {cried}")
        within, alarms, total = within + good, alarms + cried, total + len(found)
    share = within / total
    print(f"{'ok  ' if share >= 0.9 else 'MISS'}  differences below the noise floor: {share:.3f} of {total} (at least 0.9)")
    print(f"{'ok  ' if alarms <= 0.05 * total else 'MISS'}  false alarms at 99 %: {alarms} of {total} (at most 0.05)")
    return 0 if share >= 0.9 and alarms <= 0.05 * total else 1


if __name__ == "__main__":
    sys.exit(main())
