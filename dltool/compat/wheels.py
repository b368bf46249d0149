"""What published wheels need beyond what their names say, as reports found out: for files that were not read themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dltool import tables
from dltool.compat.builds import torch_release
from dltool.compat.versions import accepts, known_version


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFacts:
    """Facts of the compiled files in a wheel; None is not known."""

    glibc: str | None = None
    """The oldest C library on which they load."""
    cxx11_abi: bool | None = None
    """Whether they use the C++ strings of GCC 5 and later."""
    source: str = ""


def wheel_facts(distribution: str, installed: str) -> WheelFacts:
    """What is known of a version of a distribution, "2.8.2+cu12torch2.6cxx11abiFALSE"."""
    number, _, label = installed.partition("+")
    if known_version(number) is None:
        return WheelFacts()
    rows = [row for row in tables.rows("compat/wheel_facts") if row["distribution"] == distribution]
    fitting = [row for row in rows if accepts(row["versions"], number) and re.fullmatch(row["label"], label)]
    release = torch_release(installed) if distribution == "torch" else None
    glibc = next((row["glibc"] for row in fitting if row["glibc"]), release["glibc_min"] if release else None)
    strings = next((row["cxx11_abi"] for row in fitting if row["cxx11_abi"]), None)
    sources = [row["source"] for row in (*fitting, *((release,) if release else ()))]
    abi = None if strings is None else strings == "new"
    return WheelFacts(glibc=glibc or None, cxx11_abi=abi, source="; ".join(dict.fromkeys(sources)))
