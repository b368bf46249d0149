"""All sources together: one that hangs or breaks is a gap, and the machine is still complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dltool import cpu_clock, machine, probe
from dltool.errors import UsageError
from dltool.machine import Machine
from dltool.probe import driver, host, kernel_log, nvml, python_env, toolkit


@pytest.fixture
def hang() -> Iterator[Callable[..., None]]:
    """A source that never answers while the test lasts."""
    end = threading.Event()

    def source(*args: object, **kwargs: object) -> None:
        end.wait(30)

    yield source
    end.set()


def breaks(*args: object, **kwargs: object) -> Any:
    raise ZeroDivisionError("of the source")


def test_sources_answer_under_their_names() -> None:
    assert probe.side_by_side({"a": lambda: 1, "b": lambda: None}, 5.0) == ({"a": 1, "b": None}, {})


def test_a_source_that_raises_is_a_gap_and_the_others_answer() -> None:
    answers, gaps = probe.side_by_side({"bad": breaks, "good": lambda: 1}, 5.0)
    assert answers == {"good": 1}
    assert gaps == {"bad": "the probe failed: ZeroDivisionError: of the source"}


def test_a_source_that_ends_its_thread_is_a_gap() -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert "SystemExit" in probe.side_by_side({"bad": leave}, 5.0)[1]["bad"]


def test_a_source_that_hangs_is_a_gap_in_time(hang: Callable[..., None]) -> None:
    began = time.monotonic()
    answers, gaps = probe.side_by_side({"bad": hang, "worse": hang, "good": lambda: 1}, 0.2)
    assert time.monotonic() - began < 2
    assert answers == {"good": 1}
    assert gaps == dict.fromkeys(("bad", "worse"), "no answer within 0.2 s")


def test_a_wrong_request_is_told_and_not_a_gap() -> None:
    def refuse() -> None:
        raise UsageError("no such Python", remedy="name one")

    with pytest.raises(UsageError, match="no such Python"):
        probe.side_by_side({"python": refuse, "good": lambda: 1}, 5.0)


def test_a_python_that_does_not_run_is_a_wrong_request() -> None:
    with pytest.raises(UsageError, match="is not a Python that runs"):
        probe.read(python="/nonexistent")


@pytest.mark.parametrize(
    ("broken", "facts", "kept"),
    [
        ((nvml, "read"), ("gpus", "gpus.0.name", "driver.version", "driver.cuda_version"), ("os", "pci")),
        ((driver, "read"), ("driver.kernel_module_version", "driver.modules", "pci"), ("os", "python")),
        ((kernel_log, "read"), ("kernel_log", "kernel_log.events"), ("os", "pci")),
        ((host, "read"), ("os.kernel", "cpu.cores", "memory.total_bytes", "limits", "disks"), ("python",)),
        ((python_env, "read"), ("python", "python.torch"), ("os", "cpu")),
        ((toolkit, "toolkits"), ("toolkits",), ("os", "python")),
        ((toolkit, "shadowing_libraries"), ("libraries",), ("os", "python")),
    ],
    ids=["nvml", "driver", "kernel log", "host", "python", "toolkits", "libraries"],
)
def test_a_broken_source_leaves_its_reason_under_its_facts(
    monkeypatch: pytest.MonkeyPatch, broken: tuple[Any, str], facts: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    monkeypatch.setattr(*broken, breaks)
    read = probe.read()
    for fact in facts:
        assert read.why_missing(fact) == "the probe failed: ZeroDivisionError: of the source"
    for fact in kept:
        assert "ZeroDivisionError" not in read.why_missing(fact)
    assert machine.from_json(read.to_json(), source="itself") == read


def test_a_machine_of_which_nothing_answers_is_complete_and_in_time(
    monkeypatch: pytest.MonkeyPatch, hang: Callable[..., None]
) -> None:
    for module in (nvml, driver, host, kernel_log, python_env):
        monkeypatch.setattr(module, "read", hang)
    for name in ("toolkits", "shadowing_libraries"):
        monkeypatch.setattr(toolkit, name, hang)
    began = time.monotonic()
    read = probe.read(timeout_s=0.2)
    assert time.monotonic() - began < 2
    for fact in (
        "gpus",
        "driver",
        "pci",
        "os",
        "cpu",
        "memory",
        "limits",
        "disks",
        "python",
        "toolkits",
        "libraries",
        "kernel_log",
    ):
        assert read.why_missing(fact) == "no answer within 0.2 s", fact
    assert read.created is not None
    assert machine.from_json(read.to_json(), source="itself") == read


def test_only_allowed_variables_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws_secret_of_the_test")
    read = probe.read()
    assert read.environment["CUDA_VISIBLE_DEVICES"] == "1,0"
    assert "HF_TOKEN" not in read.environment
    assert b"secret_of_the_test" not in read.to_json()


def test_a_variable_that_is_empty_is_not_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    environment = probe.read().environment
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_DEVICE_ORDER" not in environment


def test_this_machine_can_be_read_and_written_down() -> None:
    read = probe.read()
    assert isinstance(read, Machine)
    assert read.os.system is not None
    assert read.cpu.threads is None or read.cpu.threads >= 1
    assert read.python is not None
    assert read.cpu.mhz_measured is None
    assert machine.from_json(read.to_json(), source="itself") == read


def test_the_clock_is_measured_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_clock, "measure", lambda: 3456.789)
    assert probe.read(measure_clock=True).cpu.mhz_measured == 3456.8


def test_a_clock_that_cannot_be_measured_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> float:
        raise cpu_clock.Unmeasurable("no timing loop for sparc")

    monkeypatch.setattr(cpu_clock, "measure", refuse)
    read = probe.read(measure_clock=True)
    assert read.cpu.mhz_measured is None
    assert read.gaps["cpu.mhz_measured"] == "no timing loop for sparc"
