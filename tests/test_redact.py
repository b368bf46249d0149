"""What leaves the machine, what comes back from its JSON, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
import recorded
from hypothesis import given
from hypothesis import strategies as st
from strategies import structs
from test_checks import FAULTS

from dltool import checks, machine, results
from dltool.errors import ExitCode, UsageError
from dltool.machine import Machine, Text
from dltool.redact import REDACTED, Redactor, redact
from dltool.results import Report

HOME, HOST = "/home/alice", "node7.lab.example.org"
UUIDS = tuple(f"GPU-{index}f1e2d3c-aaaa-bbbb-cccc-0123456789ab" for index in range(8))
SERIALS = tuple(f"165012300004{index}" for index in range(8))


def redactor(key: bytes = b"key") -> Redactor:
    return Redactor(key, home=HOME, hostname=HOST, uuids=UUIDS)


def personal(**variables: str) -> Machine:
    """The recorded server as its own probe sees it: everything by its name."""
    facts: dict[str, Any] = {f"gpus.{index}.uuid": uuid for index, uuid in enumerate(UUIDS)}
    facts |= {f"gpus.{index}.serial": serial for index, serial in enumerate(SERIALS)}
    facts |= {
        "os.hostname": HOST,
        "python.prefix": f"{HOME}/train/.venv",
        "python.executable": f"{HOME}/train/.venv/bin/python",
        "python.torch.location": f"{HOME}/train/.venv/lib/python3.12/site-packages/torch",
        "python.distributions.*.location": "/scratch/alice/site-packages",
        "toolkits.0.path": "/mnt/c/Users/bob/cuda",
        "environment.LD_LIBRARY_PATH": f"{HOME}/lib:/home/carol/lib:/net/node7/lib:/net/{HOST}/lib:{HOME}2/lib",
        "environment.PYTHONPATH": HOME,
        "gaps.gpus.3.power_w": f"cannot open '{HOME}/x' on node7: {UUIDS[3]} is lost",
        "disks": [{"purpose": "home", "path": HOME, "total_bytes": 1, "free_bytes": 1}],
    }
    facts |= {f"environment.{name}": value for name, value in variables.items()}
    return recorded.altered("h100_server", facts)


def verdicts(of: Machine) -> list[tuple[Any, ...]]:
    return [(found.id, found.status, found.caused_by, found.devices) for found in checks.run(of)]


# --- what leaves -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", [HOME, "alice", "carol", "bob", HOST, "node7", *SERIALS, *UUIDS, UUIDS[0].removeprefix("GPU-")]
)
def test_nothing_personal_leaves(secret: str) -> None:
    assert secret in personal().to_json().decode()
    assert secret not in redact(personal(), redactor()).to_json().decode()


def test_what_a_reader_needs_stays() -> None:
    shared = redact(personal(), redactor())
    assert shared.python is not None
    assert shared.python.executable == "~/train/.venv/bin/python"
    assert shared.environment["LD_LIBRARY_PATH"] == "~/lib:/home/[user]/lib:/net/[host]/lib:/net/[host]/lib:/home/[user]/lib"
    assert shared.environment["PYTHONPATH"] == "~"
    assert shared.disks[0].path == "~"
    assert shared.gpus[0].name == "NVIDIA H100 80GB HBM3"
    assert shared.gpus[0].memory_total_bytes == personal().gpus[0].memory_total_bytes
    assert shared.driver == personal().driver
    assert shared.gaps["gpus.3.power_w"].startswith("cannot open '~/x' on [host]: GPU-#")


def test_hashes_are_stable_under_one_key_and_tell_nothing_under_another() -> None:
    one, again, other = (redact(personal(), redactor(key)) for key in (b"key", b"key", b"other"))
    assert one == again
    for mine, theirs in zip(one.gpus, other.gpus, strict=True):
        assert mine.uuid != theirs.uuid
        assert mine.serial != theirs.serial
    assert one.os.hostname != other.os.hostname
    assert len({gpu.uuid for gpu in one.gpus}) == len(one.gpus)


@pytest.mark.parametrize("value", [UUIDS[2], UUIDS[2].upper(), "GPU-2f1", f"0,{UUIDS[2]}", ",".join(UUIDS[:3])])
def test_visible_devices_still_name_their_gpu(value: str) -> None:
    before = personal(CUDA_VISIBLE_DEVICES=value)
    after = redact(before, redactor())
    for entry, shared in zip(value.split(","), after.environment["CUDA_VISIBLE_DEVICES"].split(","), strict=True):
        assert shared == (entry if entry == "0" else after.gpus[int(entry[4])].uuid)
    assert verdicts(after) == verdicts(before)


def test_an_ambiguous_beginning_stays_ambiguous() -> None:
    facts = {
        "gpus.0.uuid": "GPU-77770000-aaaa",
        "gpus.1.uuid": "GPU-7777ffff-aaaa",
        "environment.CUDA_VISIBLE_DEVICES": "GPU-7777",
    }
    before = recorded.altered("h100_server", facts)
    after = redact(before, Redactor(b"key", uuids=[gpu.uuid or "" for gpu in before.gpus]))
    assert recorded.problems(before) == recorded.problems(after) == {"gpus-hidden": "fail"}


@pytest.mark.parametrize("name", recorded.NAMES)
def test_redacting_twice_changes_nothing_more(name: str) -> None:
    once = redact(recorded.load(name), redactor())
    assert redact(once, redactor()) == once
    assert redact(once, Redactor(b"another")) == once


FRAGMENTS = (
    "/home/", "/Users/", "C:\\Users\\", HOME, "alice", "bob", "~", "/", "\\", ":", " ", HOST, "node7", "-", ".",
    UUIDS[0], "GPU-", "MIG-0", "0f1e2d3c", "#", "[host]", "[user]", "'", "x",
)  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
def test_redacting_a_text_twice_changes_nothing_more(text: str) -> None:
    once = redactor().text(text)
    assert redactor().text(once) == once
    assert HOME + "/" not in once


class Undeclared(msgspec.Struct, frozen=True, kw_only=True):
    secret: str
    listed: tuple[str, ...] = ()
    named: Mapping[str, str] = {}
    maybe: str | None = None
    shown: Text = ""
    number: int | None = None


def test_what_declares_nothing_is_not_shared() -> None:
    shared = redactor().facts(
        Undeclared(secret="x", listed=("x", "x"), named={"a": "x"}, maybe="x", shown=f"{HOME}/x", number=7)
    )
    assert shared == Undeclared(
        secret=REDACTED, listed=(REDACTED, REDACTED), named={"a": REDACTED}, maybe=REDACTED, shown="~/x", number=7
    )


def test_every_text_of_a_machine_declares_how_it_is_shared() -> None:
    assert REDACTED not in redact(personal(), redactor()).to_json().decode()


@pytest.mark.parametrize("host", ["nvidia", "docker", "torch", "ubuntu", "machine", "dltool"])
def test_a_host_that_is_called_like_a_fact(host: str) -> None:
    """The words of the facts stay, or the snapshot would be another machine's, or none."""
    for name in recorded.NAMES:
        before = recorded.load(name)
        shared = redact(before, Redactor(b"key", hostname=host, home=f"/home/{host}"))
        assert verdicts(machine.from_json(shared.to_json(), source="test")) == verdicts(before)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_redacted_machine_gets_the_same_answers(fault: Any) -> None:
    before = recorded.altered(fault.machine, fault.facts)
    shared = redact(before, redactor())
    assert verdicts(shared) == verdicts(before)
    assert checks.run(machine.from_json(shared.to_json(), source="test")) == checks.run(shared)


# --- JSON there and back ---------------------------------------------------------------------------------------------

few = hypothesis.settings(
    max_examples=40, suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
)


@given(structs(Machine))
@few
def test_any_machine_comes_back_from_its_snapshot(original: Machine) -> None:
    assert machine.from_json(original.to_json(), source="test") == original


@given(structs(Machine))
@few
def test_any_machine_can_be_judged_and_redacted(original: Machine) -> None:
    found = checks.run(original)
    assert results.Status.CRASH not in {finding.status for finding in found}, [f.summary for f in found]
    shared = redact(original, redactor())
    assert redact(shared, redactor()) == shared


@given(structs(Report))
@few
def test_any_report_comes_back(original: Report) -> None:
    assert msgspec.json.decode(original.to_json(), type=Report) == original


def test_a_report_is_read_from_its_file_and_holds_a_snapshot(tmp_path: Path) -> None:
    facts = recorded.load("laptop_rtx4060")
    report = Report(dltool="0.1.0", machine=facts, findings=checks.run(facts))
    file = tmp_path / "report.json"
    file.write_bytes(report.to_json())
    assert results.load(file) == report
    assert machine.load(file) == facts


# --- what is refused -------------------------------------------------------------------------------------------------

_SNAPSHOT = recorded.load("laptop_rtx4060").to_json()
MALFORMED = {
    "empty": b"",
    "truncated": _SNAPSHOT[: len(_SNAPSHOT) // 2],
    "not JSON": b"GPU 0: NVIDIA H100\n",
    "not text": b"\xff\xfe\x00\x00",
    "a number": b"1",
    "null": b"null",
    "a list": b"[1, 2]",
    "no schema": b"{}",
    "foreign schema": b'{"schema": "lshw/2"}',
    "newer schema": b'{"schema": "dltool/machine/2"}',
    "schema of another type": b'{"schema": {"dltool": 1}}',
    "report without a machine": b'{"schema": "dltool/report/1", "findings": []}',
    "report with a foreign machine": b'{"schema": "dltool/report/1", "machine": {"schema": "x"}}',
    "wrong type": b'{"schema": "dltool/machine/1", "gpus": [{"index": "zero"}]}',
    "wrong type inside": _SNAPSHOT.replace(b'"memory_bus_bits": 128', b'"memory_bus_bits": [128]'),
    "missing required": b'{"schema": "dltool/machine/1", "gpus": [{}]}',
    "not a number": b'{"schema": "dltool/machine/1", "cpu": {"mhz_max": NaN}}',
    "nested deep": b"[" * 200_000,
    "nested deep and closed": b'{"schema": "dltool/machine/1", "gpus": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested deep in objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


def assert_helps(error: UsageError, source: Path) -> None:
    assert str(source) in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 300
    assert error.remedy
    assert error.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "facts.json"
    file.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        machine.load(file)
    assert_helps(raised.value, file)


@pytest.mark.parametrize("name", [name for name in MALFORMED if not name.startswith("report")])
def test_a_malformed_report_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(MALFORMED[name])
    with pytest.raises(UsageError) as raised:
        results.load(file)
    assert_helps(raised.value, file)


@pytest.mark.parametrize("load", [machine.load, results.load])
def test_a_file_that_is_none(tmp_path: Path, load: Any) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(machine.MAX_SNAPSHOT_BYTES + 1)
    for path in (tmp_path / "missing.json", tmp_path, large):
        with pytest.raises(UsageError) as raised:
            load(path)
        assert_helps(raised.value, path)


def test_a_newer_dltool_may_know_more_facts() -> None:
    document = json.loads(_SNAPSHOT)
    document["tea"] = "ready"
    document["gpus"][0]["fans"] = 3
    assert machine.from_json(json.dumps(document).encode(), source="test") == recorded.load("laptop_rtx4060")


def test_why_a_fact_is_missing() -> None:
    facts = Machine(gaps={"gpus": "NVML hung", "gpus.0.power_w": "not supported"})
    assert facts.why_missing("gpus.0.power_w") == "not supported"
    assert facts.why_missing("gpus.0.name") == "NVML hung"
    assert facts.why_missing("pci") == "not recorded"
