"""Machines that are really broken: each set-up builds one in a directory, and its healthy twin, for any command to be run in.

    with SETUPS["old-cudnn"].build(directory, broken=True) as world:
        world.run([sys.executable, "-m", "dltool", "doctor", "--json"])

What is broken is broken for every program alike: a shared library that really lacks a symbol, a package whose import kills the
process, a control group that really limits. Driver and GPU are stand-ins (fake_nvml, text files under /proc, /dev and /sys),
put over this machine's own files in a mount namespace, so that nothing outside of it changes (`world`).
"""

from __future__ import annotations

from broken import faults_driver, faults_host, faults_python  # noqa: F401  (they enter their set-ups)
from broken.setup import SETUPS, Setup
from broken.world import Run, World, why_not

__all__ = ["SETUPS", "Run", "Setup", "World", "why_not"]
