"""Machines that are really broken: each set-up builds one in a directory, and its healthy twin, for any command to be run in.

    with setups.SETUPS["old-cudnn"].build(directory, broken=True) as world:
        world.run([sys.executable, "-m", "dltool", "doctor", "--json"])

What is broken is broken for every program alike: a shared library that really lacks a symbol, a package whose import kills the
process, a control group that really limits. Driver and GPU are stand-ins (fake_nvml, text files under /proc, /dev and /sys),
put over this machine's own files in a mount namespace, so that nothing outside of it changes (`space`).
"""

from __future__ import annotations

from broken.setups import SETUPS, Setup
from broken.world import Run, World, why_not

__all__ = ["SETUPS", "Run", "Setup", "World", "why_not"]
