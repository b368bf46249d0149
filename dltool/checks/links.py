"""The links of the GPUs: PCI Express, NVLink, the NVSwitch fabric, and what stands between two GPUs or a GPU and its CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dltool import tables
from dltool.catalog import Board
from dltool.checks import check
from dltool.checks.hardware import (
    REBOOT,
    SEND,
    bare_metal,
    indices,
    is_laptop,
    is_recent,
    is_sxm,
    named,
    no_answer,
    no_gpu,
    read_log,
    scope,
    told,
    why_no_log,
)
from dltool.checks.visibility import visible_gpus
from dltool.errors import CannotRun
from dltool.live import board_of
from dltool.machine import Gpu, KernelEvent, Machine, PciDevice, PcieLink
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

SYSFS = "/sys/bus/pci/devices"
_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
_BUSY_PERCENT = 50
_REDIRECTS = 0x04 | 0x08
"""ACS P2P Request Redirect and Completion Redirect: what goes between devices is sent up to the processor."""
_MANY_REPLAYS = 1000
_MOST_CPUS = 65536


# --- PCI Express ------------------------------------------------------------------------------------------------------------


@check("pcie-degraded")
def pcie_degraded(machine: Machine) -> Iterator[Finding]:
    """Does the PCI Express link of each GPU have the lanes and the speed that board and slot can do?

    A card that sits badly, a poor riser or a damaged slot trains with fewer lanes or lower speed, and copies to the GPU are
    slower by that factor. An idle GPU lowers the speed on purpose, never the lanes. Laptops are wired with fewer lanes than
    the chip has, external GPUs have four, and in a virtual machine the link that is shown is not the real one.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    judged = {gpu.index: _link(machine, gpu) for gpu in machine.gpus}
    for status in (Status.WARN, Status.UNKNOWN, Status.INFO):
        these = [gpu for gpu in machine.gpus if judged[gpu.index][0] is status]
        if not these:
            continue
        yield Finding(
            status=status,
            summary=f"{named(these)}: {judged[these[0].index][1]}",
            evidence=tuple(evidence for gpu in these for evidence in _link_evidence(machine, gpu)),
            remedies=(
                Remedy(
                    text="Seat the card anew, leave out the riser, try another slot, look at the slot in the firmware's setup.",
                    commands=("sudo lspci -vv -d 10de: | grep -E '^[0-9a-f]|LnkCap:|LnkSta:'",),
                    risk=Risk.ROOT,
                ),
                SEND,
            )
            if status is Status.WARN
            else (),
            scope=scope(machine) if status is Status.WARN else Scope.ENVIRONMENT,
            devices=tuple(gpu.index for gpu in these),
        )
    if all(status is Status.PASS for status, _ in judged.values()):
        yield Finding(status=Status.PASS, summary="the links have their lanes")
    elif all(status in (Status.PASS, Status.SKIP) for status, _ in judged.values()):
        yield Finding(status=Status.SKIP, summary="no link is shown for some GPUs")


def _link(machine: Machine, gpu: Gpu) -> tuple[Status, str]:
    """How one link is, and in what it falls short."""
    if not gpu.pcie_width or not gpu.pcie_width_max:
        return Status.SKIP, "no link is shown"
    board = board_of(gpu)
    narrow = gpu.pcie_width < gpu.pcie_width_max
    says = f"PCIe x{gpu.pcie_width} of x{gpu.pcie_width_max}"
    if narrow and (not bare_metal(machine) or is_laptop(gpu, board)):
        return Status.INFO, f"{says}: as laptops and virtual machines show it"
    slot = _slot(machine, gpu)
    if narrow and slot is None:
        return Status.UNKNOWN, f"{says}; what the slot could do is not known"
    if narrow and slot is not None and slot.width_max is not None:
        if slot.width_max > gpu.pcie_width:
            return Status.WARN, f"{says}, though the slot has x{slot.width_max}"
        return Status.INFO, f"{says}: the slot has no more"
    if narrow:
        return Status.UNKNOWN, f"{says}; how many lanes the slot has is not known"
    slow = _slow_under_load(gpu, slot)
    if slow and bare_metal(machine) and not is_laptop(gpu, board):
        return Status.WARN, f"PCIe generation {gpu.pcie_generation} of {gpu.pcie_generation_max} under load"
    lanes = _published_lanes(board)
    if lanes and gpu.pcie_width_max < lanes and bare_metal(machine) and not is_laptop(gpu, board):
        return Status.INFO, f"PCIe x{gpu.pcie_width_max} in this slot, where the board has x{lanes}"
    return Status.PASS, ""


def _slow_under_load(gpu: Gpu, slot: PcieLink | None) -> bool:
    """Whether the link is below what both ends can do although the GPU works at its highest performance state."""
    best = gpu.pcie_generation_max or 0
    if slot is not None and slot.gt_per_s_max is not None:
        best = min(best, _GENERATIONS.get(slot.gt_per_s_max, best))
    busy = (gpu.utilization_percent or 0) >= _BUSY_PERCENT and gpu.performance_state in (0, 1, 2)
    return busy and gpu.pcie_generation is not None and gpu.pcie_generation < best


def _slot(machine: Machine, gpu: Gpu) -> PcieLink | None:
    """The lower end of the link's other side: the port that the GPU hangs on."""
    device = _device(machine, gpu)
    return device.upstream[0].link if device is not None and device.upstream else None


def _device(machine: Machine, gpu: Gpu) -> PciDevice | None:
    return next((device for device in machine.pci or () if device.bus_id == gpu.pci_bus_id), None)


def _published_lanes(board: Board | None) -> int | None:
    lanes = (board.pcie or "").partition(" x")[2] if board is not None else ""
    return int(lanes) if lanes.isdecimal() else None


def _link_evidence(machine: Machine, gpu: Gpu) -> Iterator[Evidence]:
    state = f"x{gpu.pcie_width} of x{gpu.pcie_width_max}, generation {gpu.pcie_generation} of {gpu.pcie_generation_max}"
    yield Evidence(fact=f"link of GPU {gpu.index}", value=state, read_from="NVML")
    device, slot = _device(machine, gpu), _slot(machine, gpu)
    if slot is not None and device is not None and device.upstream:
        value = f"x{slot.width_max}, {slot.gt_per_s_max} GT/s at most"
        yield Evidence(fact=f"port above GPU {gpu.index}", value=value, read_from=f"{SYSFS}/{device.upstream[0].bus_id}")


@check("pcie-errors", caused_by=("gpu-fell-off-bus",))
def pcie_errors(machine: Machine) -> Iterator[Finding]:
    """Are the PCI Express links of the GPUs free of errors?

    Errors that were corrected cost a repeated packet and are harmless in small numbers. Errors that were not corrected lose
    data, and the GPU is often gone next.
    """
    inapplicable = no_gpu(machine) or (why_no_log(machine) if machine.os.wsl else None)
    if inapplicable is not None:
        yield inapplicable
        return
    ports = {port.bus_id for device in machine.pci or () for port in device.upstream or ()}
    path = ports | {device.bus_id for device in machine.pci or ()} | {gpu.pci_bus_id for gpu in machine.gpus}
    log = machine.kernel_log
    ours = [event for event in (log.events if log else ()) if event.pci_bus_id in path and event.kind.startswith("aer_")]
    lost = [event for event in ours if event.kind == "aer_uncorrected" and is_recent(event)]
    replays = [gpu for gpu in machine.gpus if (gpu.pcie_replays or 0) > _MANY_REPLAYS]
    counters = tuple(
        Evidence(fact=f"packets sent again by GPU {gpu.index}", value=gpu.pcie_replays, read_from="NVML") for gpu in replays
    )
    if lost:
        yield Finding(
            status=Status.WARN,
            summary=f"errors on the PCI bus on the way to a GPU that were not corrected: {_places(lost)}",
            evidence=(*told(machine, lost), *counters),
            remedies=(
                Remedy(
                    text="Seat the card anew, leave out the riser, try another slot or a lower PCIe generation in the setup."
                ),
                read_log("aer|pcie bus error"),
                SEND,
            ),
            scope=scope(machine),
            devices=indices(machine, lost),
        )
    elif ours or replays:
        yield Finding(
            status=Status.INFO,
            summary=f"corrected errors on the PCI bus: {_places(ours) or named(replays)}",
            evidence=(*told(machine, ours), *counters),
            devices=indices(machine, ours) or tuple(gpu.index for gpu in replays),
        )
    elif log is None and not any(gpu.pcie_replays is not None for gpu in machine.gpus):
        yield Finding(status=Status.SKIP, summary="neither the kernel's log nor counters could be read (see gpu-xid)")
    else:
        yield Finding(status=Status.PASS, summary="no error on the links is known")


def _places(found: list[KernelEvent]) -> str:
    return ", ".join(f"{event.pci_bus_id} ({event.count})" for event in found[:5])


# --- NVLink and its fabric --------------------------------------------------------------------------------------------------


@check("nvlinks-down", caused_by=("gpu-fell-off-bus", "fabric-not-ready", "nvswitch-sxid"))
def nvlinks_down(machine: Machine) -> Iterator[Finding]:
    """Are all NVLinks of the GPUs up?

    Modules (SXM) are wired to one another or to NVSwitches, and all their links must be up: without them collective
    operations go over PCIe, at a tenth of the rate. Cards have links only where a bridge joins two of them; without a bridge
    all are down, and that is how it should be.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    linked = [gpu for gpu in machine.gpus if gpu.nvlinks]
    if not linked:
        status, summary = _no_links(machine)
        yield Finding(status=status, summary=summary)
        return
    down = [gpu for gpu in linked if _down(gpu)]
    unread = [gpu for gpu in linked if any(link.active is None for link in gpu.nvlinks or ())]
    evidence = tuple(
        Evidence(fact=f"links of GPU {gpu.index}", value=f"{_up(gpu)} of {len(gpu.nvlinks or ())} up", read_from="NVML")
        for gpu in down or unread
    )
    broken = [gpu for gpu in down if is_sxm(gpu, board_of(gpu)) and not gpu.mig_enabled]
    peers = max(len(machine.gpus), sum(device.kernel_driver == "nvidia" for device in machine.pci or ()))
    if not down and not unread:
        yield Finding(status=Status.PASS, summary=f"all NVLinks of {len(linked)} GPU(s) are up")
    elif not down:
        yield Finding(status=Status.UNKNOWN, summary=f"{named(unread)}: the driver does not tell whether all NVLinks are up",
                      evidence=evidence)  # fmt: skip
    elif not broken or not bare_metal(machine) or peers < 2:
        whole = all(_up(gpu) == 0 for gpu in down)
        why = "no bridge, no partner, or not given to this machine" if whole else "the others are not connected"
        yield Finding(
            status=Status.INFO if not whole else Status.PASS,
            summary=f"{named(down)}: {'no' if whole else f'{_up(down[0])} of {len(down[0].nvlinks or ())}'} NVLinks up: {why}",
            evidence=evidence,
            devices=tuple(gpu.index for gpu in down),
        )
    else:
        yield Finding(
            status=Status.FAIL,
            summary=f"{named(broken)}: {_up(broken[0])} of {len(broken[0].nvlinks or ())} NVLinks are up",
            why="On these modules every link has a partner. NCCL goes over PCIe or fails where links are down.",
            evidence=evidence,
            remedies=(
                Remedy(
                    text="See which links, and whether their errors grow.",
                    commands=("timeout 20 nvidia-smi nvlink -s", "timeout 20 nvidia-smi nvlink -e"),
                    risk=Risk.READ_ONLY,
                ),
                *(_start_fabric_manager(machine),) * bool(machine.nvswitches),
                REBOOT,
                SEND,
            ),
            scope=scope(machine),
            devices=tuple(gpu.index for gpu in broken),
        )


def _no_links(machine: Machine) -> tuple[Status, str]:
    unknown = [gpu for gpu in machine.gpus if gpu.nvlinks is None and is_sxm(gpu, board_of(gpu))]
    if unknown:
        reason = machine.why_missing(f"gpus.{unknown[0].index}.nvlinks")
        return Status.UNKNOWN, f"{named(unknown)}: whether the NVLinks are up could not be read: {reason}"
    return Status.SKIP, "no GPU here has NVLink"


def _up(gpu: Gpu) -> int:
    return sum(link.active is True for link in gpu.nvlinks or ())


def _down(gpu: Gpu) -> bool:
    return any(link.active is False for link in gpu.nvlinks or ())


@check("fabric-not-ready", caused_by=("nvswitch-sxid",))
def fabric_not_ready(machine: Machine) -> Iterator[Finding]:
    """Have the GPUs behind NVSwitches joined their fabric?

    Until Fabric Manager (or the machine's owner, for a part of one) has set up the switches, CUDA refuses with error 802,
    "system not yet initialized", although nvidia-smi shows healthy GPUs. Inside a container or virtual machine nothing can be
    done about it.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    waiting = [gpu for gpu in machine.gpus if gpu.fabric_state in ("not_started", "in_progress")]
    manager = machine.driver.services.get("nvidia-fabricmanager")
    service = (Evidence(fact="nvidia-fabricmanager", value=manager, read_from="systemctl"),) * (manager is not None)
    if waiting:
        inside = bool(machine.os.container) or machine.os.hypervisor is not None
        yield Finding(
            status=Status.FAIL,
            summary=f"{named(waiting)}: the NVLink fabric is not set up ({waiting[0].fabric_state}); CUDA gives error 802",
            evidence=(
                *(
                    Evidence(fact=f"fabric state of GPU {gpu.index}", value=gpu.fabric_state, read_from="NVML GpuFabricInfo")
                    for gpu in waiting
                ),
                *service,
            ),
            remedies=(
                Remedy(text="This cannot be mended from inside: try another machine, and tell whoever runs this one."),
                SEND,
            )
            if inside
            else (_start_fabric_manager(machine), read_log("sxid|nvswitch"), REBOOT),
            scope=Scope.PROVIDER if inside else Scope.HOST,
            devices=tuple(gpu.index for gpu in waiting),
        )
    elif any(gpu.fabric_state == "completed" for gpu in machine.gpus):
        yield Finding(status=Status.PASS, summary="the GPUs have joined their NVLink fabric", evidence=service)
    elif machine.nvswitches and manager in ("inactive", "failed", "not found") and not machine.os.container:
        yield Finding(  # A100 and older do not tell a fabric state
            status=Status.FAIL,
            summary=f"there are {machine.nvswitches} NVSwitches, but Fabric Manager is {manager}: CUDA answers with error 802",
            evidence=service,
            remedies=(_start_fabric_manager(machine), read_log("sxid|nvswitch")),
            scope=Scope.HOST,
        )
    elif machine.nvswitches:
        told_ = manager == "active"
        yield Finding(
            status=Status.PASS if told_ else Status.UNKNOWN,
            summary="Fabric Manager runs" if told_ else "whether the fabric is set up is told neither by NVML nor by systemd",
            evidence=service,
        )
    else:
        yield Finding(status=Status.SKIP, summary="no NVSwitch fabric")


def _start_fabric_manager(machine: Machine) -> Remedy:
    branch = (machine.driver.version or "").partition(".")[0]
    return Remedy(
        text="Start Fabric Manager; its version must be exactly that of the driver"
        + (f" ({machine.driver.version}; the package of that version, of branch {branch})." if branch else "."),
        commands=("sudo systemctl enable --now nvidia-fabricmanager", "journalctl -u nvidia-fabricmanager -n 30 --no-pager"),
        risk=Risk.ROOT,
    )


@check("nvswitch-sxid")
def nvswitch_sxid(machine: Machine) -> Iterator[Finding]:
    """Have the NVSwitches reported fatal errors (SXids)?

    A fatal one stops the links of a port or of a whole switch: the GPUs behind it lose NVLink, and their programs get Xid 45
    or 74. Those that are not fatal were dealt with by the switch.
    """
    found = _switch_events(machine)
    if not machine.nvswitches and not found:
        yield Finding(status=Status.SKIP, summary="no NVSwitch on the PCI bus")
        return
    inapplicable = why_no_log(machine)
    if inapplicable is not None:
        inside = Finding(status=Status.SKIP, summary="the NVSwitches are the host's, and so is the log of their errors")
        yield inside if machine.os.container else inapplicable
        return
    fatal = [event for event in found if event.kind == "sxid_fatal"]
    grave = [event for event in fatal if is_recent(event)]
    if grave or fatal:
        codes = ", ".join(str(code) for code in dict.fromkeys(event.code for event in fatal))
        yield Finding(
            status=Status.FAIL if grave else Status.WARN,
            summary=f"an NVSwitch reported fatal errors (SXid {codes}): {_sxid_meaning(fatal[0].code)}",
            evidence=told(machine, fatal),
            remedies=(
                Remedy(
                    text="Stop all work on the GPUs of this fabric, then reset all GPUs and switches together, or restart.",
                    commands=(
                        "sudo systemctl stop nvidia-fabricmanager",
                        "sudo timeout 300 nvidia-smi --gpu-reset",
                        "sudo systemctl start nvidia-fabricmanager",
                    ),
                    risk=Risk.ROOT,
                ),
                REBOOT,
                SEND,
            ),
            scope=scope(machine),
        )
    elif found:
        codes = ", ".join(f"{code} ({times})" for code, times in _by_code(found).items())
        yield Finding(
            status=Status.INFO,
            summary=f"NVSwitches reported errors that are not fatal: SXid {codes}",
            evidence=told(machine, found),
        )
    else:
        yield Finding(status=Status.PASS, summary=f"{machine.nvswitches} NVSwitches, no SXid in the kernel's log")


def _switch_events(machine: Machine) -> list[KernelEvent]:
    """SXids carry the bus id of a switch, not of a GPU."""
    log = machine.kernel_log
    return [event for event in (log.events if log else ()) if event.kind in ("sxid", "sxid_fatal")]


def _by_code(found: list[KernelEvent]) -> Counter[int]:
    counted: Counter[int] = Counter()
    for event in found:
        counted[event.code or 0] += event.count
    return counted


def _sxid_meaning(code: int | None) -> str:
    try:
        rows = tables.rows("compat/sxid")
    except CannotRun:
        rows = ()
    return next((row["meaning"] for row in rows if row.get("number") == str(code) and row.get("meaning")), "see the log")


# --- between GPUs, and between a GPU and its processor ------------------------------------------------------------------------


@check("iommu-p2p")
def iommu_p2p(machine: Machine) -> Iterator[Finding]:
    """Do copies between GPUs go straight over the PCI bus, or through a translating IOMMU?

    On bare metal a translating IOMMU makes peer-to-peer copies between GPUs slow, hang or wrong; NCCL then stops in its first
    collective operation. In virtual machines it has to be on. GPUs that are joined by NVLink do not need PCIe for this.
    """
    inapplicable = _no_peers(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    known = [device for device in _peers(machine) if device.iommu is not None]
    translated = [device for device in known if (device.iommu or "").startswith("dma")]
    if not known:
        yield Finding(
            status=Status.UNKNOWN, summary=f"how the IOMMU treats the GPUs is not known: {machine.why_missing('pci')}"
        )
    elif not translated:
        yield Finding(status=Status.PASS, summary=f"the IOMMU does not translate for the GPUs ({known[0].iommu})")
    else:
        grave = _peer_to_peer(machine)
        yield Finding(
            status=Status.WARN if grave else Status.INFO,
            summary=f"the IOMMU translates for {len(translated)} GPUs: "
            + ("copies between them may hang or be wrong" if grave else "of no matter to GPUs that do not copy over PCIe"),
            evidence=tuple(
                Evidence(
                    fact=f"IOMMU at {device.bus_id}", value=device.iommu, read_from=f"{SYSFS}/{device.bus_id}/iommu_group/type"
                )
                for device in translated
            ),
            remedies=(
                Remedy(
                    text="Let the IOMMU pass devices through: add iommu=pt to the kernel's command line, and restart.",
                    commands=("sudo grubby --update-kernel=ALL --args=iommu=pt || sudoedit /etc/default/grub", "sudo reboot"),
                    risk=Risk.REBOOT,
                ),
                Remedy(text="Until then, keep NCCL from it.", commands=("export NCCL_P2P_DISABLE=1",)),
            )
            if grave
            else (),
            scope=Scope.HOST,
        )


@check("acs-p2p", caused_by=("iommu-p2p",))
def acs_p2p(machine: Machine) -> Iterator[Finding]:
    """May GPUs below one PCI switch copy to each other without the way over the processor?

    Access Control Services (ACS) send what goes from device to device up to the processor first: right for virtual machines,
    slow or hanging for NCCL on bare metal.
    """
    inapplicable = _no_peers(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    ports = {port.bus_id: port for device in _peers(machine) for port in device.upstream or ()}
    known = [port for port in ports.values() if port.acs_known]
    redirecting = [port for port in known if (port.acs_control or 0) & _REDIRECTS]
    if redirecting:
        grave = _peer_to_peer(machine)
        translated = any((device.iommu or "").startswith("dma") for device in _peers(machine))
        yield Finding(
            status=Status.WARN if grave else Status.INFO,
            summary=f"{len(redirecting)} PCI ports send copies between GPUs over the processor (ACS)",
            evidence=tuple(
                Evidence(
                    fact=f"ACS control of {port.bus_id}",
                    value=f"0x{port.acs_control or 0:04x}",
                    read_from=f"{SYSFS}/{port.bus_id}/config",
                )
                for port in redirecting
            ),
            remedies=(
                Remedy(
                    text="Switch ACS off in the firmware's setup (with virtualisation of I/O, VT-d or AMD-Vi), if no virtual "
                    "machines need it."
                ),
                Remedy(
                    text="Or at each port until the next restart.",
                    commands=tuple(f"sudo setpci -s {port.bus_id} ECAP_ACS+6.w=0000" for port in redirecting),
                    risk=Risk.ROOT,
                ),
                Remedy(text="Or keep NCCL from it.", commands=("export NCCL_P2P_DISABLE=1",)),
            )
            if grave
            else (),
            scope=Scope.HOST,
            caused_by="iommu-p2p" if grave and translated else None,
        )
    elif known:
        yield Finding(status=Status.PASS, summary="no PCI port sends copies between GPUs over the processor")
    elif _peer_to_peer(machine):
        yield Finding(
            status=Status.UNKNOWN,
            summary="whether PCI ports redirect copies between GPUs (ACS) can be read by root only",
            remedies=(
                Remedy(text="Look with privilege.", commands=("sudo lspci -vvv | grep -E '^[0-9a-f]|ACSCtl'",), risk=Risk.ROOT),
            ),
        )
    else:
        yield Finding(status=Status.SKIP, summary="the GPUs here do not copy to each other over PCIe")


def _no_peers(machine: Machine) -> Finding | None:
    if len(_peers(machine)) < 2:
        return Finding(status=Status.SKIP, summary="no two GPUs on the PCI bus that could copy to each other")
    if not bare_metal(machine):
        return Finding(status=Status.SKIP, summary="a virtual machine: the host's IOMMU has to stand between")
    return None


def _peers(machine: Machine) -> list[PciDevice]:
    """The GPUs that answer, on the PCI bus."""
    answering = {gpu.pci_bus_id for gpu in machine.gpus}
    return [device for device in machine.pci or () if device.bus_id in answering]


def _peer_to_peer(machine: Machine) -> bool:
    """Whether two GPUs here copy to each other over PCIe: boards for professionals do, and GeForce cards up to Pascal.

    Those with NVLink to one another use that.
    """
    able = 0
    for gpu in machine.gpus:
        if any(link.active for link in gpu.nvlinks or ()):
            continue
        board = board_of(gpu)
        if board is None or board.segment in ("geforce", "laptop", "titan", "mining"):
            major = (gpu.compute_capability or "").partition(".")[0]
            able += major.isdecimal() and int(major) <= 6
        else:
            able += 1
    return able > 1


@check("numa-affinity")
def numa_affinity(machine: Machine) -> Iterator[Finding]:
    """May this process run on the processors that are nearest to its GPUs?

    On machines with several sockets a GPU hangs on one of them. A process that is bound to the other sends every byte over the
    link between the sockets: slower copies, and data loading that competes with it.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    if (machine.cpu.numa_nodes or 1) < 2:
        yield Finding(status=Status.SKIP, summary="one NUMA node: every processor is as near")
        return
    usable = cpus(machine.cpu.usable_cpus)
    placed = [(gpu, cpus(device.local_cpus)) for gpu in visible_gpus(machine) if (device := _device(machine, gpu)) is not None]
    placed = [(gpu, near) for gpu, near in placed if near]
    if not usable or not placed:
        fact = "pci" if usable else "cpu.usable_cpus"
        yield Finding(status=Status.UNKNOWN, summary=f"processors and GPUs could not be compared: {machine.why_missing(fact)}")
        return
    far = [gpu for gpu, near in placed if not near & usable]
    evidence = (
        Evidence(fact="processors of this process", value=machine.cpu.usable_cpus, read_from="affinity mask"),
        *(
            Evidence(fact=f"processors near GPU {gpu.index}", value=device.local_cpus, read_from=f"{SYSFS}/{device.bus_id}")
            for gpu in far
            if (device := _device(machine, gpu)) is not None
        ),
    )
    if not far:
        yield Finding(status=Status.PASS, summary="this process may run near every GPU")
    elif len(far) < len(placed):
        yield Finding(
            status=Status.INFO,
            summary=f"this process may not run near {named(far)}; use one process for each GPU, bound to its socket",
            evidence=evidence,
            devices=tuple(gpu.index for gpu in far),
        )
    else:
        near = _device(machine, far[0])
        yield Finding(
            status=Status.WARN,
            summary=f"this process is bound to processors of another socket than {named(far)}",
            evidence=evidence,
            remedies=(
                Remedy(
                    text="Bind it to the GPU's own processors and memory, or ask the scheduler or container runtime for them.",
                    commands=(
                        f"taskset -c {near.local_cpus} COMMAND" if near else "taskset -c CPUS COMMAND",
                        "docker run --cpuset-cpus=CPUS IMAGE",
                    ),
                ),
            ),
            devices=tuple(gpu.index for gpu in far),
        )


def cpus(listed: str | None) -> frozenset[int]:
    """The processors of a list as the kernel writes it: "0-3,8"; empty where it is none."""
    found: set[int] = set()
    for part in (listed or "").split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or len(first) > 6 or len(last) > 6:
            continue
        found.update(range(int(first), min(int(last or first), int(first) + _MOST_CPUS) + 1))
    return frozenset(found)
