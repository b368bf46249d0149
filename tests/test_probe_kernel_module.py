"""The module on disk, DKMS, secure boot and daemons, read from recorded trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from dltool.machine import DkmsModule, ModuleFile
from dltool.probe import child, kernel_module

KERNEL = "6.8.0-48-generic"
MODINFO = """\
filename:       /lib/modules/6.8.0-48-generic/updates/dkms/nvidia.ko.zst
alias:          char-major-195-*
version:        565.77
supportedchip:  x
license:        {license}
vermagic:       6.8.0-48-generic SMP preempt mod_unload modversions
{signer}parm:           NvSwitchRegDwords:NvSwitch regkey (charp)
"""


class Commands:
    """Stands for `child.run`."""

    def __init__(self, *, modinfo: str | None = None, systemctl: str | None = None, timed_out: bool = False) -> None:
        self.modinfo, self.systemctl, self.returncode = modinfo, systemctl, None if timed_out else 0
        self.asked: list[str] = []

    def __call__(self, argv: list[str], *, timeout_s: float) -> child.Answer:
        assert timeout_s <= 2
        self.asked.append(Path(argv[0]).name)
        said = self.systemctl if self.asked[-1] == "systemctl" else self.modinfo
        if said is None:
            raise FileNotFoundError(2, "No such file or directory")
        return child.Answer(said, "", self.returncode)


def read(root: Path, run: Commands | None = None, *, loaded: bool = False, nvswitches: bool = False) -> kernel_module.Reading:
    return kernel_module.read(root, loaded=loaded, nvswitches=nvswitches, run=run or Commands(), kernel=KERNEL)


def modules(root: Path, *lines: str) -> None:
    directory = root / "lib/modules" / KERNEL
    directory.mkdir(parents=True)
    (directory / "modules.dep").write_text("\n".join(("kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko", *lines, "")))


@pytest.fixture
def modinfo_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/usr/sbin/{name}" if path else None)


@pytest.mark.parametrize(
    ("licence", "signer", "is_open", "signed_by"),
    [
        (
            "Dual MIT/GPL",
            "signer:         node7 Secure Boot Module Signature key\n",
            True,
            "node7 Secure Boot Module Signature key",
        ),
        ("NVIDIA", "", False, ""),
    ],
)
@pytest.mark.usefixtures("modinfo_exists")
def test_the_module_of_the_running_kernel(tmp_path: Path, licence: str, signer: str, is_open: bool, signed_by: str) -> None:
    modules(tmp_path, "updates/dkms/nvidia-drm.ko.zst: updates/dkms/nvidia.ko.zst", "updates/dkms/nvidia.ko.zst:")
    reading = read(tmp_path, Commands(modinfo=MODINFO.format(license=licence, signer=signer)))
    path = f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko.zst"
    assert reading.module_file == ModuleFile(path=path, version="565.77", is_open=is_open, signer=signed_by)
    assert reading.gaps == {}


@pytest.mark.usefixtures("modinfo_exists")
def test_a_loaded_module_is_not_asked_again(tmp_path: Path) -> None:
    modules(tmp_path, "kernel/nvidia-565/nvidia.ko:")
    run = Commands(modinfo="x")
    assert read(tmp_path, run, loaded=True).module_file == ModuleFile(path=f"/lib/modules/{KERNEL}/kernel/nvidia-565/nvidia.ko")
    assert run.asked == []


@pytest.mark.parametrize("run", [Commands(), Commands(modinfo="x", timed_out=True)], ids=["missing", "hangs"])
@pytest.mark.usefixtures("modinfo_exists")
def test_without_modinfo_the_path_is_known(tmp_path: Path, run: Commands) -> None:
    modules(tmp_path, "extra/nvidia.ko:")
    assert read(tmp_path, run).module_file == ModuleFile(path=f"/lib/modules/{KERNEL}/extra/nvidia.ko")


def test_no_module_is_an_answer_and_no_modules_is_a_gap(tmp_path: Path) -> None:
    reading = read(tmp_path)
    assert reading.gaps["driver.module_file"] == f"/lib/modules/{KERNEL}/modules.dep: No such file or directory"
    modules(tmp_path, "kernel/drivers/video/fbdev/nvidia/nvidiafb.ko: x.ko")
    reading = read(tmp_path)
    assert (reading.module_file, reading.gaps) == (None, {})


def test_what_dkms_has_built(tmp_path: Path) -> None:
    tree = tmp_path / "var/lib/dkms"
    assert read(tmp_path).dkms is None
    (tree / "zfs/2.2.2/6.8.0-45-generic/x86_64/module").mkdir(parents=True)
    assert read(tmp_path).dkms == ()
    for kernel in ("6.8.0-45-generic", "6.8.0-47-generic"):
        module = tree / f"nvidia/565.77/{kernel}/x86_64/module"
        module.mkdir(parents=True)
        (module / "nvidia.ko.zst").touch()
        (module / "nvidia-uvm.ko.zst").touch()
    (tree / "nvidia/565.77/build").mkdir()
    (tree / f"nvidia/kernel-{KERNEL}-x86_64").symlink_to("565.77")
    (tree / "nvidia-srv/550.90.07").mkdir(parents=True)
    assert read(tmp_path).dkms == (
        DkmsModule(version="550.90.07"),
        DkmsModule(version="565.77", kernels=("6.8.0-45-generic", "6.8.0-47-generic")),
    ) or read(tmp_path).dkms == (
        DkmsModule(version="565.77", kernels=("6.8.0-45-generic", "6.8.0-47-generic")),
        DkmsModule(version="550.90.07"),
    )


@pytest.mark.parametrize(("value", "on"), [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\0", False), (b"", False)])
def test_secure_boot(tmp_path: Path, value: bytes, on: bool) -> None:
    variable = tmp_path / "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    variable.parent.mkdir(parents=True)
    variable.write_bytes(value)
    assert read(tmp_path).secure_boot is on


def test_secure_boot_without_its_variable(tmp_path: Path) -> None:
    assert read(tmp_path).secure_boot is None  # nothing of the firmware is shown at all
    (tmp_path / "sys/firmware").mkdir(parents=True)
    assert read(tmp_path).secure_boot is False  # no EFI
    (tmp_path / "sys/firmware/efi/efivars").mkdir(parents=True)
    reading = read(tmp_path)
    assert reading.secure_boot is None
    assert "not mounted" in reading.gaps["driver.secure_boot"]
    (tmp_path / "sys/firmware/efi/efivars/BootOrder-8be4df61").touch()
    assert read(tmp_path).secure_boot is False  # firmware without it


def test_daemons(tmp_path: Path) -> None:
    assert read(tmp_path).services == {}
    (tmp_path / "run/nvidia-persistenced").mkdir(parents=True)
    (tmp_path / "run/nvidia-persistenced/socket").touch()
    assert read(tmp_path).services == {"nvidia-persistenced": "active"}


@pytest.mark.parametrize(
    ("systemd", "said", "pid", "state"),
    [
        (True, "active\n", None, "active"),
        (True, "failed\n", None, "failed"),
        (True, "", None, "not found"),
        (True, None, None, "not found"),
        (False, "active\n", None, "not found"),
        (False, None, "4242\n", "active"),
        (False, None, "77\n", "inactive"),
        (False, None, "garbage\n", "inactive"),
    ],
)
def test_fabric_manager(tmp_path: Path, systemd: bool, said: str | None, pid: str | None, state: str) -> None:
    (tmp_path / "proc/4242").mkdir(parents=True)
    if systemd:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
    if pid is not None:
        (tmp_path / "run/nvidia-fabricmanager").mkdir(parents=True)
        (tmp_path / "run/nvidia-fabricmanager/nv-fabricmanager.pid").write_text(pid)
    run = Commands(systemctl=said)
    assert read(tmp_path, run, nvswitches=True).services == {"nvidia-fabricmanager": state}
    assert run.asked == ["systemctl"] * systemd
