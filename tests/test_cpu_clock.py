"""The measured clock of the processors."""

from __future__ import annotations

import os
import platform

import pytest

from dltool import cpu_clock

known = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"), reason="no timing loop for this system"
)


@known
def test_the_clock_is_one_that_a_processor_can_have() -> None:
    assert 300 < cpu_clock.measure() < 7000


@known
def test_two_measurements_agree() -> None:
    """They may differ by boost states and neighbours, but not by a factor: that would be another quantity than the clock."""
    assert 0.5 < cpu_clock.measure() / cpu_clock.measure() < 2


@known
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")
def test_only_the_processors_that_may_be_used_are_measured() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert 300 < cpu_clock.measure() < 7000
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("processor", ["riscv64", "ppc64le", "sparc", ""])
def test_an_unknown_processor_cannot_be_measured(monkeypatch: pytest.MonkeyPatch, processor: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: processor)
    with pytest.raises(cpu_clock.Unmeasurable, match=f"no timing loop for {processor}"):
        cpu_clock.measure()
