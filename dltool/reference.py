"""What others measured and published: rows of `catalog/reference.csv`, by board, dtype and workload. Ranges, not truths."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from msgspec import Struct

from dltool import tables


class Figure(Struct, frozen=True, kw_only=True):
    """One published figure. Values are in base units: operations, bytes, images ... per second, or seconds."""

    boards: tuple[str, ...] = ()
    """Names of the catalogue; several where the source does not tell which; none where the device is not NVIDIA's."""
    device: str
    """As the source writes it."""
    devices: int | None = None
    """How many worked together; the value is that of all."""
    workload: str
    case: Mapping[str, str] = {}
    """Parameters of the workload: {"m": "4096", ...}, {"kernel": "read"}, {"model": "resnet50"}."""
    dtypes: tuple[str, ...] = ()
    """Several where the source ran either."""
    metric: str
    """"rate", "best-rate" (best shape of a search), "sustained-rate", "bus-rate", "latency" or "time-to-train"."""
    value: float
    unit: str
    comparable: bool = True
    """False: the note says why nobody should be compared with it."""
    conditions: str = ""
    software: str = ""
    source: str
    date: str
    note: str = ""

    @property
    def ops(self) -> int | None:
        """Operations of one step of a matrix product whose shape is told."""
        sides = [self.case.get(side) for side in "mnk"]
        if not all(side and side.isdigit() for side in sides):
            return None
        m, n, k = (int(side) for side in sides if side)
        return 2 * m * n * k


@cache
def figures() -> tuple[Figure, ...]:
    """All of them, in the order of the table."""
    return tuple(_figure(row) for row in tables.rows("reference"))


def select(*, board: str | None = None, dtype: str | None = None, workload: str | None = None) -> tuple[Figure, ...]:
    """The figures of one board (a name of the catalogue), of one dtype, of one workload; None: of any."""
    return tuple(
        figure
        for figure in figures()
        if (board is None or board in figure.boards)
        and (dtype is None or dtype in figure.dtypes)
        and (workload is None or workload == figure.workload)
    )


def _figure(row: tables.Row) -> Figure:
    return Figure(
        boards=tuple(filter(None, row["board"].split("; "))),
        device=row["device"],
        devices=tables.integer(row["devices"]),
        workload=row["workload"],
        case=dict(part.split("=", 1) for part in row["case"].split()),
        dtypes=tuple(row["dtype"].split()),
        metric=row["metric"],
        value=float(row["value"]),
        unit=row["unit"],
        comparable=row["compare"] != "no",
        conditions=row["conditions"],
        software=row["software"],
        source=row["source"],
        date=row["date"],
        note=row["note"],
    )
