"""All GPUs alone and at once, with devices that are scripted."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from bench_fakes import FakeTime, Scripted

from dltool.bench import all_gpus, devices, harness
from dltool.bench.plan import Plan
from dltool.errors import CannotRun
from dltool.machine import Gpu, Machine

PLAN = Plan(sampling_s=1.0, warmup_s=0.5)


class Node:
    """GPUs that take `step_s[i]` alone, and `crowded` times that when others work too."""

    def __init__(self, step_s, crowded=1.0):
        self.devices = [FakeTime().device(name=f"cuda:{number}") for number in range(len(step_s))]
        self.step_s = dict(zip([device.name for device in self.devices], step_s, strict=True))
        self.crowded = crowded
        self.ended: list[str] = []
        self.main = threading.current_thread()

    def measurer(self, _workers, device):
        def measure(name, workload, plan):
            crowd = self.crowded if threading.current_thread() is not self.main else 1.0
            time = FakeTime()
            case = Scripted(size=1000, step_s=lambda size: self.step_s[device.name] * crowd)
            return harness.measure(name, case, time.device(name=device.name.replace("cuda", "fake")), plan, clock=time.clock)

        return SimpleNamespace(measure=measure, end=lambda: self.ended.append(device.name))

    def run(self, cases=1):
        named = [("gemm", Scripted())] * cases
        return list(all_gpus.run(named, self.devices, PLAN, None, clock=lambda: 0.0, measurer=self.measurer))


def remarks(rows):
    return [[text for text in row.warnings if "GPUs" in text or "straggler" in text or "alone" in text] for row in rows]


def test_each_alone_and_all_at_once():
    node = Node([0.01, 0.0102, 0.0101], crowded=1.25)
    rows = node.run(cases=2)
    assert [row.settings["gpus_at_once"] for row in rows] == [1, 1, 1, 3, 3, 3] * 2
    alone, crowded = rows[0], rows[3]
    assert crowded.rate == pytest.approx(alone.rate / 1.25)
    assert remarks(rows)[3] == ["with all 3 at work: 80 % of its rate alone"]
    assert sorted(node.ended) == ["cuda:0", "cuda:1", "cuda:2"]


def test_the_slowest_is_named_with_the_spread_and_no_straggler_below_5_percent():
    rows = Node([0.01, 0.0102, 0.01]).run()
    assert remarks(rows)[:3] == [[], ["slowest of 3 GPUs one at a time; they spread by 2.0 %"], []]


def test_a_straggler_is_called_one():
    rows = Node([0.01, 0.01, 0.0125]).run()
    assert remarks(rows)[2] == ["slowest of 3 GPUs one at a time; they spread by 20 %", "a straggler: 20 % below their median"]


def test_a_single_gpu_has_nobody_to_compare_with():
    rows = Node([0.01]).run()
    assert len(rows) == 1
    assert remarks(rows) == [[]]
    assert (all_gpus.rounds(5, 1), all_gpus.rounds(5, 8)) == (5, 45)


def test_ctrl_c_while_all_are_at_work():
    node = Node([0.01, 0.01])
    closed = []

    def measurer(_workers, device):
        def measure(name, workload, plan):
            if threading.current_thread() is not node.main and device.name == "cuda:0":
                raise KeyboardInterrupt
            return harness.failed(name, workload, device, "no")

        return SimpleNamespace(measure=measure, end=lambda: None)

    workers = SimpleNamespace(close=lambda: closed.append(True))
    with pytest.raises(KeyboardInterrupt):
        list(all_gpus.run([("x", Scripted())], node.devices, PLAN, workers, clock=lambda: 0.0, measurer=measurer))
    assert closed == [True]


class FakeTorch:
    """torch with as many GPUs as CUDA_VISIBLE_DEVICES leaves."""

    __version__ = "0"

    def __init__(self, *properties):
        self.cuda = SimpleNamespace(
            is_available=lambda: bool(properties),
            device_count=lambda: len(properties),
            get_device_properties=lambda index: properties[index],
            mem_get_info=lambda index: (2**30, 2**31),
        )

    def get_num_threads(self):
        return 2


def gpu_properties(**address):
    return SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=80 * 2**30, multi_processor_count=132,
                           L2_cache_size=50 * 2**20, **address)  # fmt: skip


GPUS = tuple(
    Gpu(index=number, name="NVIDIA H100 80GB HBM3", pci_bus_id=bus)
    for number, bus in enumerate(["00000000:1B:00.0", "00000000:43:00.0", "00000009:1B:00.0"])
)


def test_visible_gpus_are_told_apart_by_their_whole_address(monkeypatch):
    """CUDA_VISIBLE_DEVICES=2,0: torch's first is NVML's third, on the same bus number of another domain."""
    torch = FakeTorch(gpu_properties(pci_domain_id=9, pci_bus_id=0x1B, pci_device_id=0),
                      gpu_properties(pci_domain_id=0, pci_bus_id=0x1B, pci_device_id=0))  # fmt: skip
    monkeypatch.setattr(devices, "import_torch", lambda: torch)
    found = devices.visible_gpus(Machine(gpus=GPUS))
    assert [(device.name, device.nvml_index) for device in found] == [("cuda:0", 2), ("cuda:1", 0)]
    assert found[0].llc_bytes == 50 * 2**20


def test_an_address_that_fits_two_is_none(monkeypatch):
    monkeypatch.setattr(devices, "import_torch", lambda: FakeTorch(gpu_properties(pci_bus_id=0x1B)))
    assert devices.visible_gpus(Machine(gpus=GPUS))[0].nvml_index is None


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(devices, "import_torch", lambda: FakeTorch())
    with pytest.raises(CannotRun, match="torch sees no CUDA device"):
        devices.visible_gpus(Machine())
