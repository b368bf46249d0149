"""What the figures share: commands timed in alternation, so that drift of the machine meets all alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent


def seconds(command: Sequence[str]) -> float:
    """Wall time of one run; its output goes nowhere."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, check=False)
    return time.perf_counter() - began


def alternate(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, float]:
    """Median seconds of each command over `rounds` rounds, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            took = seconds(command)
            if number:
                times[name].append(took)
    return {name: statistics.median(values) for name, values in times.items()}


def verdict(name: str, ratio: float, limit: float) -> bool:
    """Print one figure against its limit."""
    good = ratio <= limit
    print(f"{'ok  ' if good else 'MISS'}  {name}: {ratio:.3f} (at most {limit:g})")
    return good
