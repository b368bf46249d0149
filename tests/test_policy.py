"""What a machine must be: each rule, what findings count for, the file and its mistakes, and the policy of a machine."""

from __future__ import annotations

import datetime
import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import recorded
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dltool import lang, policy, toml
from dltool.errors import UsageError
from dltool.policy import Policy, apply, freeze, model, to_toml
from dltool.policy.reading import from_toml
from dltool.results import Finding, Measurement, Remedy, Report, Status, Verified

ROOT = Path(__file__).parent.parent
IDS = ("shm-small", "pcie-degraded", "gpu-absent", "driver-too-old", "persistence-off", "open-files-low", "iommu-p2p")
TODAY = datetime.date(2026, 11, 21)
DAY = datetime.timedelta(days=1)
FIX = (Remedy(text="mend it"),)
SERVER = "h100_server"


def parsed(text: str) -> Policy:
    return from_toml(text.encode(), source="dltool.toml", ids=IDS)


def judged(text: str, machine: str = SERVER, facts: dict[str, Any] | None = None, bench: Report | None = None) -> list[Finding]:
    return list(apply(parsed(text), recorded.altered(machine, facts or {}), (), bench, TODAY))


# --- the rules

RULES = [
    ("policy-gpu-count", "[gpu]\ncount = {}", "8", "7", {"gpus": [], "pci": None, "gaps.gpus": "NVML hung"}),
    ("policy-gpu-model", "[gpu]\nmodel = {}", '"H100"', '"A100"', {"gpus.*.name|pci_device_id": None}),
    ("policy-gpu-memory", "[gpu]\nmin_memory_gb = {}", "80", "94", {"gpus.*.memory_total_bytes": None}),
    (
        "policy-compute-capability",
        "[gpu]\nmin_compute_capability = {}",
        '"9.0"',
        '"10.0"',
        {"gpus.*.compute_capability": None},
    ),
    ("policy-driver", "[driver]\nmin = {}", '"550.54.14"', '"550.90"', {"driver.version|kernel_module_version": None}),
    ("policy-cuda", "[cuda]\nmin = {}", '"12.4"', '"12.10"', {"driver.cuda_version": None}),
    ("policy-dtypes", "[dtypes]\nrequired = [{}]", '"fp8_e4m3"', '"nvfp4"', {"gpus.*.compute_capability": None}),
    (
        "policy-shm",
        "[host]\nmin_shm_gb = {}",
        "64",
        "4000",
        {"memory.shm_total_bytes": None, "gaps.memory.shm_total_bytes": "x"},
    ),
    ("policy-disk", "[host]\nmin_disk_gb = {}", "500", "99999", {"disks": []}),
    (
        "policy-open-files",
        "[host]\nmin_open_files = {}",
        "65536",
        "9999999",
        {"limits.open_files_soft": None, "gaps.limits": "no resource limits"},
    ),
    ("policy-memory", "[host]\nmin_memory_gb = {}", "1000", "9000", {"memory.total_bytes": None}),
]


@pytest.mark.parametrize(("name", "text", "met", "unmet", "unread"), RULES, ids=[rule[0] for rule in RULES])
def test_each_rule_holds_breaks_or_is_unknown(name, text, met, unmet, unread):
    (good,) = judged(text.format(met))
    assert (good.id, good.status) == (name, Status.PASS)
    (bad,) = judged(text.format(unmet))
    assert (bad.id, bad.status) == (name, Status.FAIL)
    assert [fact.fact for fact in bad.evidence] == ["asked for", "here"]
    assert bad.evidence[0].read_from.startswith("policy: ")
    assert bad.remedies
    for wanted in (met, unmet):
        (unknown,) = judged(text.format(wanted), facts=unread)
        assert (unknown.id, unknown.status) == (name, Status.UNKNOWN)
        assert "cannot be judged" in unknown.summary
        assert not unknown.summary.endswith(": ")


@pytest.mark.parametrize(("name", "text", "met", "unmet", "unread"), RULES, ids=[rule[0] for rule in RULES])
def test_each_rule_is_told_in_chinese(name, text, met, unmet, unread):
    for wanted, facts in (
        (met, {}),
        (unmet, {}),
        (unmet, {"gpus": [], "pci": [], "driver.kernel_module_version": None}),
        (met, unread),
    ):
        (english,) = judged(text.format(wanted), facts=facts)
        with lang.speaking("zh"):
            (chinese,) = judged(text.format(wanted), facts=facts)
        assert (chinese.id, chinese.status, chinese.evidence) == (name, english.status, english.evidence)
        assert re.search("策略(要求|中的)", chinese.summary)
        numbers = [sorted(re.findall(r"\d+(?:\.\d+)*", told.summary)) for told in (english, chinese)]
        assert numbers[0] == numbers[1]
        assert [remedy.commands for remedy in english.remedies] == [remedy.commands for remedy in chinese.remedies]
        assert all(remedy.text.endswith("。") for remedy in chinese.remedies)


def test_what_a_policy_makes_of_findings_is_told_in_chinese():
    given = Finding(id="shm-small", status=Status.FAIL, summary="/dev/shm 太小", remedies=FIX)
    with lang.speaking("zh"):
        (allowed,) = apply(parsed('[checks]\nallow = ["shm-small"]'), recorded.load(SERVER), (given,), None, TODAY)
        (_, expired) = apply(parsed(waiver("2020-01-01")), recorded.load(SERVER), (given,), None, TODAY)
    assert allowed.summary == "/dev/shm 太小（策略允许）"
    assert expired.summary == "shm-small 的豁免已于 2020-01-01 到期：重新计入"


def test_explanations_follow_the_language():
    with lang.speaking("zh"):
        assert all(text.partition("\n")[0].endswith("？") for text in policy.EXPLANATIONS.values())


def test_every_rule_is_explained_and_tested():
    assert {rule[0] for rule in RULES} | {"policy-bench", "policy-waiver"} == set(policy.EXPLANATIONS)


def test_nothing_is_asked_nothing_is_found():
    assert judged(f'schema = "{policy.SCHEMA}"') == []
    assert judged("[gpu]\n[checks]\ndeny = []") == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("H100 SXM", True),
        ("NVIDIA H100 80GB HBM3", True),
        ("hopper", True),
        ("10de:2330", True),
        ("DGX H100", True),
        ("sm_90", True),
        ("H100 PCIe", False),
        ("H200", False),
        ("L4", False),
    ],
)
def test_models_by_any_name(name, meant):
    (finding,) = judged(f'[gpu]\nmodel = "{name}"')
    assert (finding.status is Status.PASS) is meant


def test_one_of_several_models_and_one_wrong_gpu():
    assert judged('[gpu]\nmodel = ["A100", "H100 SXM"]')[0].status is Status.PASS
    other = {"gpus.3.name": "NVIDIA A100-SXM4-80GB", "gpus.3.pci_device_id": "10de:20b2"}
    bad, good = judged('[gpu]\nmodel = "H100"', facts=other)
    assert (bad.status, bad.devices, good.status, len(good.devices)) == (Status.FAIL, (3,), Status.PASS, 7)


def test_a_marketed_size_counts_what_the_driver_keeps():
    (finding,) = judged("[gpu]\nmin_memory_gb = 16", "gtx1080ti", {"gpus.*.memory_total_bytes": 15109 * 2**20})
    assert finding.status is Status.PASS


def test_the_control_group_limits_memory():
    text = "[host]\nmin_memory_gb = 100"
    assert judged(text, facts={"memory.cgroup_limit_bytes": 64 * 10**9})[0].status is Status.FAIL
    assert judged(text, facts={"gaps.memory.cgroup_limit_bytes": "denied"})[0].status is Status.UNKNOWN


def test_unlimited_files_are_enough():
    assert judged("[host]\nmin_open_files = 65536", facts={"limits.open_files_soft": None})[0].status is Status.PASS


def test_missing_gpus_are_one_problem_under_their_cause():
    text = '[gpu]\ncount = 1\nmodel = "T4"\nmin_memory_gb = 15\n[dtypes]\nrequired = ["fp16"]'
    findings = judged(text, "cpu_only")
    assert {finding.status for finding in findings} == {Status.FAIL}
    assert {finding.caused_by for finding in findings[1:]} == {"policy-gpu-count"}
    assert findings[0].caused_by is None
    missing = Finding(id="driver-missing", status=Status.FAIL, summary="no driver", remedies=FIX)
    facts = recorded.altered(SERVER, recorded.NO_DRIVER)
    own = apply(parsed(text), facts, (missing,), None, TODAY)[1:]
    assert {finding.status for finding in own} == {Status.UNKNOWN}  # eight are on the bus: nothing says that they are not there
    assert {finding.caused_by for finding in own} == {"driver-missing"}


def test_dtypes_that_the_tables_cannot_tell():
    """7.5 alone does not say whether there are tensor cores."""
    facts = {"gpus.*.compute_capability": "7.5", "gpus.*.name|pci_device_id": None}
    assert judged('[dtypes]\nrequired = ["int4"]', facts=facts)[0].status is Status.UNKNOWN
    assert judged('[dtypes]\nrequired = ["fp32"]', facts=facts)[0].status is Status.PASS
    assert judged('[dtypes]\nrequired = ["mxfp8_e4m3"]')[0].status is Status.FAIL  # Hopper knows no block scales


# --- rates


def measured(**rates: float) -> Report:
    cases = [
        Measurement(workload="gemm", params={}, device=device, dtype="bf16", rate=rate, rate_unit="FLOP/s")
        for device, rate in rates.items()
    ]
    return Report(created="2026-11-20", measurements=tuple(cases))


RATE = '[bench.gemm]\nbf16 = "600 TFLOP/s"'


@pytest.mark.parametrize(
    ("bench", "status"),
    [
        pytest.param(measured(a=7e14, b=6e14), Status.PASS, id="all reach it"),
        pytest.param(measured(a=7e14, b=5e14), Status.FAIL, id="the slowest counts"),
        pytest.param(None, Status.UNKNOWN, id="no report"),
        pytest.param(Report(), Status.UNKNOWN, id="not measured"),
        pytest.param(
            Report(measurements=tuple(replace(case, rate_unit="OP/s") for case in measured(a=7e14).measurements)),
            Status.UNKNOWN,
            id="another unit",
        ),
        pytest.param(
            Report(measurements=tuple(replace(case, rate=None, not_run="memory") for case in measured(a=7e14).measurements)),
            Status.UNKNOWN,
            id="not run",
        ),
        pytest.param(
            Report(
                measurements=tuple(
                    replace(case, verified=Verified(reference="fp64", error=1.0, tolerance=0.1, ok=False))
                    for case in measured(a=7e14).measurements
                )
            ),
            Status.UNKNOWN,
            id="wrong result",
        ),
    ],
)
def test_rates(bench, status):
    (finding,) = judged(RATE, bench=bench)
    assert (finding.id, finding.status) == ("policy-bench", status)


def test_of_a_device_the_best_case_counts():
    report = measured(a=7e14)
    slow = replace(report.measurements[0], rate=1e12)
    assert judged(RATE, bench=replace(report, measurements=(slow, *report.measurements)))[0].status is Status.PASS


@pytest.mark.parametrize(
    ("text", "rate"),
    [("600 TFLOP/s", (6e14, "FLOP/s")), ("2.5TB/s", (2.5e12, "B/s")), ("1 OP/s", (1.0, "OP/s")), ("0 B/s", None), ("9", None)],
)
def test_rates_as_text(text, rate):
    assert model.rate(text) == rate


# --- what findings count for


def found(status: Status, name: str = "shm-small") -> Finding:
    return Finding(id=name, status=status, summary="64 MiB", remedies=FIX)


def counted(text: str, status: Status) -> Status:
    return apply(parsed(text), recorded.load("cpu_only"), (found(status),), None, TODAY)[0].status


@pytest.mark.parametrize(
    ("section", "outcomes"),
    [
        ("deny", {"warn": "fail", "unknown": "fail", "fail": "fail"}),
        ("allow", {"warn": "info", "unknown": "info", "fail": "info"}),
        ("downgrade", {"fail": "warn"}),
    ],
)
def test_deny_allow_downgrade(section, outcomes):
    text = f'[checks]\n{section} = ["shm-small"]'
    for status in Status:
        assert counted(text, status).value == outcomes.get(status.value, status.value)
    assert counted(text.replace("shm-small", "gpu-absent"), Status.WARN) is Status.WARN


def test_the_policy_judges_its_own_findings():
    text = "[host]\nmin_disk_gb = 99999\n[checks]\ndowngrade = ['policy-disk']"
    assert judged(text)[0].status is Status.WARN
    denied = "[host]\nmin_disk_gb = 1\n[checks]\ndeny = ['policy-disk']"
    (finding,) = judged(denied, facts={"disks": []})
    assert finding.status is Status.FAIL
    assert finding.remedies
    assert finding.evidence[-1].read_from == "policy; it was: unknown"


def waiver(expires: datetime.date | str, name: str = "shm-small") -> str:
    return f'[[waiver]]\nid = "{name}"\nreason = "node 7"\nexpires = {expires}\n'


def test_a_valid_waiver_hides_from_the_bar_and_is_told():
    (finding,) = apply(parsed(waiver(TODAY + DAY)), recorded.load("cpu_only"), (found(Status.FAIL),), None, TODAY)
    assert finding.status is Status.INFO
    assert finding.summary == "64 MiB (waived until 2026-11-22)"
    assert (finding.evidence[-1].value, finding.evidence[-1].read_from) == ("node 7", "policy; it was: fail")


def test_a_waiver_holds_on_its_last_day():
    assert len(apply(parsed(waiver(TODAY)), recorded.load("cpu_only"), (found(Status.FAIL),), None, TODAY)) == 1
    assert counted(waiver(TODAY), Status.FAIL) is Status.INFO


def test_an_expired_waiver_hides_nothing_and_is_a_finding():
    findings = apply(parsed(waiver(TODAY - DAY)), recorded.load("cpu_only"), (found(Status.FAIL),), None, TODAY)
    assert [(f.id, f.status) for f in findings] == [("shm-small", Status.FAIL), ("policy-waiver", Status.WARN)]
    assert "2026-11-20" in findings[1].summary
    renewed = waiver(TODAY - DAY) + waiver(TODAY + DAY)
    assert counted(renewed, Status.FAIL) is Status.INFO


def test_a_waiver_is_stronger_than_deny_but_no_crash_is_waived():
    assert counted('[checks]\ndeny = ["shm-small"]\n' + waiver(TODAY), Status.WARN) is Status.INFO
    assert counted(waiver(TODAY), Status.CRASH) is Status.CRASH


def test_a_waiver_of_something_else():
    assert counted(waiver(TODAY, "gpu-absent"), Status.FAIL) is Status.FAIL


# --- mistakes in the file

MISTAKES = [
    pytest.param("", "dltool.toml asks for nothing", id="empty"),
    pytest.param("# only\n", "asks for nothing", id="only a comment"),
    pytest.param("[gpu\ncount = 1", "line 1, column 5: ", id="open header"),
    pytest.param("[gpu]\ncount = ", "line 2, column 9: invalid value", id="no value"),
    pytest.param("[gpu]\ncount 1", "line 2, column 7: expected '='", id="no equals sign"),
    pytest.param("[gpu]\nmodel = 'H100", "line 2, column ", id="open text"),
    pytest.param("[gpu]\ncount = 1\ncount = 2", "line 3, column 10: cannot overwrite", id="twice"),
    pytest.param("[gpu]\n[gpu]", "line 2, column 5: cannot declare", id="section twice"),
    pytest.param("[[waiver]]\nexpires = 2027-02-30", "line 2, column 11: invalid date", id="no such day"),
    pytest.param('{"gpu": 1}', "line 1, column 1: ", id="JSON"),
    pytest.param("a = " + "[" * 5000, "nested too deep", id="deep"),
    pytest.param("a = " + "9" * 5000, "cannot be read", id="huge integer"),
    pytest.param("#" * 300_000, "larger than 256 KiB", id="large"),
    pytest.param("# ...\n" + "a." * 200 + "b = 1", "line 2: more than 100 dots in one line", id="a key of many parts"),
    pytest.param("# " + "." * 500 + "\nnonsense = 1", "nonsense", id="a comment of dots is one"),
    pytest.param("gpu = 3", "line 1: gpu: ", id="no section"),
    pytest.param("schema = 'dltool/report/1'", "line 1: schema: not a policy of this dltool: 'dltool/report/1'", id="schema"),
    pytest.param("\n[gpus]\ncount = 1", "line 2: gpus: unknown section `gpus`", id="unknown section"),
    pytest.param("[gpu]\n\ncuont = 1", "line 3: gpu.cuont: unknown key of [gpu] `cuont`", id="unknown key"),
    pytest.param("gpu = {a = 1}", "line 1: gpu.a: unknown key", id="unknown key in braces"),
    pytest.param("gpu.cuont = 1", "line 1: gpu.cuont: unknown key", id="unknown dotted key"),
    pytest.param(waiver(TODAY) + waiver(TODAY) + "day = 1", "line 9: waiver[1].day: unknown key", id="unknown key of a waiver"),
    pytest.param("[gpu]\ncount = '8'", "line 2: gpu.count: expected `int", id="text for a number"),
    pytest.param("[gpu]\ncount = 8.5", "line 2: gpu.count: expected `int", id="fraction"),
    pytest.param("[gpu]\ncount = true", "line 2: gpu.count: expected `int", id="truth"),
    pytest.param("[gpu]\ncount = -1", "line 2: gpu.count: expected `int` >= 0", id="negative count"),
    pytest.param("[host]\nmin_shm_gb = -0.5", "line 2: host.min_shm_gb: expected `float` >= 0", id="negative size"),
    pytest.param("[host]\nmin_shm_gb = nan", "line 2: host.min_shm_gb: nan is no number", id="nan"),
    pytest.param("[host]\nmin_disk_gb = inf", "line 2: host.min_disk_gb: inf is no number", id="inf"),
    pytest.param("[host]\nmin_shm_gb = '64 GB'", "line 2: host.min_shm_gb: expected `float", id="size with unit"),
    pytest.param("[driver]\nmin = 550.54", "line 2: driver.min: a version is a text", id="version as number"),
    pytest.param(
        "[gpu]\nmin_compute_capability = 9.0", "line 2: gpu.min_compute_capability: a compute", id="capability as number"
    ),
    pytest.param("[gpu]\nmin_compute_capability = 'x'", "line 2: gpu.min_compute_capability: `x` is no", id="no capability"),
    pytest.param("[driver]\nmin = 'new'", "line 2: driver.min: `new` is no version of the driver", id="no version"),
    pytest.param("[cuda]\nmin = ''", "line 2: cuda.min: `` is no version of CUDA", id="empty version"),
    pytest.param("[gpu]\nmodel = 'H1000'", "line 2: gpu.model: unknown GPU `H1000`", id="unknown model"),
    pytest.param("[gpu]\nmodel = [\n'H100',\n'H1000']", "line 4: gpu.model[1]: unknown GPU `H1000`", id="second model unknown"),
    pytest.param("[gpu]\nmodel = []", "line 2: gpu.model: no model would do", id="no model"),
    pytest.param("[dtypes]\nrequired = ['fp8']", "line 2: dtypes.required[0]: unknown dtype `fp8`", id="unknown dtype"),
    pytest.param("[dtypes]\nrequired = 'bf16'", "line 2: dtypes.required: expected `array`", id="dtype without brackets"),
    pytest.param("[checks]\nallow = ['shm-smal']", "line 2: checks.allow[0]: unknown check `shm-smal`", id="unknown check"),
    pytest.param("[checks]\nallow = ['shm-small']\ndeny = ['shm-small']", "`shm-small` stands in ", id="contradiction"),
    pytest.param(waiver(TODAY, "shm-smal"), "line 2: waiver[0].id: unknown check `shm-smal`", id="waiver of nothing"),
    pytest.param(waiver("'soon'"), "line 4: waiver[0].expires: `soon` is no day", id="no day"),
    pytest.param(waiver("2027-01-01T10:00:00"), "line 4: waiver[0].expires: `2027-01-01 10:00:00` is no day", id="time of day"),
    pytest.param(waiver("20270101"), "line 4: waiver[0].expires: `20270101` is no day", id="day as number"),
    pytest.param("[[waiver]]\nid = 'shm-small'", "line 1: waiver[0]: missing required field `reason`", id="bare waiver"),
    pytest.param(waiver(TODAY).replace("node 7", ""), "line 3: waiver[0].reason: expected", id="no reason"),
    pytest.param(waiver(TODAY).replace("node 7", " "), "line 3: waiver[0].reason: a waiver needs", id="blank reason"),
    pytest.param("[waiver]\nid = 'shm-small'", "line 1: waiver: a waiver is an element", id="single brackets"),
    pytest.param("[bench]\ngemm = 3", "line 2: bench.gemm: no rate", id="rate without dtype"),
    pytest.param("[bench.gemm]\nbf16 = 600", "line 2: bench.gemm.bf16: no rate", id="rate without unit"),
    pytest.param("[bench.gemm]\nbf16 = '600 TFLOPS'", "line 2: bench.gemm.bf16: `600 TFLOPS` is no rate", id="unknown unit"),
    pytest.param("[bench.gemm]\nbf61 = '6 TFLOP/s'", "line 2: bench.gemm.bf61: unknown dtype `bf61`", id="rate of no dtype"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_mistakes_are_told_with_their_place(text, told):
    with pytest.raises(UsageError) as caught:
        parsed(text)
    assert told.casefold() in str(caught.value).casefold()
    assert str(caught.value).startswith("dltool.toml")
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_the_nearest_is_suggested():
    for text, near in [("[gpu]\ncuont = 1", "`count`"), ("[checks]\nallow = ['policy-dsk']", "`policy-disk`")]:
        with pytest.raises(UsageError) as caught:
            parsed(text)
        assert near in caught.value.remedy


def test_models_that_never_shipped():
    with pytest.raises(UsageError, match=r"line 2: gpu\.model: no GPU called `.*` ever shipped"):
        parsed('[gpu]\nmodel = "RTX 4090 Ti"')


def test_bytes_that_are_no_text():
    with pytest.raises(UsageError, match="line 2, column 11: this is not UTF-8"):
        from_toml(b"[gpu]\nmodel = 'H\xff'", source="dltool.toml", ids=IDS)


def test_windows_line_ends_and_byte_order_marks_are_read():
    assert from_toml(b"\xef\xbb\xbf[gpu]\r\ncount = 8\r\n", source="x", ids=IDS).gpu.count == 8
    with pytest.raises(UsageError, match=r"line 3: gpu\.cuont"):
        from_toml(b"[gpu]\r\n\r\ncuont = 8\r\n", source="x", ids=IDS)


@given(st.text(alphabet=string.ascii_lowercase + "[]{}=.,\"'#\n 1-", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        assert isinstance(parsed(text), Policy)
    except UsageError:
        pass  # anything else is a bug


# --- the scanner of lines

KEYS = st.text(alphabet="abc-_ .\"'#=[", min_size=1, max_size=4)
VALUES = st.recursive(
    st.one_of(st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(max_size=6)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, min_size=1, max_size=3), max_size=3))
def test_every_value_has_its_line(document):
    lines = []
    places = {}
    for name, section in document.items():
        lines.append(f"[{toml.key(name)}]")
        for key, value in section.items():
            lines.append(f"{toml.key(key)} = {toml.value(value)} # [x]")
            places[name, key] = len(lines)
    read = toml.read("\n".join(lines).encode(), source="x")
    assert read.values == document
    assert {path: read.lines[path] for path in places} == places


def test_lines_around_texts_of_many_lines():
    text = (
        'a = """\n[b]\nc = 1\n"""\nd = [1, # 2,\n  2]\n[[e]]\n[[e]]\nf.g = {h = 1, i = [\n3]}\n[e.j]\nk = 1979-05-27 07:32:00\n'
    )
    lines = toml.read(text.encode(), source="x").lines
    assert lines["d",] == 5
    assert lines["d", 1] == 6
    assert lines["e", 1, "f", "g", "i", 0] == 10
    assert lines["e", 1, "j", "k"] == 12
    assert ("b",) not in lines


# --- the policy of a machine

DAYS = st.dates(datetime.date(2000, 1, 1), datetime.date(2100, 1, 1))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SIZES = st.none() | st.integers(0, 10**6).map(float) | st.floats(0, 1e6)
POLICIES = st.builds(
    Policy,
    gpu=st.builds(
        model.Gpu,
        model=st.none() | st.sampled_from(["H100", "T4", ("A100", "RTX 4090")]),
        count=st.none() | st.integers(0, 99),
        min_memory_gb=SIZES,
        min_compute_capability=st.none() | st.sampled_from(["9.0", "sm_86"]),
    ),
    driver=st.builds(model.Driver, min=st.none() | st.just("550.54.14")),
    cuda=st.builds(model.Cuda, min=st.none() | st.just("12.4")),
    dtypes=st.builds(model.Dtypes, required=st.lists(st.sampled_from(["bf16", "int8", "nvfp4"])).map(tuple)),
    host=st.builds(
        model.Host, min_shm_gb=SIZES, min_disk_gb=SIZES, min_open_files=st.none() | st.integers(0, 10**9), min_memory_gb=SIZES
    ),
    checks=st.builds(
        model.Checks,
        deny=st.lists(st.sampled_from(IDS[:2])).map(tuple),
        allow=st.lists(st.sampled_from(IDS[2:4])).map(tuple),
        downgrade=st.lists(st.sampled_from(IDS[4:])).map(tuple),
    ),
    waiver=st.lists(
        st.builds(model.Waiver, id=st.sampled_from(IDS), reason=TEXTS.filter(lambda text: bool(text.strip())), expires=DAYS),
        max_size=3,
    ).map(tuple),
    bench=st.dictionaries(
        TEXTS, st.dictionaries(st.sampled_from(["bf16", "fp32"]), st.just("2.5 TB/s"), min_size=1), max_size=2
    ),
)


@given(POLICIES)
def test_what_is_written_is_read_back(asked):
    text = to_toml(asked, comments=["a\nb"])
    assert parsed(text) == asked


@given(POLICIES, st.sampled_from(recorded.NAMES))
def test_any_policy_judges_any_machine(asked, name):
    findings = apply(asked, recorded.load(name), (), None, TODAY)
    assert {finding.id for finding in findings} <= set(policy.EXPLANATIONS)


@pytest.mark.parametrize("name", recorded.NAMES)
def test_a_frozen_machine_fulfils_its_policy_and_others_break_it(name):
    text = to_toml(freeze(recorded.load(name)))
    statuses = {other: {finding.status for finding in judged(text, other)} for other in recorded.NAMES}
    assert statuses[name] == {Status.PASS}
    for other in recorded.NAMES:
        if other != name:
            wanted = {Status.UNKNOWN} if (name, other) == ("gtx1080ti", "jetson") else {Status.FAIL}  # names no board
            assert wanted <= statuses[other], other


def test_frozen_rates_have_slack():
    report = measured(a=7e14, b=6e14)
    frozen = freeze(recorded.load(SERVER), report)
    assert frozen.bench == {"gemm": {"bf16": "540 TFLOP/s"}}
    assert judged(to_toml(frozen), bench=report)[-1].status is Status.PASS


def test_a_machine_of_two_models():
    facts = {"gpus.3.name": "NVIDIA A100-SXM4-80GB", "gpus.3.pci_device_id": "10de:20b2", "gpus.3.compute_capability": "8.0"}
    frozen = freeze(recorded.altered(SERVER, facts))
    assert isinstance(frozen.gpu.model, tuple)
    assert frozen.gpu.min_compute_capability == "8.0"
    assert "fp8_e4m3" not in frozen.dtypes.required
    assert parsed(to_toml(frozen)) == frozen


def test_what_is_unknown_is_not_frozen():
    facts = {"gpus.*.name|pci_device_id|compute_capability|memory_total_bytes": None, "disks": [], "memory": {}, "driver": {}}
    frozen = freeze(recorded.altered(SERVER, {**facts, "gaps.limits": "none"}))
    assert frozen == Policy(gpu=model.Gpu(count=8))


# --- the command


@pytest.fixture
def dltool(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "COLUMNS": "80"}

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dltool", *arguments]
        source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=120, **source
        )

    return run


def snapshot(name: str) -> tuple[str, ...]:
    return ("--machine", str(recorded.DIRECTORY / f"{name}.json"))


def test_freeze_then_gate(dltool, tmp_path):
    run = dltool("doctor", *snapshot(SERVER), "--freeze", "-o", "dltool.toml")
    assert (run.returncode, run.stdout) == (0, "")
    assert dltool("doctor", *snapshot(SERVER), "--policy", "dltool.toml").returncode == 0
    run = dltool("doctor", *snapshot("laptop_rtx4060"), "--policy", "dltool.toml", "--json")
    assert run.returncode == 1
    report = json.loads(run.stdout)
    failed = {finding["id"] for finding in report["findings"] if finding["status"] == "fail"}
    assert {"policy-gpu-count", "policy-gpu-model", "policy-memory"} <= failed
    assert "policy asks for" in report["headline"]
    assert dltool("doctor", *snapshot("laptop_rtx4060")).returncode == 0  # dltool.toml is there, and not named
    piped = dltool("doctor", *snapshot(SERVER), "--policy", "-", stdin=(tmp_path / "dltool.toml").read_text())
    assert piped.returncode == 0


def test_freeze_of_here_is_fulfilled_here(dltool):
    run = dltool("doctor", "--freeze")
    assert run.returncode == 0
    again = dltool("doctor", "--only", "gpu-absent", "--policy", "-", "--json", stdin=run.stdout)
    assert again.returncode == 0
    assert {f["status"] for f in json.loads(again.stdout)["findings"] if f["id"].startswith("policy-")} == {"pass"}


def test_bench_reports_are_judged(dltool, tmp_path):
    (tmp_path / "bench.json").write_bytes(measured(a=5e14).to_json())
    (tmp_path / "dltool.toml").write_text(RATE)
    judge = ("doctor", *snapshot(SERVER), "--policy", "dltool.toml")
    assert dltool(*judge).returncode == 0
    run = dltool(*judge, "--bench", "bench.json")
    assert (run.returncode, "reaches 500 TFLOP/s" in run.stdout) == (1, True)
    assert 'bf16 = "450 TFLOP/s"' in dltool("doctor", *snapshot(SERVER), "--freeze", "--bench", "bench.json").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--policy", "none.toml"), "cannot read none.toml"),
        (("--policy", "."), "cannot read ."),
        (("--policy", "bad.toml"), "bad.toml, line 1, column 5: "),
        (("--policy", "bad.toml", "--freeze"), "exclude one another"),
        (("--bench", "bad.toml"), "--bench is read for a policy"),
        (("--policy", "good.toml", "--bench", "empty.json"), "without measurements"),
        (("--policy", "-", "--baseline", "-"), "only one file can be standard input"),
        (("--policy", "-", "--bench", "-"), "only one file can be standard input"),
        (("--freeze", "--json"), "a policy is TOML, not json"),
    ],
)
def test_wrong_usage_is_exit_code_2(dltool, tmp_path, arguments, told):
    (tmp_path / "bad.toml").write_text("[gpu")
    (tmp_path / "good.toml").write_text("[gpu]\ncount = 8")
    (tmp_path / "empty.json").write_bytes(Report(command=("doctor",)).to_json())
    run = dltool("doctor", *snapshot(SERVER), *arguments, stdin="")
    assert (run.returncode, run.stdout) == (2, "")
    assert told in run.stderr
    assert "hint: " in run.stderr


def test_findings_of_a_policy_are_explained(dltool):
    for name in policy.EXPLANATIONS:
        assert policy.EXPLANATIONS[name].partition("\n")[0].endswith("?")
    assert dltool("doctor", "--explain", "policy-disk").stdout.startswith("policy-disk\n\nIs as much room")


@pytest.mark.parametrize("form", ["junit", "sarif", "github", "gitlab", "markdown"])
def test_every_format_tells_of_the_policy(dltool, tmp_path, form):
    (tmp_path / "dltool.toml").write_text("[gpu]\ncount = 7\n" + waiver("2020-01-01"))
    run = dltool("doctor", *snapshot(SERVER), "--policy", "dltool.toml", "--format", form)
    assert run.returncode == 1
    assert "policy-gpu-count" in run.stdout
    assert "policy-waiver" in run.stdout


# --- documents


def test_the_example_of_the_readme_is_a_policy():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    asked = parsed(example)
    assert all(msgspec.to_builtins(asked).get(section) for section in ("gpu", "driver", "cuda", "dtypes", "host", "checks"))
    assert asked.waiver
    assert asked.bench


def test_policies_satisfy_the_published_schema():
    schema = json.loads((ROOT / "docs/policy.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    example = Policy(
        waiver=(model.Waiver(id="shm-small", reason="x", expires=TODAY),), gpu=model.Gpu(count=8, model=("A", "B"))
    )
    for asked in (Policy(), example, *(freeze(recorded.load(name)) for name in recorded.NAMES)):
        validator.validate(json.loads(msgspec.json.encode(asked)))
    assert not validator.is_valid({"gpu": {"cuont": 1}})
    assert not validator.is_valid({"host": {"min_shm_gb": -1}})
