"""NVIDIA's kernel module on disk, what builds, signs and refuses it, and the daemons that go with it."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dltool.machine import DkmsModule, ModuleFile
from dltool.probe import child, files

_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_NVIDIA_KO = re.compile(r"^(\S*/nvidia\.ko(?:\.\w+)?):", re.MULTILINE)
_SECURE_BOOT_BYTES = 5
_TIMEOUT_S = 2.0
_MOST_DEPENDENCIES = 16 * 2**20
"""Bytes of modules.dep: that of a distribution has up to two million."""
_SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
"""The path of an ordinary user often lacks where modinfo lies."""

Run = Callable[..., child.Answer]


@dataclass(frozen=True, slots=True)
class Reading:
    """The module's file, DKMS, secure boot and daemons; reasons for what is missing."""

    module_file: ModuleFile | None
    dkms: tuple[DkmsModule, ...] | None
    secure_boot: bool | None
    services: dict[str, str]
    gaps: dict[str, str] = field(default_factory=dict)


def read(root: Path = Path("/"), *, loaded: bool, nvswitches: bool, run: Run = child.run, kernel: str = "") -> Reading:
    """Read what a machine with an NVIDIA GPU has of its module.

    Args:
        root: where the files of the system are.
        loaded: whether the module is loaded: then its flavour is known, and modinfo is not asked.
        nvswitches: whether there is something that the fabric manager has to manage.
        run: what runs a command in a limited time.
        kernel: the release of the running kernel.
    """
    gaps: dict[str, str] = {}
    return Reading(
        module_file=_module_file(root, kernel or platform.release(), loaded, run, gaps),
        dkms=_dkms(root),
        secure_boot=_secure_boot(root, gaps),
        services=_services(root, nvswitches, run),
        gaps=gaps,
    )


def _module_file(root: Path, kernel: str, loaded: bool, run: Run, gaps: dict[str, str]) -> ModuleFile | None:
    modules = f"lib/modules/{kernel}"
    try:
        known = files.text(root / modules / "modules.dep", _MOST_DEPENDENCIES)
    except OSError as error:
        gaps["driver.module_file"] = f"/{modules}/modules.dep: {error.strerror}"
        return None
    match = _NVIDIA_KO.search(known)
    if match is None:
        return None
    path = match[1] if match[1].startswith("/") else f"/{modules}/{match[1]}"
    if loaded:
        return ModuleFile(path=path)
    said = _modinfo(str(root / path.lstrip("/")), run)
    if said is None:
        return ModuleFile(path=path)
    return ModuleFile(
        path=path,
        version=said.get("version"),
        is_open="GPL" in said["license"] if said.get("license") else None,
        signer=said.get("signer", ""),
    )


def _modinfo(path: str, run: Run) -> dict[str, str] | None:
    """What a module says of itself; the file may be compressed and large, so this is left to the tool for it."""
    tool = shutil.which("modinfo") or shutil.which("modinfo", path=_SBIN)
    if tool is None:
        return None
    try:
        answer = run([tool, path], timeout_s=_TIMEOUT_S)
    except OSError:
        return None
    if answer.returncode != 0:
        return None
    pairs = (line.partition(":") for line in answer.output.splitlines())
    found: dict[str, str] = {}
    for key, _, value in pairs:
        found.setdefault(key.strip(), value.strip())
    return found


def _dkms(root: Path) -> tuple[DkmsModule, ...] | None:
    """Versions that DKMS knows, with the kernels that it has built each for; None where there is no DKMS.

    A version has a directory with a link `source`; below it there is one for each kernel, with one for each architecture.
    """
    tree = root / "var/lib/dkms"
    if not files.is_dir(tree):
        return None
    found = []
    for version in files.glob(tree, "nvidia*/[0-9]*"):
        if files.is_dir(version):
            kernels = {path.parents[2].name for path in files.glob(version, "*/*/module/nvidia.ko*")}
            found.append(DkmsModule(version=version.name, kernels=tuple(sorted(kernels))))
    return tuple(found)


def _secure_boot(root: Path, gaps: dict[str, str]) -> bool | None:
    """The firmware's variable has four bytes of attributes and one of value. Without EFI there is no secure boot."""
    if not files.is_dir(root / "sys/firmware/efi"):
        return False if files.is_dir(root / "sys/firmware") else None
    try:
        with (root / _SECURE_BOOT).open("rb") as file:
            value = file.read(_SECURE_BOOT_BYTES + 1)
    except FileNotFoundError:
        if files.is_dir(root / "sys/firmware/efi/efivars") and any((root / "sys/firmware/efi/efivars").glob("*-*")):
            return False  # firmware without the feature
        gaps["driver.secure_boot"] = "/sys/firmware/efi/efivars is not mounted"
        return None
    except OSError as error:
        gaps["driver.secure_boot"] = f"/{_SECURE_BOOT}: {error.strerror}"
        return None
    return len(value) == _SECURE_BOOT_BYTES and value.endswith(b"\x01")


def _services(root: Path, nvswitches: bool, run: Run) -> dict[str, str]:
    """The daemons by their sockets and pid files; systemd is asked only for the one on which CUDA depends."""
    services = {}
    if files.exists(root / "run/nvidia-persistenced/socket"):
        services["nvidia-persistenced"] = "active"
    if nvswitches:
        services["nvidia-fabricmanager"] = _fabric_manager(root, run)
    return services


def _fabric_manager(root: Path, run: Run) -> str:
    """systemd's word for its state ("active", "failed", "inactive"), or what its pid file says where there is no systemd."""
    if files.is_dir(root / "run/systemd/system"):
        try:
            answer = run(["systemctl", "is-active", "nvidia-fabricmanager"], timeout_s=_TIMEOUT_S)
        except OSError:
            pass
        else:
            if state := answer.output.strip():
                return str(state.splitlines()[0])
    try:
        pid = files.text(root / "run/nvidia-fabricmanager/nv-fabricmanager.pid").strip()
    except OSError:
        return "not found"
    return "active" if files.number(pid) and files.is_dir(root / f"proc/{pid}") else "inactive"
