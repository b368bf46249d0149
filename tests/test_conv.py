"""Convolutions: ResNet-50's layers, their count of operations, single elements from the definition."""

from __future__ import annotations

import pytest
from bench_cpu import FAST, cpu_device
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dltool import tables
from dltool.bench import cases, harness
from dltool.bench.workloads import conv
from dltool.bench.workloads.conv import Conv
from dltool.bench.workloads.conv_reference import _ELEMENT
from dltool.errors import UsageError

torch = pytest.importorskip("torch")

SMALL = {"batch": 2, "c_in": 6, "c_out": 4, "input": 9, "kernel": 3, "stride": 2, "padding": 1, "groups": 2}


@pytest.fixture(scope="module")
def cpu():
    return cpu_device()


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    side = draw(st.integers(1, 9))
    kernel, padding = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    assume(kernel <= side + 2 * padding)
    return {
        "groups": groups, "c_in": groups * draw(st.integers(1, 3)), "c_out": groups * draw(st.integers(1, 3)),
        "batch": draw(st.integers(1, 2)), "input": side, "kernel": kernel, "padding": padding,
        "stride": draw(st.integers(1, 3)),
    }  # fmt: skip


def test_resnet50_has_53_convolutions_and_its_known_work():
    rows = [row for row in tables.rows("conv_layers") if row["network"] == "resnet50"]
    assert len(rows) == len(conv.layers()) == 23
    assert sum(int(row["count"]) for row in rows) == 53
    work = sum(int(row["count"]) * Conv(layer=row["name"], batch=1).work().ops for row in rows)
    assert work == 2 * (4_089_184_256 - 2_048_000)  # multiply-adds of v1.5 (fvcore), less its linear layer
    weights = sum(int(row["count"]) * Conv(layer=row["name"])._weights for row in rows)
    assert weights == 23_454_912  # parameters of the convolutions of torchvision's resnet50


def test_work_by_hand():
    case = Conv(**SMALL, dtype="bf16")
    assert case.output == 5
    assert case.work().ops == 2 * 2 * 25 * 4 * 3 * 9
    assert case.work().bytes == 2 * (2 * 6 * 81 + 2 * 4 * 25 + 4 * 3 * 9)


@given(convolutions(), st.sampled_from(conv.DIRECTIONS))
@settings(max_examples=60, deadline=None)
def test_work_is_what_torch_counts(shape, direction):
    from torch.utils.flop_counter import FlopCounterMode

    case = Conv(**shape, direction=direction)
    x = torch.randn(case.batch, case.c_in, case.input, case.input, requires_grad=direction == "backward-data")
    w = torch.randn(
        case.c_out, case.c_in // case.groups, case.kernel, case.kernel, requires_grad=direction == "backward-weight"
    )
    with FlopCounterMode(display=False) as counter:
        y = torch.conv2d(x, w, stride=case.stride, padding=case.padding, groups=case.groups)
        forward = counter.get_total_flops()
        if direction != "forward":
            y.sum().backward()
    assert tuple(y.shape[2:]) == (case.output, case.output)
    assert forward == case.work().ops  # torch counts a backward pass of groups or strides otherwise, see pytorch's conv_flop
    if direction == "backward-weight" and case.groups == 1:
        assert counter.get_total_flops() - forward == case.work().ops


@given(convolutions(), st.sampled_from(conv.DIRECTIONS))
@settings(max_examples=80, deadline=None)
def test_single_elements_are_those_of_the_convolution(shape, direction):
    case = Conv(**shape, direction=direction)
    x = torch.randn(case.batch, case.c_in, case.input, case.input, dtype=torch.float64, requires_grad=True)
    w = torch.randn(case.c_out, case.c_in // case.groups, case.kernel, case.kernel, dtype=torch.float64, requires_grad=True)
    y = torch.conv2d(x, w, stride=case.stride, padding=case.padding, groups=case.groups)
    dy = torch.randn_like(y)
    y.backward(dy)
    whole = {"forward": y, "backward-data": x.grad, "backward-weight": w.grad}[direction].detach()
    arrays = (x.detach(), w.detach(), dy)
    for flat in range(0, whole.numel(), max(1, whole.numel() // 20)):
        place = tuple(int(part) for part in torch.unravel_index(torch.tensor(flat), whole.shape))
        torch.testing.assert_close(_ELEMENT[direction](case, arrays, place), whole[place])


@pytest.mark.parametrize("direction", conv.DIRECTIONS)
@pytest.mark.parametrize("layout", conv.LAYOUTS)
@pytest.mark.parametrize("dtype", ["fp64", "fp32", "bf16"])
def test_it_runs_and_is_right(cpu, dtype, layout, direction):
    result = harness.measure("conv", Conv(**SMALL, direction=direction, layout=layout, dtype=dtype), cpu, FAST)
    assert result.not_run is None
    assert result.verified.ok, result.verified


@pytest.mark.parametrize("direction", conv.DIRECTIONS)
def test_a_wrong_result_and_none_are_found(cpu, direction):
    prepared = Conv(**SMALL, direction=direction, dtype="bf16").prepare(cpu)
    assert not prepared.verify().ok
    prepared.step()
    assert prepared.verify().ok
    left = next(cell.cell_contents for cell in prepared.step.__closure__ if isinstance(cell.cell_contents, list)
                and len(cell.cell_contents) == 1 and hasattr(cell.cell_contents[0], "shape"))  # fmt: skip
    left[0] = left[0].roll(1, -1)
    assert not prepared.verify().ok


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        pytest.param({"layer": ["conv9"]}, "unknown layer `conv9`", id="layer"),
        pytest.param({"direction": ["backward"]}, "unknown direction", id="direction"),
        pytest.param({"layout": ["nhwc"]}, "unknown layout", id="layout"),
        pytest.param({"algorithm": ["winograd"]}, "unknown algorithm", id="algorithm"),
        pytest.param({"groups": ["3"]}, "do not part into 3 groups", id="groups"),
        pytest.param({"kernel": ["99"]}, "larger than the padded input", id="kernel"),
        pytest.param({"batch": ["0"]}, "positive whole number", id="zero"),
        pytest.param({"stride": ["-1"]}, "positive whole number", id="negative"),
        pytest.param({"dtype": ["fp8_e4m3"]}, "no kernels for fp8_e4m3", id="dtype"),
    ],
)
def test_bad_parameters(axes, text):
    with pytest.raises(UsageError, match=text) as refused:
        cases(Conv, axes)
    assert refused.value.remedy


def test_padding_may_be_none():
    assert cases(Conv, {"padding": ["0"]})[0].padding == 0


def test_what_does_not_fit_is_a_row(cpu):
    result = harness.measure("conv", Conv(batch=2**30), cpu, FAST)
    assert result.not_run is None or "do not fit" in result.not_run
    with pytest.raises(Exception, match="do not fit in half of the free memory"):
        Conv(batch=2**30).prepare(cpu)


def test_the_callers_switches_of_cudnn_are_left_as_they_were(cpu):
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.benchmark
    try:
        cudnn.allow_tf32, cudnn.benchmark = True, False
        tuple(harness.run([("conv", Conv(**SMALL))], cpu, FAST))
        assert (cudnn.allow_tf32, cudnn.benchmark) == (True, False)
    finally:
        cudnn.allow_tf32, cudnn.benchmark = before


def test_names(cpu):
    case = Conv(layer="resnet50-layer2-3x3/2", direction="backward-weight")
    assert (case.label, case.size) == ("layer2-3x3/2 wgrad", "batch 32 fp32")
    assert Conv(**SMALL).size == "batch 2 6x9² to 4x5² fp32"
    assert not conv.default_cases(cpu, "quick")
    assert len(conv.default_cases(cpu, "full")) > len(conv.default_cases(cpu, "standard")) > 0
