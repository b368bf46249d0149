#!/usr/bin/env python3
"""Snapshots: ten thousand different ones judged in one process. What one costs, and whether the memory stays what it was.

Each is a recorded machine with other versions, names, sizes and temperatures, so that no answer of before serves again.
Times are of the processor, in which neighbours on a busy machine do not show.
"""

from __future__ import annotations

import gc
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
from common import ROOT, verdict

MANY, FIRST = 10_000, 1_000
JUDGED_S = 0.001
DECODED_S = 0.001
GROWN_MIB = 2.0
PIECE = 500
"""Snapshots that are made at a time; all at once would take the memory that is measured here."""


def main() -> int:
    from dltool import checks, machine
    from dltool.results import Status

    whole = psutil.Process()
    decoding = judging = 0.0
    done, crashed, after_first, spans = 0, 0, 0, list[float]()
    for piece in varied(MANY):
        began = time.process_time()
        machines = [machine.from_json(data, source="benchmark") for data in piece]
        decoded = time.process_time()
        for facts in machines:
            crashed += any(finding.status is Status.CRASH for finding in checks.run(facts))
        spans.append(time.process_time() - decoded)
        decoding += decoded - began
        judging += spans[-1]
        done += len(piece)
        del machines, piece
        if done == FIRST:
            gc.collect()
            after_first = whole.memory_info().rss
    gc.collect()
    grown = (whole.memory_info().rss - after_first) / 2**20
    slowest, quickest = max(spans) / PIECE, min(spans) / PIECE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"      {done} snapshots: {decoding / done * 1e3:.3f} ms decoded, {judging / done * 1e3:.3f} ms judged each; "
          f"by {PIECE}: {quickest * 1e3:.3f} to {slowest * 1e3:.3f} ms judged; peak {peak:.0f} MiB")  # fmt: skip
    good = [
        verdict("one snapshot judged, of 1 ms", judging / done / JUDGED_S, 1.0),
        verdict("one snapshot decoded, of 1 ms", decoding / done / DECODED_S, 1.0),
        verdict(f"memory after {MANY} beyond that after {FIRST}, of {GROWN_MIB:g} MiB", max(grown, 0.0) / GROWN_MIB, 1.0),
        verdict("checks that crashed", crashed, 0.0),
    ]
    return 0 if all(good) else 1


def varied(count: int) -> Iterator[list[bytes]]:
    """So many snapshots, a piece at a time, each from a recorded machine in turn and no two alike."""
    recorded = [msgspec.json.decode(path.read_bytes()) for path in sorted(Path(ROOT, "tests/machines").glob("*.json"))]
    pick = random.Random(0)
    for start in range(0, count, PIECE):
        numbers = range(start, min(start + PIECE, count))
        yield [msgspec.json.encode(_other(recorded[number % len(recorded)], number, pick)) for number in numbers]


def _other(of: dict, number: int, pick: random.Random) -> dict:
    """The same machine on another day, in another rack, with another driver and other packages."""
    facts = msgspec.json.decode(msgspec.json.encode(of))
    version = f"{pick.randint(450, 590)}.{pick.randint(10, 250)}.{number % 100:02}"
    facts["os"]["hostname"] = f"node{number}"
    facts["memory"]["available_bytes"] = pick.randrange(2**30, 2**40)
    facts["cpu"]["load_1min"] = pick.random() * 64
    for name in ("version", "kernel_module_version", "nvml_library_version"):
        if facts["driver"].get(name):
            facts["driver"][name] = version
    for gpu in facts["gpus"]:
        gpu |= {"serial": f"#{pick.getrandbits(64):016x}", "uuid": f"GPU-#{pick.getrandbits(64):016x}"}
        gpu |= {"temperature_c": pick.randint(25, 95), "power_w": pick.random() * 700, "sm_mhz": pick.randint(200, 2500)}
    python = facts.get("python") or {}
    for distribution in python.get("distributions", ()):
        if distribution["name"] != "torch":
            distribution["version"] = f"{pick.randint(1, 14)}.{pick.randint(0, 40)}.{number}"
    if python.get("torch"):
        python["torch"]["git_version"] = f"{pick.getrandbits(160):040x}"
    return facts


if __name__ == "__main__":
    sys.exit(main())
