"""How many GPUs there are for a program, and modes in which a sound GPU refuses it or serves it badly."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import bare_metal, named, no_answer, no_gpu, scope
from dltool.checks.visibility import visible_gpus
from dltool.live import board_of
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check("gpu-counts-differ", caused_by=("gpu-lost", "gpus-hidden", "driver-not-answering", "driver-missing"))
def gpu_counts_differ(machine: Machine) -> Iterator[Finding]:
    """Are as many GPUs visible to CUDA as the driver and the PCI bus show, and if not, why?

    Three counts: the PCI bus, the driver (NVML, nvidia-smi), and what CUDA programs see. A container, a scheduler,
    CUDA_VISIBLE_DEVICES, MIG and virtual machines make them differ on healthy machines.
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    value = machine.environment.get("CUDA_VISIBLE_DEVICES")
    torch = machine.python.torch if machine.python is not None else None
    if value and "MIG-" in value and torch is not None and re.match(r"(0|1)\.", torch.version):
        yield Finding(
            status=Status.WARN,
            summary=f"PyTorch {torch.version} counts no GPU when CUDA_VISIBLE_DEVICES names a MIG instance",
            why="It counts by NVML and does not know such names; programs that look at the count fall back to the CPU.",
            evidence=(
                Evidence(fact="CUDA_VISIBLE_DEVICES", value=value, read_from="environment"),
                Evidence(fact="PyTorch", value=torch.version, read_from=torch.location),
            ),
            remedies=(Remedy(text="Use PyTorch 2 or later.", commands=("dltool compat --torch 2",)),),
        )
        return
    pci = [device for device in machine.pci or () if device.kernel_driver != "vfio-pci"]
    visible = len(visible_gpus(machine)) if value != "" else 0
    slices = sum(gpu.mig_instances or 0 for gpu in machine.gpus)
    evidence = (
        Evidence(fact="on the PCI bus", value=len(pci) if machine.pci is not None else None, read_from="/sys/bus/pci/devices"),
        Evidence(fact="answering the driver", value=len(machine.gpus), read_from="NVML"),
        Evidence(fact="named to CUDA", value=visible, read_from="CUDA_VISIBLE_DEVICES and NVML, by CUDA's rules"),
        Evidence(fact="MIG instances", value=slices, read_from="NVML"),
    )
    counts = f"{len(pci) if machine.pci is not None else '?'} on the PCI bus, {len(machine.gpus)} in NVML, {visible} for CUDA"
    same = visible == len(machine.gpus) and (machine.pci is None or machine.os.wsl or len(pci) == len(machine.gpus))
    if same and not slices:
        yield Finding(status=Status.PASS, summary=f"the counts agree: {counts}", evidence=evidence)
        return
    reasons = [
        "a container or job is given a part" if machine.os.container or _scheduled(machine) else "",
        f"CUDA_VISIBLE_DEVICES={value}" if value is not None and visible != len(machine.gpus) else "",
        f"{slices} MIG instances, of which a program uses one" if slices else "",
        "some are handed to virtual machines" if len(pci) < len(machine.pci or ()) else "",
    ]
    known = "; ".join(filter(None, reasons)) or "see gpu-lost and driver-missing"
    yield Finding(status=Status.INFO, summary=f"{counts}: {known}", evidence=evidence)


def _scheduled(machine: Machine) -> bool:
    return any(name.startswith(("SLURM_", "PBS_", "LSB_", "SGE_")) for name in machine.environment)


@check("mig-without-instances")
def mig_without_instances(machine: Machine) -> Iterator[Finding]:
    """Has every GPU in MIG mode an instance that programs can use?

    With MIG on and nothing cut off, CUDA finds no device, though nvidia-smi lists the GPU.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    on = [gpu for gpu in machine.gpus if gpu.mig_enabled]
    empty = [gpu for gpu in on if gpu.mig_instances == 0]
    unknown = [gpu for gpu in on if gpu.mig_instances is None]
    if empty:
        first = empty[0].index
        yield Finding(
            status=Status.FAIL if len(empty) == len(machine.gpus) else Status.WARN,
            summary=f"{named(empty)}: MIG is on, but no instance was made: CUDA finds no device there",
            evidence=tuple(
                Evidence(fact=f"MIG instances of GPU {gpu.index}", value=gpu.mig_instances, read_from="NVML") for gpu in empty
            ),
            remedies=(
                Remedy(
                    text="Make instances (the first command lists the profiles), for example one of the whole GPU.",
                    commands=(
                        f"sudo timeout 20 nvidia-smi mig -i {first} -lgip",
                        f"sudo timeout 60 nvidia-smi mig -i {first} -cgi 0 -C",
                    ),
                    risk=Risk.ROOT,
                ),
                Remedy(
                    text="Or switch MIG off.",
                    commands=tuple(f"sudo timeout 60 nvidia-smi -i {gpu.index} -mig 0" for gpu in empty),
                    risk=Risk.ROOT,
                ),
            ),
            scope=scope(machine),
            devices=tuple(gpu.index for gpu in empty),
        )
    elif unknown:
        reason = machine.why_missing(f"gpus.{unknown[0].index}.mig_instances")
        yield Finding(status=Status.UNKNOWN, summary=f"{named(unknown)}: MIG is on, its instances are not known: {reason}")
    elif on:
        yield Finding(status=Status.PASS, summary=f"{sum(gpu.mig_instances or 0 for gpu in on)} MIG instances on {named(on)}")
    else:
        yield Finding(status=Status.SKIP, summary="MIG is not in use")


@check("compute-mode-exclusive")
def compute_mode_exclusive(machine: Machine) -> Iterator[Finding]:
    """May more than one program use each GPU?

    In exclusive mode the second program gets "all CUDA-capable devices are busy or unavailable" while the memory looks free;
    in prohibited mode every program does. Schedulers set exclusive mode on purpose.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    known = [gpu for gpu in machine.gpus if gpu.compute_mode is not None]
    prohibited = [gpu for gpu in known if gpu.compute_mode == "prohibited"]
    exclusive = [gpu for gpu in known if (gpu.compute_mode or "").startswith("exclusive")]
    taken = [gpu for gpu in exclusive if gpu.processes]
    if prohibited:
        yield _mode(machine, prohibited, Status.FAIL, "set to allow no CUDA program at all")
    if taken:
        yield _mode(machine, taken, Status.WARN, "allows one program only, and one is running: the next is refused")
    elif exclusive:
        yield _mode(machine, exclusive, Status.INFO, "allows one program at a time")
    if not prohibited and not exclusive:
        status = Status.PASS if known else Status.SKIP
        yield Finding(status=status, summary="programs may share the GPUs" if known else "no GPU here tells its compute mode")


def _mode(machine: Machine, gpus: list[Gpu], status: Status, says: str) -> Finding:
    share = Remedy(
        text="Let programs share the GPU again.",
        commands=tuple(f"sudo timeout 20 nvidia-smi -i {gpu.index} -c DEFAULT" for gpu in gpus),
        risk=Risk.ROOT,
    )
    wait = Remedy(
        text="Or use another GPU, or wait for the one that runs.", commands=("timeout 20 nvidia-smi",), risk=Risk.READ_ONLY
    )
    return Finding(
        status=status,
        summary=f"{named(gpus)}: {says}",
        evidence=tuple(
            Evidence(
                fact=f"compute mode of GPU {gpu.index}",
                value=f"{gpu.compute_mode}, {len(gpu.processes)} processes" if gpu.processes is not None else gpu.compute_mode,
                read_from="NVML",
            )
            for gpu in gpus
        ),
        remedies=(share, wait) if status.is_problem else (),
        scope=scope(machine) if status.is_problem else Scope.ENVIRONMENT,
        devices=tuple(gpu.index for gpu in gpus),
    )


@check("persistence-off")
def persistence_off(machine: Machine) -> Iterator[Finding]:
    """Does the driver keep the GPUs of a server awake between programs?

    Without persistence the last program to end shuts the GPU down: the next waits a second or more for it to start, and
    settings such as power limits and error counters are lost. On desktops and laptops the display does that.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    daemon = machine.driver.services.get("nvidia-persistenced") == "active"
    off = [gpu for gpu in machine.gpus if gpu.persistence_mode is False and _of_server(gpu)]
    if machine.os.wsl or not off or daemon:
        yield Finding(status=Status.PASS, summary="no GPU of a server loses its state between programs")
        return
    yield Finding(
        status=Status.INFO,
        summary=f"{named(off)}: persistence is off, so each first program waits for the GPU to start",
        evidence=tuple(Evidence(fact=f"persistence mode of GPU {gpu.index}", value=False, read_from="NVML") for gpu in off),
        remedies=(
            Remedy(
                text="Start NVIDIA's daemon for it.",
                commands=("sudo systemctl enable --now nvidia-persistenced",),
                risk=Risk.ROOT,
            ),
        )
        if not machine.os.container
        else (),
        scope=scope(machine),
        devices=tuple(gpu.index for gpu in off),
    )


def _of_server(gpu: Gpu) -> bool:
    board = board_of(gpu)
    return board is not None and board.segment == "datacenter"


@check("bar1-small")
def bar1_small(machine: Machine) -> Iterator[Finding]:
    """Can the processor and other devices address a GPU's whole memory?

    Through a BAR1 window smaller than the memory, peer-to-peer copies over PCIe and GPUDirect work on a part of it. Most
    programs do not notice; cards of the consumer kind have 256 MiB unless resizable BAR is on.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    known = [gpu for gpu in machine.gpus if gpu.bar1_total_bytes and gpu.memory_total_bytes]
    least = min((gpu.bar1_total_bytes or 0 for gpu in known), default=0)
    small = [gpu for gpu in known if 2 * (gpu.bar1_total_bytes or 0) < (gpu.memory_total_bytes or 0)]
    if not small:
        summary = "the memory can be addressed as a whole" if known else "no GPU here tells the size of its window"
        yield Finding(status=Status.PASS if known else Status.SKIP, summary=summary)
        return
    yield Finding(
        status=Status.INFO,
        summary=f"{named(small)}: a window of {least // 2**20} MiB into its memory (BAR1)",
        evidence=tuple(
            Evidence(fact=f"BAR1 of GPU {gpu.index}", value=gpu.bar1_total_bytes, read_from="NVML") for gpu in small
        ),
        remedies=(Remedy(text="If it matters: switch on Above 4G Decoding and Resizable BAR in the firmware's setup."),)
        if bare_metal(machine)
        else (),
        devices=tuple(gpu.index for gpu in small),
    )
