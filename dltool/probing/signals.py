"""What a signal says of the process that it ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from dltool.lang import tr


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a signal says of the process that it ended, each text in English and Chinese."""

    because: tuple[str, str]
    do: tuple[str, str]
    commands: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """What likely happened."""
        return tr(self.because[0], self.because[1])

    @property
    def mend(self) -> str:
        """What to do."""
        return tr(self.do[0], self.do[1])


_NATIVE = ("libraries-shadowed", "nvidia-wheels-mixed", "conda-pip-mixed", "libstdcxx-too-old", "extension-lacks-gpu-code")
_READ_LAST_WORDS = ("Read the last words below.", "请看下面的最后输出。")
MEANINGS = {
    signal.SIGSEGV: Meaning(
        (
            "A native library reached for memory that is not there: mostly two builds of a library in one process, a "
            "damaged file or faulty memory.",
            "某个本地库访问了不存在的内存：多半是同一进程里有某个库的两种构建、文件损坏或内存故障。",
        ),
        (
            "Install PyTorch anew into a fresh environment, and try without LD_LIBRARY_PATH and LD_PRELOAD.",
            "在全新的环境里重新安装 PyTorch，并去掉 LD_LIBRARY_PATH 和 LD_PRELOAD 再试。",
        ),
        ("env -u LD_LIBRARY_PATH -u LD_PRELOAD dltool doctor --probe",),
        _NATIVE,
    ),
    signal.SIGABRT: Meaning(
        (
            "A library ended the process by itself: an inner check failed, or memory was handed back that is not its own. Its "
            "last words say which.",
            "某个库自行终止了进程：内部检查失败，或归还了不属于它的内存。它的最后输出会说明是哪一种。",
        ),
        (
            "Read the last words below; where they name no cause, install PyTorch anew into a fresh environment.",
            "请看下面的最后输出；如果其中没有说明原因，就在全新的环境里重新安装 PyTorch。",
        ),
        (),
        _NATIVE,
    ),
    signal.SIGILL: Meaning(
        (
            "The processor met an instruction that it does not have: the build is for a newer one, or the virtual machine "
            "hides AVX.",
            "处理器遇到了它没有的指令：该构建面向更新的处理器，或虚拟机隐藏了 AVX。",
        ),
        (
            "Take a build for this processor, or let the virtual machine see its flags (CPU type host).",
            "换用面向该处理器的构建，或让虚拟机看到处理器的特性（CPU 类型设为 host）。",
        ),
        ("grep -o -w -m1 -E 'avx|avx2|avx512f' /proc/cpuinfo | sort -u",),
    ),
    signal.SIGBUS: Meaning(
        (
            "Memory that was promised could not be had: /dev/shm or a disk is full, or a file became shorter while it was "
            "mapped.",
            "承诺给它的内存拿不到：/dev/shm 或磁盘已满，或文件在映射期间被截短。",
        ),
        (
            "Make room: a larger /dev/shm (docker run --shm-size), or space where the environment and the temporary files are.",
            "腾出空间：加大 /dev/shm（docker run --shm-size），或清理环境和临时文件所在的磁盘。",
        ),
        ("df -h /dev/shm /tmp",),
        ("shm-small",),
    ),
    signal.SIGFPE: Meaning(
        (
            "An integer was divided by zero, mostly because a library misread the machine: no processors or no caches to be "
            "seen.",
            "发生了整数除以零，多半是某个库读错了机器信息：看不到处理器或缓存。",
        ),
        ("Update the library that the last words name.", "更新最后输出中提到的那个库。"),
    ),
    signal.SIGKILL: Meaning(
        (
            "It was ended from outside: nearly always by the kernel because memory ran out, else by the batch system or a "
            "person.",
            "它是被外部终止的：几乎总是内核因内存耗尽而为，否则是作业系统或某个人。",
        ),
        (
            "Give it more memory: close other programs, or raise the limit of the container or job.",
            "给它更多内存：关闭其他程序，或提高容器或作业的限制。",
        ),
        ("dmesg --level=err,warn | grep -i -E 'killed process|out of memory' | tail -n 3",),
    ),
    signal.SIGSYS: Meaning(
        (
            "A system call was made that is not allowed here: the container's security profile (seccomp) is stricter than the "
            "library expects.",
            "调用了这里不允许的系统调用：容器的安全策略（seccomp）比该库预期的更严格。",
        ),
        ("Update the container engine, or relax its profile.", "更新容器引擎，或放宽其安全策略。"),
    ),
    signal.SIGXCPU: Meaning(
        ("The limit on processor time was reached.", "达到了处理器时间的上限。"),
        ("Raise it where the session or the job sets it.", "在设置该上限的会话或作业中提高它。"),
        ("ulimit -t",),
    ),
    signal.SIGTERM: Meaning(
        (
            "It was asked to end from outside: by a batch system, a supervisor or a person.",
            "外部要求它结束：作业系统、监管程序或某个人。",
        ),
        ("Find out who ends processes here.", "查明是谁在这里结束进程。"),
    ),
    signal.SIGTRAP: Meaning(
        (
            "A library stopped at a trap of its own, as when an inner check fails.",
            "某个库停在了自己的断点上，例如内部检查失败时。",
        ),
        _READ_LAST_WORDS,
    ),
}
_ANOTHER_SIGNAL = Meaning(
    (
        "It was ended from outside, or by a library in a way of its own.",
        "它是被外部终止的，或被某个库以自己的方式终止。",
    ),
    _READ_LAST_WORDS,
)


def meaning_of(number: int) -> Meaning:
    """What the signal of this number says."""
    known = number in set(signal.Signals)
    return MEANINGS.get(signal.Signals(number), _ANOTHER_SIGNAL) if known else _ANOTHER_SIGNAL
