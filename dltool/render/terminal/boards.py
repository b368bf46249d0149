"""What a GPU (or the CPU, or a system) is, how it is connected, what supports it, and its derived peaks."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.catalog import Board, Support, architecture_of
from dltool.machine import Gpu, Machine
from dltool.render.terminal import peaks
from dltool.render.terminal.page import Page
from dltool.render.terminal.peaks import number
from dltool.results import Report
from dltool.units import gib

_MANY = 12
"""Boards that are listed, no longer compared."""


def show(report: Report, page: Page) -> None:
    """One board in full; the GPUs of a machine one after the other; several named boards side by side."""
    for board in report.boards:
        if not board.shipped:
            _never(board, page)
    boards = tuple(board for board in report.boards if board.shipped)
    if page.style.layout == "list" or len(boards) > _MANY:
        from dltool.render.terminal import listing

        listing.show(boards, page)
        return
    if len(boards) > 1 and all(board.index is None for board in boards):
        from dltool.render.terminal import comparison

        comparison.show(boards, page)
        return
    for place, board in enumerate(boards):
        if place:
            page.line()
        gpu = _live(report.machine, board)
        if gpu is not None and place and _same_product(board, boards[place - 1]):
            _title(board, gpu, page)
            _state(gpu, report.machine, page)
            _differences(board, page)
            continue  # its peaks are those of the board above
        _one(board, gpu, report.machine, page)


def _never(board: Board, page: Page) -> None:
    """A name under which nothing was ever sold."""
    page.line(f"{board.name}: no product of this name ever shipped", style="bold")
    page.line(board.note or "", indent=2)
    page.line()


def _live(machine: Machine | None, board: Board) -> Gpu | None:
    if machine is None or board.index is None:
        return None
    return next((gpu for gpu in machine.gpus if gpu.index == board.index), None)


def _same_product(one: Board, other: Board) -> bool:
    return one.name == other.name and one.peaks == other.peaks


def _one(board: Board, gpu: Gpu | None, machine: Machine | None, page: Page) -> None:
    _title(board, gpu, page)
    for sentence in _describe_cpu(board, machine) if board.segment == "cpu" else _describe(board):
        if sentence:
            page.line(sentence, indent=2)
    for label, text in board.facts.items():
        page.labelled(label, text, indent=2)
    if gpu is not None:
        _state(gpu, machine, page)
    _differences(board, page)
    architecture = architecture_of(board.compute_capability or "", board.chip)
    if architecture is not None and architecture.trait and gpu is None:
        page.labelled("brought", architecture.trait, indent=2)
    if board.support is not None:
        page.labelled("software", ", ".join(_supported(board.support)), indent=2)
    if board.others:
        page.labelled("also as", ", ".join(board.others), indent=2)
    if board.peaks:
        page.line()
        peaks.show(board, page)
    if board.confidence == "C":
        page.line("unverified: the figures of this board stand in one source only", style="yellow", indent=2)
    if board.note:
        page.line(f"note: {board.note}", style="dim", indent=2)
    if page.style.explain and board.source:
        page.line(f"source: {board.source}", style="dim", indent=2)


def _differences(board: Board, page: Page) -> None:
    for difference in board.differences:
        page.labelled("differs", difference, indent=2, label_style="yellow")


def _supported(support: Support) -> Iterator[str]:
    """Which toolkit, driver and PyTorch support it, and which was the last."""
    if support.cuda_first:
        yield (
            f"CUDA {support.cuda_first} to {support.cuda_last}" if support.cuda_last else f"CUDA {support.cuda_first} and later"
        )
    if support.driver_last:
        yield f"driver up to branch {support.driver_last}"
    elif support.cuda_first:
        yield "current drivers"
    if support.torch_last:
        build = f" (build {support.torch_build})" if support.torch_build else ""
        yield f"PyTorch {support.torch_last}{build}" if support.torch_newest else f"PyTorch up to {support.torch_last}{build}"
    else:
        yield "no published PyTorch build is known to have code for it"


def _title(board: Board, gpu: Gpu | None, page: Page) -> None:
    index = f"GPU {board.index}  " if board.index is not None else ""
    reported = f"  ({gpu.name})" if gpu is not None and gpu.name not in (None, board.name) else ""
    page.line(f"{index}{board.name}{reported}", style="bold")


def _describe(board: Board) -> Iterator[str]:
    if board.asked and _letters(board.asked) not in _letters(board.name):
        yield f"asked for as {board.asked}"
    if board.members:
        yield "built from " + ", ".join(f"{member.count} x {member.board}" for member in board.members)
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
        _maybe(f"{board.rt_cores} RT cores", board.rt_cores),
        _maybe(f"base {number(board.base_mhz)} MHz", board.base_mhz and not board.shader_mhz),
        _maybe(f"shaders {number(board.shader_mhz)} MHz", board.shader_mhz),
        _maybe(f"boost {number(board.boost_mhz)} MHz", board.boost_mhz),
        _maybe(f"tensor clock {number(board.tensor_boost_mhz)} MHz", board.tensor_boost_mhz),
    )
    yield _sentence(
        _maybe(f"{number(board.memory_gb)} GB {board.memory_type or ''}".strip(), board.memory_gb),
        _maybe(f"{board.memory_bus_bits} bit", board.memory_bus_bits),
        _maybe(f"{number(board.memory_gb_per_s)} GB/s", board.memory_gb_per_s),
        _maybe(f"L2 {number(board.l2_mib)} MiB", board.l2_mib),
    )
    yield _sentence(
        _maybe(f"{number(board.tdp_w)} W", board.tdp_w),
        board.form_factor,
        _maybe(f"PCIe {board.pcie}", board.pcie),
        _maybe(f"NVLink {number(board.nvlink_gb_per_s)} GB/s", board.nvlink_gb_per_s),
    )


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold())).removeprefix("nvidia")


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
        _maybe(f"{number(gpu.power_w)} of {number(gpu.power_limit_w)} W", gpu.power_w),
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


def _maybe(text: str | None, fact: object) -> str | None:
    return text if fact else None


def _sentence(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)
