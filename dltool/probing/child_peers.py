"""Steps of the probe, run inside the child: devices and processes that talk to one another."""

from __future__ import annotations

import contextlib
import datetime
import importlib
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dltool.probing.child import HERE, Skip, Teller, torch_devices
else:
    from dltool_probe import HERE, Skip, Teller, torch_devices

MOST_PAIRS = 64
MOST_RANKS = 8
SIZE = 2**20
OVER_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}


def peers(tell: Teller) -> None:
    """Each GPU writes to each other one, directly where the pair can."""
    torch = importlib.import_module("torch")
    gpus = torch_devices(torch)[1:]
    if len(gpus) < 2:
        return
    pairs = [(one, other) for one in gpus for other in gpus if one != other]
    if len(pairs) > MOST_PAIRS:
        tell.fact(left_out=len(pairs) - MOST_PAIRS)
    for one, other in pairs[:MOST_PAIRS]:
        tell.case(f"{one} > {other}", partial(copy, torch, one, other))


def copy(torch: Any, one: str, other: str) -> dict[str, Any]:
    """Random bytes from one GPU to another and from there to the host."""
    direct = bool(torch.cuda.can_device_access_peer(one, other))
    here = torch.randint(0, 256, (8 * SIZE + 3,), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    there = here.to(one).to(other)
    torch.cuda.synchronize(other)
    if not torch.equal(there.cpu(), here):
        return {"state": "fail", "why": "bytes arrived changed", "direct": direct}
    return {"direct": direct}


def collective(tell: Teller) -> None:
    """An all-reduce between processes of this node: NCCL, one a GPU; without GPUs gloo, two."""
    torch = importlib.import_module("torch")
    gpus = len(torch_devices(torch)) - 1
    backend = "nccl" if gpus else "gloo"
    ranks = min(gpus, MOST_RANKS) if gpus else 2
    tell.fact(backend=backend, ranks=ranks, version=nccl_version(torch) if gpus else None)
    tell.case(backend, lambda: all_ranks(backend, ranks, float(tell.task["limit_s"])))


def nccl_version(torch: Any) -> str:
    """As PyTorch was built with, or loaded it."""
    try:
        return ".".join(map(str, torch.cuda.nccl.version()))
    except Exception as error:
        return str(error)


def all_ranks(backend: str, ranks: int, limit_s: float) -> dict[str, Any]:
    """Start the processes and wait for all; one that fails ends the others."""
    distributed = importlib.import_module("torch.distributed")
    if not distributed.is_available() or not getattr(distributed, f"is_{backend}_available", lambda: True)():
        raise Skip(f"this PyTorch was built without {backend}")
    meeting = Path.cwd() / f"meeting-{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        meeting.unlink()
    common = {"step": "rank", "file": Path(__file__).name, "backend": backend, "ranks": ranks, "meeting": str(meeting)}
    environment = {**OVER_LOOPBACK, "NCCL_DEBUG": "WARN", "OMP_NUM_THREADS": "1", **os.environ}
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "child.py"), json.dumps({**common, "rank": rank, "limit_s": limit_s})],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for rank in range(ranks)
    ]
    failed = follow(processes)
    if failed is None:
        return {}
    rank, code = failed
    how = f"died of signal {-code}" if code < 0 else f"ended with exit code {code}"
    return {"state": "fail", "why": f"rank {rank} of {ranks} {how}", "signal": -code if code < 0 else None}


def follow(processes: list[Any]) -> Any:
    """The first process that failed, with its exit code; None when all did well."""
    try:
        while True:
            codes = [process.poll() for process in processes]
            failed = next(((rank, code) for rank, code in enumerate(codes) if code), None)
            if failed or all(code == 0 for code in codes):
                return failed
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def rank(tell: Teller) -> None:
    """One process of the all-reduce. What it raises ends it with an exit code."""
    task = tell.task
    torch, distributed = importlib.import_module("torch"), importlib.import_module("torch.distributed")
    device = "cpu"
    if task["backend"] == "nccl":
        device = f"cuda:{task['rank']}"
        torch.cuda.set_device(device)
    distributed.init_process_group(
        task["backend"],
        init_method=Path(task["meeting"]).as_uri(),
        rank=task["rank"],
        world_size=task["ranks"],
        timeout=datetime.timedelta(seconds=task["limit_s"]),
    )
    values = torch.arange(SIZE, dtype=torch.int32, device=device) + task["rank"]
    distributed.all_reduce(values)
    ranks = task["ranks"]
    wanted = torch.arange(SIZE, dtype=torch.int32) * ranks + ranks * (ranks - 1) // 2
    if not torch.equal(values.cpu(), wanted):
        raise ValueError("the sum over all processes is wrong")
    distributed.barrier()
    distributed.destroy_process_group()


STEPS = {"p2p": peers, "nccl": collective, "rank": rank}
