"""What detectors are made of against the plainest form of it, written with loops."""

from __future__ import annotations

import io
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from dltool import models
from dltool.models.detection import boxes, masks, matching, operators
from dltool.models.rcnn import MaxPool
from dltool.zoo.inputs import tensors

few = st.integers(0, 2**31)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def some_boxes(number: int, size: float, chance: torch.Generator) -> Tensor:
    low = torch.rand(number, 2, generator=chance).double() * size
    return torch.cat((low, low + torch.rand(number, 2, generator=chance).double() * size / 2 + 0.1), 1)


def overlap(first: list[float], second: list[float]) -> float:
    wide = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    high = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return wide * high / (sum(areas) - wide * high)


def slow_nms(found: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    kept: list[int] = []
    for candidate in sorted(range(len(found)), key=lambda index: -scores[index]):
        if all(overlap(found[candidate], found[better]) <= threshold for better in kept):
            kept.append(candidate)
    return kept


@given(st.integers(0, 60), st.floats(0.05, 0.9), st.floats(2, 50), few)
def test_suppression_is_greedy(number: int, threshold: float, size: float, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    found, scores = some_boxes(number, size, chance), torch.rand(number, generator=chance).double()
    expected = slow_nms(found.tolist(), scores.tolist(), threshold)
    assert operators.plain_nms(found, scores, threshold).tolist() == expected


@given(few, st.booleans())
def test_groups_do_not_suppress_one_another(seed: int, together: bool) -> None:
    chance = torch.Generator().manual_seed(seed)
    found, scores = some_boxes(40, 12, chance), torch.rand(40, generator=chance).double()
    groups = torch.randint(4, (40,), generator=chance)
    expected: list[int] = []
    for group in range(4):
        members = torch.where(groups == group)[0]
        expected += members[slow_nms(found[members].tolist(), scores[members].tolist(), 0.4)].tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "_TOGETHER", {"cpu": 1000 if together else 0})
        answer = operators.suppressed(found, scores, groups, 0.4).tolist()
    assert answer == sorted(expected, key=lambda index: -float(scores[index]))


def slow_align(picture: Tensor, roi: list[float], side: int, scale: float, samples: int) -> Tensor:
    """(c, side, side) of one region, as the kernels of the reference do it."""
    x1, y1, x2, y2 = (value * scale for value in roi)
    wide, high = max(x2 - x1, 1.0) / side, max(y2 - y1, 1.0) / side
    answer = torch.zeros(picture.shape[0], side, side, dtype=picture.dtype)
    for row in range(side):
        for column in range(side):
            for i in range(samples):
                for j in range(samples):
                    y = y1 + (row + (i + 0.5) / samples) * high
                    x = x1 + (column + (j + 0.5) / samples) * wide
                    answer[:, row, column] += bilinear(picture, y, x) / samples**2
    return answer


def bilinear(picture: Tensor, y: float, x: float) -> Tensor:
    height, width = picture.shape[-2:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(len(picture), dtype=picture.dtype)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = picture[:, top, left] * (1 - x + left) + picture[:, top, right] * (x - left)
    lower = picture[:, bottom, left] * (1 - x + left) + picture[:, bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


@given(few, st.sampled_from([0.25, 0.5, 1.0]), st.integers(1, 3))
def test_aligned_regions(seed: int, scale: float, samples: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 6, 7, generator=chance).double()
    found = some_boxes(5, 8 / scale, chance) - 1 / scale  # some reach beyond the picture
    which = torch.randint(2, (5,), generator=chance)
    answer = operators.plain_roi_align(features, torch.cat((which[:, None], found), 1), 2, scale, samples)
    for number in range(5):
        expected = slow_align(features[which[number]], found[number].tolist(), 2, scale, samples)
        torch.testing.assert_close(answer[number], expected)


def test_regions_are_aligned_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = torch.Generator().manual_seed(0)
    features, found = torch.randn(1, 3, 6, 7, generator=chance), some_boxes(9, 5, chance).float()
    rois = torch.cat((torch.zeros(9, 1), found), 1)
    at_once = operators.plain_roi_align(features, rois, 2, 1.0, 2)
    monkeypatch.setattr(operators, "_READ_AT_ONCE", 1)
    torch.testing.assert_close(operators.plain_roi_align(features, rois, 2, 1.0, 2), at_once)
    assert operators.plain_roi_align(features, rois[:0], 2, 1.0, 2).shape == (0, 3, 2, 2)


def test_gradients_flow_through_aligned_regions() -> None:
    chance = torch.Generator().manual_seed(0)
    features = torch.randn(1, 2, 5, 5, generator=chance).double().requires_grad_()
    rois = torch.cat((torch.zeros(3, 1), some_boxes(3, 4, chance)), 1)
    assert torch.autograd.gradcheck(lambda x: operators.plain_roi_align(x, rois, 2, 1.0, 2), (features,))


@given(few)
def test_cropped_masks_are_aligned_with_a_point_for_each_pixel(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    drawn = (torch.rand(2, 11, 13, generator=chance) < 0.5).byte()
    found, which = some_boxes(3, 9, chance), torch.randint(2, (3,), generator=chance)
    answer = masks.cropped(drawn, found, which, 2)
    for number, box in enumerate(found.tolist()):
        picture = drawn[which[number]][None].double()
        points = [math.ceil(max(box[axis + 2] - box[axis], 1) / 2) for axis in (0, 1)]
        wide, high = (max(box[axis + 2] - box[axis], 1) / 2 for axis in (0, 1))
        for row in range(2):
            for column in range(2):
                values = [
                    bilinear(
                        picture, box[1] + (row + (i + 0.5) / points[1]) * high, box[0] + (column + (j + 0.5) / points[0]) * wide
                    )
                    for i in range(points[1])
                    for j in range(points[0])
                ]
                torch.testing.assert_close(answer[number, row, column], torch.stack(values).mean())


@given(few)
def test_coding_there_and_back(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    found, anchors = some_boxes(6, 100, chance), some_boxes(6, 100, chance)
    offsets = boxes.encoded(found, anchors, WEIGHTS).clamp(-20, 20)
    back = boxes.encoded(boxes.decoded(offsets, anchors, WEIGHTS), anchors, WEIGHTS)
    torch.testing.assert_close(back, offsets)


def test_clipping_and_small_boxes() -> None:
    found = boxes.clipped(torch.tensor([[-3.0, 4, 20, 30], [1, 2, 1.5, 9]]), (10, 15))
    assert found.tolist() == [[0, 4, 15, 10], [1, 2, 1.5, 9]]
    assert boxes.large(found, 1.0).tolist() == [0]


def test_matching() -> None:
    true = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    found = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 5], [0, 0, 2, 2], [58, 58, 68, 68]])  # 0.9, 0.5, 0.04; 0.02 of the second
    assert matching.matched(true, found, 0.7, 0.3, nearest=False).tolist() == [0, matching.BETWEEN, -1, -1]
    assert matching.matched(true, found, 0.7, 0.3, nearest=True).tolist() == [0, matching.BETWEEN, -1, 1]
    assert matching.claimed(true, found, 0.6).tolist() == [0, -1, -1, 1]
    assert matching.matched(true[:0], found, 0.7, 0.3, nearest=True).tolist() == [-1] * 4
    assert matching.claimed(true[:0], found, 0.7).tolist() == [-1] * 4


@given(st.lists(st.integers(-1, 3), max_size=60), st.integers(1, 40), few)
def test_sampling_is_balanced(labels: list[int], number: int, seed: int) -> None:
    torch.manual_seed(seed)
    found = torch.tensor(labels, dtype=torch.long)
    near, far = matching.sampled(found, number, 0.25)
    assert (found[near] > 0).all()
    assert (found[far] == 0).all()
    assert len({*near.tolist(), *far.tolist()}) == len(near) + len(far)
    assert len(near) == min(number // 4, sum(label > 0 for label in labels))
    assert len(far) == min(number - len(near), labels.count(0))


def test_what_computes_the_operators_is_told() -> None:
    assert set(operators.which()) == {"nms", "roi_align"}
    assert set(operators.which().values()) <= {"torch", "torchvision"}


@pytest.mark.parametrize("library", [b"", b"not a library"], ids=["none", "broken"])
def test_a_broken_torchvision_is_no_error(library: bytes, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    if library:
        (package / "_C.so").write_bytes(library)
    monkeypatch.setattr(operators, "find_spec", lambda _name: type("Spec", (), {"submodule_search_locations": [str(package)]}))
    assert not operators._loads.__wrapped__()
    monkeypatch.setattr(operators, "find_spec", lambda _name: None)
    assert not operators._loads.__wrapped__()


def test_the_largest_value_of_each_cell() -> None:
    features = torch.arange(64.0).view(1, 1, 8, 8)
    found = MaxPool(2, 16)([features], [torch.tensor([[0.0, 0, 48, 48], [16, 32, 16, 32], [500, 500, 900, 900]])])
    assert found[:, 0].tolist() == [[[9, 11], [25, 27]], [[17, 17], [17, 17]], [[63, 63], [63, 63]]]


def test_weights_of_older_versions_fit() -> None:
    options = {"layers": (1, 1, 1, 1), "channels": 16, "width": 8, "num_classes": 3}
    first, second = (models.build("maskrcnn_resnet50_fpn", frozen_bn=frozen, **options) for frozen in (False, True))
    renamed = {f"mask_head.{number}.0": f"mask_head.mask_fcn{number + 1}" for number in range(4)}
    renamed["rpn.head.conv.0.0"] = "rpn.head.conv"
    old = {}
    for key, value in first.state_dict().items():
        for new, name in renamed.items():
            key = key.replace(new, name)
        if ".fpn." in key:
            key = key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        old[key] = value
    assert old.keys() != first.state_dict().keys()
    second.load_state_dict(old)
    for key, value in second.state_dict().items():
        torch.testing.assert_close(value, first.state_dict()[key])


def test_a_detector_can_be_saved_whole() -> None:
    model = models.build("retinanet_resnet50_fpn", layers=(1, 1, 1, 1), channels=16, num_classes=3, device="meta")
    torch.save(model, io.BytesIO())


@pytest.mark.parametrize("frozen", [True, False])
def test_what_learns_is_what_published_weights_were_trained_with(frozen: bool) -> None:
    model = models.build("fasterrcnn_resnet50_fpn", frozen_bn=frozen, device="meta")
    learns = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert learns == (41_532_886 if frozen else 41_808_406)


def test_pictures_as_one_tensor_or_a_list() -> None:
    model = models.build("ssd300_vgg16", width=4, num_classes=3, score_thresh=0.3).eval()
    pictures = torch.rand(2, 3, 40, 50)
    with torch.no_grad():
        torch.testing.assert_close(model(pictures), model(list(pictures)))


def test_training_needs_targets_that_are_boxes() -> None:
    model: nn.Module = models.build("ssd300_vgg16", width=4, num_classes=3)
    with pytest.raises(ValueError, match="needs targets"):
        model([torch.rand(3, 40, 50)])
    flat = {"boxes": torch.tensor([[5.0, 5, 5, 9]]), "labels": torch.tensor([1])}
    with pytest.raises(ValueError, match="positive width and height"):
        model([torch.rand(3, 40, 50)], [flat])


def test_boxes_as_inputs_lie_in_their_pictures() -> None:
    pictures, found = tensors("float:N,3,20,30 + box<20,30>:N,50", 2, dtype=torch.bfloat16)
    assert (pictures.dtype, found.dtype, found.shape) == (torch.bfloat16, torch.float32, (2, 50, 4))
    assert (found[..., 2:] - found[..., :2] >= 0.999).all()
    assert (found >= 0).all()
    assert (found[..., 2] <= 30).all()
    assert (found[..., 3] <= 20).all()
    assert tensors("box<20,30>:N,50", 2, device="meta")[0].shape == (2, 50, 4)
