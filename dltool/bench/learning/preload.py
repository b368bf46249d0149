"""Imported by the process that makes children, so that each has what takes seconds to import: torchmetrics and its like."""

from __future__ import annotations

import contextlib

from dltool.bench.learning import metrics

with contextlib.suppress(Exception):  # the child that needs it tells why it cannot be had
    metrics.functional()
