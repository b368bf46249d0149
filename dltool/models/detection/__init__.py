"""What detectors are made of, in plain torch.

operators.py   suppression and RoIAlign: torchvision's compiled ones where they load, otherwise ours
boxes.py       overlap, clipping, coding as offsets
anchors.py     the boxes that offsets are relative to
matching.py    which box of the truth each anchor or proposal stands for, and which of them a step learns from
images.py      pictures of any size to one batch and detections back; what all detectors share
pyramid.py     the residual network with its feature pyramid
proposals.py   region proposal network
regions.py     the second stage: pooled regions, their classes and boxes
masks.py       the mask of each region

Boxes are (n, 4): x1, y1, x2, y2 in pixels. They are float32 whatever the network computes in (float64 where it does): half
formats cannot tell neighbouring pixels apart.
"""
