"""Active checks: real ones on the CPU here, and what becomes of children that crash, hang, flood and lie."""

from __future__ import annotations

import ctypes.util
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fake_cuda
import psutil
import pytest

from dltool import child, lang, probing, tables
from dltool.checks import CHECKS
from dltool.cli.active import redacted
from dltool.machine import Gpu, Machine, Memory, PciDevice, PythonEnv, TorchBuild
from dltool.probing import causes, judging, passing, running, signals
from dltool.probing.steps import STEPS, Step
from dltool.results import Evidence, Finding, Remedy, Scope, Status

pytestmark = pytest.mark.usefixtures("nothing_left_behind")
TORCH = TorchBuild(version="2.9.1", location="/env/torch")
HERE = Machine(python=PythonEnv(executable=sys.executable, version="3.12.1", torch=TORCH))
WITH_GPU = Machine(python=HERE.python, gpus=(Gpu(index=4, pci_bus_id="0000:01:00.0"),))
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@pytest.fixture
def torch_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a package `torch` before the real one, whose import runs this code."""

    def make(code: str) -> None:
        (tmp_path / "torch").mkdir(exist_ok=True)
        (tmp_path / "torch" / "__init__.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return make


def imported(machine: Machine = HERE, static: tuple[Finding, ...] = (), **options: object) -> Finding:
    """The one finding about the import."""
    (found,) = probing.run(machine, static, only=["probe-import"], **options)  # type: ignore[arg-type]
    assert found.id == "probe-import"
    return found


def evidence(found: Finding, fact: str) -> str:
    return next(str(one.value) for one in found.evidence if one.fact == fact)


def fault(name: str, status: Status = Status.FAIL, **fields: object) -> Finding:
    return Finding(id=name, status=status, summary=f"{name} it is", remedies=(Remedy(text="Mend it."),), **fields)  # type: ignore[arg-type]


# --- for real ---------------------------------------------------------------------------------------------------------


@needs_torch
def test_everything_but_the_compiler_works_here() -> None:
    told: list[str] = []
    found = {one.id: one for one in probing.run(HERE, skip=["probe-compile"], tell=told.append)}
    assert list(found) == [step.id for step in STEPS if step.id != "probe-compile"]
    works = {"probe-import", "probe-memory", "probe-matmul", "probe-transfer", "probe-nccl", "probe-conv"}
    assert {name for name, one in found.items() if one.status is Status.PASS} >= works, found
    for name in ("fp64", "fp32", "bf16", "int8"):
        assert "allowed" in evidence(found["probe-matmul"], f"cpu {name}")
    assert evidence(found["probe-matmul"], "cpu tf32") == "exists on GPUs only"
    assert len(told) == len(STEPS) - 1


@needs_torch
def test_without_a_compiler_torch_compile_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    found = probing.run(HERE, only=["probe-compile"])
    assert [one.status for one in found] == [Status.PASS, Status.SKIP]
    assert "no compiler on PATH (g++ or clang++)" in found[1].summary


@needs_torch
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_torch_compile_that_takes_too_long_is_no_fault() -> None:
    found = probing.run(HERE, only=["probe-compile"], limit_s=6)
    if found[0].status is Status.PASS:  # the import itself may take longer on a busy machine
        assert found[1].status in (Status.PASS, Status.UNKNOWN)


def test_nothing_is_imported_into_this_process() -> None:
    code = (
        "import sys; from dltool import probing; from dltool.machine import *\n"
        "torch = TorchBuild(version='2', location='/t')\n"
        "python = PythonEnv(executable=sys.executable, version='3', torch=torch)\n"
        "print(probing.run(Machine(python=python), only=['probe-import'])[0].status.value, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.endswith(" False\n")


# --- children that die ------------------------------------------------------------------------------------------------


DEADLY = [
    *(
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGILL,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGKILL,
        signal.SIGSYS,
        signal.SIGTRAP,
    ),
    *(signal.SIGTERM, signal.SIGXCPU, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMIN),
]


@pytest.mark.parametrize("number", DEADLY, ids=lambda number: number.name)
def test_death_by_a_signal(number: signal.Signals, torch_that: Callable[[str], None]) -> None:
    torch_that(f"import os, sys; print('last words', file=sys.stderr, flush=True); os.kill(os.getpid(), {number.value})")
    found = imported()
    assert found.status is Status.FAIL
    assert found.summary == f"import torch was killed by {number.name}"
    assert found.why
    assert found.remedies
    assert "last words" in evidence(found, "last words")


def test_a_signal_without_a_name() -> None:
    assert child.how_it_ended(-60, 1) == "was killed by signal 60"
    death = causes.of_death(child.Answer("", "", -60), (), HERE, ())
    assert death.why.startswith("It was ended from outside")


def test_a_segfault_names_the_line_and_what_doctor_found(torch_that: Callable[[str], None]) -> None:
    torch_that("import ctypes\nctypes.string_at(0)\n")
    shadowed = fault("libraries-shadowed", scope=Scope.HOST)
    found = imported(static=(fault("shm-small"), shadowed))
    assert found.summary == "import torch was killed by SIGSEGV"
    assert "torch/__init__.py" in evidence(found, "last words")
    assert evidence(found, "tried") == "import torch"
    assert (found.caused_by, found.scope) == ("libraries-shadowed", Scope.HOST)
    assert found.remedies[0].commands == ("dltool doctor --explain libraries-shadowed",)


def test_what_the_cause_was_caused_by_is_the_cause(torch_that: Callable[[str], None]) -> None:
    torch_that("import os; os.abort()")
    static = (fault("libraries-shadowed", caused_by="conda-pip-mixed"), fault("conda-pip-mixed"))
    assert imported(static=static).caused_by == "conda-pip-mixed"


@pytest.mark.parametrize(
    ("code", "summary"),
    [
        pytest.param("import os; os._exit(3)", "import torch ended with exit code 3", id="exit code"),
        pytest.param("import os; os._exit(0)", "import torch ended without an answer", id="silent exit"),
        pytest.param("raise SystemExit(5)", "import torch ended with exit code 5", id="sys.exit"),
        pytest.param("raise SystemExit", "import torch ended without an answer", id="sys.exit of zero"),
        pytest.param(
            "import os; os.write(1, bytes(range(256)) * 4000); os._exit(1)", "import torch ended with exit code 1", id="junk"
        ),
        pytest.param("raise RuntimeError('odd\\nsecond')", "import torch fails: RuntimeError: odd", id="error"),
        pytest.param("raise RuntimeError", "import torch fails: RuntimeError: ", id="error without a text"),
        pytest.param("def", "import torch fails: SyntaxError: ", id="damaged file"),
        pytest.param("x = 1", "import torch fails: AttributeError: ", id="no torch at all"),
        pytest.param("raise MemoryError", "import torch fails: MemoryError: ", id="out of memory"),
    ],
)
def test_other_ends(code: str, summary: str, torch_that: Callable[[str], None]) -> None:
    torch_that(code)
    found = imported()
    assert found.status is Status.FAIL
    assert found.summary.startswith(summary)
    for one in found.evidence:
        assert str(one.value).replace("\n", "").isprintable()


def test_junk_on_stdout_and_a_forged_answer_are_not_believed(torch_that: Callable[[str], None]) -> None:
    torch_that(
        "import os, types\n"
        "os.write(1, b'{\"end\": true}\\n[1]\\nnull\\n' + bytes(range(256)) * 100)\n"
        'print(\'{"case": "import torch", "state": "fail"}\')\n'
        "__version__ = '9.9'; version = types.SimpleNamespace(cuda=None)\n"
    )
    found = imported()
    assert (found.status, found.summary.split(" in ")[0]) == (Status.PASS, "import torch: 9.9")


@pytest.mark.parametrize("library", ["libcudnn.so.9", "libcupti.so.12", "libnccl.so.2"])
def test_a_missing_library_is_named(library: str, torch_that: Callable[[str], None]) -> None:
    torch_that(f"raise ImportError('{library}: cannot open shared object file: No such file or directory')")
    found = imported(static=(fault("torch-incomplete"),))
    assert found.summary == f"import torch fails: the library {library} is missing"
    assert found.caused_by == "torch-incomplete"


def test_a_known_error_brings_its_meaning_and_its_check(torch_that: Callable[[str], None]) -> None:
    torch_that('raise ImportError("/lib/libstdc++.so.6: version `GLIBCXX_3.4.32\' not found (required by /env/x.so)")')
    found = imported(static=(fault("libstdcxx-too-old", Status.WARN),))
    assert found.caused_by == "libstdcxx-too-old"
    assert len(found.remedies) > 1
    assert "libstdc++" in found.why


def test_a_hang_ends_at_its_limit_with_the_place(torch_that: Callable[[str], None]) -> None:
    torch_that("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)\n")
    began = time.monotonic()
    found = imported(limit_s=4)  # a busy machine needs a second to start it
    assert time.monotonic() - began < 12
    assert found.summary == "import torch did not end within 4 s"
    assert "torch/__init__.py" in evidence(found, "last words")


def test_output_without_end_is_bounded(torch_that: Callable[[str], None]) -> None:
    torch_that("import os\nwhile True: os.write(2, b'x' * 65536 + b'\\n')\n")
    before = psutil.Process().memory_info().rss
    found = imported(limit_s=1.5)
    assert found.summary == "import torch did not end within 1.5 s"
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    assert len(evidence(found, "last words")) < 5000


def test_too_much_memory(torch_that: Callable[[str], None]) -> None:
    torch_that("kept = []\nwhile True: kept.append(bytearray(b'x' * (8 << 20)))\n")
    found = imported(memory_bytes=200 << 20, limit_s=60)
    assert found.status is Status.FAIL
    assert found.summary.startswith("import torch was ended: it took more than")


def test_memory_of_grandchildren_counts(torch_that: Callable[[str], None]) -> None:
    torch_that(
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'x = bytearray(b\"x\" * (400 << 20)); input()'], stdin=subprocess.PIPE)"
    )
    assert "took more than" in imported(memory_bytes=150 << 20, limit_s=10).summary


def test_what_a_child_leaves_running_is_ended(torch_that: Callable[[str], None], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    torch_that(
        "import subprocess\n"
        f"pid = subprocess.Popen(['sleep', '300']).pid; open({str(note)!r}, 'w').write(str(pid))\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    began = time.monotonic()
    assert imported(limit_s=30).summary.endswith("SIGSEGV")
    assert time.monotonic() - began < 10
    assert gone(int(note.read_text()))


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True  # ended; whoever adopted it has not looked yet
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_ctrl_c_ends_the_child(torch_that: Callable[[str], None], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    torch_that(f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(300)")
    command = [sys.executable, "-m", "dltool", "doctor", "--probe", "--only", "probe-import"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 40
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert b"interrupted" in errors
    assert gone(int(note.read_text()))


def test_steps_that_stand_on_a_failed_one_are_not_taken(torch_that: Callable[[str], None]) -> None:
    torch_that("import os; os.abort()")
    cuinit, failed, *others = probing.run(HERE)
    assert cuinit.id == "probe-cuinit"
    assert failed.status is Status.FAIL
    assert {(one.status, one.caused_by) for one in others} == {(Status.SKIP, "probe-import")}
    assert len(others) == len(STEPS) - 2


# --- a step of several cases ------------------------------------------------------------------------------------------


def cases(tmp_path: Path, code: str) -> Step:
    """A step of our own, from a file of cases."""
    file = tmp_path / "steps.py"
    file.write_text(
        f"import os, signal, time\nfrom dltool_probe import Skip, checked\n\ndef step(tell):\n{code}\nSTEPS = {{'x': step}}\n"
    )
    words = {"does": ("products", "乘积"), "en": "Right?\n\nIt means.", "zh": "对吗？\n\n意思是。"}
    return Step(id="probe-matmul", **words, file=str(file), name="x", after=())  # type: ignore[arg-type]


def take(step: Step, tmp_path: Path, seconds: float = 30) -> running.Told:
    return running.take(step, sys.executable, running.Limits(seconds, 1 << 30), tmp_path)


def findings(step: Step, told: running.Told, machine: Machine = HERE, **scene: object) -> list[Finding]:
    seen = judging.Scene(machine, running.Limits(30, 1 << 30), (), **scene)  # type: ignore[arg-type]
    return list(judging.judge(step, told, seen))


def test_a_crash_in_one_case_does_not_hide_the_next(tmp_path: Path) -> None:
    step = cases(
        tmp_path,
        "    tell.case('cpu fp64', lambda: checked(0.0, 0.0))\n"
        "    tell.case('cuda:0 fp32', lambda: os.kill(os.getpid(), signal.SIGSEGV))\n"
        "    tell.case('cpu fp16', lambda: checked(0.5, 0.1))\n"
        "    tell.case('cpu fp8', lambda: checked(float('nan'), 0.1))\n"
        "    tell.case('cuda:1 bf16', lambda: os.abort())\n"
        "    tell.case('cpu int8', lambda: checked(0.0, 0.0))\n",
    )
    told = take(step, tmp_path)
    assert [case["case"] for case in told.cases] == ["cpu fp64", "cpu fp16", "cpu fp8", "cpu int8"]
    assert [death.case for death in told.deaths] == ["cuda:0 fp32", "cuda:1 bf16"]
    found = findings(step, told, WITH_GPU, addresses=["0000:01:00.0", "0000:02:00.0"])
    assert [one.summary for one in found] == [
        "products on cuda:0 fp32 was killed by SIGSEGV",
        "products on cuda:1 bf16 was killed by SIGABRT",
        "products fails on cpu fp16: the result is wrong: error 5.0e-01, allowed 1.0e-01",
        "products fails on cpu fp8: the result is wrong: error nan, allowed 1.0e-01",
        "matrix products are right: cpu: fp64, int8",
    ]
    assert [one.devices for one in found[:2]] == [(4,), ()]


def test_one_error_of_many_cases_is_one_finding(tmp_path: Path) -> None:
    code = "".join(f"    tell.case('cuda:{n} fp32', lambda: 1 / 0)\n" for n in range(8))
    step = cases(tmp_path, code)
    (found,) = findings(step, take(step, tmp_path))
    assert found.summary.startswith("products fails on cuda:0 fp32, cuda:1 fp32, ")


def test_a_step_that_dies_in_every_case_ends(tmp_path: Path) -> None:
    code = "    for n in range(50): tell.case(f'cpu {n}', lambda: os.abort())\n"
    assert len(take(cases(tmp_path, code), tmp_path).deaths) == running.MOST_DEATHS


def test_all_cases_skipped_says_why(tmp_path: Path) -> None:
    step = cases(tmp_path, "    def no(): raise Skip('not for this one')\n    tell.case('cpu fp32', no)\n")
    (found,) = findings(step, take(step, tmp_path))
    assert (found.status, found.summary) == (Status.SKIP, "products: not tried: not for this one")


def test_an_interpreter_that_does_not_start() -> None:
    machine = Machine(python=PythonEnv(executable="/nowhere/python", version="3.12.1", torch=TORCH))
    found = probing.run(machine, only=["probe-import"])
    assert [one.status for one in found] == [Status.UNKNOWN]
    assert "No such file" in found[0].summary


def test_no_interpreter_and_no_torch() -> None:
    assert {one.status for one in probing.run(Machine())} == {Status.UNKNOWN}
    bare = Machine(python=PythonEnv(executable=sys.executable, version="3.12.1"))
    found = probing.run(bare)
    assert {one.status for one in found[1:]} == {Status.SKIP}
    assert "PyTorch is not installed" in found[1].summary


# --- the driver -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    directory = tmp_path_factory.mktemp("cuda")
    fake_cuda.build(directory)
    return directory


@pytest.fixture
def cuda(cuda_library: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finding]:
    def play(machine: Machine = WITH_GPU, static: tuple[Finding, ...] = (), limit_s: float = 30, **says: object) -> Finding:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(cuda_library))
        for name, value in says.items():
            monkeypatch.setenv(f"FAKE_CUDA_{name.upper()}", str(value))
        (found,) = probing.run(machine, static, only=["probe-cuinit"], limit_s=limit_s)
        return found

    return play


@pytest.mark.parametrize(
    ("code", "name", "explained_by"),
    [
        (100, "CUDA_ERROR_NO_DEVICE", "gpus-hidden"),
        (101, "CUDA_ERROR_INVALID_DEVICE", "gpus-hidden"),
        (802, "CUDA_ERROR_SYSTEM_NOT_READY", "fabric-not-ready"),
        (803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "driver-version-mismatch"),
        (804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "libcuda-forward-compat"),
        (999, "CUDA_ERROR_UNKNOWN", "device-nodes-missing"),
    ],
)
def test_each_error_of_cuinit(code: int, name: str, explained_by: str, cuda: Callable[..., Finding]) -> None:
    found = cuda(static=(fault("torch-cpu-only"), fault(explained_by)), code=code)
    assert found.status is Status.FAIL
    assert found.summary.startswith(f"cuInit answers {code} ({name}): ")
    assert found.caused_by == explained_by
    assert evidence(found, "cuInit") == str(code)
    assert evidence(found, "libcuda").endswith("/libcuda.so.1")


def test_an_error_that_nothing_explains(cuda: Callable[..., Finding]) -> None:
    found = cuda(code=803, static=(fault("torch-cpu-only"),))
    assert (found.status, found.caused_by) == (Status.FAIL, None)
    assert cuda(code=4711).summary == "cuInit answers 4711 (an error without a name)"


def test_no_device_where_there_is_no_gpu_is_no_fault(cuda: Callable[..., Finding]) -> None:
    assert cuda(HERE, code=100).status is Status.SKIP
    held = Machine(
        python=HERE.python,
        pci=(PciDevice(bus_id="0000:01:00.0", device_id="10de:2330", class_code="030200", kernel_driver="vfio-pci"),),
    )
    assert cuda(held, code=100).status is Status.SKIP
    assert cuda(HERE, code=802).status is Status.FAIL


def test_a_driver_that_starts(cuda: Callable[..., Finding]) -> None:
    found = cuda(count=2)
    assert (found.status, found.summary) == (Status.PASS, "the driver starts: cuInit answers 0, 2 GPUs, CUDA 12.8")


@pytest.mark.parametrize(("does", "how"), [("crash", "was killed by SIGSEGV"), ("abort", "was killed by SIGABRT")])
def test_a_driver_that_dies(does: str, how: str, cuda: Callable[..., Finding]) -> None:
    found = cuda(does=does)
    assert found.summary == f"the start of the driver (cuInit) {how}"


def test_a_driver_that_hangs(cuda: Callable[..., Finding]) -> None:
    found = cuda(does="hang", limit_s=1)
    assert found.summary == "the start of the driver (cuInit) did not end within 1 s"


def test_a_libcuda_that_is_none(nvml_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_library))
    (found,) = probing.run(WITH_GPU, only=["probe-cuinit"])
    assert "has no cuInit" in found.summary


@pytest.mark.skipif(ctypes.util.find_library("cuda") is not None, reason="a driver is installed")
def test_no_libcuda() -> None:
    assert probing.run(HERE, only=["probe-cuinit"])[0].status is Status.SKIP
    (found,) = probing.run(WITH_GPU, (fault("driver-missing"),), only=["probe-cuinit"])
    assert (found.status, found.caused_by) == (Status.FAIL, "driver-missing")


def test_cuda_that_pytorch_does_not_get() -> None:
    step = probing.PROBES["probe-memory"]
    told = running.Told(cases=[{"case": "CUDA", "state": "fail", "why": "RuntimeError: no"}, {"case": "cpu", "state": "pass"}])
    assert [one.status for one in findings(step, told)] == [Status.PASS]
    scene = judging.Scene(
        WITH_GPU, running.Limits(1, 1), (fault("gpus-hidden"), fault("probe-cuinit", caused_by="gpus-hidden"))
    )
    failed, _ = judging.judge(step, told, scene)
    assert (failed.status, failed.caused_by) == (Status.FAIL, "gpus-hidden")
    assert failed.summary == "PyTorch does not get CUDA: RuntimeError: no"


# --- tables, limits, the command --------------------------------------------------------------------------------------


def test_every_check_that_is_named_exists() -> None:
    named = {name for step in STEPS for name in step.explained_by}
    named |= {name for row in tables.rows("cuda_errors") for name in row["checks"].split()}
    named |= {name for meaning in signals.MEANINGS.values() for name in meaning.checks}
    assert named <= set(CHECKS.names())
    assert not set(probing.PROBES) & set(CHECKS.names())
    assert set(passing.SUMMARIES) == set(probing.PROBES)


def test_what_hangs_again_is_explained_by_the_first() -> None:
    step = probing.PROBES["probe-conv"]
    told = running.Told(deaths=[running.Death("cuda:0 fp32", child.Answer("", "", None))])
    scene = judging.Scene(WITH_GPU, running.Limits(60, 1), (fault("probe-memory"),), ["0000:01:00.0"])
    (found,) = judging.judge(step, told, scene)
    assert (found.summary, found.caused_by) == ("convolutions on cuda:0 fp32 did not end within 60 s", "probe-memory")
    assert found.devices == (4,)


def test_what_is_known_of_the_machine_is_said() -> None:
    machine = Machine(memory=Memory(shm_free_bytes=64 << 20, available_bytes=2 << 30))
    for number, text in ((signal.SIGBUS, "/dev/shm has"), (signal.SIGKILL, "of memory were free before")):
        assert text in causes.of_death(child.Answer("", "", -number), (), machine, ()).why


def test_the_memory_limit_follows_the_machine() -> None:
    assert running.limits_for(Machine(), 1).memory_bytes == 8 << 30
    tight = Machine(memory=Memory(available_bytes=64 << 30, cgroup_limit_bytes=6 << 30))
    assert running.limits_for(tight, 1).memory_bytes == 3 << 30


def test_the_children_know_python_3_8() -> None:
    import ast

    for file in Path(judging.__file__).parent.glob("child*.py"):
        ast.parse(file.read_text(), feature_version=(3, 8))


def test_texts_are_rewritten_everywhere() -> None:
    found = replace_evidence(fault("x"), "/home/me/x")
    (shown,) = redacted((found,), lambda text: text.replace("/home/me", "~"))
    assert shown.evidence[0].value == "~/x"
    assert shown.remedies == found.remedies


def replace_evidence(found: Finding, value: str) -> Finding:
    from msgspec.structs import replace as changed

    return changed(found, evidence=(Evidence(fact="f", value=value, read_from="r"),))


def dltool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dltool", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_the_command(torch_that: Callable[[str], None], tmp_path: Path) -> None:
    torch_that("import ctypes; ctypes.string_at(0)")
    done = dltool("--probe", "--only", "probe-import", "--json", "--python", sys.executable)
    if json.loads(done.stdout)["findings"][0]["status"] == "skip":
        pytest.skip("PyTorch is not installed")
    (found,) = json.loads(done.stdout)["findings"]
    assert (found["id"], found["status"], done.returncode) == ("probe-import", "fail", 1)
    assert "probe 1 of 1: import torch" in done.stderr
    assert dltool("--probe", "--only", "probe-import", "--quiet").stderr == ""


def test_share_and_what_is_kept_name_no_home(torch_that: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    torch_that("raise RuntimeError('in ' + __import__('os').path.expanduser('~') + '/secret and /home/alicia/x')")
    said = dltool("--probe", "--only", "probe-import", "--share").stdout
    assert "alicia" not in said
    assert f"{os.path.expanduser('~')}/secret" not in said  # noqa: PTH111 - as the child says it


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--probe-limit", "3"], 2, "--probe-limit is for --probe"),
        (["--probe", "--probe-limit", "0"], 2, "not a time"),
        (["--probe", "--probe-limit", "nan"], 2, "not a time"),
        (["--probe", "--machine", "x.json"], 2, "exclude one another"),
        (["--only", "probe-import"], 2, "probe-import"),
        (["--list", "--probe"], 0, "Can PyTorch be imported?"),
        (["--explain", "probe-nccl"], 0, "Only with: dltool doctor --probe"),
    ],
    ids=str,
)
def test_options(arguments: list[str], code: int, text: str) -> None:
    done = dltool(*arguments)
    assert done.returncode == code
    assert text in done.stdout + done.stderr


# --- in Chinese -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.id)
def test_a_step_is_explained_in_both_languages(step: Step) -> None:
    english = step.explanation
    with lang.speaking("zh"):
        chinese, question, means = step.explanation, step.question, step.means
    assert english.splitlines()[0].endswith("?")
    assert question.endswith("？")
    assert means.endswith("。")
    assert "\n" not in means
    for label, translated in (("Mend: ", "解决："), ("Prevent: ", "预防："), ("See: http", "参见：http")):
        assert f"\n\n{label}" in english
        assert f"\n\n{translated}" in chinese
    assert english.rpartition("See: ")[2] == chinese.rpartition("参见：")[2]


DEATHS = {
    "too much memory": child.Answer("", "", None, over_memory=True),
    "no end": child.Answer("", "", None),
    "no answer": child.Answer("", "", 0),
    "an exit code": child.Answer("", "", 3),
    "a signal of a number": child.Answer("", "", -40),
    **{number.name: child.Answer("", "", -number) for number in signals.MEANINGS},
}


@pytest.mark.parametrize("answer", DEATHS.values(), ids=DEATHS)
def test_a_death_is_told_in_chinese(answer: child.Answer) -> None:
    told = running.Told(deaths=[running.Death("cuda:0 fp32", answer)])
    (english,) = findings(probing.PROBES["probe-matmul"], told, WITH_GPU)
    with lang.speaking("zh"):
        (chinese,) = findings(probing.PROBES["probe-matmul"], told, WITH_GPU)
    assert chinese.summary.startswith("cuda:0 fp32 上的矩阵乘法：")
    assert chinese.status is english.status
    for text in (chinese.why, *(remedy.text for remedy in chinese.remedies)):
        assert text.endswith("。")


def test_an_error_of_the_driver_is_told_in_chinese() -> None:
    told = running.Told(cases=[{"case": "cuInit", "state": "fail", "code": 803, "name": "X"}])
    with lang.speaking("zh"):
        (found,) = findings(probing.PROBES["probe-cuinit"], told, WITH_GPU)
    assert found.summary == "cuInit 返回 803（X）：内核模块与 libcuda 的版本不同"
    with lang.speaking("zh"):
        (found,) = findings(
            probing.PROBES["probe-conv"], running.Told(cases=[{"case": "cpu", "state": "fail", "why": "Error: no"}])
        )
    assert found.summary == "卷积：在 cpu 上失败：Error: no"
    assert found.why == "cuDNN 无法启动或版本不对，或者结果错误。"
