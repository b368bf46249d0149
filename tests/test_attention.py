"""Attention: its count of operations, its reference, its refusals."""

from __future__ import annotations

import pytest
from bench_cpu import FAST, cpu_device
from hypothesis import given, settings
from hypothesis import strategies as st

from dltool.bench import cases, harness
from dltool.bench.workloads import attention
from dltool.bench.workloads.attention import Attention
from dltool.bench.workloads.attention_reference import one_head
from dltool.errors import UsageError

torch = pytest.importorskip("torch")

SMALL = {"batch": 2, "heads": 3, "seq": 40, "head_dim": 16}


@pytest.fixture(scope="module")
def cpu():
    return cpu_device()


def test_work_by_hand():
    full = Attention(batch=2, heads=3, seq=5, head_dim=7, causal="no", dtype="bf16")
    assert full.work().ops == 4 * 2 * 3 * 25 * 7
    assert full.work().bytes == 4 * (2 * 3 * 5 * 7) * 2
    trained = Attention(batch=2, heads=3, seq=5, head_dim=7, causal="no", direction="forward+backward", dtype="bf16")
    assert trained.work().ops == int(3.5 * full.work().ops)
    assert trained.work().bytes == 3 * full.work().bytes


@given(*(st.integers(1, 64) for _ in range(4)))
@settings(max_examples=25)
def test_work_is_what_torch_counts(batch, heads, seq, head_dim):
    from torch.utils.flop_counter import FlopCounterMode

    case = Attention(batch=batch, heads=heads, seq=seq, head_dim=head_dim, causal="no", backend="math")
    q = torch.empty(batch, heads, seq, head_dim, device="meta")
    with FlopCounterMode(display=False) as counter:
        torch.matmul(torch.matmul(q, q.transpose(-2, -1)), q)
    assert case.work().ops == counter.get_total_flops()


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 5000), st.integers(1, 256))
def test_causal_is_half_and_sizes_climb(batch, heads, seq, head_dim):
    shape = {"batch": batch, "heads": heads, "seq": seq, "head_dim": head_dim}
    assert 2 * Attention(**shape, causal="yes").work().ops == Attention(**shape, causal="no").work().ops
    sizes = list(Attention(**shape).sizes())
    costs = [size.work().ops for size in sizes]
    assert sizes[-1] == Attention(**shape)
    assert costs == sorted(set(costs))


@pytest.mark.parametrize("causal", [True, False])
def test_the_reference_is_attention_and_its_gradients(causal):
    q, k, v = (torch.randn(300, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    slope = torch.randn(300, 8, dtype=torch.float64)
    output = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    wanted = [output, *torch.autograd.grad(output, (q, k, v), slope)]
    found = one_head(torch, q.detach(), k.detach(), v.detach(), slope, causal=causal)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other.detach())


@pytest.mark.parametrize("direction", attention.DIRECTIONS)
@pytest.mark.parametrize("causal", ["yes", "no"])
@pytest.mark.parametrize("dtype", ["fp64", "fp32", "bf16"])
@pytest.mark.parametrize("backend", ["flash", "math"])
def test_backends_of_the_cpu_are_right(cpu, backend, dtype, causal, direction):
    case = Attention(**SMALL, backend=backend, dtype=dtype, causal=causal, direction=direction)
    result = harness.measure("attention", case, cpu, FAST)
    assert result.not_run is None
    assert result.verified.ok, result.verified


@pytest.mark.parametrize("backend", ["efficient", "cudnn"])
def test_a_backend_that_refuses_is_a_row(cpu, backend):
    result = harness.measure("attention", Attention(**SMALL, backend=backend), cpu, FAST)
    said = f"{backend} refuses causal fp32 with head_dim 16: torch has none for this device. Choose another backend"
    assert (result.not_run or "").startswith(said)


def test_a_missing_mask_and_an_unrun_step_are_found(cpu):
    prepared = Attention(**SMALL, causal="yes").prepare(cpu)
    assert not prepared.verify().ok
    unmasked = Attention(**SMALL, causal="no").prepare(cpu)
    unmasked.step()
    prepared = Attention(**SMALL, causal="yes").prepare(cpu)
    prepared.step()
    assert prepared.verify().ok
    cell = next(cell.cell_contents for cell in prepared.step.__closure__ if isinstance(cell.cell_contents, list)
                and len(cell.cell_contents) == 1)  # fmt: skip
    cell[0][0, 0, 0, 0] += 1.0
    assert not prepared.verify().ok


def test_wrong_gradients_are_found(cpu):
    case = Attention(**SMALL, direction="forward+backward", dtype="bf16")
    prepared = case.prepare(cpu)
    prepared.step()
    left = next(cell.cell_contents for cell in prepared.step.__closure__ if isinstance(cell.cell_contents, list)
                and len(cell.cell_contents) == 4)  # fmt: skip
    assert prepared.verify().ok
    left[2] = left[2] * 1.1
    assert not prepared.verify().ok
    left[2] = left[2] * float("nan")
    assert prepared.verify().error is None


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        pytest.param({"backend": ["flsh"]}, "unknown backend `flsh`", id="backend"),
        pytest.param({"model": ["gpt3"]}, "unknown model `gpt3`", id="model"),
        pytest.param({"direction": ["up"]}, "unknown direction", id="direction"),
        pytest.param({"causal": ["maybe"]}, "unknown causal", id="causal"),
        pytest.param({"dtype": ["int8"]}, "no kernels for int8", id="dtype"),
        pytest.param({"seq": ["0"]}, "positive whole number", id="zero"),
        pytest.param({"head_dim": ["-8"]}, "positive whole number", id="negative"),
    ],
)
def test_bad_parameters(axes, text):
    with pytest.raises(UsageError, match=text) as refused:
        cases(Attention, axes)
    assert refused.value.remedy


def test_odd_head_dims_and_huge_shapes_are_answered(cpu):
    odd = harness.measure("attention", Attention(batch=1, heads=1, seq=33, head_dim=37), cpu, FAST)
    assert odd.not_run is None
    assert odd.verified.ok
    huge = harness.measure("attention", Attention(batch=4096, heads=4096, seq=2**20, head_dim=64, backend="math"), cpu, FAST)
    assert huge.not_run or any("smaller size" in warning for warning in huge.warnings)
    with pytest.raises(Exception, match="do not fit in half of the free memory"):
        Attention(batch=4096, heads=4096, seq=2**20, head_dim=64).prepare(cpu)


def test_tf32_needs_cuda(cpu):
    assert "CUDA" in harness.measure("attention", Attention(**SMALL, dtype="tf32"), cpu, FAST).not_run


def test_models_and_names(cpu):
    assert (Attention().label, Attention().size) == ("flash fwd", "gpt2 fp32")
    assert Attention(**SMALL, causal="no").size == "2x3x40x16 fp32"
    assert Attention(model="vit-b").causal == "no"
    assert not attention.default_cases(cpu, "quick")
    assert len(attention.default_cases(cpu, "full")) > len(attention.default_cases(cpu, "standard")) > 0
