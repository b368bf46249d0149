"""CUDA_VISIBLE_DEVICES: CUDA's reading of it, against a second small model of the rules, and what is said of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import recorded
from hypothesis import given
from hypothesis import strategies as st

from dltool import lang
from dltool.checks.device_list import Stop, read, torch_count
from dltool.checks.visibility import visible_gpus
from dltool.machine import Machine
from dltool.results import Finding

SERVER, CONTAINER = "h100_server", "container"
UUIDS = [f"GPU-{start}-aaaa-bbbb-cccc-0123456789ab" for start in ("11110000", "11112222", "2222ffff")]
MIG = ["MIG-aaaa0000-1111-5616-bb59-b6d777cc4f34", "MIG-aaaa1111-1111-5616-bb59-b6d777cc4f34"]


def three(**changes: Any) -> Machine:
    """Three GPUs."""
    facts: dict[str, Any] = {f"{kind}.{index}": None for index in range(7, 2, -1) for kind in ("gpus", "pci")}
    facts |= {f"gpus.{index}.uuid": uuid for index, uuid in enumerate(UUIDS)}
    return recorded.altered(SERVER, facts | {name.replace("__", "."): value for name, value in changes.items()})


def sliced(**changes: Any) -> Machine:
    """Three GPUs, the second with two MIG instances."""
    devices = [
        {"index": index, "uuid": uuid, "gpu_instance": index + 1, "compute_instance": 0} for index, uuid in enumerate(MIG)
    ]
    mig = {"gpus__1__mig_enabled": True, "gpus__1__mig_instances": 2, "gpus__1__mig_devices": devices}
    return three(**{**mig, "gpus__0__mig_enabled": False, "gpus__2__mig_enabled": False, **changes})


def told(value: str, machine: Machine, **environment: str) -> Finding:
    variables = {f"environment.{name}": text for name, text in {"CUDA_VISIBLE_DEVICES": value, **environment}.items()}
    document = recorded.msgspec.to_builtins(machine)
    document["environment"] |= {name.partition(".")[2]: text for name, text in variables.items()}
    return recorded.judge(recorded.msgspec.convert(document, Machine))["gpus-hidden"]


# --- a second model ---------------------------------------------------------------------------------------------------------


def model(value: str, uuids: list[str]) -> list[int]:
    """The indices that CUDA shows, by the rules as the guide puts them: one pass, one regular expression for each kind."""
    by_uuid = value.lstrip().startswith("GPU-")
    seen: list[int] = []
    for entry in value.split(","):
        if by_uuid:
            hits = [index for index, uuid in enumerate(uuids) if uuid.lower().startswith(entry.strip().lower())]
            if not re.match(r"\s*GPU-", entry) or len(hits) != 1:
                break
            index = hits[0]
        else:
            number = re.match(r"\s*([+]?\d+|-0+)", entry, re.ASCII)
            if not number or int(number[1]) >= len(uuids):
                break
            index = int(number[1])
        seen.append(index)
    return [] if len(set(seen)) < len(seen) else seen


ENTRIES = st.one_of(
    st.sampled_from([
        "0", "1", "2", "3", "-1", "-0", "+1", "", " ", " 2 ", "00", "1gpu2", "0-2", "0;1", "x", "-", "+", "99999999999",
        "1.5", *UUIDS, *(uuid[:9] for uuid in UUIDS), UUIDS[2].upper(), f" {UUIDS[1]}", "GPU-", "GPU-1111",
        "gpu-2", "GPU-ffff", *MIG,
    ]),
    st.text(alphabet="0123456789+- GPUMIGabf,;", max_size=8),
)  # fmt: skip


@given(st.lists(ENTRIES, max_size=5).map(",".join))
def test_the_reading_is_that_of_the_model(value: str) -> None:
    machine = three()
    if value.lstrip().startswith("MIG-"):
        return
    reading = read(value, machine)
    shown = [gpu.index for gpu in reading.gpus if gpu is not None]
    duplicate = reading.stop is Stop.TWICE
    assert shown == model(value, UUIDS) or (duplicate and not shown)
    assert len(shown) == len(set(shown))
    found = told(value, machine)
    assert (found.status.value == "fail") == (not shown)


@given(st.lists(ENTRIES, max_size=5).map(",".join), st.sampled_from([three(), sliced()]))
def test_every_list_is_judged(value: str, machine: Machine) -> None:
    for language in lang.LANGUAGES:
        with lang.speaking(language):
            assert told(value, machine).summary
    assert visible_gpus(machine)


@given(st.lists(st.sampled_from(["0", "1", "2", "3", "-1", "+1", "1gpu2", " 2", "", *UUIDS, f" {UUIDS[0]}"]), max_size=4))
def test_pytorch_counts_no_more_than_cuda(entries: list[str]) -> None:
    machine, value = three(), ",".join(entries)
    counted = torch_count(value, machine)
    assert counted is not None
    assert counted <= len(read(value, machine).gpus) or read(value, machine).stop is Stop.TWICE


# --- PyTorch's own tests of its reader were written after what the driver does ------------------------------------------------


@pytest.mark.parametrize(
    ("value", "indices"),
    [("1gpu2,2ampere", [1, 2]), ("0, 1, 2, -1, 3", [0, 1, 2]), ("0, 1, 2, 1", []), ("-0, +1", [0, 1]), ("0,,1", [0])],
)
def test_numbers_are_read_like_strtoul(value: str, indices: list[int]) -> None:
    assert [gpu.index for gpu in read(value, three()).gpus if gpu] == indices
    assert torch_count(value, three()) == len(indices)


# --- MIG ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "status", "says"),
    [
        (MIG[0], "pass", "one MIG instance"),
        (MIG[1][:12], "pass", "one MIG instance"),
        (f"MIG-{UUIDS[1]}/2/0", "pass", "one MIG instance"),
        (",".join(MIG), "info", "names 2 MIG instances"),
        (f"{MIG[0]},{MIG[0]}", "fail", "hides all"),
        (f"MIG-{UUIDS[1]}/7/0", "fail", "hides all"),
        (f"MIG-{UUIDS[0]}/1/0", "fail", "hides all"),
        ("MIG-bbbb", "fail", "hides all"),
        ("MIG-aaaa", "fail", "hides all"),
        (f"0,{MIG[0]}", "warn", "names no GPU here"),
        (f"{UUIDS[0]},{MIG[0]}", "warn", "names no GPU here"),
        ("1", "info", "shows 1 of 3"),
    ],
)
def test_mig(value: str, status: str, says: str) -> None:
    found = told(value, sliced())
    assert found.status.value == status, found
    assert says in found.summary


def test_an_instance_that_is_gone_is_told_which_there_are() -> None:
    found = told("MIG-bbbb0000-1111-5616-bb59-b6d777cc4f34", sliced())
    assert "made anew" in found.why
    assert f"export CUDA_VISIBLE_DEVICES={MIG[0]}" in recorded.commands(found)
    assert MIG[1] in str(found.evidence)


@pytest.mark.parametrize("devices", [None, [{"index": 0}]], ids=["instances unknown", "names unknown"])
def test_what_is_not_known_is_not_held_against_it(devices: Any) -> None:
    assert told("MIG-bbbb", sliced(gpus__1__mig_devices=devices)).status.value == "pass"


def test_the_gpu_of_the_instance_is_what_programs_see() -> None:
    document = recorded.msgspec.to_builtins(sliced())
    document["environment"]["CUDA_VISIBLE_DEVICES"] = MIG[1]
    assert [gpu.index for gpu in visible_gpus(recorded.msgspec.convert(document, Machine))] == [1]


# --- what is said -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "status", "says", "command"),
    [
        ("0-2", "warn", "of `0-2` only 0 is read", "export CUDA_VISIBLE_DEVICES=0,1,2"),
        ("0;2", "warn", "of `0;2` only 0 is read", "export CUDA_VISIBLE_DEVICES=0,2"),
        ("0 1", "warn", "of `0 1` only 0 is read", "export CUDA_VISIBLE_DEVICES=0,1"),
        (f"{UUIDS[0]}, {UUIDS[2]}", "warn", "CUDA reads 2 GPUs, PyTorch counts 1", f"DEVICES={UUIDS[0]},{UUIDS[2]}"),
        ("all", "fail", "hides all", "unset CUDA_VISIBLE_DEVICES"),
        ("0,0", "fail", "hides all", "unset CUDA_VISIBLE_DEVICES"),
        (f"0,{UUIDS[1]}", "warn", "names no GPU here", "unset CUDA_VISIBLE_DEVICES"),
        ("3", "fail", "hides all", "unset CUDA_VISIBLE_DEVICES"),
        ("GPU-1111", "fail", "hides all", "unset CUDA_VISIBLE_DEVICES"),
    ],
)
def test_lists_that_mean_something_else(value: str, status: str, says: str, command: str) -> None:
    found = told(value, three())
    assert (found.status.value, says in found.summary) == (status, True), found
    assert command in recorded.commands(found)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("0,0", "second time"),
        ("GPU-1111", "Several UUIDs"),
        (f"0,{UUIDS[1]}", "mixed"),
        ("all", "neither a number"),
        ("7", "from 0 to 2"),
    ],
)
def test_why(value: str, why: str) -> None:
    assert why in told(value, three()).why


def test_a_container_counts_anew() -> None:
    inside = three(os__container="docker")
    found = told("2,3", inside, NVIDIA_VISIBLE_DEVICES="2,3,4")
    assert "counts its GPUs anew from 0" in found.why
    assert ("NVIDIA_VISIBLE_DEVICES", "2,3,4") in [(one.fact, one.value) for one in found.evidence]
    assert "anew" not in told("2,3", three()).why


def test_what_a_container_was_given_is_noted() -> None:
    document = recorded.msgspec.to_builtins(three(os__container="docker"))
    for value, status in (("0,1,2", "info"), ("all", "pass"), ("void", "pass")):
        document["environment"]["NVIDIA_VISIBLE_DEVICES"] = value
        found = recorded.judge(recorded.msgspec.convert(document, Machine))["gpus-hidden"]
        assert found.status.value == status
