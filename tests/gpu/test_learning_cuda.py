"""Small models trained on a GPU in every number format, held against fp32 on the CPU."""

from __future__ import annotations

import pytest

from dltool.bench.learning import exam, trials, ways
from dltool.bench.learning.lessons import lesson
from dltool.bench.learning.training import train

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")


@pytest.mark.parametrize("name", ["mlp-digits", "lenet5_d2l-digits", "lstm_lm-sources", "gcn-karate"])
@pytest.mark.parametrize("dtype", ["fp32", "tf32", "amp-bf16", "amp-fp16"])
def test_a_gpu_learns_as_the_cpu_does(name: str, dtype: str) -> None:
    (trial,) = trials.chosen([name], folder=False)
    reference = exam.refer(trial, None, 300)
    found = exam.judged(trial, ways.way(dtype), train(trial, lesson(trial), ways.way(dtype), "cuda:0", 0), reference)
    assert (found.verdict, found.reasons) == (exam.LEARNS, ())
