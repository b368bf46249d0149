"""Plans that mend a Python environment: which lines may be run, in which order, and what is left to people."""

from __future__ import annotations

import json
import os

import cases
import pytest
import recorded
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dltool import checks
from dltool.cli import fixing
from dltool.cli.fixing import Fixing, outcome
from dltool.errors import UsageError
from dltool.lang import speaking
from dltool.machine import PythonEnv
from dltool.probe import mendable
from dltool.probing import PROBES
from dltool.render import FORMATS, Style
from dltool.results import (
    Finding,
    Fix,
    FixPlace,
    FixStep,
    FrozenPackage,
    Remedy,
    Report,
    Risk,
    Scope,
    Status,
    root_problems,
)
from dltool.setup.fixing import plan as planning
from dltool.setup.fixing import putting_back, shapes
from dltool.setup.fixing.shapes import Pip

PYTHON = "/env/bin/python"
PLACE = FixPlace(python=PYTHON, prefix="/env", kind="venv", writable=True, externally_managed=False, has_pip=True)
REPLAYED = [(name, recorded.load(name)) for name in recorded.NAMES]
REPLAYED += [(case["id"], cases.replay(case)[0]) for case in json.loads(cases.OURS.read_text())]


def found(name: str, *remedies: str | tuple[str, ...], status: Status = Status.FAIL, **changed) -> Finding:
    """A finding with a remedy of these lines each."""
    lines = [(one,) if isinstance(one, str) else one for one in remedies]
    made = tuple(Remedy(text="do it", commands=tuple(f"{PYTHON} -m pip {line}" for line in one)) for one in lines)
    return Finding(id=name, status=status, summary=f"{name} is wrong", remedies=made or (Remedy(text="think"),), **changed)


def planned(*findings: Finding, place: FixPlace = PLACE, installed: dict[str, FrozenPackage] | None = None, **changed) -> Fix:
    trusted = changed.pop("trusted", {finding.id for finding in findings})
    return planning.plan(findings, place=place, installed=installed or {}, trusted=trusted, **changed)


def lines(fix: Fix) -> list[list[str]]:
    """The commands of each step, after `PYTHON -m pip`."""
    return [[line.removeprefix(f"{PYTHON} -m pip ") for line in step.commands] for step in fix.steps]


@pytest.mark.parametrize(("name", "machine"), REPLAYED, ids=[name for name, _ in REPLAYED])
def test_every_remedy_is_carried_out_or_handed_over(name, machine):
    del name
    findings = checks.run(machine)
    python = machine.python
    place = FixPlace(python=python.executable, prefix=python.prefix, kind="venv") if python else None
    fix = planning.plan(findings, place=place, installed={}, trusted={finding.id for finding in findings})
    roots = root_problems(findings)
    steps = [(target, step) for step in fix.steps for target in step.mends]
    left = {(one.target.finding, one.target.summary): one for one in fix.left}
    assert sorted([target.summary for target, _ in steps] + [one.target.summary for one in fix.left]) == sorted(
        finding.summary for finding in roots
    )
    for finding in roots:
        if one := left.get((finding.id, finding.summary)):
            assert [(by_hand.text, by_hand.commands) for by_hand in one.remedies] == [
                (remedy.text, remedy.commands) for remedy in finding.remedies
            ]
            assert one.reason or all(by_hand.reason for by_hand in one.remedies)
            continue
        step = next(step for target, step in steps if target.summary == finding.summary)
        done = [shapes.read(line, python=place.python) for line in step.commands]
        assert any(
            remedy.risk is Risk.USER
            and remedy.commands
            and all(any(call.covers(shapes.read(line, python=place.python)) for call in done) for line in remedy.commands)
            for remedy in finding.remedies
        )
    explained = {finding.id for finding in findings if finding.status.is_problem} - {finding.id for finding in roots}
    told = {name for target, _ in steps for name in target.along} | {name for one in fix.left for name in one.target.along}
    assert explained <= told


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sudo apt-get install nvidia-driver-580", "root"),
        ("export CUDA_HOME=/usr/local/cuda", "shell"),
        ("unset CUDA_VISIBLE_DEVICES", "shell"),
        ('TORCH_CUDA_ARCH_LIST="10.0" /env/bin/python -m pip install x', "shell"),
        ("docker run --gpus all IMAGE", "container"),
        ("/env/bin/python -m pip install --force-reinstall PACKAGE", "placeholder"),
        ("python -m venv ENVIRONMENT", "placeholder"),
        ("/env/bin/python -m pip install <name>", "other"),
        ("/env/bin/python -m pip install --no-build-isolation flash-attn", "build"),
        ("/env/bin/python -m pip install --no-binary=torch torch", "build"),
        ("/other/bin/python -m pip install torch", "other"),
        ("pip install torch", "other"),
        ("uv pip install --python /other/bin/python torch", "other"),
        ("uv pip install torch", "other"),
        ("/env/bin/python -m pip install torch; rm -rf ~", "other"),
        ("/env/bin/python -m pip install torch && reboot", "other"),
        ("/env/bin/python -m pip install numpy<2", "other"),
        ("/env/bin/python -m pip install $(curl x)", "other"),
        ("/env/bin/python -m pip install `id`", "other"),
        ("/env/bin/python -m pip install -r requirements.txt", "other"),
        ("/env/bin/python -m pip install --target / torch", "other"),
        ("/env/bin/python -m pip install -e .", "other"),
        ("/env/bin/python -m pip install ./torch", "other"),
        ("/env/bin/python -m pip install 'torch @ https://example.org/torch.whl'", "other"),
        ("/env/bin/python -m pip install git+https://example.org/torch", "other"),
        ("/env/bin/python -m pip install torch --index-url relative", "other"),
        ("/env/bin/python -m pip install torch --index-url https://user:secret@example.org/simple", "other"),
        ("/env/bin/python -m pip install", "other"),
        ("/env/bin/python -m pip uninstall 'torch==2'", "other"),
        ("/env/bin/python -m pip uninstall --force-reinstall torch", "other"),
        ("/env/bin/python -m pip cache purge", "other"),
        ("/env/bin/python -c 'import os'", "other"),
        ("/env/bin/python -m pip install 'unclosed", "other"),
        ("", "shell"),
    ],
)
def test_what_is_not_understood_to_the_last_word_is_never_run(line, reason):
    assert shapes.read(line, python=PYTHON) == reason


@pytest.mark.parametrize(
    ("line", "run"),
    [
        ('python -m pip install "numpy<2"', "/env/bin/python -m pip install 'numpy<2'"),
        ("/env/bin/python -m pip uninstall a b", "/env/bin/python -m pip uninstall -y a b"),
        ("uv pip uninstall --python /env/bin/python a", "uv pip uninstall --python /env/bin/python a"),
        (
            '/env/bin/python -m pip install --force-reinstall "torch==2.7.1+cu126" --index-url https://example.org/cu126',
            "/env/bin/python -m pip install --force-reinstall torch==2.7.1+cu126 --index-url https://example.org/cu126",
        ),
        ("/env/bin/python -m pip install -U ctranslate2", "/env/bin/python -m pip install --upgrade ctranslate2"),
    ],
)
def test_what_is_run_is_written_anew(line, run):
    call = shapes.read(line, python=PYTHON)
    assert isinstance(call, Pip)
    assert call.line == run
    assert shapes.read(call.line, python=PYTHON) == call


@given(st.text())
def test_no_text_is_run_that_is_no_call_of_pip(text):
    call = shapes.read(text, python=PYTHON)
    assert isinstance(call, str) or call.argv()[:3] in ((PYTHON, "-m", "pip"), ("uv", "pip", call.verb))


@given(st.lists(st.sampled_from([
    "torch", "numpy<2", "a==1", "--force-reinstall", "--no-deps", "-U", "-y", "-r", "x;y", "$(z)", "--index-url",
    "https://example.org/x", "--user", "--find-links", "/wheels", "--no-index", "../up", "a b", "--pre",
]), max_size=6), st.sampled_from(["install", "uninstall", "download"]))  # fmt: skip
def test_what_is_understood_is_said_again_the_same(arguments, verb):
    import shlex

    call = shapes.read(shlex.join([PYTHON, "-m", "pip", verb, *arguments]), python=PYTHON)
    if isinstance(call, Pip):
        assert shapes.read(call.line, python=PYTHON) == call
        assert not {"-r", "--user", "--pre", "x;y", "$(z)", "../up", "a b"} & set(call.argv())


def test_torch_is_installed_again_once_and_first():
    again = "install --force-reinstall torch==2.7.1+cu126 --index-url https://example.org/cu126"
    fix = planned(
        found("numpy-mismatched", "install 'numpy<2'", status=Status.WARN),
        found("torch-incomplete", again.replace(" torch", " --no-deps torch")),
        found("nvidia-wheels-mixed", ("uninstall -y nvidia-cudnn-cu11", again)),
        found("triton-mismatched", again, status=Status.WARN),
    )
    assert lines(fix) == [["uninstall -y nvidia-cudnn-cu11", again], ["install 'numpy<2'"]]
    assert [target.finding for target in fix.steps[0].mends] == ["torch-incomplete", "nvidia-wheels-mixed", "triton-mismatched"]


def test_a_way_that_another_finding_asks_for_anyway_is_taken():
    newer = "install torch==2.14.1+cu130 --index-url https://example.org/cu130"
    fix = planned(found("numpy-mismatched", "install 'numpy<2'", newer), found("torch-lacks-gpu-code", newer))
    assert lines(fix) == [[newer]]
    assert {target.finding for target in fix.steps[0].mends} == {"numpy-mismatched", "torch-lacks-gpu-code"}


def test_of_two_versions_the_graver_finding_decides_and_the_other_waits():
    fix = planned(found("a", "install torch==2.1", status=Status.WARN), found("b", "install torch==2.2"))
    assert lines(fix) == [["install torch==2.2"]]
    assert [(one.target.finding, one.reason) for one in fix.left] == [("a", "conflict")]
    removed = planned(found("a", "uninstall -y triton", status=Status.WARN), found("b", "install triton==3"))
    assert [(one.target.finding, one.reason) for one in removed.left] == [("a", "conflict")]


def test_the_first_remedy_that_can_be_carried_out_is_chosen():
    root = Remedy(text="as root", commands=("apt-get install x",), risk=Risk.ROOT)
    here = found("a", "install --no-build-isolation x", ("install y", "install PACKAGE"), "install z", "install w")
    assert lines(planned(replace(here, remedies=(root, *here.remedies)))) == [["install z"]]


def test_what_follows_from_a_finding_goes_with_it():
    follows = found("b", "install b", caused_by="a")
    fix = planned(found("a", "install a"), follows)
    assert lines(fix) == [["install a"]]
    assert fix.steps[0].mends[0].along == ("b",)


@pytest.mark.parametrize(
    ("changed", "reason", "says"),
    [
        ({"externally_managed": True, "kind": "system"}, "environment", "PEP 668"),
        ({"kind": "system", "prefix": "/usr"}, "environment", "dltool setup create"),
        ({"kind": "conda"}, "environment", "conda"),
        ({"writable": False}, "environment", "may not be written"),
        ({"has_pip": False}, "no-pip", ""),
    ],
)
def test_an_environment_that_is_not_the_users_is_left_alone(changed, reason, says):
    finding = found("a", "install a")
    fix = planned(finding, place=replace(PLACE, **changed))
    assert (fix.steps, [one.reason for one in fix.left]) == ((), [reason])
    assert says in " ".join(fix.notes)
    assert fix.left[0].remedies[0].commands == finding.remedies[0].commands


def test_without_pip_uv_still_works():
    finding = replace(found("a"), remedies=(Remedy(text="x", commands=(f"uv pip install --python {PYTHON} a",)),))
    assert planned(finding, place=replace(PLACE, has_pip=False)).steps[0].commands == finding.remedies[0].commands


@pytest.mark.parametrize(
    ("package", "kept"),
    [
        (FrozenPackage(name="a", version="1", source="local", url="file:///home/me/a"), False),
        (FrozenPackage(name="a", version="1", source="local", url="file:///home/me/a-1-py3-none-any.whl"), True),
        (FrozenPackage(name="a", version="1", source="vcs", url="git+https://example.org/a", revision="abc"), True),
        (FrozenPackage(name="a", version="1"), True),
    ],
)
def test_what_cannot_be_put_back_is_not_replaced(package, kept):
    fix = planned(found("a", "install a==2"), installed={"a": package})
    assert bool(fix.steps) is kept
    assert [one.reason for one in fix.left] == ([] if kept else ["local-files"])


def test_what_a_plugin_advises_or_a_provider_must_do_is_never_run():
    fix = planned(found("mine", "install a"), found("theirs", "install b"), trusted={"mine"})
    assert lines(fix) == [["install a"]]
    assert [(one.target.finding, one.reason) for one in fix.left] == [("theirs", "origin")]
    assert [one.reason for one in planned(found("a", "install a", scope=Scope.PROVIDER)).left] == ["provider"]


def test_wheels_come_from_the_index_that_the_user_names():
    finding = found("a", "install torch==2.1+cpu --index-url https://example.org/cpu")
    assert lines(planned(finding, index="https://mirror.example.org/simple"))[0][0].endswith("mirror.example.org/simple")
    assert lines(planned(finding, index="")) == [["install torch==2.1+cpu"]]
    assert lines(planned(finding, index="/wheels")) == [["install torch==2.1+cpu --no-index --find-links /wheels"]]


def test_the_way_back_of_a_step_is_known_beforehand():
    installed = {"torch": FrozenPackage(name="torch", version="2.7.1+cu126"), "a": FrozenPackage(name="a", version="1")}
    (step,) = planned(found("x", ("uninstall -y a", "install torch==2.8.0+cu128 b")), installed=installed).steps
    index = "https://download.pytorch.org/whl/cu126"
    assert [line.removeprefix(f"{PYTHON} -m pip ") for line in step.undo] == [
        "uninstall -y b",
        "install --force-reinstall --no-deps a==1",
        f"install --force-reinstall --no-deps torch==2.7.1+cu126 --index-url {index}",
    ]


def test_the_list_of_what_was_installed():
    packages = (
        FrozenPackage(name="torch", version="2.7.1+cu126"),
        FrozenPackage(name="mine", version="1", source="local", url="file:///home/me/mine"),
        FrozenPackage(name="v", version="1", source="vcs", url="git+https://example.org/v", revision="abc"),
        FrozenPackage(name="w", version="1", source="url", url="https://example.org/w.whl"),
    )
    assert putting_back.listing(packages, head="before").splitlines() == [
        "# before",
        "--extra-index-url https://download.pytorch.org/whl/cu126",
        "torch==2.7.1+cu126",
        "# mine==1: from file:///home/me/mine, not from an index",
        "v @ git+https://example.org/v@abc",
        "w @ https://example.org/w.whl",
    ]


def test_an_unfinished_fix_is_gone_on_with():
    def step(*arguments: str, state: str = "planned") -> FixStep:
        commands = tuple(f"{PYTHON} -m pip {one}" for one in arguments)
        return FixStep(title=arguments[0], mends=(), commands=commands, state=state)

    now = planned(found("x", "install 'numpy<2'"), found("y", "install b==2"), found("z", "install a"))
    earlier = (step("install done", state="done"), step("uninstall -y a", "install a", state="failed"), step("install b==1"))
    fix = planning.resumed(now, earlier)
    assert lines(fix) == [["uninstall -y a", "install a"], ["install b==1"], ["install 'numpy<2'"]]
    assert [target.finding for target in fix.steps[0].mends] == ["z"]
    assert {one.state for one in fix.steps} == {"planned"}


def test_what_became_of_each_problem():
    before = (found("gone"), found("same"), replace(found("changed"), summary="torch 1"), found("note", status=Status.PASS))
    after = (found("same"), replace(found("changed"), summary="torch 2"), found("fresh"))
    assert [(one.finding, one.state) for one in outcome(before, after)] == [
        ("gone", "mended"),
        ("same", "remains"),
        ("changed", "remains"),
        ("fresh", "new"),
    ]


def test_a_failed_fix_is_no_success():
    assert Report(fix=Fix(state="failed")).exit_code() == 3
    assert Report(fix=Fix(state="failed"), findings=(found("a"),)).exit_code() == 1
    assert Report(fix=Fix(state="done")).exit_code() == 0


@pytest.mark.parametrize(
    ("options", "others", "says"),
    [
        ({"yes": True}, (), "--yes is for --fix"),
        ({"index": "pip"}, (), "--index is for --fix"),
        ({"fix": True}, ("--share",), "--fix and --share exclude one another"),
        ({"fix": True, "index": "/no/where"}, (), "there is no such folder"),
        ({"fix": True, "index": "https://me:secret@example.org/simple"}, (), "holds a password"),
    ],
)
def test_wrong_usage(options, others, says):
    with pytest.raises(UsageError, match=says):
        Fixing(**options).check(replayed=False, others=others)


def test_where_wheels_come_from(tmp_path):
    assert [Fixing(fix=True, index=index).source() for index in (None, "pip", "https://x.example.org", str(tmp_path))] == [
        None,
        "",
        "https://x.example.org",
        str(tmp_path),
    ]


def test_what_is_said_in_chinese():
    with speaking("zh"):
        fix = planned(found("a", ("uninstall -y a", "install --force-reinstall torch==2.1")), found("b", "install PACKAGE"))
        text = FORMATS.get("text")(Report(fix=fix, headline="a is wrong"), Style())
    assert "卸载 a，然后重新安装 torch 2.1" in text
    assert "计划：在 /env 中执行 1 步；尚未执行任何操作" in text
    assert "请先把大写的占位词换成实际内容" in text
    assert not {"Plan", "undo", "mends"} & set(text.split())


def test_every_format_takes_a_fix():
    fix = replace(planned(found("a", "install a"), found("b")), failure="no *net*", undo=("undo it",), state="failed")
    report = Report(command=("doctor",), fix=fix, findings=(found("a", "install a"),))
    for name, render in FORMATS:
        assert render(report, Style()), name
    assert "**Step 1, planned: install a**" in FORMATS.get("markdown")(report, Style())


@pytest.mark.parametrize(("base", "managed"), [("/usr", True), ("/other", False)])
def test_whose_python_it_is_says_a_file_beside_its_library(tmp_path, base, managed):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/EXTERNALLY-MANAGED").touch()
    told = json.dumps([str(tmp_path / "lib"), str(tmp_path / "lib/site"), "/usr", base, True])
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{told}'\n")
    python.chmod(0o755)
    place = mendable.place(PythonEnv(executable=str(python), version="3.12.1", kind="system"))
    assert (place.externally_managed, place.has_pip, place.prefix) == (managed, True, "/usr")
    assert place.writable is os.access(tmp_path, os.W_OK)


def test_of_a_python_that_does_not_answer_nothing_is_known(tmp_path):
    known = mendable.place(PythonEnv(executable=str(tmp_path / "none"), version="3.12.1", prefix="/x", kind="venv"))
    assert known == FixPlace(python=str(tmp_path / "none"), prefix="/x", kind="venv")


def test_a_check_of_a_plugin_is_not_ours(monkeypatch):
    def theirs(machine):
        """Is it theirs?"""
        yield machine

    names = set(checks.CHECKS.names())
    monkeypatch.setitem(checks.CHECKS._items, "theirs", checks.Check("theirs", theirs))
    assert fixing._own() == names | set(PROBES)


def test_whatever_happens_while_looking_again_the_way_back_is_told(capsys):
    mending = fixing.Mending(Fixing(fix=True), recorded.load("h100_server"), here=True)
    with pytest.raises(KeyboardInterrupt), mending.looking_again(Fix(undo=("pip install old",))):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "to undo: pip install old\n"
