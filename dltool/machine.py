"""What is so on one machine: frozen facts, one class per subject, JSON in and out.

A fact that could not be read is `None` and its reason stands in `Machine.gaps` under the fact's path ("gpus.0.power_limit_w").
Units are in the names; sizes are bytes. Nothing here judges. Each text says by its type how it may leave the machine (see
`redact`): what is not declared is not shared.

The classes are msgspec structs, which are used like frozen dataclasses (`msgspec.structs.replace` makes a changed copy) and are
defined fifty times quicker: every start of the command pays for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Struct

from dltool.callable_module import make_callable
from dltool.errors import UsageError

SCHEMA = "dltool/machine/1"
MAX_SNAPSHOT_BYTES = 32 * 2**20
"""A snapshot of a large node has some 100 kB; what is far above that is some other file."""


class Share(Enum):
    """How a text fact may leave the machine."""

    TEXT = "as it is, with home directories, user, host name and device UUIDs replaced"
    HASHED = "as a keyed hash: equal facts stay equal, the value is not told"


Text = Annotated[str, Share.TEXT]
Hashed = Annotated[str, Share.HASHED]


class NvLink(Struct, frozen=True, kw_only=True):
    """One NVLink of a GPU."""

    link: int
    active: bool | None = None
    version: int | None = None


class EccErrors(Struct, frozen=True, kw_only=True):
    """Memory errors that ECC counted: since the last driver load (volatile) and in the board's life (aggregate)."""

    corrected_volatile: int | None = None
    uncorrected_volatile: int | None = None
    corrected_aggregate: int | None = None
    uncorrected_aggregate: int | None = None


class RemappedRows(Struct, frozen=True, kw_only=True):
    """Rows of device memory that were replaced by spare ones (Ampere and later)."""

    corrected: int
    uncorrected: int
    pending: bool
    failed: bool


class GpuProcess(Struct, frozen=True, kw_only=True):
    """A process with a context on the GPU, as NVML sees it."""

    pid: int
    memory_bytes: int | None = None


class MigDevice(Struct, frozen=True, kw_only=True):
    """A slice of a GPU that MIG cut off and that programs use like a GPU."""

    index: int
    name: Text | None = None
    uuid: Hashed | None = None
    """"MIG-" and a UUID since R470; before that the GPU's UUID and the two numbers."""
    gpu_instance: int | None = None
    compute_instance: int | None = None
    memory_bytes: int | None = None


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU as the driver reports it through NVML. Clocks, power, link and temperature are of the moment of reading."""

    index: int
    name: Text | None = None
    uuid: Hashed | None = None
    serial: Hashed | None = None
    pci_bus_id: Text | None = None
    pci_device_id: Text | None = None
    """vendor:device in lower-case hex, "10de:2330"."""
    pci_subsystem_id: Text | None = None
    compute_capability: Text | None = None
    cuda_cores: int | None = None
    vbios: Text | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_bus_bits: int | None = None
    bar1_total_bytes: int | None = None
    pcie_generation: int | None = None
    pcie_generation_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_replays: int | None = None
    """Packets that were sent again since the driver was loaded."""
    sm_mhz: int | None = None
    sm_mhz_max: int | None = None
    memory_mhz: int | None = None
    memory_mhz_max: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    power_limit_default_w: float | None = None
    temperature_c: int | None = None
    temperature_slowdown_c: int | None = None
    throttle_reasons: tuple[Text, ...] | None = None
    """NVML's clock event reasons, lower case: "gpu_idle", "sw_power_cap", "hw_thermal_slowdown"."""
    performance_state: int | None = None
    utilization_percent: int | None = None
    ecc_enabled: bool | None = None
    ecc_errors: EccErrors | None = None
    retired_pages_pending: bool | None = None
    remapped_rows: RemappedRows | None = None
    mig_enabled: bool | None = None
    mig_instances: int | None = None
    mig_devices: tuple[MigDevice, ...] | None = None
    """None while MIG is off."""
    persistence_mode: bool | None = None
    compute_mode: Text | None = None
    """"default", "exclusive_thread", "prohibited" or "exclusive_process"."""
    gsp_firmware: Text | None = None
    recovery_action: Text | None = None
    """What the driver (R570 and later) asks for after an error: "none", "gpu_reset", "node_reboot", "drain_p2p" ..."""
    fabric_state: Text | None = None
    """"not_supported", "not_started", "in_progress" or "completed"; GPUs behind an NVSwitch need "completed"."""
    nvlinks: tuple[NvLink, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None


class DeviceNode(Struct, frozen=True, kw_only=True):
    """A file under /dev that the driver's user-space half opens."""

    path: Text
    accessible: bool
    """Whether the user who ran the probe may read and write it."""


class ModuleFile(Struct, frozen=True, kw_only=True):
    """NVIDIA's kernel module on disk, for the kernel that runs."""

    path: Text
    version: Text | None = None
    is_open: bool | None = None
    """Whether it is the open flavour, by its licence."""
    signer: Text | None = None
    """Whose key signed it, for secure boot; empty: it is not signed."""


class DkmsModule(Struct, frozen=True, kw_only=True):
    """A version of NVIDIA's kernel module that DKMS builds anew for each kernel."""

    version: Text
    kernels: tuple[Text, ...] = ()
    """The kernels that it is built for."""


class Driver(Struct, frozen=True, kw_only=True):
    """The NVIDIA driver: its kernel half and its user-space half, which must be of one version."""

    version: Text | None = None
    """As NVML reports it."""
    cuda_version: Text | None = None
    """The newest CUDA that this driver implements, "12.4"."""
    nvml_library: Text | None = None
    """The file that was loaded as libnvidia-ml."""
    nvml_library_version: Text | None = None
    nvml_error: Text | None = None
    """NVML's own name of the failure when it could not start: "NVML_ERROR_LIB_RM_VERSION_MISMATCH"; "timeout" when it hung."""
    kernel_module_version: Text | None = None
    kernel_module_open: bool | None = None
    module_file: ModuleFile | None = None
    """None without a gap: an NVIDIA GPU is here, and no such file."""
    dkms: tuple[DkmsModule, ...] | None = None
    secure_boot: bool | None = None
    services: Mapping[str, Text] = {}
    """Daemons of the driver and their states, "nvidia-fabricmanager": "active"; those that were not asked for are not here."""
    modules: tuple[Text, ...] | None = None
    """Loaded kernel modules that matter: nvidia, nvidia_uvm, nvidia_drm, nvidia_modeset, nouveau, nova_core."""
    device_nodes: tuple[DeviceNode, ...] = ()
    libcuda: Text | None = None
    """The file that the loader finds as libcuda.so.1."""
    wsl_libraries: tuple[Text, ...] = ()
    """What WSL brings of the Windows driver in /usr/lib/wsl/lib."""
    has_libcuda_link: bool | None = None
    """Whether there is a libcuda.so without a number beside it, which programs that link at run time ask for."""


class PcieLink(Struct, frozen=True, kw_only=True):
    """The link of a PCI Express device to what is above it: now, and what this end of it could do."""

    gt_per_s: float | None = None
    """2.5 is generation 1, then 5, 8, 16, 32, 64."""
    gt_per_s_max: float | None = None
    width: int | None = None
    width_max: int | None = None


class PciPort(Struct, frozen=True, kw_only=True):
    """A port or switch of the PCI bus between a device and the processor."""

    bus_id: Text
    link: PcieLink | None = None
    acs_control: int | None = None
    """The Access Control Services that are switched on, a bit each; None where they cannot be read or are not there."""
    acs_known: bool = False
    """Whether its capabilities could be read, which needs root."""


class PciDevice(Struct, frozen=True, kw_only=True):
    """An NVIDIA display controller on the PCI bus, seen without any driver."""

    bus_id: Text
    device_id: Text
    """vendor:device in lower-case hex."""
    class_code: Text
    kernel_driver: Text | None = None
    numa_node: int | None = None
    local_cpus: Text | None = None
    """The logical CPUs nearest to it, "0-31,64-95"."""
    link: PcieLink | None = None
    upstream: tuple[PciPort, ...] | None = None
    """What is between it and the processor, the nearest first."""
    iommu: Text | None = None
    """How the IOMMU treats it: "off", "identity" (passed through), "dma" or "dma-fq" (translated), "blocked" ..."""
    responds: bool | None = None
    """Whether its configuration space can be read; all ones come from a device that is no longer there. None: asleep."""


class Cpu(Struct, frozen=True, kw_only=True):
    """The processors as the kernel shows them, and what this process may use of them."""

    model: Text | None = None
    vendor: Text | None = None
    family: int | None = None
    model_number: int | None = None
    architecture: Text | None = None
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None
    simd: tuple[Text, ...] = ()
    """The vector and matrix extensions among the CPU flags: "avx2", "avx512f", "amx_tile", "asimd"."""
    l1d_bytes: int | None = None
    l2_bytes: int | None = None
    l3_bytes: int | None = None
    """Caches of the whole machine, not of one core."""
    numa_nodes: int | None = None
    usable_threads: int | None = None
    """Logical CPUs in this process's affinity mask."""
    usable_cpus: Text | None = None
    """The same by number, "0-31,64-95"."""
    quota_cpus: float | None = None
    """CPU time per wall time that the control group grants; None is no limit."""
    mhz_max: float | None = None
    mhz_measured: float | None = None
    """Timed here on all usable cores at once by a chain of dependent additions, one per cycle."""
    load_1min: float | None = None


class Memory(Struct, frozen=True, kw_only=True):
    """Main memory, swap and shared memory."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    cgroup_limit_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    shm_total_bytes: int | None = None
    shm_free_bytes: int | None = None


class Limits(Struct, frozen=True, kw_only=True):
    """Resource limits of this process; None is unlimited when the fact has no gap."""

    open_files_soft: int | None = None
    open_files_hard: int | None = None
    locked_memory_bytes: int | None = None
    locks_any_memory: bool | None = None
    """Whether this process may lock memory beyond the limit (CAP_IPC_LOCK)."""


class Disk(Struct, frozen=True, kw_only=True):
    """Room on the file system that holds a directory."""

    purpose: Text
    path: Text
    total_bytes: int
    free_bytes: int
    free_files: int | None = None
    """How many more files fit; None where the file system knows no such limit."""
    writable: bool | None = None
    """Whether this user may write there."""
    file_system: Text | None = None
    """As the kernel calls it: "ext4", "nfs4", "9p"."""


class Os(Struct, frozen=True, kw_only=True):
    """The operating system and what it runs inside."""

    system: Text | None = None
    distribution: Text | None = None
    kernel: Text | None = None
    glibc: Text | None = None
    hostname: Hashed | None = None
    container: Text | None = None
    """"docker", "podman", "kubernetes", "lxc", "apptainer" ...; None outside a container."""
    wsl: bool = False
    tegra: Text | None = None
    """The board of an NVIDIA Jetson or DRIVE, whose GPU is not on the PCI bus."""
    tegra_power_mode: Text | None = None
    """Of a Jetson, by its name in /etc/nvpmodel.conf: "MAXN", "15W"."""
    hypervisor: Text | None = None


class Distribution(Struct, frozen=True, kw_only=True):
    """An installed Python distribution that matters for deep learning."""

    name: Text
    """Normalised: lower case, dashes."""
    version: Text
    location: Text
    installer: Text | None = None


class TorchBuild(Struct, frozen=True, kw_only=True):
    """The installed PyTorch, read from its files without importing it."""

    version: Text
    location: Text
    cuda: Text | None = None
    """The CUDA it was built with; None is a build without CUDA."""
    hip: Text | None = None
    cudnn: Text | None = None
    debug: bool | None = None
    machine_code: tuple[Text, ...] | None = None
    """The GPUs for which most of its kernels are compiled, as libtorch_cuda.so holds them: "sm_80", "sm_90"."""
    machine_code_in_part: tuple[Text, ...] = ()
    """Those for which only some kernels are: "sm_90a"."""
    ptx: tuple[Text, ...] | None = None
    """What the driver can compile for later GPUs: "compute_90"."""
    code_read_from: Text | None = None
    """The file that holds this code."""
    needs: tuple[Text, ...] = ()
    """The newest symbol versions that its files need: "GLIBC_2.28", "GLIBCXX_3.4.22"."""
    git_version: Text | None = None
    cxx11_abi: bool | None = None
    """Whether its C++ strings are those of GCC 5 and later; extensions must be compiled the same way."""
    import_broken: Text | None = None
    """What is missing on disk if the package cannot even be imported."""


class Extension(Struct, frozen=True, kw_only=True):
    """A compiled file of a package that holds GPU code or is linked against PyTorch."""

    package: Text
    """The distribution that brings it, with version, where it is known; else the name that is imported."""
    path: Text
    machine_code: tuple[Text, ...] = ()
    """The GPUs for which most of its kernels are compiled: "sm_80"."""
    machine_code_in_part: tuple[Text, ...] = ()
    ptx: tuple[Text, ...] = ()
    needs: tuple[Text, ...] = ()
    """The newest symbol versions that it needs: "GLIBC_2.34", "GLIBCXX_3.4.30"."""
    cxx11_abi: bool | None = None
    """The C++ strings by which it calls PyTorch; None where it passes none."""


class PythonEnv(Struct, frozen=True, kw_only=True):
    """One Python interpreter and the distributions in it."""

    executable: Text
    version: Text
    implementation: Text | None = None
    prefix: Text | None = None
    kind: Text | None = None
    """"venv", "conda" or "system"."""
    distributions: tuple[Distribution, ...] = ()
    extensions: tuple[Extension, ...] = ()
    """Those that hold GPU code or are linked against PyTorch, as far as they were found in a short time."""
    torch: TorchBuild | None = None
    has_headers: bool | None = None
    """Whether Python.h is where this interpreter looks for it; programs that compile against Python need it."""

    def distribution(self, name: str) -> Distribution | None:
        """The first distribution of this name on the import path."""
        return next((found for found in self.distributions if found.name == name), None)


class Toolkit(Struct, frozen=True, kw_only=True):
    """A CUDA toolkit on disk."""

    path: Text
    version: Text | None = None
    found_by: tuple[Text, ...] = ()
    """Why it was found: "CUDA_HOME", "PATH", "/usr/local"."""
    has_nvcc: bool = False


class HostCompiler(Struct, frozen=True, kw_only=True):
    """The C++ compiler that nvcc and PyTorch's extension builder would call."""

    path: Text
    version: Text | None = None
    """Of a gcc; other compilers are not known."""
    found_by: Text
    """"NVCC_CCBIN", "CUDAHOSTCXX", "CXX" or "PATH"."""


class Library(Struct, frozen=True, kw_only=True):
    """A copy of a CUDA library that the dynamic loader could pick."""

    soname: Text
    path: Text
    version: Text | None = None
    """As far as the real file's name tells, "9.1.0"."""
    source: Text
    """"LD_LIBRARY_PATH", "wheel" or "ld.so.cache"."""
    package: Text | None = None
    """The distribution that brings it, with version, when it comes from a wheel."""


class KernelEvent(Struct, frozen=True, kw_only=True):
    """Something that the kernel said of a GPU, its links or the memory; equal ones are counted."""

    kind: Text
    """"xid", "sxid", "fell_off_bus", "init_failed", "gsp_failed", "aer_corrected", "oom_kill" ...: see `probe.kernel_log`."""
    code: int | None = None
    """The number of an Xid or SXid, or of the process that hangs."""
    pci_bus_id: Text | None = None
    age_s: float | None = None
    """Seconds since the last of them."""
    count: int = 1
    text: Text = ""
    """The last of them, cut after some hundred characters."""


class KernelLog(Struct, frozen=True, kw_only=True):
    """What was found in the kernel's log of this boot."""

    source: Text
    """"/dev/kmsg", "dmesg" or "journalctl"."""
    reaches_back_s: float | None = None
    """The age of its oldest line; older ones were overwritten."""
    suppressed: int = 0
    """Lines that the kernel left out because there were too many."""
    events: tuple[KernelEvent, ...] = ()
    """The newest first, some 200 at most."""


class LoadedLibrary(Struct, frozen=True, kw_only=True):
    """The copy of a library that the dynamic loader gives to PyTorch: found by the loader's rules, nothing was loaded."""

    soname: Text
    path: Text
    real_path: Text | None = None
    """The file behind the links, where it is another."""
    version: Text | None = None
    """As far as the real file's name or the wheel that brings it tells."""
    found_by: Text
    """"RPATH", "RUNPATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "ld.so.cache", "default directories", or "PyTorch", which loads some
    of its wheels' libraries by their paths."""
    needed_by: Text | None = None
    """The file that asked for it first; None: the program itself."""
    size_bytes: int | None = None
    provides: tuple[Text, ...] = ()
    """Of libstdc++: its newest symbol versions, "GLIBCXX_3.4.30"."""
    instead_of: Text | None = None
    """The copy that PyTorch brings, where this is another one."""
    instead_of_version: Text | None = None


class RdmaPort(Struct, frozen=True, kw_only=True):
    """A port of an InfiniBand or RoCE adapter."""

    adapter: Text
    """"mlx5_0"."""
    port: int
    board: Text | None = None
    """The maker's number of the kind of adapter."""
    link_layer: Text | None = None
    """"InfiniBand" or "Ethernet"."""
    state: Text | None = None
    """"down", "init" (no subnet manager has set it up), "armed", "active"."""
    physical_state: Text | None = None
    """"polling" (nothing at the other end), "disabled", "linkup", "linkerrorrecovery" ..."""
    gbit_per_s: float | None = None
    width: int | None = None
    """Lanes in use."""


class StuckProcess(Struct, frozen=True, kw_only=True):
    """A process that waits inside the kernel and cannot be ended (state D), and did not run between two looks."""

    pid: int
    name: Text | None = None
    waits_in: Text | None = None
    """The function of the kernel, "rpc_wait_bit_killable"; None where this user may not know."""


class Machine(Struct, frozen=True, kw_only=True):
    """Everything that is known of one machine."""

    schema: Text = SCHEMA
    created: Text | None = None
    dltool: Text | None = None
    os: Os = Os()
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    limits: Limits = Limits()
    disks: tuple[Disk, ...] = ()
    driver: Driver = Driver()
    gpus: tuple[Gpu, ...] = ()
    pci: tuple[PciDevice, ...] | None = None
    nvswitches: int | None = None
    """NVSwitch chips on the PCI bus; those of some systems are not visible there."""
    kernel_log: KernelLog | None = None
    python: PythonEnv | None = None
    toolkits: tuple[Toolkit, ...] = ()
    host_compiler: HostCompiler | None = None
    triton_ptxas: Text | None = None
    """The CUDA release of the ptxas that TRITON_PTXAS_PATH makes Triton use in place of its own."""
    rdma: tuple[Text, ...] | None = None
    """InfiniBand and RoCE adapters: "mlx5_0"."""
    rdma_ports: tuple[RdmaPort, ...] | None = None
    stuck_processes: tuple[StuckProcess, ...] | None = None
    libraries: tuple[Library, ...] = ()
    loads: tuple[LoadedLibrary, ...] | None = None
    """Which copies of libcuda, of CUDA's libraries and of libstdc++ PyTorch gets (without PyTorch: any program of Python)."""
    environment: Mapping[str, Text] = {}
    gaps: Mapping[str, Text] = {}

    def why_missing(self, fact: str) -> str:
        """Why `fact` is unknown: its own gap, or that of what contains it, or that nothing was recorded."""
        parts = fact.split(".")
        for length in range(len(parts), 0, -1):
            reason = self.gaps.get(".".join(parts[:length]))
            if reason is not None:
                return reason
        return "not recorded"

    def to_json(self) -> bytes:
        """The snapshot as indented JSON, with a final newline."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def from_json(data: bytes, *, source: str) -> Machine:
    """The machine that a snapshot (or a report, which holds one) describes.

    Raises:
        UsageError: not JSON, another schema, or a fact of the wrong type; says where.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} is not JSON: {error}", remedy="Write a new one: dltool snapshot -o FILE") from None
    except RecursionError:
        raise UsageError(
            f"{source} is nested too deep to be a snapshot", remedy="Write a new one: dltool snapshot -o FILE"
        ) from None
    return from_builtins(document, source=source)


def from_builtins(document: object, *, source: str) -> Machine:
    """The machine in already parsed JSON; see `from_json`."""
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(document, dict) and isinstance(schema, str) and schema.startswith("dltool/report/"):
        document = document.get("machine")
        schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        found = f"its schema is {schema!r}" if schema else "it has no schema"
        raise UsageError(
            f"{source} is not a machine snapshot: {found}",
            remedy=f"This dltool reads {SCHEMA!r}; write one with: dltool snapshot -o FILE",
        )
    try:
        facts = msgspec.convert(document, Machine)
        refuse_long_numbers(facts)
    except (msgspec.ValidationError, OverflowError) as error:
        raise UsageError(f"{source} is damaged: {error}", remedy="Write a new one: dltool snapshot -o FILE") from None
    return facts


def refuse_long_numbers(facts: Struct) -> None:
    """Hold whole numbers to the 64 bits of whatever measured them: arithmetic with longer ones may fail.

    Raises:
        OverflowError: one is longer.
    """
    try:
        msgspec.msgpack.encode(facts)  # which has room for 64 bits, and is quicker than a search of ours
    except OverflowError:
        raise OverflowError("a number has more than 64 bits") from None


def load(path: Path) -> Machine:
    """The machine in the snapshot file `path` (`-` is standard input)."""
    return from_json(read_bounded(path), source=str(path))


def read_bounded(path: Path) -> bytes:
    """The bytes of a JSON file that somebody named, refused when it cannot be one.

    Raises:
        UsageError: missing, unreadable, a directory, or larger than `MAX_SNAPSHOT_BYTES`.
    """
    import sys

    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_SNAPSHOT_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_SNAPSHOT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", remedy="Name a file written by dltool.") from None
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise UsageError(
            f"{path} is larger than {MAX_SNAPSHOT_BYTES // 2**20} MiB",
            remedy="A snapshot has some 100 kB; this is another kind of file.",
        )
    return data


make_callable(__name__)
