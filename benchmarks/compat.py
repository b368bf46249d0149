#!/usr/bin/env python3
"""Compatibility: what one question costs from a cold start, and ten thousand combinations judged in one process."""

from __future__ import annotations

import random
import sys
import time

from common import BIN, alternate, verdict

DLTOOL = str(BIN / "dltool")
QUESTIONS = {
    "works": ("--driver", "535.183.01", "--cc", "8.0", "--torch", "2.14.1+cu126", "--python", "3.12"),
    "does not": ("--gpu", "RTX 5090", "--driver", "560.35.03", "--torch", "2.7.1+cu128", "--python", "3.12"),
    "nothing suits": ("--gpu", "K40", "--driver", "470.239.06", "--torch", "1.13.1+cu117", "--python", "3.10"),
    "companions": (
        "--driver",
        "580.95.05",
        "--cc",
        "8.0",
        "--torch",
        "2.14.1+cu130",
        "--with",
        "torchvision,flash-attn==2.8.3",
    ),
}
MANY = 10_000
COLD_S = 0.150
START_RATIO = 2.5
MANY_S = 5.0
CAPABILITIES = ("3.5", "3.7", "5.2", "6.1", "7.0", "7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "12.0", "12.1")


def cold() -> list[bool]:
    """Each question in a process of its own, against the least that any command costs."""
    commands = {"version": [DLTOOL, "--version"]}
    commands |= {name: [DLTOOL, "compat", *given, "--json"] for name, given in QUESTIONS.items()}
    took = alternate(commands, rounds=15)
    base = took.pop("version")
    good = [verdict(f"dltool compat, {name}, of 150 ms", seconds / COLD_S, 1.0) for name, seconds in took.items()]
    return [*good, *(verdict(f"dltool compat, {name} / dltool --version", took[name] / base, START_RATIO) for name in took)]


def warm() -> list[bool]:
    """Combinations of driver, GPU, PyTorch and Python, each judged by every rule."""
    from dltool import compat, tables

    drivers = [row["driver_linux"] for row in tables.rows("compat/cuda") if row["driver_linux"]]
    builds = [(row["torch"], build) for row in tables.rows("compat/torch_releases") for build in row["builds"].split()]
    pick = random.Random(0)
    questions = []
    for _ in range(MANY):
        torch, build = pick.choice(builds)
        questions.append(
            compat.Question(
                torch=torch,
                build=build,
                driver=pick.choice(drivers),
                compute_capabilities=(pick.choice(CAPABILITIES),),
                python=f"3.{pick.randint(6, 15)}",
                glibc=pick.choice(("2.17", "2.28", "2.35")),
            )
        )
    began = time.perf_counter()
    found = sum(len(compat.judge(question)) for question in questions)
    took = time.perf_counter() - began
    return [verdict(f"{MANY} combinations, {found} findings, of 5 s", took / MANY_S, 1.0)]


def main() -> int:
    return 0 if all(cold() + warm()) else 1


if __name__ == "__main__":
    sys.exit(main())
