"""The host, read from recorded trees of /proc and /sys of machines that are not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from dltool.machine import Cpu, Memory, Os
from dltool.probe import host

INTEL = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8480+
cpu MHz\t\t: 2000.000
flags\t\t: fpu sse4_2 avx avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8
bugs\t\t: spectre_v1

processor\t: 1
vendor_id\t: SecondBlockIsNotRead
"""
AMD = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9354 32-Core Processor
cpu MHz\t\t: 3246.315
flags\t\t: fpu avx avx2 fma avx512f avx512_bf16 avx512_vnni hypervisor
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 2000.00
Features\t: fp asimd evtstrm aes asimdhp asimddp sve sve2 i8mm bf16
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd4f
CPU revision\t: 0
"""
GIB = 2**30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def read_cpu(root: Path, cpuinfo: str) -> Cpu:
    return host.read(tree(root, {"proc/cpuinfo": cpuinfo}), {}).cpu


def test_an_intel_with_amx(tmp_path: Path) -> None:
    cpu = read_cpu(tmp_path, INTEL)
    assert (cpu.vendor, cpu.family, cpu.model_number) == ("GenuineIntel", 6, 143)
    assert cpu.model == "Intel(R) Xeon(R) Platinum 8480+"
    assert {"amx_tile", "amx_bf16", "amx_int8", "avx512_fp16", "fma"} <= set(cpu.simd)
    assert "fpu" not in cpu.simd
    assert cpu.mhz_max == 2000.0


def test_an_amd(tmp_path: Path) -> None:
    cpu = read_cpu(tmp_path, AMD)
    assert (cpu.vendor, cpu.family, cpu.model_number) == ("AuthenticAMD", 25, 17)
    assert cpu.simd == ("avx", "avx2", "avx512_bf16", "avx512_vnni", "avx512f", "fma")


def test_an_arm_tells_its_part_in_hex(tmp_path: Path) -> None:
    cpu = read_cpu(tmp_path, ARM)
    assert (cpu.vendor, cpu.family, cpu.model_number) == ("0x41", 8, 0xD4F)
    assert cpu.simd == ("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2")
    assert cpu.mhz_max is None


def test_the_limit_of_the_kernel_rules_over_the_clock_of_the_moment(tmp_path: Path) -> None:
    tree(tmp_path, {"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "3800000\n"})
    assert read_cpu(tmp_path, INTEL).mhz_max == 3800.0


def test_caches_that_processors_share_count_once(tmp_path: Path) -> None:
    for cpu in range(4):
        core = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        base = f"sys/devices/system/cpu/cpu{cpu}/cache"
        for index, (level, kind, size, shared) in enumerate(
            [("1", "Data", "32K", core), ("1", "Instruction", "32K", core), ("2", "Unified", "1024K", core),
             ("3", "Unified", "32768K", "0-3")]
        ):  # fmt: skip
            values = {"level": level, "type": kind, "size": size, "shared_cpu_list": shared}
            tree(tmp_path, {f"{base}/index{index}/{name}": f"{text}\n" for name, text in values.items()})
    cpu_facts = host.read(tmp_path, {}).cpu
    assert cpu_facts.l2_bytes == 2 * 2**20
    assert cpu_facts.l3_bytes == 32 * 2**20


def test_sockets_and_numa_nodes(tmp_path: Path) -> None:
    cpus = {f"sys/devices/system/cpu/cpu{n}/topology/physical_package_id": f"{n // 2}\n" for n in range(4)}
    nodes = {f"sys/devices/system/node/node{n}/cpulist": "\n" for n in range(8)}
    cpu = host.read(tree(tmp_path, {**cpus, **nodes, "sys/devices/system/node/possible": "0-7\n"}), {}).cpu
    assert (cpu.sockets, cpu.numa_nodes) == (2, 8)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "400000 100000\n",
            },
            4.0,
        ),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "800000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "400000 100000\n",
            },
            4.0,
        ),
        ({"proc/self/cgroup": "0::/docker/of/the/host\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
        ({"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "5:cpuacct,cpu:/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "rubbish\n"}, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "100000 0\n"}, None),
        ({"proc/self/cgroup": "no colons here\n"}, None),
    ],
    ids=["v2 max", "v2", "v2 parent", "v2 least", "v2 container", "v2 above", "v1", "v1 none", "rubbish", "zero", "no line"],
)
def test_the_processor_time_that_the_control_group_grants(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    reading = host.read(tree(tmp_path, files), {})
    assert reading.cpu.quota_cpus == quota
    assert "cpu.quota_cpus" not in reading.gaps


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": f"{8 * GIB}\n"}, 8 * GIB),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/memory.max": f"{4 * GIB}\n",
            },
            4 * GIB,
        ),
        ({"proc/self/cgroup": "0::/on/the/host\n", "sys/fs/cgroup/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ({"proc/self/cgroup": "7:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "7:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, None),
    ],
    ids=["v2", "v2 max", "v2 parent", "v2 container", "v1", "v1 none"],
)
def test_the_memory_that_the_control_group_grants(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    reading = host.read(tree(tmp_path, files), {})
    assert reading.memory.cgroup_limit_bytes == limit
    assert "memory.cgroup_limit_bytes" not in reading.gaps


@pytest.mark.parametrize(
    ("files", "environment", "container"),
    [
        ({}, {}, None),
        ({".dockerenv": ""}, {}, "docker"),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"run/.containerenv": ""}, {"container": "podman"}, "podman"),
        ({}, {"APPTAINER_CONTAINER": "/images/torch.sif"}, "apptainer"),
        ({}, {"SINGULARITY_CONTAINER": "/images/torch.sif"}, "apptainer"),
        ({}, {"container": "lxc"}, "lxc"),
        ({"proc/1/cgroup": "12:cpu:/docker/0123\n"}, {}, "docker"),
        ({"proc/1/cgroup": "0::/kubepods/burstable/pod1/abc\n"}, {}, "kubernetes"),
        ({"proc/1/cgroup": "0::/machine.slice/libpod-abc.scope\n"}, {}, "podman"),
        ({"proc/1/cgroup": "0::/init.scope\n"}, {}, None),
    ],
)
def test_what_the_system_runs_inside(
    tmp_path: Path, files: dict[str, str], environment: dict[str, str], container: str | None
) -> None:
    assert host.read(tree(tmp_path, files), environment).os.container == container


@pytest.mark.parametrize(
    ("files", "wsl"),
    [
        ({"proc/version": "Linux version 5.15.153.1-microsoft-standard-WSL2 (root@x) #1 SMP\n"}, True),
        ({"proc/version": "Linux version 6.6.0-microsoft-custom\n", "dev/dxg": ""}, True),
        ({"proc/version": "Linux version 5.15.0-1064-azure (buildd@microsoft)\n"}, False),
        ({"proc/version": "Linux version 6.8.0-45-generic (buildd@lcy02)\n"}, False),
        ({}, False),
    ],
)
def test_wsl_is_told_from_a_kernel_for_azure(tmp_path: Path, files: dict[str, str], wsl: bool) -> None:
    assert host.read(tree(tmp_path, files), {}).os.wsl is wsl


def test_a_jetson_tells_its_board(tmp_path: Path) -> None:
    compatible = "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0"
    files = {"proc/device-tree/compatible": compatible, "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0"}
    assert host.read(tree(tmp_path, files), {}).os.tegra == "NVIDIA Jetson AGX Orin Developer Kit"


def test_another_board_with_a_device_tree_is_no_jetson(tmp_path: Path) -> None:
    files = {
        "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "proc/device-tree/model": "Raspberry Pi 5\0",
    }
    assert host.read(tree(tmp_path, files), {}).os.tegra is None


def test_the_hypervisor_is_named_by_the_firmware(tmp_path: Path) -> None:
    dmi = {"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "p5.48xlarge\n"}
    assert host.read(tree(tmp_path, {"proc/cpuinfo": AMD, **dmi}), {}).os.hypervisor == "Amazon EC2 p5.48xlarge"
    assert host.read(tree(tmp_path, {"proc/cpuinfo": INTEL, **dmi}), {}).os.hypervisor is None


def test_a_hypervisor_that_hides_its_name(tmp_path: Path) -> None:
    assert host.read(tree(tmp_path, {"proc/cpuinfo": AMD}), {}).os.hypervisor == "unnamed"


@pytest.mark.parametrize("name", ["not there", "cannot be asked for" * 20])
def test_nothing_there_is_gaps_and_no_exception(tmp_path: Path, name: str) -> None:
    reading = host.read(tmp_path / name, {})
    assert reading.os.container is None
    assert (reading.cpu.vendor, reading.cpu.simd, reading.cpu.l3_bytes, reading.cpu.quota_cpus) == (None, (), None, None)
    assert reading.memory.cgroup_limit_bytes is None
    assert reading.memory.shm_total_bytes is None
    expected = {f"cpu.{fact}" for fact in ("vendor", "simd", "l3_bytes", "numa_nodes", "sockets", "mhz_max", "quota_cpus")}
    assert expected | {"memory.shm_total_bytes", "memory.cgroup_limit_bytes"} <= set(reading.gaps)


@pytest.mark.parametrize("rubbish", ["", "\0\xff", "::\n:\n", "model\t: x\ncpu family\t: \nflags"])
def test_rubbish_in_the_files_of_the_kernel_is_no_exception(tmp_path: Path, rubbish: str) -> None:
    names = ("proc/cpuinfo", "proc/version", "proc/1/cgroup", "proc/self/cgroup", "proc/device-tree/compatible")
    reading = host.read(tree(tmp_path, dict.fromkeys(names, rubbish)), {})
    assert reading.cpu.model_number is None


def test_this_machine_can_be_read() -> None:
    reading = host.read()
    assert isinstance(reading.os, Os)
    assert reading.os.hostname
    assert isinstance(reading.memory, Memory)
    assert (reading.memory.total_bytes or 0) > 0
    assert (reading.cpu.usable_threads or 1) >= 1
    assert {disk.purpose for disk in reading.disks} | {key.removeprefix("disks.") for key in reading.gaps} >= {
        "home", "working directory", "temporary files",
    }  # fmt: skip
    assert reading.limits.open_files_soft is None or reading.limits.open_files_soft > 0


@pytest.mark.parametrize(
    ("numbers", "text"), [(set(), ""), ({0}, "0"), ({0, 1, 2, 3, 8}, "0-3,8"), ({5, 1, 4}, "1,4-5"), (range(224), "0-223")]
)
def test_processors_are_listed_as_the_kernel_lists_them(numbers: set[int], text: str) -> None:
    assert host.ranges(numbers) == text
