"""Memory: against what is held by construction, and against torch's allocator on this CPU."""

from __future__ import annotations

import gc

import pytest
import torch
from test_zoo_flops import own
from torch import Tensor, nn
from torch.nn import functional
from zoo_allocator import inference_peak, training_peak

from dltool.errors import UsageError
from dltool.zoo import memory, subject
from dltool.zoo.autocast import meta_autocast
from dltool.zoo.storages import Storages, following
from dltool.zoo.subject import Subject

WITHIN = 0.15
KIB = 1024


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 8))


WEIGHTS = 4 * (256 * 512 + 512 + 512 * 512 + 512 + 512 * 8 + 8 + 120)  # one bias is rounded up to a block


def mlp() -> Subject:
    return own(Mlp, (256,))


def test_each_part_of_a_step_is_what_its_shapes_say() -> None:
    held = memory.training(mlp(), 64, optimizer="adamw")
    assert held.weights == held.gradients == WEIGHTS
    assert held.state == 2 * WEIGHTS
    assert held.inputs == 64 * 256 * 4
    outputs = 64 * 4 * (512 + 512 + 512 + 512 + 8)
    assert outputs - 2 * 64 * 4 * 512 <= held.activations <= outputs + 8 * KIB  # ReLU keeps its result, not its input
    assert held.peak == sum(held.at_peak.values())
    assert held.found_on == "meta"


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 0), ("momentum", 1), ("adam", 2), ("adamw", 2)])
def test_the_state_of_each_optimizer(optimizer: str, states: int) -> None:
    held = memory.training(mlp(), 2, optimizer=optimizer)
    assert held.state == states * WEIGHTS
    assert held.peak >= (2 + states) * WEIGHTS


def test_all_parameters_at_once_take_more_than_one_after_the_other() -> None:
    deep = own(lambda: nn.Sequential(*(nn.Linear(64, 64) for _ in range(12))), (64,))
    gpu, cpu = (memory.training(deep, 2, habits=habits).peak for habits in (memory.GPU, memory.CPU))
    assert gpu > cpu


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_the_width_is_half_the_memory(dtype: str) -> None:
    full, half = (memory.training(mlp(), 64, dtype=each) for each in ("fp32", dtype))
    assert half.peak == pytest.approx(full.peak / 2, rel=0.02)
    assert memory.inference(mlp(), 64, dtype=dtype).weights == pytest.approx(WEIGHTS / 2, rel=0.01)


def test_mixed_precision_keeps_the_weights_and_halves_the_activations() -> None:
    full, mixed = (memory.training(mlp(), 4096, dtype=each) for each in ("fp32", "mixed"))
    assert (mixed.weights, mixed.gradients, mixed.state) == (full.weights, full.gradients, full.state)
    assert mixed.activations == pytest.approx(full.activations / 2 + WEIGHTS / 2 + 64 * KIB, rel=0.2)


def test_a_forward_holds_no_more_than_two_layers() -> None:
    held = memory.inference(mlp(), 4096)
    assert held.optimizer is None
    assert held.peak == pytest.approx(WEIGHTS + 4096 * 4 * (256 + 512 + 512), rel=0.01)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 32)).permute(2, 0, 3, 1, 4)
        return self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


def test_attention_holds_no_maps() -> None:
    short, long = (memory.training(own(Attention, (steps, 64)), 1) for steps in (512, 4096))
    assert long.activations == pytest.approx(8 * short.activations, rel=0.01)  # grows with the tokens, not with their square
    assert long.activations < 4096 * 4 * (192 + 3 * 64 + 2) * 1.1


def test_a_peak_in_the_forward_is_told_by_what_stays_of_it() -> None:
    wide = own(lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4096), nn.Softmax(1)), (8,))
    held = memory.training(wide, 256, optimizer="sgd")
    assert sum(held.at_peak.values()) == held.peak
    storages = Storages(512)
    with following(storages, lambda *_: 0):
        first, second = torch.zeros(1000, device="meta"), torch.zeros(500, device="meta")
        del second
        storages.rename("temporary", "activations")
    assert storages.at_peak == {"activations": 4096, "temporary": 2048}
    assert first.shape == (1000,)


def test_what_dies_is_no_longer_held() -> None:
    storages = Storages(512)
    with following(storages, lambda *_: 0):
        first = torch.zeros(1000, device="meta")
        view = first[:10]
        assert storages.live["temporary"] == 4096
        del first
        gc.collect()
        assert storages.live["temporary"] == 4096  # the view keeps it
        del view
        gc.collect()
        assert storages.live["temporary"] == 0
    assert storages.peak == 4096


@pytest.mark.parametrize(("dtype", "optimizer", "word"), [("fp23", "sgd", "dtype"), ("fp32", "sdg", "optimizer")])
def test_unknown_names_are_refused(dtype: str, optimizer: str, word: str) -> None:
    with pytest.raises(UsageError, match=f"unknown {word}"):
        memory.training(mlp(), 1, dtype=dtype, optimizer=optimizer)


def test_autocast_takes_products_lower_and_norms_not() -> None:
    with torch.device("meta"):
        layer, norm, x = nn.Linear(8, 8), nn.LayerNorm(8), torch.zeros(2, 8)
    with meta_autocast(torch.bfloat16):
        low = layer(x)
        assert low.dtype is torch.bfloat16
        assert (low @ low.T).dtype is torch.bfloat16
        assert norm(low).dtype is torch.float32
        assert functional.relu(low).dtype is torch.bfloat16
        assert functional.cross_entropy(low, torch.zeros(2, dtype=torch.int64, device="meta")).dtype is torch.float32
    assert layer(x).dtype is torch.float32


def convolutions() -> nn.Module:
    parts = [nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)) for _ in range(4)]
    return nn.Sequential(*parts, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 16 * 16, 10))


SEEN: dict[str, Subject] = {
    "convolutions": own(convolutions, (16, 32, 32)),
    "mlp": mlp(),
    "attention": own(Attention, (1024, 64)),
    "layers of tokens": own(lambda: nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.LayerNorm(96)), (50, 64)),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_training_step_is_what_the_allocator_sees(name: str) -> None:
    estimated = memory.training(SEEN[name], 8, habits=memory.CPU)
    seen = training_peak(SEEN[name], 8, torch.optim.AdamW, foreach=False)
    assert estimated.peak == pytest.approx(seen, rel=WITHIN)


@pytest.mark.parametrize("name", SEEN)
def test_a_forward_is_what_the_allocator_sees(name: str) -> None:
    assert memory.inference(SEEN[name], 8, habits=memory.CPU).peak == pytest.approx(inference_peak(SEEN[name], 8), rel=WITHIN)


def test_resnet50_keeps_what_is_known_of_it() -> None:
    """82.3 MiB a sample with the image, by hooks on saved tensors."""
    held = memory.training(subject.of_zoo("resnet50"), 2)
    assert (held.activations + held.inputs) / 2 / 2**20 == pytest.approx(82.3, rel=0.01)
