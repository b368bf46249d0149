"""No machine, however little is known of it and however absurd that is, breaks what judges and shows it."""

from __future__ import annotations

import datetime
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import recorded
from hypothesis import example, given
from msgspec.structs import replace
from strategies import ABSURD, examples, machines

from dltool import checks, compat, machine, policy, results
from dltool.compat.question import of_machine
from dltool.errors import UsageError
from dltool.machine import Cpu, Driver, Gpu, HostCompiler, Limits, Machine, Memory, Os, PythonEnv, Toolkit
from dltool.policy.freezing import freeze, to_toml
from dltool.policy.reading import from_toml
from dltool.redact import Redactor, redact
from dltool.render import FORMATS, Style
from dltool.results import Finding, Report, Status

IDS = tuple(checks.CHECKS.names())
TODAY = datetime.date(2026, 11, 20)
STRICT = from_toml(
    b"""
    gpu = {model = ["H100 SXM", "A100"], count = 8, min_memory_gb = 80, min_compute_capability = "9.0"}
    driver = {min = "550.54.14"}
    cuda = {min = "12.4"}
    dtypes = {required = ["bf16", "fp8_e4m3"]}
    host = {min_shm_gb = 64, min_disk_gb = 100, min_open_files = 65536, min_memory_gb = 512}
    checks = {deny = ["driver-too-old"], allow = ["bar1-small"], downgrade = ["gpu-xid"]}
    waiver = [{id = "cpu-quota-low", reason = "ordered", expires = 2026-12-31}]
    bench = {gemm = {bf16 = "600 TFLOP/s"}}
    """.replace(b"\n    ", b"\n"),
    source="strict",
    ids=IDS,
)
"""A policy that asks for everything that one can ask for."""
ODD = {
    "versions of thousands of digits": Machine(
        driver=Driver(version="9" * 5000, cuda_version="9" * 5000),
        os=Os(glibc="2." + "9" * 5000),
        gpus=(Gpu(index=0, compute_capability="9" * 5000),),
        python=PythonEnv(executable="python", version="9" * 5000),
    ),
    "a capability that is none": Machine(gpus=(Gpu(index=0, compute_capability="0-"),)),
    "a negative size": Machine(memory=Memory(shm_total_bytes=-1, total_bytes=-1), limits=Limits(open_files_soft=-1)),
    "a toolkit beside a compiler without a version": Machine(
        toolkits=(Toolkit(path="/usr/local/cuda-12.4", version="12.4", found_by=("PATH",), has_nvcc=True),),
        host_compiler=HostCompiler(path="", version="", found_by=""),
    ),
    "a quota that is no number": Machine(cpu=Cpu(usable_threads=8, quota_cpus=float("nan"))),
    "a quota below all": Machine(cpu=Cpu(usable_threads=8, quota_cpus=float("-inf"))),
}
"""Machines that broke something once."""


def judged(of: Machine) -> tuple[Finding, ...]:
    found = checks.run(of)
    assert [finding.summary for finding in found if finding.status is Status.CRASH] == []
    return found


def odd(test: Callable[[Machine], None]) -> Callable[[Machine], None]:
    """Those that broke something are tried each time."""
    for one in ODD.values():
        test = example(one)(test)
    return test


@odd
@given(machines())
@examples(250)
def test_no_machine_breaks_a_check(of: Machine) -> None:
    found = judged(of)
    assert {finding.id for finding in found} == set(IDS)
    assert checks.headline(found, of)


@odd
@given(machines())
@examples(40)
def test_no_machine_breaks_a_format(of: Machine) -> None:
    found = judged(of)
    report = Report(machine=of, findings=found, headline=checks.headline(found, of))
    shown = {name: render(report, Style()) for name, render in FORMATS}
    FORMATS.get("text")(report, Style(width=1, color=True, verbose=True, explain=True))
    FORMATS.get("markdown")(report, Style(verbose=True, folded=True))
    for text in shown.values():
        text.encode()
    for name in ("json", "sarif", "gitlab"):
        json.loads(shown[name])
    ET.fromstring(shown["junit"])


@odd
@given(machines())
@examples(60)
def test_no_machine_breaks_its_snapshot_and_redaction(of: Machine) -> None:
    redactor = Redactor(b"key", home="/home/ada", hostname="workstation")
    shared = redact(of, redactor)
    assert redact(shared, redactor) == shared or of != of  # NaN is not itself
    back = machine.from_json(shared.to_json(), source="test")
    assert back.to_json() == shared.to_json()
    judged(back)


@odd
@given(machines())
@examples(60)
def test_every_machine_fulfils_the_policy_that_it_is_frozen_to(of: Machine) -> None:
    frozen = from_toml(to_toml(freeze(of), comments=ABSURD[:40]).encode(), source="frozen", ids=IDS)
    own = {finding.id: finding.status for finding in policy.applying.apply(frozen, of, (), None, TODAY)}
    assert Status.FAIL not in own.values(), own


@odd
@given(machines())
@examples(60)
def test_no_machine_breaks_a_policy(of: Machine) -> None:
    found = policy.applying.apply(STRICT, of, judged(of), None, TODAY)
    assert {name for name in policy.EXPLANATIONS if name != "policy-waiver"} <= {finding.id for finding in found}


@odd
@given(machines())
@examples(25)
def test_no_machine_breaks_the_question_of_compatibility(of: Machine) -> None:
    answer = compat.answer(of_machine(of))
    assert answer.verdict in ("ok", "warning", "error", "unknown")
    for _, render in FORMATS:
        render(Report(compat=answer), Style(verbose=True))


# --- numbers that nothing measures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2**64, 10**300, -(10**300)])
def test_a_number_of_more_than_64_bits_is_refused(number: int) -> None:
    of = replace(recorded.load("h100_server"), memory=Memory(total_bytes=number))
    with pytest.raises(UsageError, match="64 bits"):
        machine.from_json(of.to_json(), source="test")


def test_a_report_with_such_a_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(Report(machine=Machine(memory=Memory(total_bytes=2**70))).to_json())
    with pytest.raises(UsageError, match="64 bits"):
        results.load(file)
