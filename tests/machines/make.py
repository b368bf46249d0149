"""Write the snapshots of this directory: python tests/machines/make.py

All are synthesised. The figures follow what such machines print (nvidia-smi, /proc, wheel metadata); UUIDs, serial numbers
and host names are made up and, as in every snapshot, hashed. Each machine is healthy: a doctor that finds a problem is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from dltool.machine import (
    Cpu,
    DeviceNode,
    Disk,
    Distribution,
    Driver,
    EccErrors,
    Gpu,
    KernelEvent,
    KernelLog,
    Library,
    Limits,
    Machine,
    Memory,
    ModuleFile,
    NvLink,
    Os,
    PciDevice,
    PcieLink,
    PciPort,
    PythonEnv,
    RemappedRows,
    Toolkit,
    TorchBuild,
)

MIB, GIB, TIB = 2**20, 2**30, 2**40
CREATED = "2026-11-21T12:00:00+00:00"

_AMD = "AuthenticAMD"
_NO_PROC = {"driver.kernel_module_version": "/proc/driver/nvidia/version: No such file or directory"}
_CUDA_128 = (
    "cublas 12.8.4.1, cuda-cupti 12.8.90, cuda-nvrtc 12.8.93, cuda-runtime 12.8.90, cudnn 9.10.2.21, cufft 11.3.3.83, "
    "cufile 1.13.1.3, curand 10.3.9.90, cusolver 11.7.3.90, cusparse 12.5.8.93, cusparselt 0.7.1, nccl 2.27.5, "
    "nvjitlink 12.8.93, nvtx 12.8.90"
)
_CUDA_126 = (
    "cublas 12.6.4.1, cuda-cupti 12.6.80, cuda-nvrtc 12.6.77, cuda-runtime 12.6.77, cudnn 9.5.1.17, cufft 11.3.0.4, "
    "cufile 1.11.1.6, curand 10.3.7.77, cusolver 11.7.1.2, cusparse 12.5.4.2, cusparselt 0.6.3, nccl 2.26.2, "
    "nvjitlink 12.6.85, nvtx 12.6.77"
)
_CUDA_118 = (
    "cublas 11.11.3.6, cuda-cupti 11.8.87, cuda-nvrtc 11.8.89, cuda-runtime 11.8.89, cudnn 9.1.0.70, cufft 10.9.0.58, "
    "curand 10.3.0.86, cusolver 11.4.1.48, cusparse 11.7.5.86, nccl 2.21.5, nvtx 11.8.86"
)
_SONAMES = {
    "11": {"cublas": "libcublas.so.11", "cudnn": "libcudnn.so.9", "nccl": "libnccl.so.2"},
    "12": {
        "cublas": "libcublas.so.12",
        "cuda-runtime": "libcudart.so.12",
        "cudnn": "libcudnn.so.9",
        "cusparse": "libcusparse.so.12",
        "nccl": "libnccl.so.2",
        "nvjitlink": "libnvJitLink.so.12",
    },
}


def h100_server() -> Machine:
    """Eight H100 SXM5 behind NVSwitches, idle; driver 550 runs CUDA 12.8 by minor-version compatibility."""
    python, libraries = _environment(
        "~/train/.venv", "3.12.7", _torch("2.9.1", "cu128"), f"cu12: {_CUDA_128}", torchvision="0.24.1", torchaudio="2.9.1"
    )
    return Machine(
        created=CREATED,
        dltool="0.1.0",
        os=Os(
            system="Linux", distribution="Ubuntu 22.04.5 LTS", kernel="5.15.0-122-generic", glibc="2.35", hostname=_hash("h100")
        ),
        cpu=_two_sockets(),
        memory=_memory(2015 * GIB),
        limits=_limits(1_048_576),
        disks=(Disk(purpose="home", path="~", total_bytes=14 * TIB, free_bytes=9 * TIB),),
        driver=_driver(
            "550.54.15", "12.4", gpus=range(8), kernel="5.15.0-122-generic",
            services={"nvidia-persistenced": "active", "nvidia-fabricmanager": "active"},
        ),
        gpus=tuple(_h100(index, bus) for index, bus in enumerate(_H100_BUSES)),
        pci=_h100_bus(),
        nvswitches=4,
        kernel_log=_log("/dev/kmsg", hours=26),
        python=python,
        toolkits=(Toolkit(path="/usr/local/cuda-12.4", version="12.4", found_by=("PATH", "/usr/local"), has_nvcc=True),),
        libraries=libraries,
        environment={"VIRTUAL_ENV": "~/train/.venv"},
    )  # fmt: skip


def laptop_rtx4060() -> Machine:
    """A laptop at rest: the link fell to generation 1, the clocks to their lowest, no ECC, no NVLink."""
    python, libraries = _environment("~/.venvs/study", "3.12.3", _torch("2.7.1", "cu126"), f"cu12: {_CUDA_126}")
    gpu = Gpu(
        index=0,
        name="NVIDIA GeForce RTX 4060 Laptop GPU",
        uuid=f"GPU-{_hash('laptop')}",
        pci_bus_id="0000:01:00.0",
        pci_device_id="10de:28e0",
        pci_subsystem_id="17aa:3cec",
        compute_capability="8.9",
        cuda_cores=3072,
        vbios="95.07.1b.00.5d",
        memory_total_bytes=8188 * MIB,
        memory_used_bytes=11 * MIB,
        memory_bus_bits=128,
        bar1_total_bytes=8192 * MIB,
        pcie_generation=1,
        pcie_generation_max=4,
        pcie_width=8,
        pcie_width_max=8,
        pcie_replays=0,
        sm_mhz=210,
        sm_mhz_max=3105,
        memory_mhz=405,
        memory_mhz_max=8001,
        power_w=1.846,
        power_limit_w=80.0,
        power_limit_default_w=80.0,
        temperature_c=41,
        temperature_slowdown_c=102,
        throttle_reasons=("gpu_idle",),
        performance_state=8,
        utilization_percent=0,
        persistence_mode=False,
        compute_mode="default",
        gsp_firmware="565.77",
        fabric_state="not_supported",
        nvlinks=(),
        processes=(),
    )
    return Machine(
        created=CREATED,
        dltool="0.1.0",
        os=Os(
            system="Linux", distribution="Ubuntu 24.04.1 LTS", kernel="6.8.0-48-generic", glibc="2.39", hostname=_hash("laptop")
        ),
        cpu=_cpu("13th Gen Intel(R) Core(TM) i7-13700H", threads=20, cores=14, family=6, model_number=186),
        memory=_memory(15 * GIB),
        limits=_limits(1024),
        disks=(Disk(purpose="home", path="~", total_bytes=500 * 10**9, free_bytes=81 * 10**9),),
        driver=_driver("565.77", "12.7", kernel="6.8.0-48-generic"),
        gpus=(gpu,),
        pci=(_pci("0000:01:00.0", "28e0", speed=(2.5, 16.0), lanes=8, cpus="0-19"),),
        nvswitches=0,
        kernel_log=_log("journalctl", hours=3),
        python=python,
        libraries=libraries,
        environment={"VIRTUAL_ENV": "~/.venvs/study"},
        gaps=_refused("serial ecc_enabled retired_pages_pending remapped_rows mig_enabled recovery_action"),
    )


def gtx1080ti() -> Machine:
    """A Pascal card on the last driver branch that Kepler had; PyTorch's last CUDA 11 build still runs on it."""
    python, libraries = _environment("~/old/.venv", "3.11.2", _torch("2.6.0", "cu118"), f"cu11: {_CUDA_118}")
    gpu = Gpu(
        index=0,
        name="NVIDIA GeForce GTX 1080 Ti",
        uuid=f"GPU-{_hash('1080')}",
        pci_bus_id="0000:65:00.0",
        pci_device_id="10de:1b06",
        pci_subsystem_id="10de:120f",
        compute_capability="6.1",
        cuda_cores=3584,
        vbios="86.02.39.00.22",
        memory_total_bytes=11178 * MIB,
        memory_used_bytes=1 * MIB,
        memory_bus_bits=352,
        bar1_total_bytes=256 * MIB,
        pcie_generation=1,
        pcie_generation_max=3,
        pcie_width=16,
        pcie_width_max=16,
        sm_mhz=139,
        sm_mhz_max=1911,
        memory_mhz=405,
        memory_mhz_max=5505,
        power_w=8.893,
        power_limit_w=250.0,
        power_limit_default_w=250.0,
        temperature_c=31,
        temperature_slowdown_c=93,
        throttle_reasons=("gpu_idle",),
        performance_state=8,
        utilization_percent=0,
        persistence_mode=False,
        compute_mode="default",
        nvlinks=(),
        processes=(),
    )
    return Machine(
        created=CREATED,
        dltool="0.1.0",
        os=Os(system="Linux", distribution="Debian GNU/Linux 12 (bookworm)", kernel="6.1.0-26-amd64", glibc="2.36",
              hostname=_hash("old")),
        cpu=_cpu("Intel(R) Core(TM) i7-6850K CPU @ 3.60GHz", threads=12, cores=6, family=6, model_number=79),
        memory=_memory(62 * GIB),
        limits=_limits(1024),
        driver=_driver("470.256.02", "11.4", is_open=False, kernel="6.1.0-26-amd64"),
        gpus=(gpu,),
        pci=(_pci("0000:65:00.0", "1b06", speed=(2.5, 8.0), cpus="0-11", iommu="dma-fq"),),
        nvswitches=0,
        python=python,
        libraries=libraries,
        environment={"VIRTUAL_ENV": "~/old/.venv"},
        gaps={
            **_refused("serial ecc_enabled retired_pages_pending remapped_rows mig_enabled"),
            **_NO_LOG,
            **_refused("gsp_firmware fabric_state", "NVML_ERROR_FUNCTION_NOT_FOUND"),
        },
    )  # fmt: skip


def cpu_only() -> Machine:
    """A virtual machine without a GPU, as continuous integration runs on: all is well."""
    python, _ = _environment("/opt/venv", "3.12.11", _torch("2.13.0", "cpu"), "", torchvision="0.28.0", installer="uv")
    return Machine(
        created=CREATED,
        dltool="0.1.0",
        os=Os(
            system="Linux", distribution="Ubuntu 24.04.3 LTS", kernel="6.11.0-1018-azure", glibc="2.39",
            hostname=_hash("runner"), hypervisor="Microsoft Corporation Virtual Machine",
        ),
        cpu=_cpu("AMD EPYC 7763 64-Core Processor", threads=4, cores=2, family=25, model_number=1, vendor=_AMD),
        memory=_memory(15 * GIB),
        limits=_limits(65536),
        driver=Driver(nvml_error="NVML_ERROR_LIBRARY_NOT_FOUND", modules=()),
        pci=(),
        nvswitches=0,
        kernel_log=KernelLog(source="dmesg", reaches_back_s=912.0),
        python=python,
        environment={"VIRTUAL_ENV": "/opt/venv"},
        gaps={**_NO_PROC, **_NO_NVML},
    )  # fmt: skip


def wsl2() -> Machine:
    """Linux in Windows: the driver is that of Windows, under /usr/lib/wsl; no kernel module, no PCI device, one /dev/dxg."""
    python, libraries = _environment("~/venv", "3.12.3", _torch("2.8.0", "cu128"), f"cu12: {_CUDA_128}")
    gpu = Gpu(
        index=0,
        name="NVIDIA GeForce RTX 4070",
        uuid=f"GPU-{_hash('wsl')}",
        pci_bus_id="0000:01:00.0",
        pci_device_id="10de:2786",
        pci_subsystem_id="1458:40ee",
        compute_capability="8.9",
        cuda_cores=5888,
        vbios="95.04.31.00.8f",
        memory_total_bytes=12282 * MIB,
        memory_used_bytes=1312 * MIB,
        memory_bus_bits=192,
        pcie_generation=4,
        pcie_generation_max=4,
        pcie_width=16,
        pcie_width_max=16,
        sm_mhz=210,
        sm_mhz_max=3105,
        memory_mhz=405,
        memory_mhz_max=10501,
        power_w=11.4,
        power_limit_w=200.0,
        power_limit_default_w=200.0,
        temperature_c=44,
        throttle_reasons=("gpu_idle",),
        performance_state=8,
        persistence_mode=True,
        compute_mode="default",
        nvlinks=(),
    )
    return Machine(
        created=CREATED,
        dltool="0.1.0",
        os=Os(
            system="Linux", distribution="Ubuntu 24.04.2 LTS", kernel="5.15.167.4-microsoft-standard-WSL2", glibc="2.39",
            hostname=_hash("desktop"), wsl=True, hypervisor="unnamed",
        ),
        cpu=_cpu("AMD Ryzen 7 7800X3D 8-Core Processor", threads=16, cores=8, family=25, model_number=97, vendor=_AMD),
        memory=_memory(15 * GIB),
        limits=_limits(10240),
        driver=Driver(
            version="572.61",
            cuda_version="12.8",
            nvml_library="/usr/lib/wsl/lib/libnvidia-ml.so.1",
            nvml_library_version="570.124.02",
            modules=(),
            device_nodes=(DeviceNode(path="/dev/dxg", accessible=True),),
            libcuda="/usr/lib/wsl/lib/libcuda.so.1",
        ),
        gpus=(gpu,),
        pci=(),
        python=python,
        libraries=libraries,
        environment={"VIRTUAL_ENV": "~/venv"},
        gaps={**_NO_PROC, **_refused("serial ecc_enabled remapped_rows mig_enabled processes")},
    )  # fmt: skip


def container() -> Machine:
    """One GPU of a server of eight, given to a Docker container: the PCI bus shows all, the driver one."""
    python, libraries = _environment(
        "/opt/venv", "3.11.9", _torch("2.9.1", "cu128"), f"cu12: {_CUDA_128}", torchvision="0.24.1"
    )
    return Machine(
        created=CREATED,
        dltool="0.1.0",
        os=Os(
            system="Linux", distribution="Debian GNU/Linux 12 (bookworm)", kernel="5.15.0-122-generic", glibc="2.36",
            hostname=_hash("container"), container="docker",
        ),
        cpu=_two_sockets(),
        memory=_memory(2015 * GIB, shm=8 * GIB),
        limits=_limits(1_048_576),
        driver=_driver("550.54.15", "12.4", gpus=(3,), services={"nvidia-fabricmanager": "not found"}),
        gpus=(_h100(0, _H100_BUSES[3]),),
        pci=_h100_bus(),
        nvswitches=4,
        python=python,
        libraries=libraries,
        environment={
            "NVIDIA_VISIBLE_DEVICES": "3",
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
            "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
            "VIRTUAL_ENV": "/opt/venv",
        },
        gaps={
            "kernel_log": "/dev/kmsg: No such file or directory; dmesg: read kernel buffer failed: Operation not permitted; "
            "journalctl: No such file or directory",
            "driver.module_file": "/lib/modules/5.15.0-122-generic/modules.dep: No such file or directory",
        },
    )  # fmt: skip


def jetson() -> Machine:
    """A Jetson AGX Orin with JetPack 6: the GPU is part of the chip, PyTorch is NVIDIA's own build for it."""
    torch = TorchBuild(
        version="2.5.0a0+872d972e41.nv24.8", location="~/venv/lib/python3.10/site-packages/torch", cuda="12.6", debug=False
    )
    python, _ = _environment("~/venv", "3.10.12", torch, "")
    gpu = Gpu(index=0, name="Orin (nvgpu)", uuid=f"GPU-{_hash('orin')}", compute_capability="8.7", sm_mhz=306, sm_mhz_max=1300)
    unsupported = (
        "pci_bus_id memory_total_bytes memory_used_bytes power_w power_limit_w temperature_c ecc_enabled mig_enabled processes"
    )
    return Machine(
        created=CREATED,
        dltool="0.1.0",
        os=Os(
            system="Linux", distribution="Ubuntu 22.04.5 LTS", kernel="5.15.148-tegra", glibc="2.35", hostname=_hash("orin"),
            tegra="NVIDIA Jetson AGX Orin Developer Kit", tegra_power_mode="MAXN",
        ),
        cpu=_cpu("ARMv8 Processor rev 1 (v8l)", threads=12, cores=12, family=8, model_number=3394, vendor="0x41",
                 architecture="aarch64"),
        memory=_memory(61 * GIB),
        limits=_limits(1024),
        driver=Driver(
            version="540.4.0",
            cuda_version="12.6",
            nvml_library="/usr/lib/aarch64-linux-gnu/nvidia/libnvidia-ml.so.1",
            nvml_library_version="540.4.0",
            kernel_module_version="540.4.0",
            kernel_module_open=True,
            modules=("nvidia", "nvidia_drm", "nvidia_modeset"),
            device_nodes=tuple(DeviceNode(path=f"/dev/{name}", accessible=True) for name in ("nvidia0", "nvidiactl", "nvmap")),
            libcuda="/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1",
        ),
        gpus=(gpu,),
        pci=(),
        python=python,
        toolkits=(Toolkit(path="/usr/local/cuda-12.6", version="12.6", found_by=("/usr/local",), has_nvcc=True),),
        environment={"VIRTUAL_ENV": "~/venv"},
        gaps=_refused(unsupported),
    )  # fmt: skip


MACHINES: dict[str, Callable[[], Machine]] = {
    make.__name__: make for make in (h100_server, laptop_rtx4060, gtx1080ti, cpu_only, wsl2, container, jetson)
}

_NO_LOG = {
    "kernel_log": "/dev/kmsg: Operation not permitted; dmesg: read kernel buffer failed: Operation not permitted; "
    "journalctl: shows nothing to this user"
}
_NO_NVML = {
    "gpus": "NVML Shared Library Not Found (NVML_ERROR_LIBRARY_NOT_FOUND in nvmlInit)",
    "driver.libcuda": "libcuda.so.1: cannot open shared object file: No such file or directory",
}
_H100_BUSES = tuple(f"0000:{bus}:00.0" for bus in ("1b", "43", "52", "61", "9d", "c3", "d1", "df"))


def _hash(what: str) -> str:
    return f"#{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _refused(fields: str, error: str = "NVML_ERROR_NOT_SUPPORTED") -> dict[str, str]:
    """The gaps that NVML leaves for GPU 0."""
    return {f"gpus.0.{name}": f"not supported ({error})" for name in fields.split()}


def _h100(index: int, bus: str) -> Gpu:
    return Gpu(
        index=index,
        name="NVIDIA H100 80GB HBM3",
        uuid=f"GPU-{_hash(f'h100 {bus}')}",
        serial=_hash(f"serial {bus}"),
        pci_bus_id=bus,
        pci_device_id="10de:2330",
        pci_subsystem_id="10de:16c1",
        compute_capability="9.0",
        cuda_cores=16896,
        vbios="96.00.74.00.01",
        memory_total_bytes=81559 * MIB,
        memory_used_bytes=4 * MIB,
        memory_bus_bits=5120,
        bar1_total_bytes=131072 * MIB,
        pcie_generation=5,
        pcie_generation_max=5,
        pcie_width=16,
        pcie_width_max=16,
        pcie_replays=0,
        sm_mhz=345,
        sm_mhz_max=1980,
        memory_mhz=2619,
        memory_mhz_max=2619,
        power_w=69.87,
        power_limit_w=700.0,
        power_limit_default_w=700.0,
        temperature_c=27,
        temperature_slowdown_c=89,
        throttle_reasons=("gpu_idle",),
        performance_state=0,
        utilization_percent=0,
        ecc_enabled=True,
        ecc_errors=EccErrors(corrected_volatile=0, uncorrected_volatile=0, corrected_aggregate=0, uncorrected_aggregate=0),
        remapped_rows=RemappedRows(corrected=0, uncorrected=0, pending=False, failed=False),
        mig_enabled=False,
        persistence_mode=True,
        compute_mode="default",
        recovery_action="none",
        gsp_firmware="550.54.15",
        fabric_state="completed",
        nvlinks=tuple(NvLink(link=link, active=True, version=4) for link in range(18)),
        processes=(),
    )


def _log(source: str, *, hours: float) -> KernelLog:
    """A log in which only the driver's start is of interest."""
    loaded = KernelEvent(kind="driver_loaded", age_s=hours * 3600, text="NVRM: loading NVIDIA UNIX x86_64 Kernel Module")
    return KernelLog(source=source, reaches_back_s=hours * 3600 + 8.4, events=(loaded,))


def _driver(
    version: str, cuda: str, *, gpus: range | tuple[int, ...] = (0,), is_open: bool = True, kernel: str | None = None,
    services: dict[str, str] | None = None,
) -> Driver:  # fmt: skip
    nodes = [f"/dev/nvidia{index}" for index in gpus] + ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl"]
    return Driver(
        version=version,
        cuda_version=cuda,
        nvml_library=f"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{version}",
        nvml_library_version=version,
        kernel_module_version=version,
        kernel_module_open=is_open,
        module_file=ModuleFile(path=f"/lib/modules/{kernel}/updates/dkms/nvidia.ko") if kernel else None,
        secure_boot=False,
        services=services or {},
        modules=("nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset"),
        device_nodes=tuple(DeviceNode(path=path, accessible=True) for path in nodes),
        libcuda=f"/usr/lib/x86_64-linux-gnu/libcuda.so.{version}",
    )


def _pci(
    bus: str, device: str, kind: str = "0x030000", *, node: int | None = None, speed: tuple[float, float] = (32.0, 32.0),
    lanes: int = 16, cpus: str | None = None, iommu: str = "identity",
) -> PciDevice:  # fmt: skip
    """A device on a port that can do what it can; the port is on the bus before."""
    link = PcieLink(gt_per_s=speed[0], gt_per_s_max=speed[1], width=lanes, width_max=lanes)
    port = PciPort(bus_id=f"0000:{int(bus[5:7], 16) - 1:02x}:01.0", link=link, acs_known=kind == "0x030200")
    return PciDevice(
        bus_id=bus, device_id=f"10de:{device}", class_code=kind, kernel_driver="nvidia", numa_node=node, local_cpus=cpus,
        link=link, upstream=(port,), iommu=iommu, responds=True,
    )  # fmt: skip


def _h100_bus() -> tuple[PciDevice, ...]:
    """Eight GPUs, four on each socket."""
    near = ("0-55,112-167", "56-111,168-223")
    places = enumerate(_H100_BUSES)
    return tuple(_pci(bus, "2330", "0x030200", node=index // 4, cpus=near[index // 4]) for index, bus in places)


def _two_sockets() -> Cpu:
    return _cpu("Intel(R) Xeon(R) Platinum 8480C", threads=224, cores=112, family=6, model_number=143, sockets=2)


def _cpu(
    model: str, *, threads: int, cores: int, family: int, model_number: int, sockets: int = 1, vendor: str = "GenuineIntel",
    architecture: str = "x86_64",
) -> Cpu:  # fmt: skip
    return Cpu(
        model=model, vendor=vendor, family=family, model_number=model_number, architecture=architecture, sockets=sockets,
        cores=cores, threads=threads, simd=("avx", "avx2", "fma") if architecture == "x86_64" else ("asimd",),
        numa_nodes=sockets, usable_threads=threads, usable_cpus=f"0-{threads - 1}", mhz_max=3800.0, load_1min=0.4,
    )  # fmt: skip


def _memory(total: int, *, shm: int | None = None) -> Memory:
    shared = shm or total // 2
    return Memory(
        total_bytes=total, available_bytes=total * 9 // 10, swap_total_bytes=0, shm_total_bytes=shared, shm_free_bytes=shared
    )


def _limits(open_files: int) -> Limits:
    return Limits(open_files_soft=open_files, open_files_hard=1_048_576, locked_memory_bytes=8 * MIB)


def _torch(version: str, build: str) -> TorchBuild:
    """A published build; `location` is filled in by `_environment`."""
    cuda = None if build == "cpu" else f"{build[2:-1]}.{build[-1]}"
    return TorchBuild(version=f"{version}+{build}", location="", cuda=cuda, debug=False)


def _environment(
    prefix: str, version: str, torch: TorchBuild, wheels: str, *, installer: str = "pip", **companions: str
) -> tuple[PythonEnv, tuple[Library, ...]]:
    """A virtual environment: torch, its companions (of the same build), NVIDIA's wheels ("cu12: NAME VERSION, ...")."""
    site = f"{prefix}/lib/python{version.rpartition('.')[0]}/site-packages"
    build = torch.version.partition("+")[2]
    suffix, _, listed = wheels.partition(": ")
    parts = dict(part.split() for part in listed.split(", ")) if listed else {}
    named = {
        "numpy": "2.2.6" if version.startswith("3.10") else "2.3.4",
        "torch": torch.version,
        **{name: f"{found}+{build}" for name, found in companions.items()},
        **{f"nvidia-{part}-{suffix}": found for part, found in parts.items()},
    }
    distributions = tuple(
        Distribution(name=name, version=named[name], location=site, installer=installer) for name in sorted(named)
    )
    libraries = tuple(
        Library(
            soname=soname,
            path=f"{site}/nvidia/{part.replace('-', '_')}/lib/{soname}",
            version=parts[part],
            source="wheel",
            package=f"nvidia-{part}-{suffix} {parts[part]}",
        )
        for part, soname in _SONAMES.get(suffix[2:], {}).items()
    )
    placed = TorchBuild(
        version=torch.version,
        location=torch.location or f"{site}/torch",
        cuda=torch.cuda,
        cudnn=parts.get("cudnn"),
        debug=torch.debug,
    )
    python = PythonEnv(
        executable=f"{prefix}/bin/python", version=version, implementation="CPython", prefix=prefix, kind="venv",
        distributions=distributions, torch=placed,
    )  # fmt: skip
    return python, libraries


def write(directory: Path) -> None:
    """Write every snapshot into `directory`."""
    for name, make in MACHINES.items():
        (directory / f"{name}.json").write_bytes(make().to_json())


if __name__ == "__main__":
    write(Path(__file__).parent)
