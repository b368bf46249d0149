"""Modes in which a sound GPU refuses a program or serves it badly."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import about, bare_metal, no_answer, scope
from dltool.lang import tr
from dltool.live import board_of
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check(
    "compute-mode-exclusive",
    zh="""
    每块 GPU 是否允许多个程序同时使用？

    在独占模式下，第二个程序会得到 `all CUDA-capable devices are busy or unavailable`，而显存看上去是空闲的；
    在禁止模式下，每个程序都会如此。调度器会有意设置独占模式。

    解决：`sudo nvidia-smi -i INDEX -c DEFAULT` 恢复共享；若独占是调度器有意设的，就换一块 GPU 或等待。
    多个进程要共享一块独占的 GPU 时使用 MPS。

    预防：只由一处设置计算模式（调度器的 prolog 和 epilog），作业结束后恢复默认。
    """,
)
def compute_mode_exclusive(machine: Machine) -> Iterator[Finding]:
    """May more than one program use each GPU?

    In exclusive mode the second program gets "all CUDA-capable devices are busy or unavailable" while the memory looks free;
    in prohibited mode every program does. Schedulers set exclusive mode on purpose.

    Mend: `sudo nvidia-smi -i INDEX -c DEFAULT` lets programs share again; if the scheduler wants it so, use another GPU or
    wait. Several processes share a GPU in exclusive mode by MPS.

    Prevent: Set the mode in one place (prolog and epilog of the scheduler), and set it back when a job ends.

    See: https://docs.nvidia.com/deploy/mps/index.html https://docs.nvidia.com/deploy/nvidia-smi/index.html
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
        yield _mode(machine, prohibited, Status.FAIL, tr("set to allow no CUDA program at all", "被设为禁止任何 CUDA 程序使用"))
    if taken:
        yield _mode(
            machine,
            taken,
            Status.WARN,
            tr(
                "allows one program only, and one is running: the next is refused",
                "只允许一个程序，且已有一个在运行：下一个会被拒绝",
            ),
        )
    elif exclusive:
        yield _mode(machine, exclusive, Status.INFO, tr("allows one program at a time", "同一时刻只允许一个程序"))
    if not prohibited and not exclusive:
        says = tr("programs may share the GPUs", "多个程序可以共享 GPU")
        untold = tr("no GPU here tells its compute mode", "这里的 GPU 都没有给出计算模式")
        yield Finding(status=Status.PASS if known else Status.SKIP, summary=says if known else untold)


def _mode(machine: Machine, gpus: list[Gpu], status: Status, says: str) -> Finding:
    share = Remedy(
        text=tr("Let programs share the GPU again.", "恢复为允许程序共享 GPU。"),
        commands=tuple(f"sudo timeout 20 nvidia-smi -i {gpu.index} -c DEFAULT" for gpu in gpus),
        risk=Risk.ROOT,
    )
    wait = Remedy(
        text=tr("Or use another GPU, or wait for the one that runs.", "或使用另一块 GPU，或等待正在运行的程序结束。"),
        commands=("timeout 20 nvidia-smi",),
        risk=Risk.READ_ONLY,
    )
    return Finding(
        status=status,
        summary=about(gpus, says),
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


@check(
    "persistence-off",
    zh="""
    驱动是否在两次程序运行之间保持服务器的 GPU 处于就绪状态？

    没有持久模式时，最后一个程序结束后 GPU 就会关闭：下一个程序要等一秒或更久才能启动，
    功耗上限等设置和错误计数也会丢失。
    在台式机和笔记本电脑上，显示输出会让它保持就绪。

    解决：启动 NVIDIA 的守护进程：`sudo systemctl enable --now nvidia-persistenced`。没有这个服务时，
    `sudo nvidia-smi -pm 1` 在重启前有效。

    预防：在系统镜像中启用 nvidia-persistenced。
    """,
)
def persistence_off(machine: Machine) -> Iterator[Finding]:
    """Does the driver keep the GPUs of a server awake between programs?

    Without persistence the last program to end shuts the GPU down: the next waits a second or more for it to start, and
    settings such as power limits and error counters are lost. On desktops and laptops the display does that.

    Mend: Start NVIDIA's daemon: `sudo systemctl enable --now nvidia-persistenced`. Where there is no such service,
    `sudo nvidia-smi -pm 1` does until the next restart.

    Prevent: Have nvidia-persistenced enabled in the system image.

    See: https://docs.nvidia.com/deploy/driver-persistence/index.html
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    daemon = machine.driver.services.get("nvidia-persistenced") == "active"
    off = [gpu for gpu in machine.gpus if gpu.persistence_mode is False and _of_server(gpu)]
    if machine.os.wsl or not off or daemon:
        says = tr("no GPU of a server loses its state between programs", "没有服务器 GPU 会在两次程序运行之间丢失状态")
        yield Finding(status=Status.PASS, summary=says)
        return
    yield Finding(
        status=Status.INFO,
        summary=about(
            off,
            tr(
                "persistence is off, so each first program waits for the GPU to start",
                "持久模式已关闭，空闲后的第一个程序都要等 GPU 启动",
            ),
        ),
        evidence=tuple(Evidence(fact=f"persistence mode of GPU {gpu.index}", value=False, read_from="NVML") for gpu in off),
        remedies=(
            Remedy(
                text=tr("Start NVIDIA's daemon for it.", "启动 NVIDIA 的持久化守护进程。"),
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


@check(
    "bar1-small",
    zh="""
    处理器和其他设备能否访问 GPU 的全部显存？

    通过小于显存的 BAR1 窗口，经 PCIe 的点对点拷贝和 GPUDirect 只能用到一部分显存。多数程序察觉不到；
    消费级显卡除非打开 Resizable BAR，否则只有 256 MiB。

    解决：如有需要，可在固件设置（BIOS）中打开 Above 4G Decoding 和 Resizable BAR（并关闭 CSM），再重启；
    旧主板可能要先更新固件。

    预防：装机时就打开这两项，更新固件后复查一次：`nvidia-smi -q -d MEMORY` 会显示 BAR1 的大小。
    """,
)
def bar1_small(machine: Machine) -> Iterator[Finding]:
    """Can the processor and other devices address a GPU's whole memory?

    Through a BAR1 window smaller than the memory, peer-to-peer copies over PCIe and GPUDirect work on a part of it. Most
    programs do not notice; cards of the consumer kind have 256 MiB unless resizable BAR is on.

    Mend: If it matters, switch on Above 4G Decoding and Resizable BAR in the firmware's setup (BIOS), with CSM off, and
    restart; older boards may need an update of the firmware first.

    Prevent: Switch both on when the machine is set up, and look again after updates of the firmware: `nvidia-smi -q -d MEMORY`
    shows the size of BAR1.

    See: https://docs.nvidia.com/cuda/gpudirect-rdma/
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    known = [gpu for gpu in machine.gpus if gpu.bar1_total_bytes and gpu.memory_total_bytes]
    mib = min((gpu.bar1_total_bytes or 0 for gpu in known), default=0) // 2**20
    small = [gpu for gpu in known if 2 * (gpu.bar1_total_bytes or 0) < (gpu.memory_total_bytes or 0)]
    if not small:
        says = tr("the memory can be addressed as a whole", "可以访问全部显存")
        untold = tr("no GPU here tells the size of its window", "这里的 GPU 都没有给出窗口大小")
        yield Finding(status=Status.PASS if known else Status.SKIP, summary=says if known else untold)
        return
    yield Finding(
        status=Status.INFO,
        summary=about(small, tr(f"a window of {mib} MiB into its memory (BAR1)", f"访问显存的窗口（BAR1）只有 {mib} MiB")),
        evidence=tuple(
            Evidence(fact=f"BAR1 of GPU {gpu.index}", value=gpu.bar1_total_bytes, read_from="NVML") for gpu in small
        ),
        remedies=(_larger_bar(),) if bare_metal(machine) else (),
        devices=tuple(gpu.index for gpu in small),
    )


def _larger_bar() -> Remedy:
    return Remedy(
        text=tr(
            "If it matters: switch on Above 4G Decoding and Resizable BAR in the firmware's setup.",
            "如有需要，可在固件设置（BIOS）中打开 Above 4G Decoding 和 Resizable BAR。",
        )
    )
