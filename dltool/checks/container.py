"""What a container was given of its host's GPUs, and whether its image suits the host's driver."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.packages import installed_torch
from dltool.checks.visibility import visible_gpus
from dltool.compat import rules_driver, rules_packages
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_RUN = "docker run --rm --gpus all IMAGE nvidia-smi"
_NONE = ("void", "none", "")
_NEEDED = {"compute", "utility"}


def _outside(machine: Machine) -> Finding | None:
    return None if machine.os.container else Finding(status=Status.SKIP, summary="not in a container")


def _variable(machine: Machine, name: str) -> Evidence:
    return Evidence(fact=name, value=machine.environment.get(name), read_from="environment")


@check("container-without-gpu")
def container_without_gpu(machine: Machine) -> Iterator[Finding]:
    """Was this container started with the host's GPUs?

    The host has a GPU and its driver's kernel module is loaded, but the container holds no device file and no library of the
    driver: it was started without `--gpus all`, or the host lacks nvidia-container-toolkit. Nothing that is installed inside
    the container mends that. NVIDIA_VISIBLE_DEVICES=void or none does the same on purpose.
    """
    if (outside := _outside(machine)) is not None:
        yield outside
        return
    driver = machine.driver
    if machine.gpus or any(node.path.removeprefix("/dev/nvidia").isdigit() for node in driver.device_nodes):
        yield Finding(status=Status.PASS, summary="the container was given device files of GPUs")
        return
    on_host = [device for device in machine.pci or () if device.kernel_driver == "nvidia"]
    if driver.kernel_module_version is None and not on_host:
        yield Finding(status=Status.SKIP, summary="nothing shows that the host has a GPU with NVIDIA's driver")
        return
    if driver.nvml_library or driver.libcuda or {"driver", "driver.device_nodes"} & machine.gaps.keys():
        yield Finding(status=Status.UNKNOWN, summary="whether the container was given GPUs cannot be told")
        return
    hidden = machine.environment.get("NVIDIA_VISIBLE_DEVICES")
    asked = "" if hidden not in _NONE else f" (NVIDIA_VISIBLE_DEVICES={hidden or 'empty'})"
    yield Finding(
        status=Status.FAIL,
        summary=f"the host has an NVIDIA GPU, but this container was started without it{asked}",
        why="There is no /dev/nvidia* and no library of the driver here; the container runtime puts them in, not the image.",
        evidence=(
            Evidence(fact="kernel module of the host", value=driver.kernel_module_version, read_from="/proc/driver/nvidia"),
            Evidence(fact="GPUs of the host", value=len(on_host), read_from="/sys/bus/pci/devices"),
            _variable(machine, "NVIDIA_VISIBLE_DEVICES"),
        ),
        remedies=(
            Remedy(text="Start it with the GPUs.", commands=(_RUN,)),
            Remedy(
                text='If Docker answers `could not select device driver ""`, register NVIDIA\'s runtime on the host.',
                commands=(
                    "sudo apt-get install nvidia-container-toolkit",
                    "sudo nvidia-ctk runtime configure --runtime=docker",
                    "sudo systemctl restart docker",
                ),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )


@check("container-lost-gpu")
def container_lost_gpu(machine: Machine) -> Iterator[Finding]:
    """Does the container still have access to the device files that it was started with?

    The files are there but the kernel refuses to open them: a `systemctl daemon-reload` on the host wrote the container's
    device rules anew, without the GPUs that the runtime had added. NVML then fails with "Unknown Error", while nvidia-smi on
    the host works.
    """
    if (outside := _outside(machine)) is not None:
        yield outside
        return
    nodes = [node for node in machine.driver.device_nodes if node.path.removeprefix("/dev/nvidia").isdigit()]
    error = machine.driver.nvml_error or ""
    refused = "UNKNOWN" in error or "NO_PERMISSION" in error
    if machine.gpus or not nodes or not refused:
        yield Finding(status=Status.PASS, summary="no sign that the container lost its devices")
        return
    yield Finding(
        status=Status.FAIL,
        summary="the container has lost its access to the GPUs: the device files are there, but the driver may not be opened",
        why="The host's systemd reloaded and dropped the GPUs from the device rules of the container's control group.",
        evidence=(
            Evidence(fact="NVML", value=error, read_from="nvmlInit"),
            Evidence(fact="device files", value=" ".join(node.path for node in nodes), read_from="/dev"),
        ),
        remedies=(
            Remedy(text="Restart the container: it works again until the next reload.", commands=("docker restart CONTAINER",)),
            Remedy(
                text="For good, on the host: make the links that systemd looks for, or let Docker keep the control groups.",
                commands=(
                    "sudo nvidia-ctk system create-dev-char-symlinks --create-all",
                    """echo '{"exec-opts": ["native.cgroupdriver=cgroupfs"]}' | sudo tee /etc/docker/daemon.json""",
                ),
                risk=Risk.ROOT,
            ),
            Remedy(text="Or name the devices, which systemd then knows.", commands=(
                "docker run --gpus all --device /dev/nvidia0 --device /dev/nvidiactl --device /dev/nvidia-uvm IMAGE",)),
        ),
        scope=Scope.HOST,
    )  # fmt: skip


@check("container-capabilities", caused_by=("container-without-gpu",))
def container_capabilities(machine: Machine) -> Iterator[Finding]:
    """Did the container get the parts of the driver that CUDA and monitoring need?

    NVIDIA_DRIVER_CAPABILITIES chooses what the runtime puts into the container: "compute" brings libcuda, "utility" brings
    nvidia-smi and NVML. Without the first nvidia-smi works and CUDA finds no driver; without the second it is the reverse.
    """
    if (outside := _outside(machine)) is not None:
        yield outside
        return
    value = machine.environment.get("NVIDIA_DRIVER_CAPABILITIES")
    if not value:
        yield Finding(status=Status.PASS, summary="NVIDIA_DRIVER_CAPABILITIES is not set")
        return
    missing = sorted(_NEEDED - set(re.split(r"[,\s]+", value)))
    if "all" in value.split(",") or not missing:
        yield Finding(status=Status.PASS, summary=f"the container has the driver's parts: {value}")
        return
    compute = "compute" in missing
    if compute and machine.driver.libcuda is not None:
        yield Finding(status=Status.PASS, summary="libcuda is here by another way")
        return
    yield Finding(
        status=Status.FAIL if compute else Status.INFO,
        summary=f"NVIDIA_DRIVER_CAPABILITIES={value} leaves out {' and '.join(missing)}: "
        + ("there is no libcuda, so CUDA finds no driver" if compute else "nvidia-smi and NVML may be missing"),
        evidence=(_variable(machine, "NVIDIA_DRIVER_CAPABILITIES"),),
        remedies=(
            Remedy(
                text="Ask for both.",
                commands=("docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE",),
            ),
        ),
    )


def _image_cuda(machine: Machine) -> str | None:
    """The CUDA release that the image is made for, "12.8"."""
    own = re.match(r"\d+\.\d+", machine.environment.get("CUDA_VERSION", ""))
    asked = re.search(r"cuda>=(\d+\.\d+)", machine.environment.get("NVIDIA_REQUIRE_CUDA", ""))
    return own[0] if own else asked[1] if asked else None


@check("container-image-cuda", caused_by=("container-without-gpu", "container-lost-gpu", "driver-too-old"))
def container_image_cuda(machine: Machine) -> Iterator[Finding]:
    """Is the image made for a CUDA that the host's driver runs and that knows the GPU?

    A container brings CUDA and takes the driver of its host. An image of a later CUDA major than the driver's fails at the
    first call ("unsatisfied condition: cuda>=13.0" at the start); one from before the GPU has no code for it, and its
    programs fail or compile for half an hour at their start. PyTorch from pip brings its own CUDA and does not use the
    image's.
    """
    if (outside := _outside(machine)) is not None:
        yield outside
        return
    cuda = _image_cuda(machine)
    if cuda is None or not (machine.driver.version or machine.gpus):
        yield Finding(status=Status.SKIP, summary="the image names no CUDA" if cuda is None else "no driver answers")
        return
    reported = [gpu.compute_capability for gpu in visible_gpus(machine)]
    question = compat.Question(
        driver=machine.driver.version,
        cuda=cuda,
        compute_capabilities=tuple(dict.fromkeys(one for one in reported if one and compat.known_version(one))),
        os="wsl" if machine.os.wsl else "linux",
        tegra=bool(machine.os.tegra),
    )
    judged = [*rules_driver.driver_runs_cuda(question), *rules_packages.toolkit(question)]
    broken = [finding for finding in judged if finding.status is Status.FAIL]
    if not broken:
        yield Finding(status=Status.PASS, summary=f"the image is made for CUDA {cuda}, which driver and GPU suit")
        return
    torch = installed_torch(machine)
    own = torch is not None and torch.cuda is not None and not torch.cuda.startswith(cuda)
    forward = "compat" in (machine.driver.libcuda or "")
    yield Finding(
        status=Status.INFO if own or forward else Status.WARN,
        summary=f"the image is made for CUDA {cuda}: {broken[0].summary}",
        why=f"PyTorch brings CUDA {torch.cuda if torch else ''} of its own; other programs of the image are concerned."
        if own
        else "Programs of the image that use its CUDA fail on this machine.",
        evidence=(_variable(machine, "CUDA_VERSION"), *broken[0].evidence),
        remedies=(Remedy(text="Take an image of a CUDA release that suits this driver and this GPU.",
                         commands=("dltool compat",)),),
    )  # fmt: skip
