"""The sections of `dltool.toml`. What is not asked for is None, and nothing is checked of it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

SCHEMA = "dltool/policy/1"
Size = Annotated[float, Meta(ge=0, le=1e9)]
"""In GB, 1e9 bytes."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
_RATE = re.compile(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([kMGTP]?)(FLOP/s|OP/s|B/s)\s*", re.ASCII)
_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


class Gpu(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The GPUs, each of them."""

    model: str | tuple[str, ...] | None = None
    """A name as people or drivers write it ("H100 SXM", "A100", "Hopper"), or several that will all do."""
    count: Count | None = None
    """Neither more nor fewer."""
    min_memory_gb: Size | None = None
    min_compute_capability: str | None = None


class Driver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The NVIDIA driver."""

    min: str | None = None
    """"550.54.14", or a branch: "550"."""


class Cuda(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The CUDA that the driver implements."""

    min: str | None = None


class Dtypes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Number formats that every GPU must have arithmetic for."""

    required: tuple[str, ...] = ()


class Host(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is around the GPUs."""

    min_shm_gb: Size | None = None
    """/dev/shm as a whole."""
    min_disk_gb: Size | None = None
    """Free, where the doctor is started."""
    min_open_files: Count | None = None
    min_memory_gb: Size | None = None
    """Main memory, or what the control group grants of it."""


class Checks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What findings count for, by their ids."""

    deny: tuple[str, ...] = ()
    """A warning fails, and so does not knowing."""
    allow: tuple[str, ...] = ()
    """Told, but never counted."""
    downgrade: tuple[str, ...] = ()
    """A failure counts as a warning."""


class Waiver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A finding that does not count for a time."""

    id: str
    reason: Annotated[str, Meta(min_length=1)]
    expires: datetime.date
    """The last day on which it holds."""


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a machine must be."""

    schema: str = SCHEMA
    gpu: Gpu = Gpu()
    driver: Driver = Driver()
    cuda: Cuda = Cuda()
    dtypes: Dtypes = Dtypes()
    host: Host = Host()
    checks: Checks = Checks()
    waiver: tuple[Waiver, ...] = ()
    bench: Mapping[str, Mapping[str, str]] = {}
    """By workload and dtype the least rate that a bench report must show: gemm.bf16 = "600 TFLOP/s"."""


def rate(text: str) -> tuple[float, str] | None:
    """`"600 TFLOP/s"` -> (6e14, "FLOP/s"); None where it is no positive rate."""
    match = _RATE.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        return None
    return float(match[1]) * _PREFIX[match[2]], match[3]
