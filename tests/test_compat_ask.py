"""What a user types for `dltool compat`: every bad value is refused in one line, and what was completed is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import altered, load

from dltool import compat
from dltool.compat.ask import ask
from dltool.compat.question import of_machine
from dltool.errors import UsageError

ROOT = Path(__file__).parent.parent
FOREIGN = ("CUDA_", "LD_", "XDG_", "VIRTUAL_ENV", "CONDA_")
LONG = "1" * 5000
Run = Callable[..., "subprocess.CompletedProcess[str]"]


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("driver", text) for text in ("", "nan", "x", "535.x", "-1", "latest", "535,183", "535.183.01 extra")],
        *[("cc", text) for text in ("", "8", "nan", "8.6.1", "8.60", "sm", "8,6,", "sm_", "Ampere", "8.6x", LONG)],
        *[("cuda", text) for text in ("", "12", "12.x", "nan", "99", "cu128", "x")],
        *[("extension_ptx", text) for text in ("", "12", "12.x", "nan")],
        *[("cudnn", text) for text in ("9", "9.x", "nan", "x")],
        *[("torch", text) for text in ("", "2", "2.x", "12.x", "nan", "latest", "torch==2.14.1", "+cu126", "2.14.1+cu1260")],
        *[("torch", f"2.14.1+{text}") for text in ("cu", "cuda", "cu1", "rocm6.2", "gpu")],
        *[("python", text) for text in ("3", "12", "12.x", "3.x", "nan", "3.12t", "312", "cp312")],
        *[("glibc", text) for text in ("2", "nan")],
        *[("gcc", text) for text in ("x", "nan", "gcc-13")],
        *[("os", text) for text in ("", "mac", "darwin", "WSL2", "Windows 11")],
        *[("arch", text) for text in ("riscv", "ppc64le", "x86")],
        *[("kernel_module", text) for text in ("", "nouveau", "closed")],
        *[("compat_package", text) for text in ("", "cuda-compat", "cuda-compat-13", "nan")],
        *[("gpu", text) for text in ("", "nan", "RTX 4099", "Voodoo 3", "x" * 5000)],
    ],
)
def test_no_value(option: str, value: str) -> None:
    with pytest.raises(UsageError) as refused:
        ask(**{option: value})
    assert "\n" not in str(refused.value)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("cc", "12"),
        ("cc", "10"),
        ("cc", "٨.٦"),
        ("cuda", "١٢.٨"),
        ("driver", "12"),
        ("driver", "1!535.1"),
        ("torch", "2.14.1+cu999"),
        ("torch", "2.14.1+"),
        *[(option, LONG)
          for option in ("driver", "torch", "cudnn", "python", "glibc", "gcc")],
        *[(option, "") for option in ("cudnn", "python", "glibc", "gcc", "arch")],
    ],
)  # fmt: skip
def test_no_value_yet_taken(option: str, value: str) -> None:
    with pytest.raises(UsageError):
        ask(**{option: value})


@pytest.mark.parametrize(
    "text", ["", "==1", "flash-attn==x", "flash-attn===", "torchvision>=0.29", "torchvision==0.29.x", "a b"]
)
def test_no_package(text: str) -> None:
    with pytest.raises(UsageError, match="is no "):
        ask(with_=[text])


@pytest.mark.parametrize(
    ("text", "near"), [("torchvison", "torchvision"), ("flash-atn==2.8.3", "flash-attn"), ("xformer", "xformers")]
)
def test_an_unknown_package_meets_the_nearest(text: str, near: str) -> None:
    with pytest.raises(UsageError, match="unknown package") as refused:
        ask(with_=[text])
    assert near in refused.value.remedy


@pytest.mark.parametrize(
    "given",
    [
        {"gpu": "A100", "cc": "9.0"},
        {"os": "windows", "glibc": "2.31"},
        {"os": "windows", "kernel_module": "open"},
        ({"with_": ["torchvision==0.29.2", "torchvision==0.29.0"]}),
    ],
)
def test_contradictions(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ask(**given)


def test_gpu_and_capability_that_agree_are_no_contradiction() -> None:
    assert ask(gpu="A100", cc="8.0").question.compute_capabilities == ("8.0",)


# --- names of GPUs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("A100", "8.0"), ("RTX 4090", "8.9"), ("NVIDIA H100 80GB HBM3", "9.0"), ("Tesla K80", "3.7"), ("K40", "3.5"),
        ("DGX H100", "9.0"), ("DGX Spark", "12.1"), ("GB10", "12.1"), ("Jetson AGX Orin", "8.7"), ("Jetson AGX Thor", "11.0"),
        ("RTX 5090", "12.0"), ("B200", "10.0"), ("B300", "10.3"), ("T4", "7.5"), ("GTX 750", "5.0"),
    ],
)  # fmt: skip
def test_a_gpu_of_one_capability(name: str, capability: str) -> None:
    assert ask(gpu=name).question.compute_capabilities == (capability,)


@pytest.mark.parametrize(
    ("name", "capabilities"), [("GT 730", ("2.1", "3.0", "3.5")), ("Titan", ("3.5",)), ("DGX-1", ("6.0", "7.0"))]
)
def test_a_name_of_several_capabilities_is_refused_with_them(name: str, capabilities: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="compute capability") as refused:
        ask(gpu=name)
    assert all(capability in str(refused.value) for capability in capabilities)
    assert "--cc" in refused.value.remedy


@pytest.mark.parametrize("name", ["GTX 2080", "RTX 4080 12GB", "Titan Ada"])
def test_a_name_that_never_shipped_is_said_to_be_none(name: str) -> None:
    try:
        said = " ".join(ask(gpu=name).assumed)
    except UsageError as refused:
        said = str(refused)
    assert name in said


@pytest.mark.parametrize(
    ("text", "capability"),
    [("8.6", "8.6"), ("86", "8.6"), ("sm_86", "8.6"), ("SM_86", "8.6"), (" 8.6 ", "8.6"), ("compute_90", "9.0"),
     ("sm_90a", "9.0"), ("120", "12.0"), ("12.0", "12.0"), ("sm_100f", "10.0"), ("sm_121", "12.1"), ("101", "10.1")],
)  # fmt: skip
def test_forms_of_a_compute_capability(text: str, capability: str) -> None:
    assert ask(cc=text).question.compute_capabilities == (capability,)


def test_several_compute_capabilities() -> None:
    assert ask(cc="6.1,9.0,6.1").question.compute_capabilities == ("6.1", "9.0")


# --- what is assumed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "field", "value", "said"),
    [
        ({"driver": "535"}, "driver", "535.54.03", "535.54.03"),
        ({"driver": "R535"}, "driver", "535.54.03", "535.54.03"),
        ({"torch": "2.14"}, "torch", "2.14.1", "2.14.1"),
        ({"torch": "2.14.1"}, "build", "cu130", "cu130"),
        ({"torch": "2.14.1", "os": "windows"}, "build", "cpu", "cpu"),
        ({"torch": "2.10.0", "arch": "aarch64"}, "build", "cpu", "cpu"),
        ({"torch": "2.11.0", "arch": "aarch64"}, "build", "cu130", "cu130"),
        ({"torch": "2.14.1", "os": "wsl"}, "build", "cu130", "cu130"),
        ({"gpu": "GB10"}, "arch", "aarch64", "aarch64"),
        ({"gpu": "GH200"}, "arch", "aarch64", "aarch64"),
        ({"gpu": "Jetson AGX Thor"}, "arch", "aarch64", "aarch64"),
        ({"torch": "2.14.1+cu126"}, "os", "linux", "Linux on x86_64"),
        ({"driver": "999"}, "driver", "999.0", "999"),
    ],
)
def test_what_was_completed_is_said(given: dict[str, Any], field: str, value: str, said: str) -> None:
    found = ask(**given)
    assert getattr(found.question, field) == value
    assert any(said in text for text in found.assumed)


def test_a_full_question_assumes_nothing() -> None:
    found = ask(driver="535.183.01", cc="8.0", torch="2.14.1+cu126", python="3.12", os="linux", arch="x86_64", glibc="2.35")
    assert found.assumed == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("flash_attn==2.8.3", "flash-attn"),
        ("onnxruntime_gpu==1.26.0", "onnxruntime-gpu"),
        ("TorchVision==0.29.2", "torchvision"),
        ("xformers = 0.0.34", "xformers"),
    ],
)
def test_forms_of_a_package(text: str, name: str) -> None:
    assert set(ask(with_=[text]).question.packages) == {name}


def test_what_is_given_wins_over_the_machine() -> None:
    base = compat.Question(driver="470.57.02", python="3.8", packages={"numpy": "1.26.4", "torchvision": "0.15.2"})
    question = ask(driver="580.95.05", with_=["numpy==2.1.0"], base=base).question
    assert (question.driver, question.python) == ("580.95.05", "3.8")
    assert question.packages == {"numpy": "2.1.0", "torchvision": "0.15.2"}


def test_a_compat_package_before_the_table_is_unknown_not_wrong() -> None:
    assert compat.answer(ask(gpu="A100", driver="450.80.02", compat_package="cuda-compat-11-8").question).verdict == "unknown"


# --- of this machine --------------------------------------------------------------------------------------------------


def test_a_machine_without_glibc_is_musl() -> None:
    assert of_machine(altered("container", {"os.glibc": None, "os.distribution": "Alpine Linux v3.22"})).musl


def test_a_recorded_jetson() -> None:
    found = compat.recommend(of_machine(load("jetson")))
    assert found is not None
    assert found.needs == "a newer JetPack"


@pytest.mark.parametrize("name", ["container", "gtx1080ti", "h100_server", "laptop_rtx4060", "wsl2"])
def test_recorded_machines_are_fine(name: str) -> None:
    found = compat.answer(of_machine(load(name)))
    assert found.verdict == "ok"
    assert found.recommend is not None
    assert found.recommend.needs == ""


def test_a_machine_without_gpu_gets_a_cpu_build() -> None:
    found = compat.answer(of_machine(load("cpu_only")))
    assert found.verdict == "ok"
    assert found.recommend is not None
    assert found.recommend.build == "cpu"


# --- recommendations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "torch", "build"),
    [
        ({"driver": "535.183.01", "cc": "8.0", "python": "3.12"}, "2.14.1", "cu126"),
        ({"driver": "580.95.05", "cc": "6.1,9.0", "python": "3.12"}, "2.14.1", "cu126"),
        ({"driver": "470.239.06", "cc": "3.7", "python": "3.10"}, "2.0.1", "cu117"),
        ({"driver": "580.95.05", "cc": "8.0", "with_": ["torchaudio"]}, "2.15.0", "cu130"),
        ({"driver": "580.95.05", "cc": "8.0", "with_": ["vllm==0.33.0"], "python": "3.12"}, "2.14.0", "cu130"),
        ({"driver": "540.4.0", "cc": "8.7", "arch": "aarch64", "python": "3.10"}, "2.14.1", "cu132"),  # with a newer JetPack
        ({"driver": "550.54.15", "cc": "8.0", "python": "3.11", "with_": ["onnxruntime-gpu==1.18.0"]}, "2.3.1", "cu118"),
        ({"driver": "580.95.05", "cc": "12.0", "torch": "2.9.1+cu128", "cuda": "12.6"}, "2.15.0", "cu132"),
        ({"driver": "580.95.05", "cc": "8.0", "python": "3.14.1", "with_": ["torchvision"]}, "2.10.0", "cu128"),
        ({"driver": "580.95.05", "cc": "9.9"}, None, None),
    ],
)  # fmt: skip
def test_recommended(given: dict[str, Any], torch: str | None, build: str | None) -> None:
    found = compat.recommend(ask(**given).question)
    assert (found and found.torch, found and found.build) == (torch, build)


def test_every_companion_is_installed_with_it() -> None:
    found = compat.recommend(ask(torch="1.7.0+cu110", cc="8.0", with_=["torchtext==0.8.0"]).question)
    assert found is not None
    assert found.packages == ("torchtext==0.18.0",)


@pytest.mark.parametrize(
    ("given", "needs"),
    [
        ({"driver": "590.48.01", "cc": "6.1"}, "driver branch 525 to 580"),
        ({"driver": "560.35.03", "cc": "12.0"}, "driver branch 580 to 615"),
        ({"driver": "580.95.05", "cc": "12.0", "kernel_module": "proprietary"}, "the other kernel modules"),
        ({"driver": "580.95.05", "cc": "7.5", "with_": ["flash-attn==2.8.3"]}, "none of the other packages"),
        ({"driver": "580.95.05", "cc": "8.0", "python": "3.99"}, "another Python"),
    ],
)
def test_what_must_be_moved_is_named(given: dict[str, Any], needs: str) -> None:
    found = compat.recommend(ask(**given).question)
    assert found is not None
    assert found.needs == needs
    assert needs in found.why


def test_what_would_help_is_said_where_nothing_suits() -> None:
    found = compat.answer(ask(driver="570.124.06", cc="12.0", glibc="2.17").question)
    assert found.recommend is None
    assert any(text.startswith("a newer C library") for text in found.relax)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def dltool(tmp_path: Path) -> Run:
    """Run the command in a process of its own, 80 columns wide."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
        "HOME": str(tmp_path / "home"), "XDG_DATA_HOME": str(tmp_path / "data"), "COLUMNS": "80", "TERM": "dumb",
    }  # fmt: skip

    def run(*arguments: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dltool", *arguments],
            env={**environment, "PYTHONPATH": str(path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


FINE = ("--driver", "535.183.01", "--cc", "8.0", "--torch", "2.14.1+cu126", "--python", "3.12")
BROKEN = ("--driver", "535.183.01", "--cc", "8.0", "--torch", "2.14.1+cu130", "--python", "3.12")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (FINE, 0),
        (BROKEN, 1),
        (("--driver", "550.54.15", "--cc", "8.0", "--extension-ptx", "12.8"), 0),
        (("--driver", "999.1", "--cc", "8.0"), 0),
        (("--driver", "nonsense", "--cc", "8.0"), 2),
        (("--gpu", "Voodoo 3"), 2),
        (("--nonsense",), 2),
        (("--gpu", "A100", "--cc", "9.0"), 2),
    ],
    ids=["ok", "error", "warning", "unknown", "no version", "no GPU", "no option", "contradiction"],
)
def test_exit_codes(dltool: Run, arguments: tuple[str, ...], code: int) -> None:
    assert dltool("compat", *arguments).returncode == code


def test_a_refusal_is_one_line_and_a_hint(dltool: Run) -> None:
    run = dltool("compat", "--torch", "2.x")
    assert run.stdout == ""
    assert run.stderr.splitlines() == ["error: `2.x` is no version of PyTorch", "", "hint: Write it like 2.14.1+cu126."]


def test_an_empty_value_is_refused(dltool: Run) -> None:
    assert dltool("compat", "--driver", "").returncode == 2


def test_json(dltool: Run) -> None:
    run = dltool("compat", *BROKEN, "--with", "torchvision", "--json")
    assert run.returncode == 1
    found = json.loads(run.stdout)["compat"]
    assert found["verdict"] == "error"
    assert found["recommend"]["torch"] == "2.14.1"
    assert found["recommend"]["build"] == "cu126"
    assert found["recommend"]["why"]
    (command,) = found["recommend"]["install"]
    assert command.endswith(
        '"torch==2.14.1+cu126" "torchvision==0.29.2+cu126" --index-url https://download.pytorch.org/whl/cu126'
    )
    failed = [finding for finding in found["findings"] if finding["status"] == "fail"]
    assert [finding["id"] for finding in failed] == ["driver-runs-cuda"]
    assert all({"summary", "why", "evidence", "remedies"} <= set(finding) for finding in found["findings"])
    assert found["question"]["driver"] == "535.183.01"
    assert found["data_until"]


def test_json_has_what_was_assumed(dltool: Run) -> None:
    found = json.loads(dltool("compat", "--driver", "535", "--torch", "2.14", "--cc", "8.0", "--json").stdout)["compat"]
    assert len(found["assumed"]) == 4


@pytest.mark.parametrize(
    "arguments", [FINE, BROKEN, ("--gpu", "K40", "--driver", "470.239.06"), ("--driver", "999", "--cc", "9.0")]
)
@pytest.mark.parametrize("verbose", [(), ("--verbose",)], ids=["brief", "verbose"])
def test_text_is_80_columns_wide(dltool: Run, arguments: tuple[str, ...], verbose: tuple[str, ...]) -> None:
    run = dltool("compat", *arguments, *verbose)
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert lines[0].partition(":")[0] in ("ok", "warning", "error", "unknown")
    wide = [line for line in lines if len(line) > 80]
    assert all("--index-url" in line for line in wide), "a command to copy is not broken, nothing else is wider"


def test_text_says_what_to_install(dltool: Run) -> None:
    lines = dltool("compat", *BROKEN).stdout.splitlines()
    assert any(line.startswith("FAIL driver 535.183.01 is too old for CUDA 13.0") for line in lines)
    assert any('"torch==2.14.1+cu126"' in line for line in lines)


def test_of_this_machine(dltool: Run) -> None:
    run = dltool("compat", "--json")
    assert run.returncode in (0, 1), run.stderr
    found = json.loads(run.stdout)["compat"]
    assert found["assumed"] == ["nothing was asked: this machine"]
    assert found["question"]["python"]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """dltool and its catalogue, to be broken."""
    for name in ("dltool", "catalog"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def spoil(folder: Path, table: str, old: str, new: str) -> int:
    """Replace text in the one line that begins with `old`; returns its number."""
    path = folder / "catalog" / "compat" / f"{table}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith(old))
    lines[at] = lines[at].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return at + 1


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [
        ("cuda", "13.4.3,", "13.4.3,one cell too many,"),
        ("torch_releases", "1.7.0,", "1.7.0,,,"),
        ("driver_branches", "352,", "352,,"),
        ("companions", "1.7.0,torchvision,any,", 'x,"open,'),
        ("driver_branches", "616,", "newest,"),
        ("driver_branches", "352,", "three,"),
        ("cuda", "13.0.0,13.0 GA,580.65.06,", "13.0.0,13.0 GA,new,"),
        ("torch_releases", "2.15.0,", "next,"),
        ("cudnn", "9.12.0,9.28.0,13,", "9.12.0,newest,13,"),
    ],
)
def test_a_malformed_row_is_named_and_the_rest_serves(dltool: Run, copied: Path, table: str, old: str, new: str) -> None:
    line = spoil(copied, table, old, new)
    run = dltool("compat", *BROKEN, "--with", "torchvision", "--json", path=copied)
    assert f"catalog/compat/{table}.csv line {line}" in run.stderr
    assert run.returncode == 1, run.stderr
    assert json.loads(run.stdout)["compat"]["recommend"]["torch"] == "2.14.1"
