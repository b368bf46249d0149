"""Selftest and interleaved comparison on a GPU."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def machine():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    from dltool import probe

    return probe.read()


def test_a_round_of_the_selftest(machine):
    from dltool.bench import elsewhere, selftest
    from dltool.bench.fingerprint import fingerprint

    blocks = elsewhere.measure(sys.executable, [("selftest", {})], machine, "cuda:0", 0.3, selftest.BLOCKS)
    assert [block.not_run for block in blocks] == [None] * 10
    assert all(block.conditions.sm_mhz for block in blocks)  # what confirms a verdict at equal clocks
    fields = fingerprint(machine, blocks[0])
    assert {"driver", "power_limit_w", "cuda"} <= set(fields)


def test_a_tenth_more_work_is_slower(machine):
    from dltool.bench import devices, elsewhere, gates, harness, turns
    from dltool.differences import Verdict

    device = devices.find("cuda:0", machine)

    def side(k):
        cases = elsewhere.cases_of([("gemm", {"dtype": ["bf16"], "k": [k]})], device)
        return lambda case_s: tuple(harness.run(cases, device, elsewhere.block_plan(case_s)))

    a, b = turns.run(side("8192"), side("9216"), 8, 30.0)
    assert gates.in_turn(a[0], b[0], gates.bar(None)).verdict is Verdict.SLOWER
