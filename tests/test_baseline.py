"""What is hidden by a baseline, and what is shared."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dltool import lang
from dltool.compare import KNOWN, hide_known, identity
from dltool.results import Finding, Remedy, Report, Status

MACHINES = Path(__file__).parent / "machines"
FIX = (Remedy(text="mend it"),)
FAIL = Finding(id="gpu-lost", status=Status.FAIL, summary="GPU 3 is gone", remedies=FIX, devices=(3,))
WARN = Finding(id="shm-small", status=Status.WARN, summary="64 MiB", remedies=FIX)
PASS = Finding(id="gpus-hidden", status=Status.PASS, summary="all visible")


def hidden(now: tuple[Finding, ...], before: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What is left of `now`, without the finding that tells of the rest."""
    return tuple(f for f in hide_known(Report(findings=now), Report(findings=before)).findings if f.id != KNOWN)


def test_what_is_hidden_is_told_in_chinese():
    with lang.speaking("zh"):
        (told,) = hide_known(Report(findings=(FAIL,)), Report(findings=(FAIL,))).findings
    assert (told.summary, told.why) == ("已隐藏 1 项已知结果", "基线中有同样的 GPU 的同样结果。")


def test_known_findings_are_hidden_and_told():
    before = Report(created="2026-11-01", findings=(FAIL, WARN, PASS))
    left = hide_known(Report(findings=(FAIL, WARN, PASS)), before)
    assert left.findings[0] is PASS
    assert left.exit_code(Status.WARN) == 0
    told = left.findings[1]
    assert (told.id, told.status, told.summary) == (KNOWN, Status.INFO, "2 known findings are hidden")
    assert [(fact.fact, fact.value, fact.read_from) for fact in told.evidence] == [
        ("gpu-lost", "fail: GPU 3 is gone", "baseline of 2026-11-01"),
        ("shm-small", "warn: 64 MiB", "baseline of 2026-11-01"),
    ]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(FAIL, devices=(4,)), id="another GPU"),
        pytest.param(replace(FAIL, devices=()), id="the whole machine"),
        pytest.param(replace(FAIL, status=Status.WARN), id="another status"),
        pytest.param(replace(FAIL, id="gpu-hot"), id="another check"),
    ],
)
def test_anything_else_is_new(other):
    assert hidden((other,), (FAIL,)) == (other,)
    assert hide_known(Report(findings=(other,)), Report(findings=(FAIL,))).findings == (other,)


def test_other_words_are_the_same_finding():
    assert hidden((replace(FAIL, summary="GPU 3 of 8 is gone", why="new"),), (FAIL,)) == ()


def test_one_more_of_a_kind_is_new_and_is_the_one_that_is_shown():
    second = replace(WARN, summary="32 MiB")
    assert hidden((second, WARN), (WARN,)) == (second,)
    assert hidden((WARN, second), (WARN,)) == (second,)
    assert hidden((WARN, second), (WARN, replace(WARN, summary="1 MiB"))) == ()


def test_passes_are_never_hidden():
    assert hidden((PASS, PASS), (PASS,)) == (PASS, PASS)


STATUSES = st.sampled_from(Status)
FINDINGS = st.lists(
    st.builds(
        lambda name, status, devices, summary: Finding(id=name, status=status, devices=devices, summary=summary, remedies=FIX),
        st.sampled_from("abc"),
        STATUSES,
        st.sampled_from([(), (0,), (0, 1)]),
        st.sampled_from(["x", "y", "]]>\x00"]),
    ),
    max_size=6,
).map(tuple)


@given(now=FINDINGS, before=FINDINGS)
def test_nothing_is_lost_and_nothing_new_is_hidden(now, before):
    left = hidden(now, before)
    gone = len(now) - len(left)
    told = [f for f in hide_known(Report(findings=now), Report(findings=before)).findings if f.id == KNOWN]
    assert sum(len(finding.evidence) for finding in told) == gone
    assert len(told) == bool(gone)
    for name in set(map(identity, now)):
        of_now, of_before, of_left = (sum(identity(f) == name for f in group) for group in (now, before, left))
        visible = name[2] in ("pass", "skip")
        assert of_left == (of_now if visible else max(0, of_now - of_before))
    assert [f for f in now if any(f is kept for kept in left)] == list(left)  # the order is kept


@given(findings=FINDINGS)
def test_a_report_is_its_own_baseline(findings):
    left = hide_known(Report(findings=findings), Report(findings=findings))
    assert left.exit_code(Status.WARN) == 0
    assert all(f.status in (Status.PASS, Status.SKIP) or f.id == KNOWN for f in left.findings)


# --- the command


@pytest.fixture
def dltool(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "COLUMNS": "80",
    }

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dltool", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment | variables, timeout=120
        )

    return run


@pytest.fixture
def sick(tmp_path) -> str:
    """A server with two warnings, and names all over its facts."""
    facts = json.loads((MACHINES / "h100_server.json").read_text())
    facts["limits"]["open_files_soft"] = 64
    facts["environment"]["CUDA_VISIBLE_DEVICES"] = "GPU-deadbeef-0000-1111-2222-333344445555"
    facts["os"]["hostname"] = "node7.secretlab.example"
    facts["gpus"][0] |= {"uuid": "GPU-12345678-9abc-def0-1234-56789abcdef0", "serial": "1650923000777"}
    facts["python"]["executable"] = "/home/alice/envs/x/bin/python"
    facts["python"]["torch"]["location"] = "/scratch/alice/node7/site-packages/torch"
    facts["python"]["torch"]["import_broken"] = "libcudnn.so.9"
    path = tmp_path / "sick.json"
    path.write_text(json.dumps(facts))
    return str(path)


def test_baseline_hides_from_output_and_exit_code(dltool, sick, tmp_path):
    judge = ("doctor", "--machine", sick, "--fail-on", "warn")
    assert dltool(*judge, "-o", "base.json").returncode == 1
    run = dltool(*judge, "--baseline", "base.json")
    assert run.returncode == 0
    assert re.match(r"nothing new; \d known findings are hidden\n", run.stdout)
    assert "open-files-low" not in run.stdout
    run = dltool(*judge, "--baseline", "base.json", "--json")
    (told,) = [f for f in json.loads(run.stdout)["findings"] if f["id"] == KNOWN]
    assert "open-files-low" in [fact["fact"] for fact in told["evidence"]]
    run = dltool(*judge, "--baseline", "base.json", "--only", "open-files-low")
    assert (run.returncode, run.stdout.startswith("nothing new; 1 known finding is hidden")) == (0, True)


def test_what_is_new_is_the_headline(dltool, sick, tmp_path):
    assert dltool("doctor", "--machine", sick, "--skip", "open-files-low", "-o", "base.json").returncode in (0, 1)
    run = dltool("doctor", "--machine", sick, "--baseline", "base.json", "--fail-on", "warn")
    assert run.returncode == 1
    assert run.stdout.startswith("a process may open only 64 files")
    assert "known finding" in run.stdout.split("looked at")[0]


def test_a_baseline_of_here(dltool):
    assert dltool("doctor", "-o", "base.json").returncode in (0, 1)
    assert dltool("doctor", "--baseline", "base.json", "--fail-on", "warn").returncode == 0
    assert dltool("report", "show", "last").returncode == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read base.json"),
        (b"", "base.json is not a report"),
        (b"{", "base.json is not a report"),
        (b"[]", "base.json is not a report"),
        (b"\xff\xfe", "base.json is not a report"),
        (b'{"schema": "dltool/machine/1"}', "its schema is 'dltool/machine/1'"),
        (b'{"schema": "dltool/report/1", "findings": [{"id": 3}]}', "$.findings[0]"),
        (b'{"schema": "dltool/report/1", "findings": [{"status": "fail", "summary": "x"}]}', "needs a remedy"),
        (b'{"schema": "dltool/report/1", "command": ["gpu-info"]}', "a report of gpu-info, without findings"),
        (b"[" * 100_000, "base.json is not a report"),
    ],
)
def test_malformed_baselines_are_refused(dltool, sick, tmp_path, content, reason):
    if content is not None:
        (tmp_path / "base.json").write_bytes(content)
    run = dltool("doctor", "--machine", sick, "--baseline", "base.json")
    assert run.returncode == 2
    assert run.stdout == ""
    assert reason in run.stderr
    assert len(run.stderr.strip().splitlines()) == 3


def test_the_known_are_explained(dltool):
    assert dltool("doctor", "--explain", KNOWN).stdout.startswith(KNOWN)


# --- sharing


def test_shared_block_tells_nobody(dltool, sick):
    run = dltool("doctor", "--machine", sick, "--share", "-v")
    assert run.returncode == 1
    assert run.stdout.startswith("<details>\n<summary>dltool doctor: ")
    assert run.stdout.endswith("</details>\n")
    assert "~/envs/x/bin/python" in run.stdout or "\\[user\\]" in run.stdout
    for secret in ("alice", "node7", "secretlab", "12345678", "1650923000777", "deadbeef"):
        assert secret not in run.stdout
    assert "libcudnn.so.9" in run.stdout


def test_shared_block_of_here(dltool, tmp_path):
    run = dltool("doctor", "--share", CUDA_VISIBLE_DEVICES=f"{tmp_path}/home/x")
    assert run.stdout.startswith("<details>")
    assert str(tmp_path / "home") not in run.stdout
    assert "### Machine" in run.stdout


def test_plugins_that_break_with_a_path_tell_nobody(dltool, tmp_path):
    """The text of a stranger's error is no fact of the machine, and is redacted all the same."""
    info = tmp_path / "plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dltool.checks]\nx = broken_plugin\n")
    (tmp_path / "broken_plugin.py").write_text("raise ImportError('/home/carol/lib/x.so: no such file')\n")
    run = dltool("doctor", "--share", PYTHONPATH=str(tmp_path))
    assert "plugin-broken" in run.stdout
    assert "carol" not in run.stdout


@pytest.mark.parametrize("arguments", [("--json",), ("--format", "junit"), ("-o", "x.json")])
def test_share_is_markdown(dltool, arguments):
    run = dltool("doctor", "--share", *arguments)
    assert run.returncode == 2
    assert "--share is markdown" in run.stderr


# --- the command line and the formats


def test_github_appends_a_summary_of_the_step(dltool, sick, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    run = dltool("doctor", "--machine", sick, "--format", "github", GITHUB_STEP_SUMMARY=str(summary))
    assert all(line.startswith(("::error", "::warning", "::notice")) for line in run.stdout.splitlines())
    text = summary.read_text()
    assert text.startswith("before\n## dltool doctor\n")
    assert "open-files-low" in text
    dltool("doctor", "--machine", sick, GITHUB_STEP_SUMMARY=str(summary))
    assert summary.read_text() == text  # other formats write none


def test_a_summary_that_cannot_be_written_is_a_warning(dltool, sick, tmp_path):
    run = dltool("doctor", "--machine", sick, "--format", "github", GITHUB_STEP_SUMMARY=str(tmp_path))
    assert run.stdout.startswith("::")
    assert run.stderr.startswith("warning: no summary of the step was written: ")
    assert run.returncode == 1


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("r.md", "## dltool doctor"), ("r.xml", "<?xml"), ("r.sarif", '{\n  "$schema"'), ("r.json", "{"), ("r.txt", "CUDA")],
)
def test_the_ending_of_the_file_names_the_format(dltool, sick, tmp_path, name, beginning):
    assert dltool("doctor", "--machine", sick, "-o", name).returncode == 1
    assert (tmp_path / name).read_text().startswith(beginning)


@pytest.mark.parametrize("name", ["markdown", "junit", "sarif", "github", "gitlab"])
@pytest.mark.parametrize("arguments", [("gpu-info", "H100 SXM", "T4"), ("compat", "--gpu", "T4", "--torch", "2.7.1+cu128")])
def test_other_commands_have_these_formats(dltool, name, arguments):
    run = dltool(*arguments, "--format", name)
    assert run.returncode in (0, 1)
    assert "T4" in run.stdout or name == "gitlab" or arguments[0] == "compat"
    assert "Traceback" not in run.stderr


def test_warnings_fail_in_junit_where_they_fail_the_command(dltool, sick):
    judge = ("doctor", "--machine", sick, "--only", "open-files-low", "--format", "junit")
    assert 'failures="0"' in dltool(*judge).stdout
    run = dltool(*judge, "--fail-on", "warn")
    assert run.returncode == 1
    assert 'failures="1"' in run.stdout


def test_ci_formats_tell_no_names(dltool):
    """As all that leaves this machine: host names are hashed."""
    host = os.uname().nodename
    text = dltool("doctor", "--format", "junit").stdout
    assert 'hostname="#' in text or 'hostname="localhost"' in text
    assert f'hostname="{host}"' not in text
