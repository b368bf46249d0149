"""Which of the GPUs a CUDA program is let see."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.device_list import Reading, Stop, instance_names, read, torch_count
from dltool.lang import tr
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Status

VARIABLE = "CUDA_VISIBLE_DEVICES"
_WORDS_FOR_NONE = ("void", "none", "")


@check(
    "gpus-hidden",
    caused_by=("driver-not-answering", "driver-missing"),
    zh="""CUDA_VISIBLE_DEVICES 是否让程序看得到 GPU？

    CUDA 从左到右读这个列表，遇到第一个在本机不存在的条目就停下，其后的全部忽略；空列表或 -1 会隐藏所有 GPU，同一块 GPU 写两次
    则整个列表作废。第一个条目决定写法：全部用序号，或全部用 GPU UUID（写开头几位、足以区分即可）；一个程序只能用一个 MIG 实例。
    数字后面的内容不会被读取，所以 `0-3` 就是 `0`。容器里的 GPU 从 0 重新编号。nvidia-smi 不理会这个变量，因此看上去一切正常。

    解决：执行 `unset CUDA_VISIBLE_DEVICES`，或写入 `nvidia-smi -L` 列出的 GPU；并找出是谁设置了它：shell 配置、.env、
    作业脚本、notebook。

    预防：不要在 shell 配置里设置它，只在启动某个程序的命令前写，例如 `CUDA_VISIBLE_DEVICES=0,1 python train.py`。""",
)
def gpus_hidden(machine: Machine) -> Iterator[Finding]:
    """Does CUDA_VISIBLE_DEVICES let programs see the GPUs?

    CUDA reads the list up to the first entry that names no GPU here and forgets the rest; an empty list or -1 hides all, and a
    GPU named twice makes the whole list void. The first entry says how all are written: by number, or by GPU UUID, of which a
    beginning will do that no other has; of MIG instances a program can use one. What follows a number is not read, so that
    `0-3` is `0`. A container counts its GPUs anew from 0. nvidia-smi ignores the variable, so the machine looks healthy.

    Mend: `unset CUDA_VISIBLE_DEVICES`, or name GPUs that `nvidia-smi -L` lists; then look for what sets it: shell profile,
    .env, job script, notebook.

    Prevent: do not set it in a shell profile, but before the one command that needs it:
    `CUDA_VISIBLE_DEVICES=0,1 python train.py`.

    See: https://docs.nvidia.com/cuda/cuda-c-programming-guide/ https://docs.nvidia.com/datacenter/tesla/mig-user-guide/
    """
    value = machine.environment.get(VARIABLE)
    if value is None:
        yield _not_set(machine)
    elif not machine.gpus:
        yield Finding(status=Status.SKIP, summary=tr("no GPU to be hidden", "没有可被隐藏的 GPU"))
    else:
        yield _judged(value, read(value, machine), machine)


def visible_gpus(machine: Machine) -> tuple[Gpu, ...]:
    """The GPUs that CUDA programs see; all where the variable names none of them, for then that is the fault to mend."""
    value = machine.environment.get(VARIABLE)
    if value is None:
        return machine.gpus
    shown = read(value, machine).gpus
    if None in shown:
        return machine.gpus
    return tuple(gpu for gpu in machine.gpus if gpu in shown) or machine.gpus


def _not_set(machine: Machine) -> Finding:
    """Every GPU that is here can be seen; a container may have been given fewer than the host has."""
    given = machine.environment.get("NVIDIA_VISIBLE_DEVICES", "all")
    if machine.os.container and machine.gpus and given not in ("all", *_WORDS_FOR_NONE):
        count = len(machine.gpus)
        return Finding(
            status=Status.INFO,
            summary=tr(
                f"this container was given {count} GPU{'s' * (count != 1)} (NVIDIA_VISIBLE_DEVICES), and programs see all",
                f"此容器分到 {count} 块 GPU（NVIDIA_VISIBLE_DEVICES），程序全部可见",
            ),
            evidence=(Evidence(fact="NVIDIA_VISIBLE_DEVICES", value=given, read_from="environment"),),
        )
    summary = tr("CUDA_VISIBLE_DEVICES is not set: every GPU is visible", "未设置 CUDA_VISIBLE_DEVICES：所有 GPU 都可见")
    return Finding(status=Status.PASS, summary=summary)


def _judged(value: str, reading: Reading, machine: Machine) -> Finding:
    evidence = _evidence(value, reading, machine)
    count, shown = len(machine.gpus), len(reading.gpus)
    if not shown:
        return Finding(
            status=Status.FAIL,
            summary=tr(
                f'CUDA_VISIBLE_DEVICES="{value}" hides all GPUs ({count} here): CUDA programs find no device',
                f'CUDA_VISIBLE_DEVICES="{value}" 隐藏了全部 GPU（本机有 {count} 个）：CUDA 程序找不到设备',
            ),
            why=_why(reading, machine),
            evidence=evidence,
            remedies=_remedies(reading, machine),
        )
    if reading.stop not in (None, Stop.ON_PURPOSE):
        return Finding(
            status=Status.WARN,
            summary=tr(
                f'CUDA_VISIBLE_DEVICES="{value}": `{reading.at}` names no GPU here, so it and all after it are dropped',
                f'CUDA_VISIBLE_DEVICES="{value}"：`{reading.at}` 在本机不对应任何 GPU，它和其后的条目都被忽略',
            ),
            why=tr(f"{shown} of {count} GPUs remain visible. ", f"{count} 块 GPU 中仍可见 {shown} 个。")
            + _why(reading, machine),
            evidence=evidence,
            remedies=_remedies(reading, machine),
        )
    return _cut(value, reading, evidence) or _by_torch(value, reading, machine, evidence) or _part(reading, count, evidence)


def _cut(value: str, reading: Reading, evidence: tuple[Evidence, ...]) -> Finding | None:
    """An entry like `0-3` or `0;1`, which is read up to where its number ends."""
    if not reading.cut:
        return None
    entry, number = reading.cut[0]
    return Finding(
        status=Status.WARN,
        summary=tr(
            f'CUDA_VISIBLE_DEVICES="{value}": of `{entry}` only {number} is read',
            f'CUDA_VISIBLE_DEVICES="{value}"：`{entry}` 只会读成 {number}',
        ),
        why=tr(
            "Entries are parted by commas; ranges and other signs are not known.", "条目之间用逗号分隔；不支持范围或其他符号。"
        ),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr("Name each GPU, parted by commas.", "逐个写出 GPU，以逗号分隔。"),
                commands=(f"export CUDA_VISIBLE_DEVICES={_meant(entry)}",),
            ),
        ),
    )


def _meant(entry: str) -> str:
    """What somebody who wrote "0-3" or "0 1" wanted, as far as it can be guessed."""
    first, sign, last = entry.partition("-")
    if sign and first.isdecimal() and last.isdecimal() and int(first) < int(last) < 1000:
        return ",".join(map(str, range(int(first), int(last) + 1)))
    numbers = "".join(sign if sign.isdecimal() else " " for sign in entry).split()
    return ",".join(dict.fromkeys(numbers))


def _by_torch(value: str, reading: Reading, machine: Machine, evidence: tuple[Evidence, ...]) -> Finding | None:
    """PyTorch counts by NVML with a reader of its own, which must come to the same."""
    torch = machine.python.torch if machine.python is not None else None
    counted = torch_count(value, machine) if torch is not None and torch.cuda else None
    if torch is None or counted is None or counted == len(reading.gpus) or not torch.version.startswith("2."):
        return None
    plain = ",".join(gpu.uuid for gpu in reading.gpus if gpu is not None and gpu.uuid)
    return Finding(
        status=Status.WARN,
        summary=tr(
            f'CUDA_VISIBLE_DEVICES="{value}": CUDA reads {len(reading.gpus)} GPUs, PyTorch counts {counted}',
            f'CUDA_VISIBLE_DEVICES="{value}"：CUDA 读到 {len(reading.gpus)} 块 GPU，PyTorch 只数到 {counted} 个',
        ),
        why=tr(
            "Before CUDA starts, PyTorch reads the list itself, and it stops at a blank before a UUID.",
            "CUDA 启动之前由 PyTorch 自己读取列表，遇到 UUID 前有空格就会停下。",
        ),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr("Write the UUIDs without blanks between them.", "UUID 之间不要加空格。"),
                commands=(f"export CUDA_VISIBLE_DEVICES={plain}",),
            ),
        ),
    )


def _part(reading: Reading, count: int, evidence: tuple[Evidence, ...]) -> Finding:
    shown = len(reading.gpus)
    if reading.mig_ignored:
        return Finding(
            status=Status.INFO,
            summary=tr(
                f"CUDA_VISIBLE_DEVICES names {reading.mig_ignored + 1} MIG instances: a program uses the first only",
                f"CUDA_VISIBLE_DEVICES 列出了 {reading.mig_ignored + 1} 个 MIG 实例：一个程序只会使用第一个",
            ),
            why=tr("For several, start a program for each.", "要用多个实例，请为每个实例各启动一个程序。"),
            evidence=evidence,
        )
    if reading.mig is not None:
        summary = tr("CUDA_VISIBLE_DEVICES shows one MIG instance", "CUDA_VISIBLE_DEVICES 指定了一个 MIG 实例")
        return Finding(status=Status.PASS, summary=summary, evidence=evidence)
    if shown < count:
        return Finding(
            status=Status.INFO,
            summary=tr(
                f"CUDA_VISIBLE_DEVICES shows {shown} of {count} GPUs",
                f"CUDA_VISIBLE_DEVICES 只显示 {count} 块 GPU 中的 {shown} 个",
            ),
            evidence=evidence,
        )
    return Finding(
        status=Status.PASS,
        summary=tr(f"CUDA_VISIBLE_DEVICES shows all {count} GPUs", f"CUDA_VISIBLE_DEVICES 显示全部 {count} 块 GPU"),
        evidence=evidence,
    )


def _why(reading: Reading, machine: Machine) -> str:
    """What is wrong with the entry at which CUDA stopped."""
    at, last = reading.at, len(machine.gpus) - 1
    if reading.stop is Stop.TWICE:
        return tr(
            f"`{at}` names a GPU for the second time, which makes the whole list void.", f"`{at}` 重复，整个列表因此作废。"
        )
    if reading.stop is Stop.AMBIGUOUS:
        return tr(f"Several UUIDs here begin with `{at}`.", f"本机有多个 UUID 以 `{at}` 开头。")
    if reading.stop is Stop.MIXED:
        return tr("Numbers and UUIDs cannot be mixed in one list.", "同一个列表中不能混用序号和 UUID。")
    if reading.stop is Stop.WORD:
        return tr(f"`{at}` is neither a number nor a UUID.", f"`{at}` 既不是序号，也不是 UUID。")
    if reading.stop is not Stop.NOT_HERE:
        return ""
    if at.startswith("MIG-"):
        return tr(
            "No GPU here has this MIG instance; they get new UUIDs when they are made anew.",
            "本机没有这个 MIG 实例；重新创建后 UUID 会改变。",
        )
    if at.startswith("GPU-"):
        return tr("No GPU here has this UUID.", "本机没有 GPU 使用这个 UUID。")
    inside = machine.os.container or any(name.startswith("SLURM_") for name in machine.environment)
    anew = tr(" A container or job counts its GPUs anew from 0.", "容器或作业中的 GPU 从 0 重新编号。") if inside else ""
    return tr(f"The numbers here go from 0 to {last}.", f"本机的序号为 0 到 {last}。") + anew


def _remedies(reading: Reading, machine: Machine) -> tuple[Remedy, ...]:
    unset = Remedy(
        text=tr(
            "Unset it, or name GPUs that exist; look for what sets it: shell profile, .env, launcher, notebook.",
            "取消设置，或填写存在的 GPU；并找出是谁设置了它：shell 配置、.env、启动脚本、notebook。",
        ),
        commands=("unset CUDA_VISIBLE_DEVICES", "grep -rn CUDA_VISIBLE_DEVICES ~/.bashrc ~/.profile .env 2>/dev/null"),
    )
    instance = next((name for gpu in machine.gpus for name in instance_names(gpu)), None)
    if instance is None or not reading.at.startswith("MIG-"):
        return (unset,)
    use = tr(
        "Name a MIG instance that is here: `nvidia-smi -L` lists them.", "填写本机存在的 MIG 实例：用 `nvidia-smi -L` 列出。"
    )
    return Remedy(text=use, commands=(f"export CUDA_VISIBLE_DEVICES={instance}",)), unset


def _evidence(value: str, reading: Reading, machine: Machine) -> tuple[Evidence, ...]:
    found = [Evidence(fact=VARIABLE, value=value, read_from="environment")]
    given = machine.environment.get("NVIDIA_VISIBLE_DEVICES")
    if machine.os.container and given is not None and len(reading.gpus) < len(machine.gpus):
        found.append(Evidence(fact="NVIDIA_VISIBLE_DEVICES", value=given, read_from="environment"))
    if reading.at.startswith("MIG-"):
        here = " ".join(name for gpu in machine.gpus for name in instance_names(gpu))
        found.append(Evidence(fact="MIG instances", value=here or None, read_from="NVML"))
    return tuple(found)
