"""What people read of a step of a model."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dltool.bench.against_gemm import against_gemm
from dltool.bench.networks import figures, launches
from dltool.model_results import Flops
from dltool.render import stepped
from dltool.results import Measurement, Verified, Work
from dltool.step_results import Accuracy, Latency, ModelStep, Part, StepMemory

RIGHT = Verified(reference="float64", error=0.0, tolerance=1e-3, ok=True)
STEP = ModelStep(
    unit="image",
    units=64,
    samples=64,
    throughput=2312.4,
    latencies=(Latency(percent=50, seconds=0.0277, low_s=0.0276, high_s=0.0279),),
    parts=(
        Part(name="forward", seconds=0.009),
        Part(name="backward", seconds=0.018),
        Part(name="data", seconds=0.0004, inside=False),
    ),
    memory=StepMemory(allocated=5 * 2**30, reserved=6 * 2**30, process=7 * 2**30),
    formula="MFU 40 % = ...",
    first_step_s=1.5,
    joules_per_unit=0.25,
    launch_share=0.31,
    notes=("12 of 14 linear layers in int8",),
)
CASE = Measurement(
    workload="model",
    params={"model": "resnet50"},
    device="cuda:0 H100 SXM5 80GB",
    dtype="bf16",
    seconds=(0.0277,) * 9,
    median_s=0.0277,
    work=Work(ops=10**12),
    rate=3.6e13,
    rate_unit="FLOP/s",
    verified=RIGHT,
    model=STEP,
)


def test_throughput_in_the_unit_of_the_task() -> None:
    assert stepped.throughput(CASE) == "2,312 images/s"
    assert stepped.throughput(replace(CASE, model=replace(STEP, throughput=3.21))) == "3.21 images/s"
    assert stepped.throughput(replace(CASE, model=None)) == ""


def test_only_percentiles_that_the_samples_bear() -> None:
    assert stepped.latency(CASE, 50) == "27.7 ms"
    assert stepped.latency(CASE, 99) == ""


def test_parts_as_shares_of_the_step() -> None:
    told = stepped.always(CASE)
    assert told[0] == "forward 33 %, backward 67 %; data 400 µs besides"
    assert "the GPU waited for launches 31 % of the time" in told
    assert told[-1] == "12 of 14 linear layers in int8"


@pytest.mark.parametrize(
    ("error", "agreeing", "said"),
    [
        (1e-6, 1.0, None),
        (0.017, 0.98, "outputs 1.7 % off eager fp32, the same best class for 98 % of the samples"),
        (0.2, None, "outputs 20 % off eager fp32"),
    ],
)
def test_what_a_lower_precision_costs(error: float, agreeing: float | None, said: str | None) -> None:
    found = Accuracy(against="eager fp32", relative_error=error, agreeing=agreeing)
    told = stepped.always(replace(CASE, model=replace(STEP, accuracy=found)))
    assert [text for text in told if text.startswith("outputs")] == ([said] if said else [])


def test_details_hold_all_figures() -> None:
    text = "\n".join(stepped.details(CASE))
    for part in ("p50 27.7 ms", "tensors 5.0 GiB, reserved 6.0 GiB, process 7.0 GiB", "MFU 40 %", "first step 1.5 s", "0.25 J"):
        assert part in text
    assert stepped.details(replace(CASE, model=replace(STEP, throughput=None))) == []


def test_the_ceiling_is_the_best_right_product_of_the_same_run() -> None:
    gemm = Measurement(
        workload="gemm", params={}, device=CASE.device, dtype="bf16", rate=7.2e14, rate_unit="FLOP/s", verified=RIGHT
    )
    wrong = replace(gemm, rate=9e15, verified=replace(RIGHT, ok=False))
    other = replace(gemm, rate=8e15, dtype="fp32")
    *_, found = against_gemm([gemm, replace(gemm, rate=5e14), wrong, other, CASE])
    assert found.model is not None
    assert found.model.mamfu == pytest.approx(0.05)
    assert stepped.mamfu(found) == "5.0 %"
    (alone,) = against_gemm([CASE])
    assert stepped.mamfu(alone) == ""


def test_utilisation_says_how_it_was_reckoned() -> None:
    flops = Flops(ops=4 * 10**12, ops_causal_halved=3 * 10**12, ops_again=10**12)
    found = figures.utilisation(flops, 0.01, (1e15, "bf16_tensor derived"))
    assert (found.mfu, found.hfu) == (pytest.approx(0.4), pytest.approx(0.5))
    assert found.formula == (
        "MFU 40 % = 4 TFLOP a step / 10 ms / 1000 TFLOP/s (bf16_tensor derived); 30 % with the half of attention that the mask "
        "leaves; HFU 50 % counts what the backward computes again"
    )
    assert figures.utilisation(flops, 0.01, None).mfu is None
    assert figures.utilisation(Flops(ops=0, ops_causal_halved=0), 1.0, (1e12, "")).formula == "no operations were counted"


@pytest.mark.parametrize(("count", "percents"), [(5, []), (6, [50]), (36, [50, 90]), (368, [50, 90, 99])])
def test_percentiles_need_their_samples(count: int, percents: list[float]) -> None:
    found = figures.latencies([0.01 + index * 1e-5 for index in range(count)])
    assert [one.percent for one in found] == percents
    assert all(one.low_s <= one.seconds <= one.high_s for one in found)


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(0, 1), (2, 3)], 2), ([(0, 5), (1, 2), (4, 6)], 6), ([(3, 4), (0, 1), (0, 1)], 2)],
)
def test_overlapping_kernels_count_once(spans: list[tuple[float, float]], length: float) -> None:
    assert launches.covered(spans) == length
