"""Models of a user: one that works, and ways in which others do not."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import torch
from torch import nn


def good() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))


def counted() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return good(), (torch.randn(3, 8),)


class _Odd(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.layer = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        if self.what == "raises":
            raise KeyError("no such head")
        if self.what == "prints":
            print("training now", flush=True)
        if self.what == "exits":
            sys.exit(3)
        if self.what == "dies":
            os.abort()
        if self.what == "hangs":
            time.sleep(600)
        if self.what == "nan":
            return self.layer(x) * float("nan")
        return {"logits": self.layer(x), "names": ["a"]}


def raises() -> nn.Module:
    return _Odd("raises")


def prints() -> nn.Module:
    return _Odd("prints")


def exits() -> nn.Module:
    return _Odd("exits")


def dies() -> nn.Module:
    return _Odd("dies")


def hangs() -> nn.Module:
    return _Odd("hangs")


def nan() -> nn.Module:
    return _Odd("nan")


def odd() -> nn.Module:
    return _Odd("")


def none() -> str:
    return "a text"
