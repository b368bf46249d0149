"""What the door to torchvision adds where its compiled operators are missing."""

from __future__ import annotations

import torch
from zoo_references import _nms


def test_suppression_keeps_the_best_of_boxes_that_overlap_by_more_than_the_threshold() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 4], [20, 20, 30, 30]])
    scores = torch.tensor([0.6, 0.9, 0.7, 0.1])
    assert _nms(boxes, scores, 0.5).tolist() == [1, 2, 3]  # the first overlaps the second by 0.8; second and third by just 0.5
    assert _nms(boxes, scores, 0.9).tolist() == [1, 2, 0, 3]
    assert _nms(boxes[:0], scores[:0], 0.5).tolist() == []
