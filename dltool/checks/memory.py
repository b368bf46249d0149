"""The memory of the GPUs: errors that ECC met, rows and pages that are replaced or wait to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dltool.checks import check
from dltool.checks.hardware import about, no_answer, reboot, reset, scope, send
from dltool.lang import tr
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Status


def _volatile(gpu: Gpu) -> int:
    return (gpu.ecc_errors.uncorrected_volatile or 0) if gpu.ecc_errors is not None else 0


FAULTS: dict[str, Callable[[Gpu], bool]] = {
    "rows-remap-failed": lambda gpu: gpu.remapped_rows is not None and gpu.remapped_rows.failed,
    "ecc-uncorrected": lambda gpu: _volatile(gpu) > 0,
    "rows-remap-pending": lambda gpu: gpu.remapped_rows is not None and gpu.remapped_rows.pending,
    "pages-retirement-pending": lambda gpu: bool(gpu.retired_pages_pending),
}
"""The checks of device memory, the gravest first, each with what finds a GPU at fault."""


@check(
    "ecc-uncorrected",
    caused_by=("rows-remap-failed",),
    zh="""
    自驱动加载以来，GPU 的显存是否出现过 ECC 无法纠正的错误？

    遇到它的程序会被终止，数据丢失。从 Ampere 起，驱动会隔离出错的行并继续工作；更早的 GPU 必须复位。
    ECC 已纠正的错误和以前的错误不算故障。

    解决：停止该 GPU 上的程序，运行 `sudo nvidia-smi --gpu-reset -i INDEX` 或重启机器，从检查点重新开始训练。
    复位后又出现的，把 `sudo nvidia-bug-report.sh` 的结果交给管理方或厂商，请其更换板卡。

    预防：定期保存检查点；监控 `nvidia-smi -q -d ECC,ROW_REMAPPER` 的计数；不可纠正错误反复出现的 GPU 不再参与调度。
    """,
)
def ecc_uncorrected(machine: Machine) -> Iterator[Finding]:
    """Has a GPU's memory had errors that ECC could not correct, since the driver was loaded?

    The program that met one is killed, its data is lost. From Ampere on the driver sets the faulty row aside and goes on;
    otherwise the GPU has to be reset. Errors that ECC corrected, and those of former times, are no fault.

    Mend: Stop what runs on the GPU, `sudo nvidia-smi --gpu-reset -i INDEX` or restart the machine, and start the training again
    from its checkpoint. If errors come again after that, give what `sudo nvidia-bug-report.sh` collects to whoever runs the
    machine, or to the vendor, for a replacement.

    Prevent: Write checkpoints; watch the counters of `nvidia-smi -q -d ECC,ROW_REMAPPER`; schedule nothing on a GPU whose
    errors come again.

    See: https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/index.html https://docs.nvidia.com/deploy/xid-errors/
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    hit = [gpu for gpu in machine.gpus if FAULTS["ecc-uncorrected"](gpu)]
    counted = [gpu for gpu in machine.gpus if gpu.ecc_errors is not None and gpu.ecc_errors.uncorrected_volatile is not None]
    before = [gpu for gpu in counted if gpu.ecc_errors is not None and (gpu.ecc_errors.uncorrected_aggregate or 0) > 0]
    if hit:
        yield _errors(machine, hit)
    elif before:
        yield _errors_before(before)
    elif counted:
        count = len(counted)
        says = tr(f"no uncorrected memory error on {count} GPU(s)", f"{count} 块 GPU 上没有不可纠正的显存错误")
        yield Finding(status=Status.PASS, summary=says)
    else:
        yield _not_counted(machine)


def _errors(machine: Machine, hit: list[Gpu]) -> Finding:
    set_aside = all(
        gpu.remapped_rows is not None and gpu.remapped_rows.uncorrected > 0 and not gpu.remapped_rows.failed for gpu in hit
    )
    devices, count = tuple(gpu.index for gpu in hit), sum(map(_volatile, hit))
    says = tr(
        f"{count} memory error{'s' if count > 1 else ''} that ECC could not correct", f"有 {count} 个 ECC 无法纠正的显存错误"
    )
    why = tr(
        "Counted since the driver was loaded. The programs that met them were killed or have wrong data.",
        "计数自驱动加载时起。遇到错误的程序已被终止，或数据已出错。",
    )
    go_on = tr(
        " The driver has set the faulty rows aside, so the GPU can go on until its next reset.",
        "驱动已隔离出错的行，GPU 在下次复位之前可以继续工作。",
    )
    return Finding(
        status=Status.WARN if set_aside else Status.FAIL,
        summary=about(hit, says),
        why=why + go_on if set_aside else why,
        evidence=tuple(
            Evidence(fact=f"uncorrected errors of GPU {gpu.index}", value=_volatile(gpu), read_from="NVML, volatile counter")
            for gpu in hit
        ),
        remedies=(reset(devices), send()),
        scope=scope(machine),
        devices=devices,
    )


def _errors_before(gpus: list[Gpu]) -> Finding:
    says = tr("memory errors in former times, none since the driver was loaded", "以前出现过显存错误，驱动加载以来没有")
    return Finding(
        status=Status.INFO,
        summary=about(gpus, says),
        evidence=tuple(
            Evidence(
                fact=f"uncorrected errors of GPU {gpu.index}, in its life",
                value=gpu.ecc_errors.uncorrected_aggregate if gpu.ecc_errors else None,
                read_from="NVML, aggregate counter",
            )
            for gpu in gpus
        ),
        devices=tuple(gpu.index for gpu in gpus),
    )


def _not_counted(machine: Machine) -> Finding:
    with_ecc = next((gpu for gpu in machine.gpus if gpu.ecc_enabled), None)
    if with_ecc is not None:
        reason = machine.why_missing(f"gpus.{with_ecc.index}.ecc_errors")
        says = tr(f"the counters of ECC could not be read: {reason}", f"无法读取 ECC 计数器：{reason}")
        return Finding(status=Status.UNKNOWN, summary=says)
    if any(gpu.ecc_enabled is False for gpu in machine.gpus):
        says = tr(
            "ECC is switched off: errors of the memory are neither corrected nor counted",
            "ECC 已关闭：显存错误既不纠正也不计数",
        )
        return Finding(status=Status.INFO, summary=says)
    return Finding(status=Status.SKIP, summary=tr("no GPU here counts memory errors", "这里的 GPU 都不统计显存错误"))


@check(
    "rows-remap-pending",
    caused_by=("rows-remap-failed", "ecc-uncorrected"),
    zh="""
    是否有 GPU 在等待复位，以替换显存中出错的行？

    从 Ampere 起，备用行会顶替出错的行，但要到下次复位才生效。在此之前 GPU 仍可工作，只是再次出现同样错误的风险更大。

    解决：在方便的时候停止该 GPU 上的程序，运行 `sudo nvidia-smi --gpu-reset -i INDEX` 或重启机器。

    预防：显存出错无法避免；把 `nvidia-smi -q -d ROW_REMAPPER` 中的 Pending 纳入监控，在两次任务之间复位。
    """,
)
def rows_remap_pending(machine: Machine) -> Iterator[Finding]:
    """Does a GPU wait for a reset to replace faulty rows of its memory?

    From Ampere on spare rows take the place of faulty ones, but only at the next reset. Until then the GPU works, with a
    greater risk of the same error again.

    Mend: When it suits, stop what runs on the GPU and `sudo nvidia-smi --gpu-reset -i INDEX`, or restart the machine.

    Prevent: Memory fails now and then. Watch Pending in `nvidia-smi -q -d ROW_REMAPPER` and reset the GPU between two jobs.

    See: https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/index.html
    """
    yield from _flag(
        machine,
        "rows-remap-pending",
        known=lambda gpu: gpu.remapped_rows is not None,
        status=Status.WARN,
        summary=tr("faulty rows of memory are replaced only at the next reset", "显存中出错的行要到下次复位才会被替换"),
        evidence=lambda gpu: ("rows to be remapped", gpu.remapped_rows.uncorrected if gpu.remapped_rows else None),
        remedies=lambda devices: (reset(devices), reboot()),
    )


@check(
    "rows-remap-failed",
    zh="""
    是否有 GPU 已没有备用行可以替换出错的行？

    此时显存中的故障再也无法掩盖。NVIDIA 会更换这样的板卡。

    解决：停止使用这块 GPU，用 `dltool snapshot -o machine.json` 和 `sudo nvidia-bug-report.sh` 收集材料，
    向管理方或厂商申请更换。

    预防：无法预防，但可以早发现：监控 `nvidia-smi -q -d ROW_REMAPPER`，剩余备用行变少的 GPU 优先安排更换。
    """,
)
def rows_remap_failed(machine: Machine) -> Iterator[Finding]:
    """Has a GPU run out of spare rows for faulty ones?

    The memory then has a fault that nothing hides any more. NVIDIA replaces such boards.

    Mend: Take the GPU out of use, collect `dltool snapshot -o machine.json` and `sudo nvidia-bug-report.sh`, and ask whoever
    runs the machine, or the vendor, for a replacement.

    Prevent: It cannot be prevented, but seen early: watch `nvidia-smi -q -d ROW_REMAPPER`, and replace GPUs first that have few
    spare rows left.

    See: https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/index.html
    """
    yield from _flag(
        machine,
        "rows-remap-failed",
        known=lambda gpu: gpu.remapped_rows is not None,
        status=Status.FAIL,
        summary=tr(
            "a faulty row of memory could not be replaced; the board has to be", "显存中有出错的行无法替换，必须更换板卡"
        ),
        evidence=lambda gpu: ("rows with uncorrected errors", gpu.remapped_rows.uncorrected if gpu.remapped_rows else None),
        remedies=lambda _: (send(),),
    )


@check(
    "pages-retirement-pending",
    caused_by=("ecc-uncorrected",),
    zh="""
    是否有 GPU 在等待驱动重新加载，以停用显存中出错的页？

    在 Ampere 之前，出错的页会被停用（最多 64 页），重新加载驱动后才生效。

    解决：停止该 GPU 上的程序，运行 `sudo nvidia-smi --gpu-reset -i INDEX`，或重启机器。

    预防：监控 `nvidia-smi -q -d PAGE_RETIREMENT`；停用页接近上限的 GPU 应及早安排更换。
    """,
)
def pages_retirement_pending(machine: Machine) -> Iterator[Finding]:
    """Does a GPU wait for a restart of the driver to leave out faulty pages of its memory?

    Before Ampere faulty pages are retired, 64 at most, and that takes effect when the driver is loaded anew.

    Mend: Stop what runs on the GPU and `sudo nvidia-smi --gpu-reset -i INDEX`, or restart the machine.

    Prevent: Watch `nvidia-smi -q -d PAGE_RETIREMENT`; replace in time a GPU whose retired pages come near the limit.

    See: https://docs.nvidia.com/deploy/dynamic-page-retirement/index.html
    """
    yield from _flag(
        machine,
        "pages-retirement-pending",
        known=lambda gpu: gpu.retired_pages_pending is not None,
        status=Status.WARN,
        summary=tr("faulty pages of memory are left out only after the next reset", "显存中出错的页要到下次复位后才会停用"),
        evidence=lambda gpu: ("pages pending", gpu.retired_pages_pending),
        remedies=lambda devices: (reset(devices), reboot()),
    )


def _flag(
    machine: Machine,
    name: str,
    *,
    known: Callable[[Gpu], bool],
    status: Status,
    summary: str,
    evidence: Callable[[Gpu], tuple[str, int | bool | None]],
    remedies: Callable[[tuple[int, ...]], tuple[Remedy, ...]],
) -> Iterator[Finding]:
    """The finding of a check that looks at one flag of each GPU's memory."""
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    hit = [gpu for gpu in machine.gpus if FAULTS[name](gpu)]
    devices = tuple(gpu.index for gpu in hit)
    if hit:
        facts = [(gpu.index, *evidence(gpu)) for gpu in hit]
        yield Finding(
            status=status,
            summary=about(hit, summary),
            evidence=tuple(
                Evidence(fact=f"{fact}, GPU {index}", value=value, read_from="NVML") for index, fact, value in facts
            ),
            remedies=remedies(devices),
            scope=scope(machine),
            devices=devices,
            caused_by="ecc-uncorrected" if status is Status.WARN and all(map(FAULTS["ecc-uncorrected"], hit)) else None,
        )
    elif any(known(gpu) for gpu in machine.gpus):
        yield Finding(status=Status.PASS, summary=tr("no GPU's memory is concerned", "没有 GPU 的显存有此问题"))
    else:
        says = tr("no GPU here has this feature, or tells of it", "这里的 GPU 都没有此功能，或没有说明")
        yield Finding(status=Status.SKIP, summary=says)
