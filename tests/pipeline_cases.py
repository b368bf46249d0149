"""A part of the pipeline for a child, and rows for verdicts."""

from __future__ import annotations

import multiprocessing

from dltool.bench.pipeline.folder import Images
from dltool.bench.pipeline.loader import Feed
from dltool.bench.workloads.data import Data
from dltool.results import Measurement
from dltool.step_results import ModelStep, Part

SMALL = {"side": 16, "batch": 4}


def small(source: Images, **fields) -> Data:
    return Data(**{**SMALL, **fields}).of(source)


_KEPT: list[Feed] = []


def workers_of(case: Data) -> list[int]:
    """The numbers of its workers, which go on."""
    _KEPT.append(case._feed())
    return [child.pid for child in multiprocessing.active_children()]


def killed_worker(case: Data) -> None:
    """One is killed, as by the system for lack of memory."""
    feed = case._feed()
    multiprocessing.active_children()[0].kill()
    for _ in range(100):
        feed.next()


def row(stage: str, rate: float | None, waited: float | None = None, device: str = "cpu Zen 4", **params) -> Measurement:
    """`rate` images per second; `waited`: share of the time."""
    case = Data(stage=stage, **{"pin": "yes" if device != "cpu Zen 4" and stage in ("loader", "together") else "no", **params})
    median = 16 / rate if rate else None
    parts = (Part(name="data", seconds=waited * median),) if waited is not None and median else ()
    fields = {name: getattr(case, name) for name in Data.__dataclass_fields__ if name != "_source"}
    return Measurement(
        workload="data",
        params=fields,
        device=device,
        dtype="fp32",
        label=case.label,
        seconds=(median,) * 9 if median else (),
        median_s=median,
        ci95_s=(median * 0.98, median * 1.02) if median else None,
        rate=rate,
        rate_unit="img/s",
        not_run=None if rate else "it broke",
        model=ModelStep(unit="image", units=16, samples=16, throughput=rate, parts=parts, first_step_s=0.25) if rate else None,
    )
