"""Memory kernels, the way through the caches, transfers, GPU to GPU, launches: what they count, check and refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench_cpu import FAST, cpu_device
from hypothesis import given
from hypothesis import strategies as st

from dltool.bench import cases, harness
from dltool.bench.against_triad import against_triad
from dltool.bench.workloads import launch, memory, p2p, transfers
from dltool.bench.workloads.launch import Launch
from dltool.bench.workloads.memory import Memory
from dltool.bench.workloads.p2p import P2p
from dltool.catalog import Board
from dltool.errors import CannotRun, UsageError
from dltool.results import Measurement, Verified

torch = pytest.importorskip("torch")

STREAM_COUNTS = {"copy": 2, "scale": 2, "add": 3, "triad": 3}


@pytest.fixture(scope="module")
def cpu():
    return cpu_device()


@pytest.mark.parametrize("kernel", memory.KERNELS)
def test_a_kernel_is_right_and_a_disturbed_result_is_found(cpu, kernel):
    prepared = Memory(kernel=kernel, bytes=2**16).prepare(cpu)
    assert not prepared.verify().ok, "nothing was computed yet"
    prepared.step()
    assert prepared.verify().ok


@pytest.mark.parametrize("kernel", ["copy", "scale", "add", "triad", "write"])
def test_one_wrong_element_is_found(cpu, kernel):
    prepared = Memory(kernel=kernel, bytes=2**16).prepare(cpu)
    result = prepared.step()
    result[12345] += 1
    verdict = prepared.verify()
    assert (verdict.ok, verdict.error) == (False, 1.0)


@pytest.mark.parametrize(("kernel", "arrays"), STREAM_COUNTS.items())
def test_bytes_are_those_of_stream(kernel, arrays):
    assert Memory(kernel=kernel, bytes=4000).work().bytes == arrays * 4000


@given(st.integers(4, 2**40), st.sampled_from([*memory.KERNELS, *memory.TRANSFERS]))
def test_sizes_end_with_what_was_asked(size, kernel):
    sizes = list(Memory(kernel=kernel, bytes=size).sizes())
    assert sizes[-1].bytes == size
    assert all(0 < small.work().bytes <= sizes[-1].work().bytes for small in sizes)


def test_the_sweep_goes_from_half_the_first_cache_to_eight_times_the_last(cpu):
    swept = [case for _, case in memory.sweep(cpu, {})]
    totals = [case.work().bytes for case in swept]
    assert totals[0] == pytest.approx(2**15, rel=0.01)
    assert totals[-1] == pytest.approx(2**28, rel=0.01)
    assert list(dict.fromkeys(case.level for case in swept)) == ["L1", "L2", "L3", "DRAM"]
    assert [case.level for case in swept].count("L1") == 2


@given(st.integers(1, 2**32))
def test_a_level_is_the_first_cache_that_holds_it(total):
    device = cpu_device()
    sizes = dict(device.caches)
    name = memory.level_of(device, total)
    assert total <= sizes.get(name, 2**40)
    assert all(total > size for cache, size in device.caches if cache < name and name != "DRAM")


def test_a_sweep_runs_and_tiny_rows_say_what_they_measure(cpu):
    (name, case), *_ = memory.sweep(cpu, {"kernel": ["read"]})
    result = harness.measure(name, case, cpu, FAST)
    assert result.verified.ok
    assert (result.label, result.size) == ("read L1", "32 KiB")
    assert any("torch needs to start" in warning for warning in result.warnings)
    assert not any("last-level cache" in warning for warning in result.warnings)


def test_a_level_of_cache_has_no_peak_but_memory_has(cpu):
    device = replace(cpu, board=Board(name="x", memory_gb_per_s=100.0))
    assert Memory(kernel="triad", level="L2").peak(device) is None
    assert Memory(kernel="triad", level="DRAM").peak(device) == (1e11, "datasheet")
    assert Memory(kernel="h2d").peak(device) is None
    assert Memory(kernel="d2d").peak(device) == (1e11, "datasheet")


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        pytest.param({"bytes": ["1MiB"]}, "chooses the sizes", id="sizes"),
        pytest.param({"kernel": ["h2d"]}, "unknown kernel of --sweep `h2d`", id="transfer"),
    ],
)
def test_a_sweep_refuses(cpu, axes, text):
    with pytest.raises(UsageError, match=text) as refused:
        memory.sweep(cpu, axes)
    assert refused.value.remedy


def test_a_sweep_needs_known_caches(cpu):
    with pytest.raises(CannotRun, match="not known"):
        memory.sweep(replace(cpu, caches=()), {})


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param({"kernel": ["cpy"]}, id="kernel"),
        pytest.param({"bytes": ["0"]}, id="zero"),
        pytest.param({"bytes": ["-4"]}, id="negative"),
        pytest.param({"bytes": ["3"]}, id="less than a number"),
        pytest.param({"dtype": ["bf16"]}, id="dtype"),
    ],
)
def test_bad_parameters(axes):
    with pytest.raises(UsageError) as refused:
        cases(Memory, axes)
    assert refused.value.remedy


def test_what_does_not_fit_says_what_would(cpu):
    result = harness.measure("memory", Memory(kernel="triad", bytes=2**40), cpu, FAST)
    assert "3 arrays of this size do not fit" in result.not_run
    assert "bytes=341MiB would" in result.not_run


@pytest.mark.parametrize("kernel", memory.TRANSFERS)
def test_transfers_need_a_gpu_and_count_what_crosses(cpu, kernel):
    assert "needs a CUDA device" in harness.measure("memory", Memory(kernel=kernel), cpu, FAST).not_run
    assert Memory(kernel=kernel, bytes=400).work().bytes == (800 if kernel in ("both_ways", "d2d") else 400)


def test_a_wrong_transfer_is_found():
    there = torch.arange(8.0)
    assert transfers.wrong((there.clone(), there)) == 0
    assert transfers.wrong((there.roll(1), there)) == 8


def test_the_matrix_of_gpus_is_every_pair(cpu):
    assert p2p.chosen(cpu, {}) == []
    found = [case for _, case in p2p.chosen(replace(cpu, gpus=3), {"bytes": ["1MiB"]})]
    assert [case.label for case in found] == [
        "0 to 1", "0 to 2", "1 to 0", "1 to 2", "2 to 0", "2 to 1", "0 and 1", "0 and 2", "1 and 2",
    ]  # fmt: skip
    assert [case.work().bytes for case in found] == [2**20] * 6 + [2**21] * 3


@pytest.mark.parametrize(
    "axes", [{"source": ["1"]}, {"source": ["x"]}, {"target": ["-1"]}, {"ways": ["two"]}, {"bytes": ["0"]}]
)
def test_bad_pairs(axes):
    with pytest.raises(UsageError) as refused:
        cases(P2p, axes)
    assert refused.value.remedy


def test_a_pair_that_is_not_there_is_a_row(cpu):
    assert "needs 2 CUDA devices; torch sees 0" in harness.measure("p2p", P2p(), cpu, FAST).not_run


def test_launches_are_counted_on_the_device(cpu):
    result = harness.measure("launch", Launch(), cpu, FAST)
    assert result.verified.ok
    assert 1e-7 < result.median_s / result.work.ops < 1e-2
    prepared = Launch().prepare(cpu)
    assert not prepared.verify().ok, "nothing was launched"


def test_a_lost_launch_is_found():
    number = torch.zeros((), dtype=torch.int64)
    prepared = launch._counted(number, lambda: None)
    prepared.step()
    assert not prepared.verify().ok


def test_launches_that_need_a_gpu_say_so(cpu):
    assert [case.method for _, case in launch.chosen(cpu)] == ["op"]
    for method in ("kernel", "graph", "round_trip"):
        assert "needs a CUDA device" in harness.measure("launch", Launch(method=method), cpu, FAST).not_run
    with pytest.raises(UsageError, match="unknown method"):
        Launch(method="stream")


@pytest.mark.parametrize("suite", ["quick", "standard", "full"])
def test_suites_hold_the_kernels(cpu, suite):
    kernels = {case.kernel for _, case in memory.default_cases(cpu, suite)}
    assert kernels == ({"read", "write", "copy", "triad"} if suite == "quick" else set(memory.KERNELS))
    assert any(case.level for _, case in memory.default_cases(cpu, suite)) == (suite == "full")
    gpu = replace(cpu, name="cuda:0", gpus=2)
    assert {"h2d", "d2h"} <= {case.kernel for _, case in memory.default_cases(gpu, suite)}
    assert bool(p2p.default_cases(gpu, suite)) == bool(launch.default_cases(gpu, suite)) == (suite != "quick")


def row(workload, rate, **params):
    right = Verified(reference="x", error=0.0, tolerance=0.0, ok=params.pop("ok", True))
    peak = params.pop("peak", None)
    return Measurement(workload=workload, params=params, device="cpu", dtype="fp32", rate=rate, verified=right, peak=peak)


def test_rates_stand_beside_the_triad_of_the_run():
    triad = row("memory", 20.0, kernel="triad", level="")
    host, board = row("elementwise", 15.0, op="add"), row("elementwise", 15.0, op="add", peak=30.0)
    found = against_triad([triad, host, board])
    assert found[0] == triad
    assert (found[1].share_of_triad, found[1].peak, found[1].peak_basis, found[1].share_of_peak) == (
        0.75, 20.0, "measured triad", 0.75,
    )  # fmt: skip
    assert (found[2].share_of_triad, found[2].peak) == (0.75, 30.0)


@pytest.mark.parametrize(
    "triad", [{"kernel": "copy"}, {"kernel": "triad", "level": "L2"}, {"kernel": "triad", "level": "", "ok": False}]
)
def test_no_other_row_is_a_ceiling(triad):
    rows = [row("memory", 20.0, **triad), row("elementwise", 15.0, op="add")]
    assert against_triad(rows) == rows


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"numa_nodes": 1}, "1 node"),
        ({"numa_nodes": 2, "threads": 2, "usable_threads": 2}, "2 nodes, not bound"),
        ({"numa_nodes": 2, "threads": 4, "usable_threads": 2, "usable_cpus": "0-1"}, "2 nodes, bound to CPUs 0-1"),
        ({"numa_nodes": None}, None),
    ],
)
def test_numa_binding_is_told(facts, text):
    assert cpu_device(**facts).numa == text
