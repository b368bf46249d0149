"""The zoo on a real GPU: a training step of every model in small, and the estimate of memory against the allocator's peak."""

from __future__ import annotations

import pytest
from zoo_small import all_small

from dltool.zoo import entries, memory
from dltool.zoo.subject import Subject, of_entry, step_of

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")
MODELS = [entry for entry in entries() if not entry.options]
WHOLE = ("resnet50", "mobilenet_v3_large", "vit_b_16", "unet_padded", "bert_base", "gpt2", "lstm_lm", "dcgan_generator")
"""Of usual size: where workspaces and the holes between blocks are small beside the rest."""
LIMIT = 0.15


@pytest.fixture(autouse=True)
def cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.name)
def test_a_training_step_is_finite(entry) -> None:
    small = all_small()[entry.name]
    step = step_of(of_entry(entry, {name: str(value) for name, value in small.options.items()}), 2, "cuda")
    loss = step.loss()
    loss.backward()
    assert loss.isfinite()
    gradients = [parameter.grad for parameter in step.model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def peak_of(subject: Subject, batch: int) -> int:
    """Bytes at most allocated in the third training step with AdamW, in fp32."""
    step = step_of(subject, batch, "cuda")
    descent = torch.optim.AdamW(step.model.parameters())
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        descent.zero_grad()
        step.loss().backward()
        descent.step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


@pytest.mark.parametrize("name", WHOLE)
def test_the_estimate_of_memory_holds(name: str) -> None:
    subject = of_entry(next(entry for entry in MODELS if entry.name == name))
    assert memory.training(subject, 8).peak == pytest.approx(peak_of(subject, 8), rel=LIMIT)
