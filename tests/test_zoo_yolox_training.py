"""SimOTA and the losses of YOLOX against slow, plain forms of themselves."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_zoo_yolox_boxes import plain_overlap
from torch import Tensor

from dltool.models.yolox_boxes import cells
from dltool.models.yolox_training import assign, losses

SIZES, STRIDES = [(8, 6), (4, 3), (2, 2)], (8, 16, 32)
PLACES, STEPS = cells(SIZES, STRIDES, torch.zeros((), dtype=torch.float64))
CENTRES = (PLACES + 0.5) * STEPS
PREDICTIONS = len(PLACES)


def cross_entropy(logits: list[float], kind: int) -> float:
    """Of sqrt(objectness x class probability) for each class; `logits` are of objectness and classes."""
    objectness, *classes = (1 / (1 + math.exp(-x)) for x in logits)
    chances = [math.sqrt(objectness * chance) for chance in classes]
    return -sum(math.log(chance) if place == kind else math.log(1 - chance) for place, chance in enumerate(chances))


def plain_assignment(boxes: Tensor, logits: Tensor, objects: Tensor) -> dict[int, tuple[int, float]]:
    """The paper's words for one image: prediction -> its object and the overlap of both."""
    real = [row for row in objects.tolist() if sum(row) > 0]
    near = {
        (g, a)
        for g, (_, x, y, _, _) in enumerate(real)
        for a in range(PREDICTIONS)
        if max(abs(float(CENTRES[a, 0]) - x), abs(float(CENTRES[a, 1]) - y)) < 1.5 * float(STEPS[a])
    }
    possible = sorted({a for _, a in near})
    overlaps, costs, takers = {}, {}, {}
    for g, (kind, *box) in enumerate(real):
        for a in possible:
            overlaps[g, a] = plain_overlap(tuple(box), tuple(boxes[a].tolist()))
            costs[g, a] = cross_entropy(logits[a].tolist(), int(kind)) - 3 * math.log(overlaps[g, a] + 1e-8)
            costs[g, a] += 0 if (g, a) in near else 1e6
        number = max(1, int(sum(sorted((overlaps[g, a] for a in possible), reverse=True)[:10])))
        for a in sorted(possible, key=lambda a: costs[g, a])[:number]:
            takers.setdefault(a, []).append(g)
    owners = {
        a: wanted[0] if len(wanted) == 1 else min(range(len(real)), key=lambda g: costs[g, a]) for a, wanted in takers.items()
    }
    return {a: (g, overlaps[g, a]) for a, g in owners.items()}


def scene(seed: int, images: int, objects: int, classes: int, likeness: float) -> tuple[Tensor, Tensor, Tensor]:
    """Random objects, and predictions of which a share stands about where the objects are: boxes, logits, labels."""
    chance = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance, dtype=torch.float64)

    labels = torch.cat(
        (
            torch.randint(classes, (images, objects, 1), generator=chance),
            drawn(images, objects, 2) * 80 - 10,  # some centres lie outside the image of 48 x 64
            drawn(images, objects, 2) * 40 + 2,
        ),
        -1,
    )
    count = torch.randint(objects + 1, (images, 1), generator=chance)
    labels[torch.arange(objects).expand(images, -1) >= count] = 0
    boxes = torch.cat((CENTRES.expand(images, -1, -1), drawn(images, PREDICTIONS, 2) * 40 + 1), -1)
    if objects:
        own = labels[:, torch.randint(objects, (PREDICTIONS,), generator=chance), 1:]
        alike = (drawn(images, PREDICTIONS, 1) < likeness) & (own[..., 2:3] > 0)
        boxes = torch.where(alike, own * (0.9 + 0.2 * drawn(images, PREDICTIONS, 4)), boxes)
    return boxes, 3 * torch.randn(images, PREDICTIONS, 1 + classes, generator=chance, dtype=torch.float64), labels


@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 3),
    objects=st.integers(0, 9),
    classes=st.integers(1, 5),
    likeness=st.sampled_from([0.0, 0.3, 0.9]),
)
@settings(max_examples=60, deadline=None)
def test_the_assignment_is_that_of_a_plain_loop(seed: int, images: int, objects: int, classes: int, likeness: float) -> None:
    boxes, logits, labels = scene(seed, images, objects, classes, likeness)
    found = assign(boxes, logits, labels, CENTRES, STEPS)
    for image in range(images):
        expected = plain_assignment(boxes[image], logits[image], labels[image])
        assert set(found.positive[image].nonzero().flatten().tolist()) == set(expected)
        for a, (g, iou) in expected.items():
            assert int(found.matched[image, a]) == g
            assert abs(float(found.iou[image, a]) - iou) < 1e-9


def raw_boxes(boxes: Tensor) -> Tensor:
    """What a head would have to say for these boxes."""
    return torch.cat((boxes[..., :2] / STEPS - PLACES, (boxes[..., 2:] / STEPS).log()), -1)


def raw_of(boxes: Tensor, logits: Tensor) -> Tensor:
    return torch.cat((raw_boxes(boxes), logits), -1)


def test_the_losses_are_means_over_the_predictions_that_answer() -> None:
    boxes, logits, labels = scene(5, 2, 6, 3, 0.5)
    found = losses(raw_of(boxes, logits), labels, PLACES, STEPS, use_l1=True)
    iou = conf = cls = l1 = 0.0
    answers = 0
    for image in range(2):
        expected = plain_assignment(boxes[image], logits[image], labels[image])
        answers += len(expected)
        for a in range(PREDICTIONS):
            objectness, *classes = (1 / (1 + math.exp(-x)) for x in logits[image, a].tolist())
            conf -= math.log(objectness if a in expected else 1 - objectness)
            if a not in expected:
                continue
            owner, shared = expected[a]
            kind, *box = labels[image, owner].tolist()
            iou += 5 * (1 - shared**2)
            wanted = [shared if place == kind else 0.0 for place in range(3)]
            cls -= sum(w * math.log(p) + (1 - w) * math.log(1 - p) for w, p in zip(wanted, classes, strict=True))
            l1 += float((raw_boxes(torch.tensor(box))[a] - raw_boxes(boxes)[image, a]).abs().sum())
    assert answers > 6
    parts = {"iou_loss": iou, "conf_loss": conf, "cls_loss": cls, "l1_loss": l1}
    for key, total in parts.items():
        assert abs(float(found[key]) - total / answers) < 1e-6 * total
    assert abs(float(found["total_loss"]) - sum(parts.values()) / answers) < 1e-5
    assert abs(float(found["num_fg"]) - answers / int((labels.sum(-1) > 0).sum())) < 1e-6


def test_rows_of_zeros_say_nothing() -> None:
    boxes, logits, labels = scene(7, 2, 4, 3, 0.5)
    more = torch.cat((labels, torch.zeros(2, 5, 5)), 1)
    once, again = (losses(raw_of(boxes, logits), given, PLACES, STEPS, use_l1=True) for given in (labels, more))
    assert once == again


def test_without_objects_only_objectness_is_learnt() -> None:
    boxes, logits, _ = scene(8, 2, 0, 3, 0.0)
    for labels in (torch.zeros(2, 0, 5), torch.zeros(2, 3, 5)):
        raw = raw_of(boxes, logits).requires_grad_()
        found = losses(raw, labels, PLACES, STEPS, use_l1=True)
        found["total_loss"].backward()
        assert float(found["total_loss"].detach()) == float(found["conf_loss"].detach()) > 0
        assert raw.grad is not None
        assert (raw.grad[..., 4] != 0).all()
        assert raw.grad[..., :4].abs().sum() == raw.grad[..., 5:].abs().sum() == 0


def test_a_perfect_prediction_has_no_loss_of_place() -> None:
    box = torch.tensor([20.0, 30.0, 12.0, 18.0], dtype=torch.float64)
    labels = torch.cat((torch.ones(1), box)).reshape(1, 1, 5)
    found = losses(raw_of(box.expand(1, PREDICTIONS, 4), torch.zeros(1, PREDICTIONS, 4)), labels, PLACES, STEPS, use_l1=True)
    assert float(found["iou_loss"]) < 1e-12
    assert float(found["l1_loss"]) < 1e-6
    assert float(found["num_fg"]) == 10
