"""The clock that the processors really run at, timed on all usable ones at once.

A register is added to itself in a chain, one addition a clock on every x86-64 and 64-bit Arm design of the last fifteen years;
additions per second are hertz. The kernel's own figure is a wish in most virtual machines. Vector-heavy code can run at a lower
clock than this.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import struct
import threading
import time

_ADDITIONS = 64  # in the body of the loop: the branch at its end is hidden behind them
_ROUNDS = 400_000  # 25.6 million additions: some 8 ms
_REPEATS = 3
_PATIENCE_S = 2.0

_X86 = (
    b"\x48\x31\xc0"  # xor rax, rax
    b"\x48\xff\xc0"  # inc rax: not zero, so that no design may guess the sums
    + b"\x48\x01\xc0" * _ADDITIONS  # add rax, rax
    + b"\x48\xff\xcf"  # dec rdi
    + b"\x0f\x85"  # jnz to the first addition
    + struct.pack("<i", -(3 * _ADDITIONS + 3 + 6))
    + b"\xc3"  # ret
)


def _arm() -> bytes:
    words = [0xD2800021]  # mov x1, #1
    words += [0x8B010021] * _ADDITIONS  # add x1, x1, x1
    words += [0xF1000400]  # subs x0, x0, #1
    words += [0x54000001 | ((-(_ADDITIONS + 1) & 0x7FFFF) << 5)]  # b.ne to the first addition
    words += [0xD65F03C0]  # ret
    return struct.pack(f"<{len(words)}I", *words)


class Unmeasurable(Exception):
    """This system cannot run the timing loop; the text says why."""


def measure() -> float:
    """The clock in MHz: the slowest thread of the fastest of a few rounds, each on all usable processors at once.

    Raises:
        Unmeasurable: an unknown instruction set, or the system forbids to run memory that was written.
    """
    code = {"x86_64": _X86, "aarch64": _arm()}.get(platform.machine())
    if code is None or os.name != "posix":
        raise Unmeasurable(f"no timing loop for {platform.machine()} on {platform.system()}")
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    page.write(code)
    anchor = ctypes.c_char.from_buffer(page)
    loop = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(ctypes.addressof(anchor))
    try:
        # Run only once it is written: on Arm, the kernel then brings the instruction caches up to date.
        if ctypes.CDLL(None).mprotect(
            ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC
        ):
            raise Unmeasurable("the system forbids to run memory that was written")
        return max(_one_round(loop) for _ in range(_REPEATS)) / 1e6
    finally:
        del loop, anchor
        page.close()


def _one_round(loop: object) -> float:
    """Additions per second of the slowest thread; ctypes lets the interpreter go while the loop runs."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    start = threading.Barrier(count)
    rates: list[float] = []

    def run() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            start.wait(_PATIENCE_S)
            began = time.thread_time()  # not wall time: a neighbour on the processor is not a slower clock
            loop(_ROUNDS)  # type: ignore[operator]
            rates.append(_ROUNDS * _ADDITIONS / (time.thread_time() - began))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:  # no more threads are allowed
        start.abort()
        raise Unmeasurable(f"cannot start {count} threads: {error}") from None
    deadline = time.monotonic() + _PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if len(rates) < count:
        raise Unmeasurable(f"{count} threads did not get through in {_PATIENCE_S:g} s")
    return min(rates)
