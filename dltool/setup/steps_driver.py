"""The steps before CUDA works at all: nouveau away, secure boot satisfied, the driver of the right branch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import tables
from dltool.compat.drivers import branches_for, driver_floor, kernel_module_rule
from dltool.compat.question import Question
from dltool.compat.versions import version
from dltool.results import Risk, Step
from dltool.setup.situation import Situation, commands, task

_SEE = "nvidia-smi --query-gpu=name,driver_version --format=csv"
_PINS = (
    (r"\b(nvidia-open|cuda-drivers)$", r"\1-{branch}"),
    (r"nvidia-driver:open-dkms$", "nvidia-driver:{branch}-open"),
    (r"nvidia-driver:latest-dkms$", "nvidia-driver:{branch}-dkms"),
)
"""How NVIDIA's packages of one branch are called; the notes of toolkit_install.csv say so row by row."""
_OWN_PACKAGES = ("Ubuntu", "Debian", "Fedora", "Arch", "openSUSE")
"""Families with driver packages that are not NVIDIA's."""
_PICKS_BRANCH, _LAGS = ("Ubuntu",), ("Debian",)
"""Which of them find the branch that suits the GPU; which stay with the branch of their release. The others have the newest."""


def steps(situation: Situation) -> Iterator[Step]:
    """What the driver needs here; nothing on a machine without a GPU."""
    question = situation.question
    if question.cpu_only:
        return
    if question.tegra:
        yield _done(
            "The driver comes with JetPack", "On Jetson and DRIVE it is part of the system; update JetPack to update it."
        )
    elif question.driver is not None and not situation.move_driver:
        yield _present(situation)
    elif situation.container:
        yield _on_the_host(situation)
    elif question.os != "linux":
        yield _of_windows(situation)
    else:
        yield from _linux(situation)


def _done(title: str, why: str, *notes: str) -> Step:
    return Step(id="driver", title=title, why=why, state="done", verify=(_SEE,), notes=notes, risk=Risk.READ_ONLY)


def branch_for(question: Question) -> tables.Row | None:
    """The branch to install: of those that drive every GPU and run the CUDA of torch, the one that NVIDIA supports longest."""
    floor = driver_floor(question.cuda_of_torch or question.cuda or "")
    least = version(floor.floor).major if floor else 0
    rows = branches_for(question.compute_capabilities[0] if question.compute_capabilities else "7.5")
    fitting = [
        row
        for row in rows
        if int(row["branch"]) >= least
        and row["type"] != "developer"
        and all(row in branches_for(capability) for capability in question.compute_capabilities)
    ]
    return max(fitting, key=lambda row: (row["end_of_support"], int(row["branch"])), default=None)


def flavor(question: Question) -> str:
    """The kernel module to take, "open" or "proprietary": as asked where both work, else as the GPU needs it."""
    rules = [kernel_module_rule(capability) for capability in question.compute_capabilities]
    known = [rule for rule in rules if rule is not None]
    if len(known) < len(rules) or any(rule["open"] == "unsupported" for rule in known):
        return "proprietary"
    if any(rule["open"] == "required" for rule in known):
        return "open"
    return question.kernel_module or "open"


def pinned(command: str, branch: str) -> str:
    """A command that installs NVIDIA's driver packages, for one branch: the newest may have left the GPU behind."""
    for pattern, instead in _PINS:
        command = re.sub(pattern, instead.replace("{branch}", branch), command)
    return command


def _present(situation: Situation) -> Step:
    question = situation.question
    floor = driver_floor(question.cuda_of_torch or "", windows=question.windows_driver)
    why = f"CUDA {question.cuda_of_torch} needs {floor.floor} or later." if floor else "It runs what is chosen below."
    return _done(f"Driver {question.driver} stays", why)


def _names(branch: tables.Row | None) -> str:
    return f"driver branch {branch['branch']}" if branch else "the driver"


def _why(situation: Situation) -> str:
    question, branch = situation.question, branch_for(situation.question)
    floor = driver_floor(question.cuda_of_torch or "", windows=question.windows_driver)
    gpus = ", ".join(question.compute_capabilities)
    drives = f"It drives compute capability {gpus}" if gpus else "It drives current GPUs"
    runs = f" and runs CUDA {question.cuda_of_torch}, which needs {floor.floor} or later" if floor else ""
    until = branch["end_of_support"] if branch and not question.windows_driver else ""
    longest = (
        f" Of the branches that do, NVIDIA supports it longest ({branch['type']}, until {until})." if until and branch else ""
    )
    return f"{drives}{runs}.{longest}"


def _on_the_host(situation: Situation) -> Step:
    return Step(
        id="driver",
        title=f"Start the container with the host's GPUs ({_names(branch_for(situation.question))} on the host)",
        why="A container has no driver of its own: the host lends its. " + _why(situation),
        commands=("docker run --rm --gpus all IMAGE nvidia-smi",),
        verify=(_SEE,),
        notes=("The host needs the driver and the NVIDIA container toolkit.",),
    )


def _of_windows(situation: Situation) -> Step:
    wsl = situation.question.os == "wsl"
    row = task("driver", "WSL" if wsl else "Windows") or {}
    floor = driver_floor(situation.question.cuda_of_torch or "", windows=True)
    inside = "Nothing of the driver goes into WSL; the way back removes what was put there by mistake."
    outside = "From the NVIDIA App, or from NVIDIA's driver download page."
    return Step(
        id="driver",
        title=f"Install NVIDIA's driver in Windows{f', {floor.floor} or later' if floor else ''}",
        why=_why(situation) + (" WSL uses the driver of Windows." if wsl else ""),
        commands=("wsl --update", "wsl --shutdown") if wsl else (),
        verify=(_SEE,),
        undo=commands(row.get("undo", "")),
        risk=Risk.REBOOT,
        notes=(outside, inside) if wsl else (outside,),
        source=row.get("source", ""),
    )


def _linux(situation: Situation) -> Iterator[Step]:
    held = [
        device.kernel_driver
        for device in (situation.machine.pci or () if situation.machine else ())
        if device.kernel_driver in ("nouveau", "nova", "nova_core")
    ]
    if held:
        yield from _nouveau_off(situation, held[0] or "nouveau")
    yield from _secure_boot(situation)
    yield _driver(situation)


def _nouveau_off(situation: Situation, holder: str) -> Iterator[Step]:
    row = situation.distro.row("nouveau-off") if situation.distro else None
    row = row or task("nouveau-off", "Fedora")
    if row is not None:
        yield Step(
            id="nouveau",
            title=f"Keep {holder} from loading",
            why=f"{holder} holds the GPU, and only one kernel driver can.",
            commands=(*commands(row["commands"]), "sudo reboot"),
            verify=(f"{row['check']}   # must print nothing",),
            undo=commands(row["undo"]),
            risk=Risk.REBOOT,
            notes=("Driver packages do this by themselves; the runfile does not.",),
            source=row["source"],
        )


def _secure_boot(situation: Situation) -> Iterator[Step]:
    own = situation.distro.row("secure-boot") if situation.distro else None
    row = own or task("secure-boot", "any Linux")
    if row is not None:
        yield Step(
            id="secure-boot",
            title="Secure boot: enrol a key for the kernel module",
            why="The module is built on this machine, and secure boot refuses what nobody signed (key rejected by service).",
            state="optional",
            commands=("mokutil --sb-state   # disabled: skip this step", *commands(row["commands"])),
            verify=commands(row["check"]),
            undo=commands(row["undo"]),
            risk=Risk.REBOOT,
            notes=(f"{row['note'][:1].upper()}{row['note'][1:]}.",),
            source=row["source"],
        )


def _driver(situation: Situation) -> Step:
    """NVIDIA's packages of exactly this branch where there are some; else the distribution's own; else the runfile."""
    branch = branch_for(situation.question)
    row, ways = _packages(situation, branch)
    own, notes = _own_packages(situation), []
    if row is None and own is not None and own["distribution"] not in _LAGS:
        ways, notes = commands(own["commands"]), [own["note"][:1].upper() + own["note"][1:] + "."]
        row = {"undo": "", "source": own["source"]}
    elif own is not None:
        notes = [f"Or the distribution's own packages: {own['commands']} ({own['note']}). Do not mix the two."]
    if row is None:
        row, ways, notes = _runfile(situation)
    module = flavor(situation.question)
    return Step(
        id="driver",
        title=f"Install {_names(branch)}, {module} kernel module",
        why=_why(situation),
        commands=(*ways, "sudo reboot"),
        verify=(_SEE, "cat /proc/driver/nvidia/version"),
        undo=tuple(pinned(part, branch["branch"]) if branch else part for part in commands(row["undo"])),
        risk=Risk.REBOOT,
        notes=(*notes, *_module_notes(situation.question)),
        source=row["source"],
    )


def _own_packages(situation: Situation) -> tables.Row | None:
    """The distribution's own packages, where they may drive these GPUs."""
    family = situation.distro.family if situation.distro else ""
    newest = tables.rows("compat/driver_branches")[-1]
    driven = all(newest in branches_for(capability) for capability in situation.question.compute_capabilities)
    if family not in _OWN_PACKAGES or not (driven or family in _PICKS_BRANCH):
        return None
    return next((row for row in tables.rows("driver_install") if row["distribution"] == family), None)


def _packages(situation: Situation, branch: tables.Row | None) -> tuple[tables.Row | None, tuple[str, ...]]:
    """How NVIDIA's own packages of a branch are installed; nothing for a release or a branch that has none."""
    distro = situation.distro
    if distro is None or distro.repository is None or branch is None or branch["type"] == "legacy":
        return None, ()
    kind = f"driver-{flavor(situation.question)}"
    row = distro.row(kind)
    if row is not None and "dnf module" in row["commands"] and distro.release.partition(".")[0] == "10":
        row = task(kind, "Fedora")  # release 10 has no modules: its commands are Fedora's
    if row is None:
        return None, ()
    return row, (*repository(situation), *(pinned(part, branch["branch"]) for part in commands(row["commands"])))


def repository(situation: Situation) -> tuple[str, ...]:
    """The commands that add NVIDIA's package source, without what they install from it."""
    row = situation.distro.row("toolkit") if situation.distro else None
    if row is None or situation.distro is None:
        return ()
    every = commands(
        row["commands"],
        distro=situation.distro.repository or "",
        release=situation.distro.release,
        arch="sbsa" if situation.question.arch == "aarch64" else "x86_64",
    )
    return tuple(part for part in every if "{cuda_dash}" not in part)


def _runfile(situation: Situation) -> tuple[tables.Row, tuple[str, ...], list[str]]:
    row = task(f"driver-{flavor(situation.question)}", "runfile") or {"commands": "", "undo": "", "source": ""}
    arch = situation.question.arch
    notes = [
        "No packages of this branch are known for this system: NVIDIA's own installer, DRIVER being a version of the branch."
    ]
    return row, commands(row["commands"].replace("x86_64", arch), driver="DRIVER"), notes


def _module_notes(question: Question) -> Iterator[str]:
    for capability in question.compute_capabilities:
        rule = kernel_module_rule(capability)
        if rule is not None and "required" in (rule["open"], rule["proprietary"]):
            which = "open" if rule["open"] == "required" else "proprietary"
            yield f"{rule['architecture']} runs with the {which} kernel module only."
    yield "The packages keep nouveau from loading: after the restart `lsmod | grep nouveau` prints nothing."
