"""Environments that are made, fail, are interrupted, are taken up and are removed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import setup_fakes
from setup_fakes import PYTHON, asked, environment, wheelhouse

from dltool.errors import CannotRun, UsageError
from dltool.results import Status
from dltool.setup import apply, proof, recipe, removal, running, trouble, workplace

ROOT = Path(__file__).parent.parent
RUN_IT = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
import setup_fakes
from dltool.setup import apply
class Silent:
    def begin(self, title): print("begin", title, flush=True)
    def detail(self, text): print("said", text, flush=True)
    def end(self, state, seconds): pass
apply.create(apply.Wish(environment=setup_fakes.environment(), directory=Path({directory!r}), interpreter={python!r}), Silent())
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="environments are made on POSIX only")


class Told:
    """What a run tells while it goes."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.details: list[str] = []

    def begin(self, title: str) -> None:
        del title

    def detail(self, text: str) -> None:
        self.details.append(text)

    def end(self, state: str, seconds: float) -> None:
        self.ends.append(state)


@pytest.fixture
def python(tmp_path):
    return setup_fakes.fake_python(tmp_path / "fake")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work/env"


@pytest.fixture
def play(monkeypatch):
    def let(install: dict[str, object] | None = None, proved: dict[str, object] | None = None) -> None:
        monkeypatch.setenv("PLAY_INSTALL", json.dumps(install or {}))
        monkeypatch.setenv("PLAY_PROOF", json.dumps(proved or {}))

    return let


def wish(directory: Path, python: Path, **changed) -> apply.Wish:
    return apply.Wish(**{"environment": environment(), "directory": directory, "interpreter": str(python), **changed})


def create(directory: Path, python: Path, **changed) -> tuple[apply.Made, list[str]]:
    told = Told()
    return apply.create(wish(directory, python, **changed), told), told.ends


def marker(directory: Path) -> dict[str, object]:
    return json.loads((directory / workplace.MARKER).read_text())


def beside(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.parent.iterdir())


def test_an_environment_is_made_and_proved(place, python):
    made, ends = create(place, python)
    assert ends == ["done"] * 3
    assert made.creation.state == "finished"
    assert {finding.status for finding in made.findings} == {Status.PASS}
    assert marker(place)["state"] == "finished"
    assert asked(python) == ["venv", "install", "check", "proof"]
    assert not (place / workplace.SCRATCH).exists()
    assert beside(place) == ["env"]


def test_what_is_finished_is_only_proved_again(place, python):
    create(place, python)
    made, ends = create(place, python)
    assert ends == ["kept", "kept", "done"]
    assert made.creation.state == "finished"
    assert asked(python)[4:] == ["check", "proof"]


def test_a_dry_run_touches_nothing(place, python):
    creation = apply.planned(wish(place, python))
    assert creation.state == "planned"
    assert f"-m venv {place}" in creation.steps[0].commands[0]
    assert "--index-url https://index.example.org/cpu" in creation.steps[1].commands[0]
    assert not place.exists()


@pytest.mark.parametrize(
    ("said", "what"),
    [
        pytest.param("OSError: [Errno 28] No space left on device", "the disk is full", id="full disk"),
        pytest.param(
            "NewConnectionError: Name or service not known\nERROR: No matching distribution found for torch==2.13.0+cpu",
            "the index cannot be reached: https://index.example.org/cpu",
            id="no network",
        ),
        pytest.param(
            "ERROR: No matching distribution found for torch==2.13.0+cpu",
            "the index has no torch==2.13.0+cpu for this Python and system",
            id="no such version",
        ),
        pytest.param("ERROR: something new", "ERROR: something new", id="unknown"),
    ],
)
def test_a_failed_step_says_why_and_leaves_nothing_but_its_log(place, python, play, said, what):
    play({"say": said, "code": 1})
    with pytest.raises(apply.StepFailed, match="installing torch") as failure:
        create(place, python)
    assert str(failure.value).endswith(what)
    assert failure.value.exit_code == 3
    assert failure.value.tail == tuple(said.split("\n"))
    assert beside(place) == ["env.dltool-setup.log"]
    assert said in apply.beside(place).read_text()


def test_an_empty_directory_is_empty_again_after_a_failure(place, python, play):
    place.mkdir()
    play({"code": 1})
    with pytest.raises(apply.StepFailed):
        create(place, python)
    assert list(place.iterdir()) == []


def test_kept_after_a_failure_it_is_taken_up(place, python, play):
    play({"code": 1})
    with pytest.raises(apply.StepFailed, match="installing torch") as failure:
        create(place, python, keep=True)
    assert "run again to go on" in failure.value.remedy
    play()
    _, ends = create(place, python)
    assert ends == ["kept", "done", "done"]


def test_a_broken_venv_is_begun_anew(place, python, play):
    play({"venv": 1})
    with pytest.raises(apply.StepFailed, match="making the environment"):
        create(place, python, keep=True)
    (place / "lib/half").touch()
    play()
    create(place, python)
    assert not (place / "lib/half").exists()


def test_half_installed_packages_are_installed_again(place, python, play):
    half, whole = "a-1.dist-info", "b-1.dist-info"
    play({"half": [half, whole], "code": 1})
    with pytest.raises(apply.StepFailed):
        create(place, python, keep=True)
    packages = place / f"lib/python{PYTHON}/site-packages"
    (packages / whole / "INSTALLER").write_text("pip\n")
    play()
    create(place, python)
    assert [path.name for path in packages.iterdir()] == [whole]


def test_a_failed_proof_is_a_finding_and_leaves_nothing(place, python, play):
    play(proved={"imports": {"torch": "ImportError: libcudart.so.12"}})
    made, ends = create(place, python)
    assert ends[-1] == "failed"
    assert made.creation.state == "failed"
    (failed,) = [finding for finding in made.findings if finding.status is Status.FAIL]
    assert failed.id == "environment-imports"
    assert beside(place) == ["env.dltool-setup.log"]


def test_what_was_finished_stays_when_a_later_proof_fails(place, python, play):
    create(place, python)
    play(proved={"versions": {"torch": "2.12.0"}})
    made, _ = create(place, python)
    assert made.creation.state == "failed"
    assert marker(place)["state"] == "finished"
    assert not (place / workplace.SCRATCH).exists()


def start(place: Path, python: Path, **environment_variables: str) -> subprocess.Popen[str]:
    """A run of its own, once its installation sleeps."""
    code = RUN_IT.format(tests=str(ROOT / "tests"), root=str(ROOT), directory=str(place), python=str(python))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | environment_variables,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "sleeping" in line:
            return process
    raise AssertionError("it never began to install")


SLEEPS = json.dumps({"say": "sleeping", "sleep": 2})


def test_killed_halfway_it_is_taken_up_once_what_is_left_has_ended(place, python):
    process = start(place, python, PLAY_INSTALL=SLEEPS)
    process.kill()
    process.communicate()
    assert marker(place)["state"] == "unfinished"
    with pytest.raises(CannotRun, match="what is left of one"):  # its pip still sleeps
        create(place, python)
    deadline = time.monotonic() + 20
    while True:
        try:
            made, ends = create(place, python)
            break
        except CannotRun:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert ends == ["kept", "done", "done"]
    assert made.creation.state == "finished"


def test_interrupted_its_command_ends_and_the_next_run_goes_on(place, python):
    process = start(place, python, PLAY_INSTALL=json.dumps({"say": "sleeping", "sleep": 60}))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    _, ends = create(place, python)  # at once: nothing of it is left
    assert ends == ["kept", "done", "done"]


def test_two_runs_at_once(place, python):
    process = start(place, python, PLAY_INSTALL=SLEEPS)
    with pytest.raises(CannotRun, match="another run"):
        create(place, python)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert marker(place)["state"] == "finished"


@pytest.mark.parametrize("content", ["pyvenv.cfg", "notes.txt"])
def test_a_foreign_directory_is_left_alone(place, python, content):
    place.mkdir()
    (place / content).write_text("mine")
    with pytest.raises(UsageError, match="did not make" if content == "pyvenv.cfg" else "other things"):
        create(place, python)
    with pytest.raises(UsageError, match="did not make" if content == "pyvenv.cfg" else "other things"):
        apply.planned(wish(place, python))
    assert [path.name for path in place.iterdir()] == [content]


def test_another_plan_does_not_take_it_up(place, python):
    create(place, python)
    other = environment(torch="2.14.0", requirements=("torch==2.14.0+cpu",))
    with pytest.raises(UsageError, match=r"of another plan: venv with torch 2\.13\.0\+cpu"):
        create(place, python, environment=other)


@pytest.mark.parametrize("text", [b"{", b'{"schema": "dltool/setup/9"}', b"\xff"])
def test_a_damaged_marker(place, python, text):
    create(place, python)
    (place / workplace.MARKER).write_bytes(text)
    with pytest.raises(UsageError, match=r"is damaged|of another dltool"):
        create(place, python)
    with pytest.raises(UsageError, match=r"is damaged|of another dltool"):
        removal.remove(place)


def test_where_nothing_may_be_made(tmp_path, python):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="there is no directory"):
        create(tmp_path / "no/where", python)
    with pytest.raises(UsageError, match="is not a directory"):
        create(tmp_path / "file", python)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_without_permission(place, python):
    place.parent.chmod(0o500)
    try:
        with pytest.raises(CannotRun, match="cannot write"):
            create(place, python)
    finally:
        place.parent.chmod(0o700)


def test_a_missing_interpreter(place, tmp_path):
    with pytest.raises(CannotRun, match="there is no Python"):
        create(place, tmp_path / "nowhere/python")
    assert not place.exists()


def test_a_manager_that_is_not_there(place, python, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CannotRun, match="there is no conda here"):
        create(place, python, environment=environment(manager="conda"))
    with pytest.raises(CannotRun, match="exported, not created"):
        create(place, python, environment=environment(manager="pixi"))


def test_a_disk_that_is_full_for_our_own_files(place, python, monkeypatch):
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workplace.Workplace, "done", full)
    with pytest.raises(CannotRun, match="is full"):
        create(place, python)
    assert not place.exists()


def test_removal_leaves_what_others_put_there(place, python, tmp_path):
    create(place, python)
    (tmp_path / "treasure").mkdir()
    (tmp_path / "treasure/gold").touch()
    (place / "bin/link").symlink_to(tmp_path / "treasure")
    (place / "mine.txt").write_text("mine")
    assert removal.remove(place).left == ("mine.txt",)
    assert [path.name for path in place.iterdir()] == ["mine.txt"]
    assert (tmp_path / "treasure/gold").exists()


def test_removal_of_what_is_not_finished(place, python, play):
    play({"code": 1})
    with pytest.raises(apply.StepFailed):
        create(place, python, keep=True)
    (place / "mine.txt").write_text("mine")
    assert removal.remove(place).left == ("mine.txt",)


def test_what_others_put_there_meanwhile_is_not_ours(place, python, play):
    play({"code": 1})
    with pytest.raises(apply.StepFailed):
        create(place, python, keep=True)
    (place / "mine.txt").write_text("mine")
    play()
    create(place, python)
    assert removal.remove(place).left == ("mine.txt",)


def test_removal_of_a_directory_that_was_there(place, python):
    place.mkdir()
    create(place, python)
    assert not removal.remove(place).gone
    assert list(place.iterdir()) == []


def test_removal_refuses(place, python, tmp_path):
    with pytest.raises(UsageError, match="there is no directory"):
        removal.remove(place)
    place.mkdir()
    with pytest.raises(UsageError, match="was not made by dltool"):
        removal.remove(place)
    create(place, python)
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(UsageError, match="is a link"):
        removal.remove(tmp_path / "link")
    moved = place.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="moved or copied"):
        removal.remove(moved)


def test_torch_comes_from_its_index_and_the_rest_from_the_usual_one(tmp_path):
    wanted = environment(
        requirements=("numpy==2.1", "torch==2.13.0+cu126", "torchvision==0.28.0+cu126", "flash-attn"),
        build="cu126",
        compiled=("flash-attn",),
        extra_index="https://mirror.example.org/simple",
    )
    jobs = recipe.jobs(wanted, tmp_path, interpreter="python3", scratch=tmp_path / "s")
    assert [job.id for job in jobs] == ["environment", "torch", "packages", "compiled"]
    torch, packages, compiled = (job.commands[-1] for job in jobs[1:])
    assert torch[-4:] == ("--index-url", "https://index.example.org/cpu", "torch==2.13.0+cu126", "torchvision==0.28.0+cu126")
    assert packages[-4:] == ("https://mirror.example.org/simple", "numpy==2.1", *torch[-2:])
    assert "--no-build-isolation" in compiled
    assert "flash-attn" in compiled


def test_sources(tmp_path):
    wheelhouse(tmp_path / "w")
    folder = ("--no-index", "--find-links", str(tmp_path / "w"))
    assert recipe.source(str(tmp_path / "w")) == recipe.source((tmp_path / "w").as_uri()) == folder
    assert recipe.source(recipe.PIP_DEFAULT) == ()
    links = environment(index_kind="links", index="https://mirror.example.org/wheels")
    install = recipe.jobs(links, tmp_path, interpreter="p", scratch=tmp_path)[1].commands[0]
    assert install[-3:-1] == ("--find-links", "https://mirror.example.org/wheels")


def test_conda_and_uv(tmp_path):
    conda = environment(manager="conda", channels="https://mirror.example.org/cloud")
    make = recipe.jobs(conda, tmp_path, interpreter=None, scratch=tmp_path)[0].commands[0]
    assert make[:5] == ("conda", "install", "--yes", "--prefix", str(tmp_path))
    assert "https://mirror.example.org/cloud/conda-forge" in make
    uv = recipe.jobs(environment(manager="uv"), tmp_path, interpreter=None, scratch=tmp_path)
    assert uv[0].commands[0][-2:] == (PYTHON, str(tmp_path))
    assert uv[1].commands[0][:3] == ("uv", "pip", "install")


def test_no_password_is_written(place, python):
    secret = environment(index="https://me:secret@index.example.org/cpu")
    made, _ = create(place, python, environment=secret)
    written = b"".join(path.read_bytes() for path in place.glob(".dltool*"))
    assert b"secret" not in written
    assert "secret" not in made.creation.environment.index
    create(place, python, environment=secret)  # and it is still known for the same


def test_variables_that_lead_elsewhere_are_dropped(tmp_path):
    given = {"PYTHONPATH": "/x", "PIP_TARGET": "/x", "PIP_INDEX_URL": "https://mirror.example.org", "PATH": "/bin"}
    seen = recipe.surroundings(tmp_path / "s", given)
    assert not {"PYTHONPATH", "PIP_TARGET"} & seen.keys()
    assert seen["PIP_INDEX_URL"] == "https://mirror.example.org"
    assert all(seen[name].startswith(str(tmp_path)) for name in ("TMPDIR", "PIP_CACHE_DIR", "XDG_CACHE_HOME", "UV_CACHE_DIR"))


def said(answer: object, code: int | None = 0) -> running.Ended:
    return running.Ended(code, (json.dumps(answer),))


PROVED = {
    "python": f"{PYTHON}.1",
    "versions": {"torch": "2.13.0"},
    "imports": {"torch": ""},
    "torch": "2.13.0+cu126",
    "cuda": "12.6",
    "cuda_error": "",
    "products": [{"device": name, "name": name, "error": 1e-9, "tolerance": 1e-5, "failure": ""} for name in ("cpu", "cuda:0")],
}
CUDA = environment(build="cu126", requirements=("torch==2.13.0+cu126",))


@pytest.mark.parametrize(
    ("changed", "gpus", "failed"),
    [
        pytest.param({}, 1, set(), id="all is well"),
        pytest.param({"products": PROVED["products"][:1]}, 0, set(), id="no GPU to prove it on"),
        pytest.param(
            {"products": PROVED["products"][:1], "cuda_error": "no"}, 1, {"environment-cuda"}, id="CUDA does not start"
        ),
        pytest.param({"cuda": None}, 1, {"environment-versions"}, id="a CPU build came"),
        pytest.param({"versions": {"torch": None}}, 1, {"environment-versions"}, id="not installed"),
        pytest.param({"python": "3.6.1"}, 1, {"environment-python"}, id="another Python"),
        pytest.param(
            {"products": [*PROVED["products"][:1], PROVED["products"][1] | {"error": 0.5}]},
            1,
            {"environment-product"},
            id="a wrong product",
        ),
        pytest.param(
            {"products": [*PROVED["products"][:1], PROVED["products"][1] | {"error": float("nan")}]},
            1,
            {"environment-product"},
            id="no number",
        ),
    ],
)
def test_what_the_proof_says(changed, gpus, failed):
    findings = proof.judge(CUDA, said(PROVED | changed), "", gpus=gpus)
    assert {finding.id for finding in findings if finding.status is Status.FAIL} == failed


@pytest.mark.parametrize(("code", "text"), [(-11, "killed by SIGSEGV"), (None, "did not end"), (1, "exit code 1")])
def test_a_proof_that_dies_says_where(code, text):
    (finding,) = proof.judge(CUDA, running.Ended(code, ()), "importing torch\nlooking for GPUs\n", gpus=0)
    assert text in finding.summary
    assert finding.summary.endswith("while looking for GPUs")


def test_requirements_that_are_not_met_are_a_warning():
    finding = proof.consistency(running.Ended(1, ("torch 2 requires x, which is not installed.",)))
    assert finding.status is Status.WARN


def test_a_command_that_does_not_end(tmp_path):
    with (tmp_path / "log").open("wb") as log, (tmp_path / "lock").open("w") as lock:
        ended = running.run(
            [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"],
            environment=os.environ,
            cwd=tmp_path,
            log=log,
            tell=lambda text: None,
            limit_s=1.0,
            lock=lock.fileno(),
        )
    assert (ended.returncode, ended.lines) == (None, ("here",))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("No module named ensurepip", "this Python comes without venv and ensurepip"),
        ("407 Proxy Authentication Required", "the proxy refuses"),
        ("ERROR: ResolutionImpossible: see", "the packages asked for exclude one another"),
        ("WARNING: Read timed out.\nFailed building wheel for x", "a package had to be compiled and could not be"),
        (
            "Because torch==2 has no wheels with a matching Python ABI tag",
            "the index has no torch==2 for this Python and system",
        ),
    ],
)
def test_the_meaning_of_last_words(text, what):
    assert trouble.meaning(text)[0] == what


def test_last_words_without_a_known_meaning():
    assert trouble.meaning("all is new") is None
    assert trouble.last_words(["ERROR: a", "b", ""]) == "ERROR: a"
    assert trouble.last_words([]) == "it said nothing"


@pytest.fixture
def dltool(tmp_path):
    """Run `dltool setup` in a process of its own; HOME is empty, and pip has no settings."""
    home = tmp_path / "home"
    home.mkdir()
    foreign = ("PIP_", "VIRTUAL_", "CONDA_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    # Without rustup on the PATH, which pip asks for its version and which then writes to HOME.
    own = {"HOME": str(home), "XDG_DATA_HOME": str(tmp_path / "data"), "PIP_CONFIG_FILE": "/dev/null", "PATH": "/usr/bin:/bin"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dltool", "setup", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=kept | own, check=False, timeout=120)

    return run


WANTED = ("create", "env", "--cpu", "--torch", "2.13.0+cpu", "--python", PYTHON, "--index", "wheels")


def test_from_nothing_to_a_proved_environment_and_back(dltool, tmp_path):
    """The command as its user runs it, with a real venv and a real pip, from a folder of wheels."""
    wheelhouse(tmp_path / "wheels")
    before = set(tmp_path.iterdir())
    planned = dltool(*WANTED, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "nothing is done yet" in planned.stdout
    made = dltool(*WANTED, "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["creation"]["state"] == "finished"
    assert {finding["status"] for finding in told["findings"]} == {"pass"}
    assert "[3/3]" in made.stderr
    assert set(tmp_path.iterdir()) - before == {tmp_path / "env"}
    assert list((tmp_path / "home").iterdir()) == []
    (found,) = [
        one
        for one in json.loads(dltool("list", "env", "--json").stdout)["environments"]
        if one["path"] == str(tmp_path / "env")
    ]
    assert (found["torch"], found["build"], found["created_here"]) == ("2.13.0", "cpu", True)
    refused = dltool("remove", "env")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert dltool("remove", "env", "--yes").returncode == 0
    assert set(tmp_path.iterdir()) == before


def test_a_failure_as_its_user_sees_it(dltool, tmp_path):
    """One line, a hint, the last lines of the log, exit code 3."""
    (wheelhouse(tmp_path / "wheels") / "needed-1.2-py3-none-any.whl").unlink()
    run = dltool(*WANTED)
    assert run.returncode == 3
    assert run.stdout == ""
    assert "  | ERROR: No matching distribution found for needed==1.2" in run.stderr
    assert "error: installing torch 2.13.0+cpu failed: the index has no needed==1.2" in run.stderr
    assert not (tmp_path / "env").exists()
