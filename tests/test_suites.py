"""The named suites ask the modules of the workloads."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest
from bench_fakes import FakeTime, Scripted

from dltool.bench import WORKLOADS, suites


@pytest.fixture
def extra(monkeypatch):
    """A workload of a module of its own, which offers more from suite to suite."""
    module = ModuleType("extra_workload")
    module.default_cases = lambda device, suite: [
        ("extra", Scripted(size=size)) for size in range(1, 1 + suites.SUITES.index(suite))
    ]
    kind = type("Extra", (Scripted,), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    WORKLOADS.names()
    monkeypatch.setitem(WORKLOADS._items, "extra", kind)
    monkeypatch.setitem(WORKLOADS._items, "extra_again", kind)


@pytest.fixture
def device():
    return replace(FakeTime().device(), name="cpu", llc_bytes=2**20, free_bytes=2**30)


def test_each_suite_asks_every_module_once(extra, device):
    counts = {name: [case for case, _ in suites.suite(name, device, {})].count("extra") for name in suites.SUITES}
    assert counts == {"quick": 0, "standard": 1, "full": 2}


def test_arithmetic_comes_first_then_memory(extra, device):
    names = list(dict.fromkeys(name for name, _ in suites.standard(device, {})))
    assert names[:2] == ["gemm", "memory"]
    assert names[2:] == sorted(names[2:])
    assert "extra" in names


def test_dtypes_choose_among_the_products_only(extra, device):
    cases = suites.standard(device, {"dtype": ["bf16"]})
    assert [case.dtype for name, case in cases if name == "gemm"] == ["bf16"]
    assert sum(name == "extra" for name, _ in cases) == 1


def test_the_full_suite_has_every_layout_and_zeros_and_keeps_to_the_dtypes_asked_for(extra, device):
    asked = [case for name, case in suites.full(device, {"dtype": ["bf16"]}) if name == "gemm"]
    assert {case.dtype for case in asked} == {"bf16"}
    assert [case.layout for case in asked] == ["nn", "nt", "tn", "tt"]
    unasked = [case for name, case in suites.full(device, {}) if name == "gemm"]
    assert [case.data for case in unasked].count("zeros") == 1


def test_a_gpu_has_products_and_instructions_first(extra, device):
    names = list(dict.fromkeys(name for name, _ in suites.full(replace(device, name="cuda:0"), {})))
    assert names[:3] == ["gemm", "instruction", "memory"]
