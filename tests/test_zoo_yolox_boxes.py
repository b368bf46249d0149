"""What YOLOX keeps of its boxes, against plain Python."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dltool.models.yolox_boxes import overlap, postprocess, suppressed

Box = tuple[float, float, float, float]


def plain_overlap(a: Box, b: Box) -> float:
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def plain_suppression(boxes: list[Box], kinds: list[int], most: float) -> list[int]:
    kept: list[int] = []
    for place, box in enumerate(boxes):
        rivals = [boxes[other] for other in kept if kinds[other] == kinds[place]]
        if all(plain_overlap(rival, box) <= most for rival in rivals):
            kept.append(place)
    return kept


side = st.integers(1, 30)
boxes = st.lists(st.tuples(st.tuples(side, side, side, side), st.integers(0, 2)), max_size=25)


@given(found=boxes, most=st.sampled_from([0.05, 0.3, 0.45, 0.7, 1.0]))
@settings(max_examples=100, deadline=None)
def test_suppression_keeps_what_a_plain_loop_keeps(found: list[tuple[Box, int]], most: float) -> None:
    here, kinds = [box for box, _ in found], [kind for _, kind in found]
    held = torch.tensor(here, dtype=torch.float64).reshape(-1, 4)
    assert suppressed(held, torch.tensor(kinds), most).tolist() == plain_suppression(here, kinds, most)


@given(one=st.tuples(side, side, side, side), other=st.tuples(side, side, side, side))
def test_overlap_is_a_symmetric_share(one: Box, other: Box) -> None:
    a, b = (torch.tensor(box, dtype=torch.float64) for box in (one, other))
    assert float(overlap(a, b)) == float(overlap(b, a))
    assert abs(float(overlap(a, b)) - plain_overlap(one, other)) < 1e-12
    assert float(overlap(a, a)) == 1


def test_an_image_gives_its_boxes_the_surest_first() -> None:
    prediction = torch.tensor(
        [
            [
                [10, 10, 4, 4, 0.8, 0.9, 0.1],
                [10, 10, 4, 4, 0.9, 0.9, 0.2],  # the same, surer
                [10, 10, 4, 4, 0.8, 0.1, 0.7],  # another class
                [50, 60, 8, 2, 0.9, 0.3, 0.2],  # unsure
                [50, 60, 8, 2, 1.0, 0.2, 0.99],
            ],
            [[0, 0, 0, 0, 0, 0, 0]] * 5,
        ]
    )
    seen, nothing = postprocess(prediction, 2, conf_thre=0.5)
    assert nothing is None
    assert seen is not None
    expected = [[46, 59, 54, 61, 1.0, 0.99, 1], [8, 8, 12, 12, 0.9, 0.9, 0], [8, 8, 12, 12, 0.8, 0.7, 1]]
    torch.testing.assert_close(seen, torch.tensor(expected))
    (alike, _) = postprocess(prediction, 2, conf_thre=0.5, class_agnostic=True)
    assert alike is not None
    torch.testing.assert_close(alike, torch.tensor(expected[:2]))
