"""Targets and losses of segmentation, in images and in volumes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from zoo_references import monai

from dltool.zoo.tasks import semantic_segmentation, task, volume_segmentation


class Given(nn.Module):
    """Answers what it was given, cut to the size of its input's batch."""

    def __init__(self, answer: Tensor | dict[str, Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        if isinstance(self.answer, Tensor):
            return self.answer[: len(x)]
        return {name: value[: len(x)] for name, value in self.answer.items()}


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_targets_have_the_size_of_the_output() -> None:
    images = torch.zeros(3, 1, 20, 20)
    found = task("semantic-segmentation").targets(Given(torch.zeros(3, 5, 8, 12)), (images,), chance())
    assert found.shape == (3, 8, 12)
    assert found.dtype == torch.int64
    assert set(found.flatten().tolist()) == set(range(5))


def test_segments_are_regions() -> None:
    found = semantic_segmentation.random_map(9, (1, 16, 16), chance())
    assert torch.equal(found, found[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))


def test_a_model_stays_in_the_mode_it_was_in() -> None:
    model = Given(torch.zeros(1, 2, 4, 4)).train()
    task("semantic-segmentation").targets(model, (torch.zeros(1, 1, 4, 4),), chance())
    assert model.training


def test_the_auxiliary_head_weighs_half() -> None:
    out, aux = torch.randn(2, 5, 6, 6), torch.randn(2, 5, 6, 6)
    classes = torch.randint(5, (2, 6, 6))
    found = task("semantic-segmentation").loss(Given({"out": out, "aux": aux}), (torch.zeros(2, 3, 6, 6),), classes)
    expected = functional.cross_entropy(out, classes) + 0.5 * functional.cross_entropy(aux, classes)
    torch.testing.assert_close(found, expected)


def test_one_class_is_there_or_not() -> None:
    logits, classes = torch.randn(2, 1, 6, 6), torch.randint(2, (2, 6, 6))
    of = task("semantic-segmentation")
    assert set(of.targets(Given(logits), (logits,), chance()).flatten().tolist()) == {0, 1}
    expected = functional.cross_entropy(torch.cat([torch.zeros_like(logits), logits], 1), classes)
    torch.testing.assert_close(of.loss(Given(logits), (logits,), classes), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_volumes_have_targets_of_their_output(channels: int) -> None:
    logits = torch.randn(2, channels, 8, 4, 12)
    found = task("volume-segmentation").targets(Given(logits), (torch.zeros(2, 1, 8, 4, 12),), chance())
    assert found.shape == (2, 8, 4, 12)
    assert set(found.flatten().tolist()) == set(range(max(2, channels)))


@pytest.mark.parametrize("channels", [1, 3])
def test_dice_is_0_where_all_is_found_and_1_where_nothing_is(channels: int) -> None:
    classes = torch.zeros(2, 4, 4, 4, dtype=torch.int64)
    for present in range(1, max(2, channels)):
        classes[:, present] = present
    sure = 100 * (functional.one_hot(classes, max(2, channels)).movedim(-1, 1).float() - 0.5)
    logits = sure[:, 1:] if channels == 1 else sure
    loss = task("volume-segmentation").loss
    torch.testing.assert_close(loss(Given(logits), (logits,), classes), torch.tensor(0.0))
    elsewhere = classes.roll(2, 1)
    torch.testing.assert_close(loss(Given(logits), (logits,), elsewhere), torch.tensor(1.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_dice_equals_monai(channels: int) -> None:
    monai()
    from monai.losses import DiceLoss

    logits = torch.randn(2, channels, 4, 4, 6)
    classes = torch.randint(max(2, channels), (2, 4, 4, 6))
    kind = {"sigmoid": True} if channels == 1 else {"softmax": True, "to_onehot_y": True, "include_background": False}
    expected = DiceLoss(squared_pred=True, **kind)(logits, classes[:, None].float())
    torch.testing.assert_close(volume_segmentation.loss(Given(logits), (logits,), classes), expected)
