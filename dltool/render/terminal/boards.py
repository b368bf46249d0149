"""What a GPU (or the CPU) is, how it is connected, and its derived peaks; several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from dltool.catalog import PEAK_KEYS, Board, Peak
from dltool.machine import Gpu, Machine
from dltool.render.terminal.page import Page
from dltool.results import Report
from dltool.units import gib, significant

_WIDE = 100
_LABELS = 26


def show(report: Report, page: Page) -> None:
    """One board in full; the GPUs of a machine one after the other; several named boards side by side."""
    boards = report.boards
    if len(boards) > 1 and all(board.index is None for board in boards):
        for block in _that_fit(boards, page.width):
            _side_by_side(block, page)
        return
    for number, board in enumerate(boards):
        if number:
            page.line()
        gpu = _live(report.machine, board)
        if gpu is not None and number and _same_product(board, boards[number - 1]):
            _title(board, gpu, page)
            _state(gpu, report.machine, page)
            continue  # its peaks are those of the board above
        _one(board, gpu, report.machine, page)


def _live(machine: Machine | None, board: Board) -> Gpu | None:
    if machine is None or board.index is None:
        return None
    return next((gpu for gpu in machine.gpus if gpu.index == board.index), None)


def _same_product(one: Board, other: Board) -> bool:
    return one.name == other.name and one.peaks == other.peaks


def _one(board: Board, gpu: Gpu | None, machine: Machine | None, page: Page) -> None:
    _title(board, gpu, page)
    for sentence in _describe_cpu(board, machine) if board.segment == "cpu" else _describe(board):
        page.line(sentence, indent=2)
    if gpu is not None:
        _state(gpu, machine, page)
    if board.peaks:
        page.line()
        _peaks(board, page)
    if board.note:
        page.line(f"note: {board.note}", style="dim", indent=2)


def _title(board: Board, gpu: Gpu | None, page: Page) -> None:
    index = f"GPU {board.index}  " if board.index is not None else ""
    reported = f"  ({gpu.name})" if gpu is not None and gpu.name not in (None, board.name) else ""
    page.line(f"{index}{board.name}{reported}", style="bold")


def _describe(board: Board) -> Iterator[str]:
    yield _sentence(
        _maybe(f"{board.architecture} {board.chip or ''}".strip(), board.architecture),
        _maybe(f"compute capability {board.compute_capability}", board.compute_capability),
        board.segment,
        _maybe(f"launched {board.launch}", board.launch),
    )
    yield _sentence(
        _maybe(f"{board.sms} SMs", board.sms),
        _maybe(f"{board.cuda_cores} CUDA cores", board.cuda_cores),
        _maybe(f"{board.tensor_cores} tensor cores", board.tensor_cores),
        _maybe(f"boost {_number(board.boost_mhz)} MHz", board.boost_mhz),
        _maybe(f"tensor clock {_number(board.tensor_boost_mhz)} MHz", board.tensor_boost_mhz),
    )
    yield _sentence(
        _maybe(f"{_number(board.memory_gb)} GB {board.memory_type or ''}".strip(), board.memory_gb),
        _maybe(f"{board.memory_bus_bits} bit", board.memory_bus_bits),
        _maybe(f"{_number(board.memory_gb_per_s)} GB/s", board.memory_gb_per_s),
        _maybe(f"{_number(board.tdp_w)} W", board.tdp_w),
        _maybe(f"PCIe {board.pcie}", board.pcie),
        _maybe(f"NVLink {_number(board.nvlink_gb_per_s)} GB/s", board.nvlink_gb_per_s),
    )


def _describe_cpu(board: Board, machine: Machine | None) -> Iterator[str]:
    if machine is None:
        return
    cpu, memory = machine.cpu, machine.memory
    measured = f"{cpu.mhz_measured:.0f} MHz measured" if cpu.mhz_measured else None
    yield _sentence(
        board.architecture,
        f"{cpu.cores} cores",
        f"{cpu.threads} threads",
        _maybe(f"{cpu.sockets} socket(s)", cpu.sockets),
        measured,
    )
    yield _sentence(
        _maybe(f"L2 {gib(cpu.l2_bytes)}", cpu.l2_bytes),
        _maybe(f"L3 {gib(cpu.l3_bytes)}", cpu.l3_bytes),
        _maybe(f"memory {gib(memory.total_bytes)}", memory.total_bytes),
        _maybe(f"{cpu.numa_nodes} NUMA node(s)", cpu.numa_nodes),
        _maybe(f"quota {cpu.quota_cpus:g} CPUs" if cpu.quota_cpus else None, cpu.quota_cpus),
    )


def _state(gpu: Gpu, machine: Machine | None, page: Page) -> None:
    """What the GPU does now and how it is connected."""
    page.labelled("now", _sentence(
        _maybe(f"{gib(gpu.memory_used_bytes)} of {gib(gpu.memory_total_bytes)} used", gpu.memory_total_bytes),
        _maybe(f"SM {gpu.sm_mhz} of {gpu.sm_mhz_max} MHz", gpu.sm_mhz),
        _maybe(f"{_number(gpu.power_w)} of {_number(gpu.power_limit_w)} W", gpu.power_w),
        _maybe(f"{gpu.temperature_c} °C", gpu.temperature_c),
        ", ".join(gpu.throttle_reasons or ()) or None,
    ), indent=2)  # fmt: skip
    links = gpu.nvlinks or ()
    most = f"at most gen {gpu.pcie_generation_max} x{gpu.pcie_width_max}"
    page.labelled("linked", _sentence(
        gpu.pci_bus_id,
        _maybe(f"PCIe gen {gpu.pcie_generation} x{gpu.pcie_width} ({most})", gpu.pcie_generation),
        f"{sum(bool(link.active) for link in links)} of {len(links)} NVLinks up" if links else None,
        _numa_node(gpu, machine),
    ), indent=2)  # fmt: skip
    page.labelled("mode", _sentence(
        _maybe("ECC on" if gpu.ecc_enabled else "ECC off", gpu.ecc_enabled is not None),
        _maybe(f"MIG on, {gpu.mig_instances} instances", gpu.mig_enabled),
        _maybe("persistent" if gpu.persistence_mode else "not persistent", gpu.persistence_mode is not None),
        _maybe(f"compute mode {gpu.compute_mode}", gpu.compute_mode not in (None, "default")),
        _maybe(f"{len(gpu.processes or ())} programs", gpu.processes is not None),
    ), indent=2)  # fmt: skip


def _numa_node(gpu: Gpu, machine: Machine | None) -> str | None:
    """The node whose memory is nearest, where there are several."""
    devices = (machine.pci or ()) if machine is not None and (machine.cpu.numa_nodes or 1) > 1 else ()
    return next((f"NUMA node {d.numa_node}" for d in devices if d.bus_id == gpu.pci_bus_id and d.numa_node is not None), None)


def _peaks(board: Board, page: Page) -> None:
    """The table of peaks; the derivation of each has its own column, and the published figure too where there is room."""
    figures: list[tuple[str, Callable[[str, Peak], str]]] = [("dense", lambda _key, peak: _amount(peak.dense))]
    if any(peak.sparse for peak in board.peaks.values()):
        figures.append(("2:4 sparse", lambda _key, peak: _amount(peak.sparse, "")))
    now = next((peak.clock_mhz for peak in board.peaks_now.values()), None)
    if now:
        figures.append((f"at {now:.0f} MHz now", lambda key, _peak: _amount(board.peaks_now[key].dense)))
    if page.width >= _WIDE and any(peak.published for peak in board.peaks.values()):
        figures.append(("published", lambda _key, peak: _amount(peak.published, "")))
    explain = page.width >= _WIDE or not now
    rows = [
        [label(key), *(show_figure(key, peak) for _, show_figure in figures), peak.unit, _how(peak) if explain else _mark(peak)]
        for key, peak in ((key, _scaled(peak, board)) for key, peak in board.peaks.items())
    ]
    titles = ["peak", *(title for title, _ in figures), "unit", "how" if explain else ""]
    page.table(titles, rows, right=range(1, len(figures) + 1), indent=2)


def _scaled(peak: Peak, board: Board) -> Peak:
    """In giga where the whole board is below one tera, as processors are."""
    if any((other.dense or 0) >= 1 for other in board.peaks.values()) or peak.dense is None:
        return peak
    return replace(peak, dense=peak.dense * 1000, unit=peak.unit.replace("T", "G", 1))


def _amount(value: float | None, missing: str = "?") -> str:
    return missing if value is None else significant(value, 4)


def _how(peak: Peak) -> str:
    return peak.formula.replace(" op/clock/SM", "").replace(" op/clock/core", "") + _mark(peak)


def _mark(peak: Peak) -> str:
    return "" if peak.basis == "derived" else f" [{peak.basis}]"


def _that_fit(boards: tuple[Board, ...], width: int) -> Iterator[tuple[Board, ...]]:
    """The boards in blocks no wider than the page, each with the labels before it."""
    block: list[Board] = []
    used = _LABELS
    for board in boards:
        column = max(len(board.name), 12) + 2
        if block and used + column > width:
            yield tuple(block)
            block, used = [], _LABELS
        block.append(board)
        used += column
    yield tuple(block)


def _side_by_side(boards: tuple[Board, ...], page: Page) -> None:
    facts: list[tuple[str, Callable[[Board], str]]] = [
        ("architecture", lambda b: b.architecture or "?"),
        ("capability", lambda b: b.compute_capability or "?"),
        ("SMs", lambda b: _number(b.sms)),
        ("boost MHz", lambda b: _number(b.boost_mhz)),
        ("memory GB", lambda b: _number(b.memory_gb)),
        ("memory GB/s", lambda b: _number(b.memory_gb_per_s)),
        ("NVLink GB/s", lambda b: _number(b.nvlink_gb_per_s)),
        ("TDP W", lambda b: _number(b.tdp_w)),
        ("launched", lambda b: b.launch or "?"),
    ]
    rows = [[title, *(show_fact(board) for board in boards)] for title, show_fact in facts]
    for key in PEAK_KEYS:
        if any(key in board.peaks for board in boards):
            rows.append([f"{label(key)} {_unit(key, boards)}", *(_peak_cell(board, key) for board in boards)])
    page.table(["", *(board.name for board in boards)], rows, right=range(1, len(boards) + 1))
    clocks = {peak.clock_mhz for board in boards for peak in board.peaks.values() if peak.clock_mhz}
    clock = f"{clocks.pop():g} MHz" if len(clocks) == 1 else "boost clock"
    page.line(f"Dense peaks at {clock}; -: the hardware has no such unit; 1?: one source only; ?: not known.", style="dim")


def _unit(key: str, boards: tuple[Board, ...]) -> str:
    return next(board.peaks[key].unit for board in boards if key in board.peaks)


def _peak_cell(board: Board, key: str) -> str:
    if key not in board.peaks:
        return "-" if board.peaks else "?"
    mark = {"derived": "", "published": "", "unverified": "?"}[board.peaks[key].basis]
    return _amount(board.peaks[key].dense) + (mark if board.peaks[key].dense is not None else "")


def label(key: str) -> str:
    """A peak key as people write it: "fp16_tensor_acc32" -> "FP16 tensor acc32"."""
    number, _, rest = key.partition("_")
    words = {"": "", "tensor": " tensor", "tensor_acc32": " tensor acc32"}[rest]
    return number.upper() + words


def _maybe(text: str | None, fact: object) -> str | None:
    return text if fact else None


def _sentence(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:g}" if value < 1e5 else f"{value:.0f}"
