"""Which libcuda programs get: that of the running driver, that of another, or a stub for linking."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.loader import loaded, without_variable
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_STUB_BYTES = 2**20
"""A stub has some 60 to 200 kB; the least real libcuda has more than 10 MB (that of WSL apart)."""


class LibCuda(Struct, frozen=True):
    """The libcuda.so.1 that programs get, as far as it is known."""

    path: str
    real: str
    """The file that the path leads to in the end."""
    version: str | None
    found_by: str
    size_bytes: int | None

    @property
    def directory(self) -> str:
        """Where the loader finds it."""
        return self.path.rpartition("/")[0]

    @property
    def is_compat(self) -> bool:
        """Whether it is one for forward compatibility: NVIDIA's packages put it into a directory of that name."""
        return "/compat/" in self.path or "/compat/" in self.real


def of_machine(machine: Machine) -> LibCuda | None:
    """The libcuda.so.1 that programs on this machine get; None where there is none, or nothing is known."""
    found = loaded(machine, "libcuda.so.1")
    if found is not None:
        real = found.real_path or found.path
        number = re.search(r"\.so\.(\d{3,}\.\d+(?:\.\d+)?)$", real)
        return LibCuda(found.path, real, number[1] if number else None, found.found_by, found.size_bytes)
    path = machine.driver.libcuda
    return LibCuda(path, path, None, "dynamic loader", None) if path else None


@check(
    "libcuda-stub",
    caused_by=("driver-missing",),
    zh="""程序得到的 libcuda 是驱动的，而不是工具包里用于链接的桩库吗？

    CUDA 工具包在 lib64/stubs 中带有一个没有实现的 libcuda.so，供没有驱动的机器链接时使用。一旦该目录进入加载器的搜索路径，
    所有 CUDA 程序都会以错误 34（"CUDA driver is a stub library"）退出，或者找不到任何设备。

    解决：从 LD_LIBRARY_PATH 或 /etc/ld.so.conf.d 中去掉 stubs 目录，然后运行 `sudo ldconfig`。
    先用 `env -u LD_LIBRARY_PATH python ...` 对单个程序试一下。

    预防：stubs 目录只交给链接器（`-L/usr/local/cuda/lib64/stubs -lcuda`，或 LIBRARY_PATH），绝不放进 LD_LIBRARY_PATH。
    在 Dockerfile 中，请只在编译那一步的命令里设置它，而不要用 ENV。
    """,
)
def libcuda_stub(machine: Machine) -> Iterator[Finding]:
    """Is the libcuda that programs get the driver's, and not the toolkit's stub for linking?

    A toolkit brings a libcuda.so without contents in lib64/stubs, to link against on machines without a driver. With that
    directory on the loader's path every CUDA program ends with error 34, "CUDA driver is a stub library", or finds no device.

    Mend: take the stubs directory out of LD_LIBRARY_PATH or /etc/ld.so.conf.d, then run `sudo ldconfig`. Try it for one
    program first: `env -u LD_LIBRARY_PATH python ...`.

    Prevent: give the stubs directory to the linker alone (`-L/usr/local/cuda/lib64/stubs -lcuda`, or LIBRARY_PATH), never to
    LD_LIBRARY_PATH. In a Dockerfile set it in the command of the build step, not with ENV.

    See: https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html https://github.com/NVIDIA/warp/issues/219
    """
    library = of_machine(machine)
    if library is None:
        yield Finding(status=Status.SKIP, summary=tr("no libcuda.so.1 is found", "找不到 libcuda.so.1"))
        return
    evidence = (
        Evidence(fact="libcuda.so.1", value=library.path, read_from=library.found_by),
        Evidence(fact="the file behind it", value=library.real, read_from="file system"),
        Evidence(fact="bytes", value=library.size_bytes, read_from="file system"),
    )
    if not is_stub(library, machine):
        summary = tr(f"libcuda.so.1 is a real library: {library.path}", f"libcuda.so.1 是真正的库：{library.path}")
        yield Finding(status=Status.PASS, summary=summary, evidence=evidence)
    elif not has_gpu(machine):
        yield Finding(
            status=Status.INFO,
            summary=tr(
                "libcuda.so.1 is the toolkit's stub, as fits a machine that only builds",
                "libcuda.so.1 是工具包的桩库，对只做编译的机器是正常的",
            ),
            evidence=evidence,
        )
    else:
        yield _stub_found(library, machine, evidence)


def _stub_found(library: LibCuda, machine: Machine, evidence: tuple[Evidence, ...]) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"libcuda.so.1 is the toolkit's stub ({library.path}): every CUDA program fails",
            f"libcuda.so.1 是工具包的桩库（{library.path}）：所有 CUDA 程序都会失败",
        ),
        why=tr(
            "The stub is for the linker (-L.../stubs -lcuda). At run time the driver's own libcuda must be found.",
            "桩库只供链接器使用（-L.../stubs -lcuda）。运行时必须找到驱动自己的 libcuda。",
        ),
        evidence=evidence,
        remedies=without_variable(library.found_by, library.directory),
        scope=Scope.ENVIRONMENT if library.found_by.startswith("LD_") or machine.os.container else Scope.HOST,
    )


def is_stub(library: LibCuda, machine: Machine) -> bool:
    """Whether it is the toolkit's libcuda without contents, by its directory or its size."""
    if "/stubs/" in library.path or "/stubs/" in library.real:
        return True
    small = library.size_bytes is not None and library.size_bytes < _STUB_BYTES
    # Windows' driver shows WSL a small library that hands on to the real one.
    return small and library.version is None and not (machine.os.wsl or machine.os.tegra or "/wsl/" in library.real)


@check(
    "libcuda-mismatched",
    caused_by=("driver-version-mismatch", "libcuda-stub"),
    zh="""程序得到的 libcuda 与正在运行的驱动版本一致吗？

    libcuda 与内核模块是同一个驱动的两半。如果镜像里、LD_LIBRARY_PATH 中或另一个软件源留下了别的版本的 libcuda，就会以错误 803
    （"unsupported display driver / cuda driver combination"）告终。在 WSL 中它必须是 Windows 提供的那个，位于 /usr/lib/wsl 下。
    （前向兼容的 libcuda 见 libcuda-forward-compat。）

    解决：如果驱动刚更新过，先重启。否则用 `ldconfig -p | grep libcuda` 列出所有副本，删掉不属于当前驱动的那些。
    在容器中应从镜像里卸载驱动软件包；在 WSL 中应卸载 Linux 驱动。

    预防：驱动只从一个软件源安装，不要把发行版的软件包与 NVIDIA 的 .run 安装程序混用。不要把 libnvidia-compute 或 nvidia-driver
    装进镜像：容器运行时会挂载宿主机的库。WSL 中只安装 cuda-toolkit 软件包。
    """,
)
def libcuda_mismatched(machine: Machine) -> Iterator[Finding]:
    """Is the libcuda that programs get of the version of the running driver?

    libcuda and the kernel module are two halves of one driver. A libcuda of another version, left in an image, in
    LD_LIBRARY_PATH or by another package source, ends with error 803, "unsupported display driver / cuda driver combination".
    In WSL it must be that of Windows, under /usr/lib/wsl. (For a forward-compatibility libcuda see libcuda-forward-compat.)

    Mend: restart, if the driver was just updated. Otherwise list the copies with `ldconfig -p | grep libcuda` and remove those
    that are not the driver's. In a container uninstall the driver's packages from the image; in WSL the Linux driver.

    Prevent: install the driver from one source only, not from the distribution's packages and NVIDIA's .run file in turn. Put
    neither libnvidia-compute nor nvidia-driver into an image: the container runtime mounts the host's libraries. In WSL
    install the cuda-toolkit packages alone.

    See: https://docs.nvidia.com/deploy/cuda-compatibility/ https://docs.nvidia.com/cuda/wsl-user-guide/
    """
    library, module = of_machine(machine), machine.driver.kernel_module_version
    if library is None or library.is_compat or is_stub(library, machine):
        yield Finding(status=Status.SKIP, summary=tr("no libcuda of a driver is found", "找不到属于驱动的 libcuda"))
        return
    where = f"{library.path} ({library.found_by})"
    evidence = (
        Evidence(fact="libcuda", value=library.version or "version unknown", read_from=where),
        Evidence(fact="kernel module", value=module, read_from="/proc/driver/nvidia/version"),
    )
    if machine.os.wsl:
        yield _in_wsl(library, evidence)
    elif library.version is None or module is None:
        summary = tr("the version of libcuda or of the kernel module is not known", "libcuda 或内核模块的版本未知")
        yield Finding(status=Status.SKIP, summary=summary)
    elif compat.agree(library.version, module):
        summary = tr(f"libcuda and the kernel module are both {module}", f"libcuda 与内核模块的版本都是 {module}")
        yield Finding(status=Status.PASS, summary=summary, evidence=evidence)
    else:
        yield Finding(
            status=Status.FAIL,
            summary=tr(
                f"libcuda is {library.version}, the running kernel module is {module}: error 803",
                f"libcuda 的版本是 {library.version}，而正在运行的内核模块是 {module}：错误 803",
            ),
            why=tr(
                "CUDA starts only with the libcuda of the running driver, or with one from a cuda-compat package.",
                "CUDA 只能用当前驱动的 libcuda 启动，或者用 cuda-compat 软件包提供的 libcuda 启动。",
            ),
            evidence=evidence,
            remedies=_other_libcuda(library, machine),
        )


def _other_libcuda(library: LibCuda, machine: Machine) -> tuple[Remedy, ...]:
    if library.found_by.startswith("LD_"):
        return without_variable(library.found_by, library.directory)
    if machine.os.container:
        return (
            Remedy(
                text=tr(
                    "Remove the driver's packages from the image: the host's own libraries are mounted into the container.",
                    "从镜像中卸载驱动软件包：宿主机自己的库会挂载到容器里。",
                ),
                commands=("dpkg -S libcuda.so.1", "apt-get purge 'libnvidia-compute-*' 'nvidia-driver-*'", "ldconfig"),
                risk=Risk.ROOT,
            ),
        )
    return (
        Remedy(
            text=tr("Restart, if the driver was updated since the last start.", "如果上次开机之后更新过驱动，请重启。"),
            commands=("sudo reboot",),
            risk=Risk.REBOOT,
        ),
        Remedy(
            text=tr(
                "Otherwise find the copies and keep those of one package source.",
                "否则找出所有副本，只保留来自同一个软件源的那些。",
            ),
            commands=("ldconfig -p | grep libcuda", "dpkg -S libcuda.so.1 || rpm -qf " + library.path),
            risk=Risk.READ_ONLY,
        ),
    )


def _in_wsl(library: LibCuda, evidence: tuple[Evidence, ...]) -> Finding:
    if "/wsl/" in library.path or "/wsl/" in library.real or library.version is None:
        summary = tr(f"libcuda is that of Windows: {library.path}", f"libcuda 由 Windows 提供：{library.path}")
        return Finding(status=Status.PASS, summary=summary, evidence=evidence)
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{library.path} of a Linux driver hides that of Windows: CUDA finds no device in WSL",
            f"Linux 驱动的 {library.path} 遮住了 Windows 提供的 libcuda：CUDA 在 WSL 中找不到设备",
        ),
        why=tr(
            "WSL has no NVIDIA kernel module; its libcuda, under /usr/lib/wsl/lib, speaks to the driver of Windows.",
            "WSL 中没有 NVIDIA 内核模块；它的 libcuda 位于 /usr/lib/wsl/lib，与 Windows 的驱动通信。",
        ),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr(
                    "Remove the Linux driver inside WSL; install only the toolkit (cuda-toolkit-*) there.",
                    "卸载 WSL 里的 Linux 驱动；那里只需安装工具包（cuda-toolkit-*）。",
                ),
                commands=("sudo apt purge '*nvidia-driver*' 'libnvidia-compute*'", "sudo ldconfig"),
                risk=Risk.ROOT,
            ),
        ),
    )
