"""Plans: what is chosen comes from compat, the steps fit the system, and bad wishes are refused in one line."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dltool import compat, tables
from dltool.compat.answer import choose
from dltool.compat.drivers import branches_for, driver_floor
from dltool.compat.question import Question
from dltool.errors import UsageError
from dltool.machine import Driver, Machine, Os, PciDevice, PythonEnv, Toolkit, load
from dltool.render import Style
from dltool.render.text import render
from dltool.results import Plan, Report, Risk
from dltool.setup import distro, steps_driver
from dltool.setup.plan import make
from dltool.setup.wishes import MANAGERS, PURPOSES, Mirror, mirror, wishes

MACHINES = Path(__file__).parent / "machines"
CAPABILITIES = ["3.7", "5.2", "6.1", "7.0", "7.5", "8.0", "8.7", "8.9", "9.0", "10.0", "12.0", "12.1"]
PACKAGES = ["torchvision", "torchaudio", "triton", "torchtext", "flash-attn"]
H100 = Question(compute_capabilities=("9.0",))


def planned(question: Question = H100, *, system: str | None = "Ubuntu 24.04", machine: Machine | None = None, **wish) -> Plan:
    named = distro.resolve(system) if system else None
    return make(question, wishes(distro=named, **wish), machine=machine)


def step(plan: Plan, name: str):
    (found,) = [step for step in plan.steps if step.id == name]
    return found


def ids(plan: Plan) -> list[str]:
    return [step.id for step in plan.steps]


@pytest.mark.parametrize("capabilities", [("3.7",), ("6.0",), ("7.5",), ("8.6",), ("9.0",), ("12.0",), ("6.1", "8.6")], ids=str)
@pytest.mark.parametrize("driver", [None, "535.183.01", "580.65.06"])
def test_the_build_is_that_of_compat(capabilities, driver):
    question = Question(compute_capabilities=capabilities, driver=driver, python="3.11", glibc="2.39")
    best = choose(question)
    plan = planned(question, manager="uv")
    if best is None:
        assert plan.environment is None or plan.problems
    else:
        assert (plan.environment.torch, plan.environment.build) == (best.torch, best.build)


@pytest.mark.parametrize(
    "system", ["Ubuntu 24.04", "Debian 12", "Fedora 42", "RHEL 9", "RHEL 10", "Arch", "SLES 15.5", "openSUSE Leap 15.6"]
)
@pytest.mark.parametrize("capability", ["6.0", "8.6", "12.0"])
def test_the_driver_step_installs_a_branch_that_drives_the_gpu(system, capability):
    found = step(planned(Question(compute_capabilities=(capability,)), system=system), "driver")
    text = " ".join(found.commands)
    assert found.risk is Risk.REBOOT
    assert found.commands[-1] == "sudo reboot"
    assert "branch 580" in found.title
    assert ("open kernel module" in found.title) is (capability != "6.0")
    assert "580" in text or "DRIVER" in text or system == "Arch" or "zypper" in text
    if capability == "6.0":
        assert "open" not in re.sub("openSUSE|opensuse", "", text).replace("-m=kernel-open", "open")
    assert "{" not in text


def test_kepler_takes_the_branch_that_still_drives_it():
    plan = planned(Question(compute_capabilities=("3.7",), python="3.10"), system="Ubuntu 22.04")
    assert "branch 470, proprietary" in step(plan, "driver").title
    assert step(plan, "driver").commands[0] == "sudo ubuntu-drivers install"
    assert "numpy<2" in plan.environment.requirements


def test_packages_of_one_branch_are_called_as_the_table_says():
    rows = [row for row in tables.rows("compat/toolkit_install") if row["task"] in ("driver-open", "driver-proprietary")]
    told = [row for row in rows if "one branch:" in row["note"]]
    assert len(told) > 10
    for row in told:
        expected = re.search(r"one branch: (.*?)(;|$)", row["note"])[1].strip()
        assert steps_driver.pinned(row["commands"], "{branch}") == expected


def test_every_distribution_gets_commands_without_placeholders():
    for row in tables.rows("compat/glibc"):
        if row["libc"] == "glibc":
            named = distro.resolve(f"{row['distribution']} {row['release']}")
            question = Question(compute_capabilities=("8.0",), python="3.12", glibc="2.39")
            plan = make(question, wishes(purpose="building-extensions", manager="uv", distro=named))
            for one in plan.steps:
                for command in (*one.commands, *one.verify, *one.undo, *one.notes):
                    assert not re.search(r"\{\w+\}", command), (str(named), command)


def test_wsl_and_windows_have_no_linux_driver():
    for system in ("wsl", "windows"):
        plan = planned(replace(H100, os=system), system=None if system == "windows" else "Ubuntu 24.04")
        found = step(plan, "driver")
        assert "Windows" in found.title
        assert "580.88" in found.title
        assert not any("apt" in command for command in found.commands)
        assert "secure-boot" not in ids(plan)


def test_windows_commands_are_those_of_powershell():
    plan = planned(replace(H100, os="windows"), system=None, purpose="building-extensions")
    assert step(plan, "environment").commands[0] == "py -3.12 -m venv .venv"
    assert r".venv\Scripts\python.exe -m pip install" in step(plan, "torch").commands[0]
    assert "Remove-Item" in step(plan, "environment").undo[0]
    assert "Visual Studio" in step(plan, "toolkit").notes[0]


def test_the_toolkit_only_where_something_is_compiled():
    assert "toolkit" not in ids(planned())
    plan = planned(purpose="building-extensions")
    found = step(plan, "toolkit")
    cuda = compat.cuda_of_build(plan.environment.build)
    assert found.title == f"CUDA toolkit {cuda}"
    assert f"sudo apt-get install cuda-toolkit-{cuda.replace('.', '-')}" in found.commands
    assert f"export CUDA_HOME=/usr/local/cuda-{cuda}" in found.commands
    assert found.undo
    assert any("side by side" in note for note in found.notes)


def test_a_package_without_a_wheel_is_compiled_after_torch():
    plan = planned(replace(H100, torch="2.9.1", packages={"flash-attn": "2.8.3"}))
    assert plan.environment.compiled == ("flash-attn",)
    assert ids(plan).index("toolkit") < ids(plan).index("torch") < ids(plan).index("compiled")
    assert "--no-build-isolation" in step(plan, "compiled").commands[1]
    assert "--torch 2.8 spares the compiling" in step(plan, "compiled").notes[0]


def test_a_package_with_a_wheel_is_not():
    plan = planned(replace(H100, torch="2.8.0", packages={"flash-attn": "2.8.3"}))
    assert plan.environment.compiled == ()
    assert "toolkit" not in ids(plan)


def test_an_older_compiler_where_that_of_the_distribution_is_too_new():
    plan = planned(replace(H100, cuda="12.6"), system="Ubuntu 26.04", manager="uv", purpose="building-extensions")
    assert "export CC=gcc-13 CXX=g++-13 NVCC_CCBIN=g++-13" in step(plan, "toolkit").commands


def test_cudnn_comes_with_torch_unless_another_one_is_asked_for():
    assert step(planned(), "cudnn").state == "done"
    plan = planned(replace(H100, cudnn="9.20.0", torch="2.12.0", build="cu130"))
    assert "nvidia-cudnn-cu13==9.20.0.*" in step(plan, "cudnn").commands[0]
    plan = planned(replace(H100, cudnn="8.9.7"))
    assert plan.environment.torch.startswith("2.3.")


def test_every_step_has_a_reason_a_check_and_a_way_back():
    for purpose, manager in itertools.product(PURPOSES, MANAGERS):
        for one in planned(purpose=purpose, manager=manager).steps:
            assert one.why
            assert one.verify or one.id == "proof"
            harmless = one.state == "done" or one.risk is Risk.READ_ONLY or one.id == "python"
            assert one.undo or harmless, (manager, one.id)


def test_companions_are_pinned_exactly():
    plan = planned(replace(H100, packages={"torchvision": "", "triton": "", "torchdata": "", "numpy": "2.1.3"}))
    found = plan.environment
    label = f"+{found.build}"
    assert found.requirements[0] == f"torch=={found.torch}{label}"
    assert re.fullmatch(rf"torchvision==[\d.]+{re.escape(label)}", found.requirements[1])
    assert re.fullmatch(r"triton==[\d.]+", found.requirements[2])
    assert found.requirements[3:] == ("torchdata==0.11.0", "numpy==2.1.3")


def test_an_exact_companion_decides_the_torch():
    plan = planned(replace(H100, packages={"torchvision": "0.20.1"}))
    assert plan.environment.torch == "2.5.1"
    assert f"torchvision==0.20.1+{plan.environment.build}" in plan.environment.requirements


def test_torch_without_a_build_gets_the_build_that_suits():
    assert planned(replace(H100, torch="2.9.1", driver="535.183.01")).environment.build in ("cu126", "cu128")
    assert planned(Question(compute_capabilities=("6.0",), torch="2.9.1")).environment.build == "cu126"
    assert planned(Question(cpu_only=True, torch="2.9.1")).environment.build == "cpu"


def test_without_a_gpu_there_is_neither_driver_nor_cuda():
    plan = planned(Question(cpu_only=True))
    assert plan.environment.build == "cpu"
    assert ids(plan) == ["python", "environment", "torch", "proof"]
    assert "cuda" not in step(plan, "torch").verify[0]


def test_the_python_of_the_distribution_unless_nothing_suits_it():
    plan = planned(system="Debian 12")
    assert plan.environment.python == "3.11"
    assert "Python 3.11, which Debian 12 ships" in plan.assumed
    plan = planned(replace(H100, torch="2.0.1"), system="Ubuntu 24.04")
    assert plan.environment.python == "3.11"
    assert "nothing suits 3.12, which Ubuntu 24.04 has" in " ".join(plan.assumed)
    plan = planned(system="Rocky Linux 9")
    assert "--manager uv" in " ".join(plan.assumed)


def test_a_driver_that_was_asked_for_is_a_constraint():
    plan = planned(Question(compute_capabilities=("12.0",), driver="550.54.14"))
    assert plan.problems == (
        "nothing suits with driver 550.54.14; relax the driver: this plan is for driver branch 580 to 615",
    )
    assert step(plan, "driver").state == "needed"
    assert Report(plan=plan).exit_code() == 1


def test_a_driver_that_was_found_is_replaced():
    machine = Machine(driver=Driver(version="550.54.14"), os=Os(system="Linux", distribution="Ubuntu 24.04.1 LTS"))
    plan = planned(Question(compute_capabilities=("12.0",), driver="550.54.14"), machine=machine)
    assert plan.problems == ()
    assert step(plan, "driver").state == "needed"


def test_nothing_suits_says_what_to_relax():
    plan = planned(Question(compute_capabilities=("6.0",), kernel_module="open"))
    assert plan.steps == ()
    assert any("relax one thing: with the other kernel modules" in text for text in plan.problems)
    assert Report(plan=plan).exit_code() == 1
    plan = planned(Question(compute_capabilities=("12.0",), torch="2.6.0"))
    assert plan.problems[0].startswith("torch 2.6.0")
    assert plan.problems[-1].startswith("relax torch 2.6.0: torch 2.")
    plan = planned(system="Alpine")
    assert "musl" in plan.problems[0]
    assert "distribution of glibc" in plan.problems[-1]


def test_the_branch_drives_every_gpu_and_runs_the_cuda():
    for capability, build in itertools.product(
        ("3.7", "5.2", "6.0", "7.0", "7.5", "8.9", "12.0"), ("cu118", "cu126", "cu130", "cu132")
    ):
        question = Question(compute_capabilities=(capability,), build=build)
        row = steps_driver.branch_for(question)
        if row is not None:
            assert row in branches_for(capability)
            floor = driver_floor(question.cuda_of_torch)
            assert int(row["branch"]) >= int(floor.floor.split(".")[0])


def test_two_gpus_of_which_one_needs_the_proprietary_module():
    plan = planned(Question(compute_capabilities=("6.1", "8.6")))
    assert "proprietary" in step(plan, "driver").title


@pytest.mark.parametrize("name", sorted(path.stem for path in MACHINES.glob("*.json")))
def test_recorded_machines(name):
    machine = load(MACHINES / f"{name}.json")
    question = replace(compat.of_machine(machine), torch=None, build=None, python=None, packages={})
    plan = make(question, wishes(distro=distro.of_machine(machine)), machine=machine)
    if machine.os.tegra and plan.environment is None:
        assert any("JetPack" in text for text in plan.problems)
    else:
        assert plan.environment is not None
    assert all(one.state == "done" for one in plan.steps if one.id == "driver")


def test_nouveau_is_sent_away_first():
    pci = (PciDevice(bus_id="0000:01:00.0", device_id="10de:2684", class_code="030000", kernel_driver="nouveau"),)
    machine = Machine(pci=pci, os=Os(system="Linux", distribution="Ubuntu 22.04.5 LTS"))
    plan = planned(Question(compute_capabilities=("8.9",)), system="Ubuntu 22.04", machine=machine)
    assert ids(plan)[:3] == ["nouveau", "secure-boot", "driver"]
    assert "sudo update-initramfs -u" in step(plan, "nouveau").commands


def test_a_container_gets_the_driver_of_its_host():
    machine = Machine(os=Os(system="Linux", distribution="Debian GNU/Linux 12 (bookworm)", container="docker"))
    found = step(planned(machine=machine), "driver")
    assert "docker run --rm --gpus all IMAGE nvidia-smi" in found.commands
    assert not any("apt" in command for command in found.commands)


def test_what_is_there_is_done():
    machine = Machine(
        driver=Driver(version="580.65.06"),
        python=PythonEnv(executable="/usr/bin/python3", version="3.12.3"),
        toolkits=(Toolkit(path="/usr/local/cuda-13.0", version="13.0.2", has_nvcc=True),),
    )
    plan = planned(
        replace(H100, driver="580.65.06", build="cu130", torch="2.14.1"), machine=machine, purpose="building-extensions"
    )
    assert [one.id for one in plan.steps if one.state == "done"] == ["driver", "toolkit", "python", "cudnn"]
    assert "export CUDA_HOME=/usr/local/cuda-13.0" in step(plan, "toolkit").commands


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ubuntu24.04", "Ubuntu 24.04"), ("debian-12", "Debian 12"), ("rhel 9.4", "RHEL 9.4"), ("rocky9", "Rocky Linux 9"),
        ("Red Hat Enterprise Linux 9.4 (Plow)", "RHEL 9.4"),
        ("Fedora Linux 42 (Workstation Edition)", "Fedora 42"),
        ("CentOS Stream 9", "CentOS Stream 9"), ("arch", "Arch"), ("SUSE Linux Enterprise Server 15 SP5", "SLES 15.5"),
        ("openSUSE Leap 15.6", "openSUSE Leap 15.6"), ("ubuntu", "Ubuntu 26.04"),
        ("Debian GNU/Linux 12 (bookworm)", "Debian 12"),
        ("alpine", "Alpine"), ("amazon linux 2023", "Amazon Linux 2023"),
    ],
)  # fmt: skip
def test_distributions_as_people_and_os_release_write_them(text, name):
    assert str(distro.resolve(text)) == name


def test_unknown_distributions_are_refused():
    with pytest.raises(UsageError, match="unknown distribution `ubunto`"):
        distro.resolve("ubunto")
    with pytest.raises(UsageError, match=r"Ubuntu 99 is not in the tables"):
        distro.resolve("ubuntu 99")


def test_mirrors():
    assert mirror(["tuna"]).torch_index("cu126") == compat.wheel_index("cu126")
    assert mirror(["sjtu"]).torch_index("cu126").endswith("/pytorch-wheels/cu126")
    both = mirror(["tuna", "https://wheels.example.org/{build}"])
    assert both.torch_index("cpu") == "https://wheels.example.org/cpu"
    assert both.index
    assert mirror([]) == Mirror()


@pytest.mark.parametrize(
    "text",
    [
        "tunna",
        "",
        "ftp://x/y",
        "https://",
        "https://a:b@x.org/s",
        "https://x/;rm",
        'https://x/"$(id)"',
        "https://x/\n",
        "//x/y",
        "http://[::1",
    ],
)
def test_what_is_no_mirror_is_refused(text):
    with pytest.raises(UsageError):
        mirror([text])


def test_two_mirrors_of_one_thing_contradict():
    with pytest.raises(UsageError, match="two mirrors of the same thing"):
        mirror(["tuna", "ustc"])


def test_the_table_of_mirrors():
    official = "pypi" + ".org"
    for row in tables.rows("mirrors"):
        assert row["source"]
        assert (row["torch_kind"] in ("index", "links")) is bool(row["torch"])
        assert "{build}" in row["torch"] or not row["torch"]
        for cell in ("pypi", "torch", "conda"):
            assert official not in row[cell]
            assert not row[cell] or row[cell].startswith("https://")
        assert mirror([row["name"]])


def test_a_mirror_is_in_the_commands():
    plan = planned(replace(H100, packages={"triton": ""}), mirrors=["aliyun"])
    assert "--find-links https://mirrors.aliyun.com/pytorch-wheels/" in step(plan, "torch").commands[0]
    assert "--index-url https://mirrors.aliyun.com/pypi/simple" in step(plan, "packages").commands[0]
    assert (plan.environment.index_kind, plan.environment.extra_index) == ("links", "https://mirrors.aliyun.com/pypi/simple")
    assert "No PyTorch wheels are known on tuna" in step(planned(mirrors=["tuna"]), "torch").notes[0]


@pytest.mark.parametrize("manager", MANAGERS)
def test_managers(manager):
    plan = planned(replace(H100, packages={"torchvision": ""}), manager=manager)
    text = "\n".join(command for one in plan.steps for command in one.commands)
    assert {
        "venv": "python3.12 -m venv .venv",
        "uv": "uv venv --python 3.12 .venv",
        "conda": "conda create -n dl python=3.12",
        "pixi": "pixi install",
    }[manager] in text
    assert plan.environment.manager == manager


def test_pixi_is_told_the_very_environment():
    plan = planned(replace(H100, packages={"torchvision": ""}), manager="pixi", mirrors=["tuna"], purpose="inference")
    (command,) = [one for one in step(plan, "environment").commands if "export pixi" in one]
    found = plan.environment
    assert f"--torch {found.torch}+{found.build} --python 3.12 --os linux --arch x86_64 --cc 9.0" in command
    assert "--with torchvision --mirror tuna --for inference" in command


@settings(max_examples=60)
@given(
    capabilities=st.lists(st.sampled_from(CAPABILITIES), max_size=2, unique=True),
    driver=st.sampled_from([None, "450.80.02", "535.54.03", "580.65.06", "999.1"]),
    python=st.sampled_from([None, "3.6", "3.9", "3.12", "3.15", "3.99"]),
    os=st.sampled_from(["linux", "windows", "wsl"]),
    arch=st.sampled_from(["x86_64", "aarch64"]),
    system=st.sampled_from(["Ubuntu 18.04", "Debian 13", "Alpine", "Arch", "RHEL 10", None]),
    purpose=st.sampled_from(PURPOSES),
    manager=st.sampled_from(MANAGERS),
    packages=st.dictionaries(st.sampled_from(PACKAGES), st.just(""), max_size=3),
    mirrors=st.sampled_from([[], ["aliyun"], ["sjtu"]]),
)  # fmt: skip
def test_whatever_is_asked_gives_a_plan_or_a_problem(
    capabilities, driver, python, os, arch, system, purpose, manager, packages, mirrors
):
    question = Question(
        compute_capabilities=tuple(capabilities), driver=driver, python=python, os=os, arch=arch, packages=packages
    )
    named = distro.resolve(system) if system and os != "windows" else None
    plan = make(question, wishes(purpose=purpose, manager=manager, mirrors=mirrors, distro=named))
    assert (plan.environment is None) == (not plan.steps)
    assert plan.environment is not None or plan.problems
    text = render(Report(plan=plan), Style(width=80))
    assert "None" not in text
    assert "{" not in text.replace("${", "")


def test_the_page_is_80_wide_except_for_commands():
    text = render(
        Report(plan=planned(replace(H100, packages={"torchvision": ""}), purpose="building-extensions")), Style(width=80)
    )
    for line in text.splitlines():
        assert len(line) <= 80 or line.lstrip().startswith(("$", "check", "undo")) or line.startswith("         "), line


# The command.


@pytest.fixture
def setup(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dltool", "setup", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "80"},
        )  # fmt: skip

    return run


def test_plan_for_this_machine_and_another_one(setup):
    run = setup("plan", "--machine", str(MACHINES / "h100_server.json"), "--json")
    assert run.returncode == 0, run.stderr
    plan = json.loads(run.stdout)["plan"]
    assert plan["steps"][0]["state"] == "done"
    run = setup("plan", "--gpu", "RTX 5090", "--distro", "ubuntu24.04", "--with", "torchvision,triton", "--manager", "uv")
    assert (run.returncode, run.stderr) == (0, "")
    assert "nvidia-open-580" in run.stdout
    assert setup("plan").returncode == 0


def test_what_is_wanted_does_not_make_it_another_machine(setup):
    plain, wished = (json.loads(setup("plan", "--json", *more).stdout)["plan"] for more in ((), ("--with", "torchvision")))
    assert plain["compat"]["question"]["os"] == wished["compat"]["question"]["os"]
    assert plain["environment"]["build"] == wished["environment"]["build"]
    assert len(wished["environment"]["requirements"]) == len(plain["environment"]["requirements"]) + 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--gpu", "banana"], ["--for", "fun"], ["--manager", "poetry"], ["--mirror", "tunna"], ["--distro", "ubunto"],
        ["--torch", "2"], ["--torch", "9.9.9"], ["--torch", "banana"], ["--python", "3"], ["--python", "99.9"],
        ["--cuda", "12"],
        ["--cpu", "--gpu", "A100"], ["--cpu", "--torch", "2.9.1+cu126"], ["--os", "windows", "--distro", "debian"],
        ["--machine", "/nonexistent"], ["--machine", "x", "--cc", "8.0"], ["--mirror", "tuna", "--mirror", "ustc"],
        ["--with", "torchvison"], ["--mirror", "https://user:secret@x.org/simple"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_input_is_one_line_and_a_hint(setup, arguments):
    run = setup("plan", *arguments)
    assert run.returncode == 2, run.stdout
    error, blank, hint = run.stderr.strip().split("\n", 2)
    assert (error[:7], blank, hint[:6]) == ("error: ", "", "hint: ")
    assert run.stdout == ""
    assert "secret" not in run.stderr


def test_nothing_suits_is_exit_code_1(setup):
    run = setup("plan", "--gpu", "RTX 5090", "--torch", "2.6.0", "--distro", "ubuntu24.04")
    assert run.returncode == 1
    assert "No plan for training" in run.stdout
    assert "relax torch 2.6.0" in run.stdout
