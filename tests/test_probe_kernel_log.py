"""The kernel's log in every form in which it comes: /dev/kmsg, dmesg, journalctl, syslog; and when it may not be read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool.machine import KernelEvent, KernelLog
from dltool.probe import child, kernel_log

XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."
SPLIT = (
    "NVRM: The NVIDIA GPU 0000:b3:00.0\nNVRM: (PCI ID: 10de:26b5) installed in this system has\n"
    "NVRM: fallen off the bus and is not responding to commands."
)
SAID = "NVRM: The NVIDIA GPU 0000:b3:00.0 (PCI ID: 10de:26b5) installed in this system has "
FALLEN = SAID + "fallen off the bus and is not responding to commands."


def events(text: str, now_s: float | None = 2000.0) -> tuple[KernelEvent, ...]:
    log = kernel_log.parse(text, "test", now_s=now_s)
    assert log is not None
    return log.events


# --- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind", "code", "bus_id"),
    [
        (XID, "xid", 79, "0000:3b:00.0"),
        ("NVRM: Xid (PCI:0000:01:00): 13, Graphics Exception: ESR 0x404490=0x80000001", "xid", 13, "0000:01:00.0"),
        ("NVRM: Xid (0000:03:00): 8, 0001 00000000 0000a097", "xid", 8, "0000:03:00.0"),
        ("NVRM: Xid (PCI:0000:01:00 GPU-I:05): 45, pid=99, name=x, Ch 00000008", "xid", 45, "0000:01:00.0"),
        ("NVRM: Xid (PCI:0018:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 11", "xid", 149, "0018:01:00.0"),
        ("NVRM: Xid (PCI:00000000:C1:00.0): 31, pid='<unknown>', name=<unknown>, Ch 0000", "xid", 31, "0000:c1:00.0"),
        ("NVRM: Xid (PCI:10001:00:00): 48, DBE", "xid", 48, "10001:00:00.0"),
        ("nvidia-nvswitch0: SXid (PCI:0000:c3:00.0): 24007, Fatal, Link 28 sourcetrack timeout error (First)",
         "sxid_fatal", 24007, "0000:c3:00.0"),
        ("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error (First)",
         "sxid", 12028, "0000:05:00.0"),
        (SPLIT, "fell_off_bus", None, "0000:b3:00.0"),
        ("NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.", "fell_off_bus", None, "0000:3b:00.0"),
        ("NVRM: GPU at 0000:01:00.0 has fallen off the bus.", "fell_off_bus", None, "0000:01:00.0"),
        ("NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x24:0xffff:1220)", "init_failed", None, "0000:01:00.0"),
        ("NVRM: RmInitAdapter failed! (0x26:0xffff:1227)", "init_failed", None, None),
        ("NVRM: The NVIDIA probe routine failed for 1 device(s).", "probe_failed", None, None),
        ("nvidia: probe of 0000:01:00.0 failed with error -1", "probe_failed", None, "0000:01:00.0"),
        ("nvidia 0000:02:00.0: probe with driver nvidia failed with error -1", "probe_failed", None, "0000:02:00.0"),
        ("NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:\nNVRM: BAR1 is 0M @ 0x0 (PCI:0000:01:00.0)",
         "bar_invalid", None, "0000:01:00.0"),
        ("NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:2c58)\n"
         "NVRM: installed in this system requires use of the NVIDIA open kernel modules.",
         "needs_open_module", None, "0000:02:00.0"),
        ("NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:1b06)\nNVRM: installed in this system is not supported by open\n"
         "NVRM: nvidia.ko because it does not include the required GPU\nNVRM: System Processor (GSP).",
         "needs_proprietary_module", None, "0000:01:00.0"),
        ("NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:13c2)\nNVRM: installed in this system is not supported by the\n"
         "NVRM: NVIDIA 590.48.01 driver release.", "unsupported_gpu", None, "0000:01:00.0"),
        ("NVRM: The NVIDIA GeForce GT 710 GPU installed in this system is\n"
         "NVRM:  supported through the NVIDIA 470.xx Legacy drivers. Please", "unsupported_gpu", None, None),
        ("NVRM: nvAssertOkFailedNoLog: Assertion failed: Reset required [NV_ERR_RESET_REQUIRED] (0x00000062) returned from x",
         "reset_required", None, None),
        ("nvidia 0000:01:00.0: Direct firmware load for nvidia/550.54.15/gsp_ga10x.bin failed with error -2",
         "gsp_failed", None, "0000:01:00.0"),
        ("NVRM: RmInitAdapter: Cannot initialize GSP firmware RM", "gsp_failed", None, None),
        ("NVRM: _kgspBootGspRm: unexpected WPR2 already up, cannot proceed with booting GSP", "gsp_failed", None, None),
        ("nvidia 0000:3b:00.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)",
         "aer_corrected", None, "0000:3b:00.0"),
        ("pcieport 0000:00:01.0: AER: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Transaction Layer",
         "aer_uncorrected", None, "0000:00:01.0"),
        ("pcieport 0000:00:01.0: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=Transaction Layer",
         "aer_uncorrected", None, "0000:00:01.0"),
        ("Out of memory: Killed process 51807 (python) total-vm:412192kB, anon-rss:62936kB", "oom_kill", None, None),
        ("Memory cgroup out of memory: Killed process 51807 (python) total-vm:412192kB", "oom_kill", None, None),
        ("Out of memory: Kill process 1234 (python) score 900 or sacrifice child", "oom_kill", None, None),
        ("Loading of module with unavailable key is rejected", "module_rejected", None, None),
        ("Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7", "module_rejected", None, None),
        ("NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  570.158.01  Release Build", "driver_loaded", None, None),
        # said of a healthy machine
        ("nvidia: module verification failed: signature and/or required key missing - tainting kernel", None, None, None),
        ("nvidia: loading out-of-tree module taints kernel.", None, None, None),
        ("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 22013, Severity 0 Engine instance 60", None, None, None),
        ("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 22013, Data {0x0000003c, 0x0000003c}", None, None, None),
        ("nvidia 0000:01:00.0: enabling device (0000 -> 0003)", None, None, None),
        ("NVRM: GPU Board Serial Number: 1650123000040", None, None, None),
        ("NVRM: GPU at PCI:0000:3b:00: GPU-5d2c0b1e-7a64-4f0e-9b1d-00c0ffee0000", None, None, None),
        ("pcieport 0000:00:01.0: AER: enabled with IRQ 26", None, None, None),
        ("oom_reaper: reaped process 51807 (python), now anon-rss:0kB", None, None, None),
    ],
)  # fmt: skip
def test_what_a_line_says(line: str, kind: str | None, code: int | None, bus_id: str | None) -> None:
    text = "[    1.000000] Linux version 6.8\n" + f"[  100.000000] {line}".replace("\n", "\n               ")
    found = events(text)
    assert [(event.kind, event.code, event.pci_bus_id) for event in found] == ([(kind, code, bus_id)] if kind else [])


# --- forms ------------------------------------------------------------------------------------------------------------

FORMS = {
    "kmsg": f"6,1,500000,-;Linux version 6.8\n4,1033,1500000000,-;{XID}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:3b:00.0\n",
    "dmesg": f"[    0.500000] Linux version 6.8\n[ 1500.000000] {XID}\n",
    "dmesg with levels": f"<6>[    0.500000] Linux version 6.8\n<4>[ 1500.000000] {XID}\n",
    "dmesg -x": f"kern  :info  : [    0.500000] Linux version 6.8\nkern  :warn  : [ 1500.000000] {XID}\n",
    "dmesg with callers": f"[    0.500000][    T0] Linux version 6.8\n[ 1500.000000][ T1234] {XID}\n",
    "journalctl": f"[    0.500000] node7 kernel: Linux version 6.8\n[ 1500.000000] node7 kernel: {XID}\n",
    "kern.log": f"Nov 21 10:00:00 node7 kernel: [    0.500000] Linux version 6.8\n"
    f"Nov 21 10:25:00 node7 kernel: [ 1500.000000] {XID}\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_forms_with_a_clock(text: str) -> None:
    log = kernel_log.parse(text, "test", now_s=2000.0)
    event = KernelEvent(kind="xid", code=79, pci_bus_id="0000:3b:00.0", age_s=500.0, count=1, text=XID)
    assert log == KernelLog(source="test", reaches_back_s=1999.5, events=(event,))


@pytest.mark.parametrize(
    "prefix",
    [
        "[Fri Nov 21 10:25:00 2026] ",
        "[Fr Nov 21 10:25:00 2026] ",
        "[五 11月 21 10:25:00 2026] ",
        "[пт ноя 21 10:25:00 2026] ",
        "Nov 21 10:25:00 node7 kernel: ",
        "nov. 21 10:25:00 node7 kernel: ",
        "2026-11-21T10:25:00.123456+01:00 node7 kernel: ",
        "2026-11-21T10:25:00+0000 node7.lab.example.org kernel: ",
        "",
    ],
)
def test_forms_without_a_clock_tell_no_age_and_no_host(prefix: str) -> None:
    (event,) = events(f"{prefix}{XID}\n", now_s=None)
    assert (event.age_s, event.text) == (None, XID)


@pytest.mark.parametrize(
    "text",
    [
        "[ 1843.308145] NVRM: The NVIDIA GPU 0000:b3:00.0\n       NVRM: (PCI ID: 10de:26b5) installed in this system has\n"
        "       NVRM: fallen off the bus and is not responding to commands.\n[ 1843.4] NVRM: The NVIDIA probe ...",
        "".join(f"[ 1843.308145] {line}\n" for line in SPLIT.split("\n")),
        "".join(f"[ 1843.308145] node7 kernel: {line}\n" for line in SPLIT.split("\n")),
        "[ 1843.308145] node7 kernel: " + SPLIT.replace("\n", "\n                             "),
        "4,7,1843308145,-;" + SPLIT.replace("\n", r"\x0a") + "\n",
        "".join(f"4,{7 + i},1843308145,-;{line}\n" for i, line in enumerate(SPLIT.split("\n"))),
        "Nov 21 10:25:00 node7 kernel: [ 1843.308145] " + SPLIT.replace("\n", "#012"),
        "[ 1843.308145] " + FALLEN,
    ],
    ids=["dmesg", "dmesg, old", "journal, lines", "journal, one", "kmsg", "kmsg, records", "rsyslog", "one line"],
)
def test_a_sentence_over_several_lines_is_one(text: str) -> None:
    found = [event for event in events(text) if event.kind == "fell_off_bus"]
    assert [(event.text, event.pci_bus_id, event.count) for event in found] == [(FALLEN, "0000:b3:00.0", 1)]
    assert found[0].age_s == 156.7


def test_two_gpus_that_fell_at_once_are_two() -> None:
    other = SPLIT.replace("b3:00", "c4:00")
    text = "".join(f"[ 1843.308145] {line}\n" for line in f"{SPLIT}\n{other}".split("\n"))
    assert [event.pci_bus_id for event in events(text)] == ["0000:c4:00.0", "0000:b3:00.0"]


def test_a_sentence_that_is_never_finished_is_no_event() -> None:
    assert events("[ 10.0] NVRM: The NVIDIA GPU 0000:b3:00.0\n[ 11.0] usb 1-1: new device\n") == ()


# --- counting ---------------------------------------------------------------------------------------------------------


def test_equal_events_are_counted_and_the_newest_is_kept() -> None:
    lines = [f"[ {100 + i}.000000] NVRM: Xid (PCI:0000:01:00): 31, pid={i}, name=x, Ch 1\n" for i in range(40)]
    lines.append("[ 900.000000] NVRM: Xid (PCI:0000:02:00): 31, pid=1, name=x, Ch 1\n")
    found = events("".join(lines))
    assert [(event.count, event.age_s, event.pci_bus_id) for event in found] == [
        (1, 1100.0, "0000:02:00.0"),
        (40, 1861.0, "0000:01:00.0"),
    ]
    assert "pid=39," in found[1].text


def test_what_the_kernel_left_out_is_told() -> None:
    text = f"[ 5.0] {XID}\n[ 6.0] nvidia_ioctl: 12 callbacks suppressed\n[ 7.0] audit_printk_skb: 99 callbacks suppressed\n"
    log = kernel_log.parse(text, "dmesg", now_s=10.0)
    assert log is not None
    assert log.suppressed == 12


def test_events_and_their_texts_are_bounded() -> None:
    lines = "".join(f"[ {i}.000000] NVRM: Xid (PCI:0000:01:00): {i}, {'x' * 1000}\n" for i in range(1, 1000))
    found = events(lines)
    assert len(found) == kernel_log.MOST_EVENTS
    assert found[0].code == 999
    assert max(len(event.text) for event in found) < 310


def test_a_program_cannot_write_a_kernel_message() -> None:
    assert events(f"6,1,500000,-;Linux version 6.8\n12,1033,1500000000,-;{XID}\n") == ()


def test_a_log_ahead_of_the_clock_is_of_now() -> None:
    assert events(f"[ 5000.0] {XID}\n")[0].age_s == 0.0


@pytest.mark.parametrize("text", ["", "\n\n", "-- No entries --\n", "Starting gVisor...\n"])
def test_what_has_no_line_with_a_time_is_no_log(text: str) -> None:
    assert kernel_log.parse(text, "test", now_s=10.0) is None


def test_a_log_of_a_hundred_thousand_lines_is_read_in_time() -> None:
    text = "".join(f"[ {i}.000000] usb 1-1: new high-speed USB device number {i} using xhci_hcd\n" for i in range(100_000))
    began = time.monotonic()
    assert events(text) == ()
    assert time.monotonic() - began < 5


@given(st.text(max_size=400))
def test_no_text_breaks_the_parser(text: str) -> None:
    kernel_log.parse(text, "test", now_s=10.0)
    kernel_log.parse(f"[ 1.0] NVRM: Xid (PCI:0000:01:00): 31, {text}", "test", now_s=10.0)


@given(st.lists(st.sampled_from([*SPLIT.split("\n"), XID, "NVRM: The NVIDIA ", "  x", "#012", "\\x0a", "6,1,2,-;", "[ 1.0] "])))
def test_no_order_of_lines_breaks_the_parser(lines: list[str]) -> None:
    kernel_log.parse("\n".join(lines), "test", now_s=10.0)


# --- sources ----------------------------------------------------------------------------------------------------------


class Commands:
    """Stands for `child.run`: what each command prints, and which were asked."""

    def __init__(self, **answers: child.Answer | OSError) -> None:
        self.answers, self.asked = answers, list[str]()

    def __call__(self, argv: list[str], *, timeout_s: float) -> child.Answer:
        assert timeout_s <= 10
        self.asked.append(argv[0])
        answer = self.answers.get(argv[0], FileNotFoundError(2, "No such file or directory"))
        if isinstance(answer, OSError):
            raise answer
        return answer


LINES = child.Answer(FORMS["dmesg"], "", 0)
REFUSED = child.Answer("", "dmesg: read kernel buffer failed: Operation not permitted\n", 1)


def test_the_device_is_asked_first(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").write_text(f"6,1,500000,-;Linux version 6.8\n4,1033,1500000000,-;{XID}\n")
    run = Commands(dmesg=LINES)
    log = kernel_log.read(tmp_path, run=run).log
    assert log is not None
    assert (log.source, [event.code for event in log.events], run.asked) == ("/dev/kmsg", [79], [])


def test_then_dmesg(tmp_path: Path) -> None:
    run = Commands(dmesg=LINES)
    log = kernel_log.read(tmp_path, run=run).log
    assert log is not None
    assert (log.source, len(log.events), run.asked) == ("dmesg", 1, ["dmesg"])


def test_then_the_journal(tmp_path: Path) -> None:
    run = Commands(dmesg=REFUSED, journalctl=child.Answer(FORMS["journalctl"], "", 0))
    reading = kernel_log.read(tmp_path, run=run)
    assert reading.log is not None
    assert (reading.log.source, reading.gaps, run.asked) == ("journalctl", {}, ["dmesg", "journalctl"])


@pytest.mark.parametrize(
    ("journal", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory"), "journalctl: No such file or directory"),
        (child.Answer("-- No entries --\n", "", 0), "journalctl: shows nothing to this user"),
        (child.Answer("", "", 0), "journalctl: shows nothing to this user"),
        (child.Answer("", "Aucun journal\n", 1), "journalctl: Aucun journal"),
        (child.Answer("", "", 1), "journalctl: ended with 1"),
        (child.Answer(FORMS["journalctl"], "", None), "journalctl: was not done in time"),
    ],
)
def test_a_log_that_may_not_be_read_is_a_gap_and_never_empty(
    tmp_path: Path, journal: child.Answer | OSError, reason: str
) -> None:
    reading = kernel_log.read(tmp_path, run=Commands(dmesg=REFUSED, journalctl=journal))
    assert reading.log is None
    assert reading.gaps["kernel_log"] == (
        "/dev/kmsg: No such file or directory; dmesg: read kernel buffer failed: Operation not permitted; " + reason
    )


def test_another_device_of_that_name_is_not_the_log(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").symlink_to("/dev/null")
    reading = kernel_log.read(tmp_path, run=Commands())
    assert reading.log is None
    assert reading.gaps["kernel_log"].startswith("/dev/kmsg: is another device; ")


def test_a_pipe_in_its_place_does_not_hold_us_up(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev/kmsg")
    began = time.monotonic()
    assert kernel_log.read(tmp_path, run=Commands(), timeout_s=1).log is None
    assert time.monotonic() - began < 2


def test_this_machine_can_be_read() -> None:
    reading = kernel_log.read()
    assert (reading.log is None) == ("kernel_log" in reading.gaps)


@pytest.mark.parametrize(
    ("written", "bus_id"),
    [("0000:3B:00", "0000:3b:00.0"), ("3b:00.1", "0000:3b:00.1"), ("00010001:c3:00.0", "00010001:c3:00.0")],
)
def test_bus_ids_as_sysfs_writes_them(written: str, bus_id: str) -> None:
    assert kernel_log.bus_id(written) == bus_id
