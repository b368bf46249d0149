"""Number formats by name, and whether a GPU has arithmetic for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from dltool import tables
from dltool.catalog import architectures, number_formats


@cache
def peak_keys() -> Mapping[str, frozenset[str]]:
    """The kinds of arithmetic that serve each format."""
    keys = {form.name.replace(" ", "_"): frozenset(form.peak_keys) for form in number_formats() if form.peak_keys}
    for row in tables.rows("dtypes"):
        keys[row["name"]] = keys.get(row["name"], frozenset()) | frozenset(row["cuda_peaks"].split())
    return keys


def has(compute_capability: str, name: str, chip: str | None = None) -> bool | None:
    """Whether GPUs of this compute capability compute in a format; None where the tables do not know."""
    first = _first_with_scales().get(name)
    if first and float(compute_capability) < float(first):
        return False
    rows = [row for row in architectures() if row.compute_capability == compute_capability]
    rows = [row for row in rows if chip in row.chips] or rows
    answers = {any(row.ops.get(key) for key in peak_keys()[name]) for row in rows}
    return answers.pop() if len(answers) == 1 else None


@cache
def _first_with_scales() -> Mapping[str, str]:
    """The first compute capability that multiplies a format whose elements share a scale; without, it is imitated."""
    return {
        form.name.replace(" ", "_"): form.first_tensor_cc for form in number_formats() if form.block and form.first_tensor_cc
    }
