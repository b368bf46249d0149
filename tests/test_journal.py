"""A run on disk while it goes on: what kill -9 leaves is taken over, once, by the same command only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from dltool.bench import journal
from dltool.bench.journal import Head, Journal, take_over
from dltool.results import Measurement

KEY = {"command": "bench gemm", "device": "cpu"}
HEAD = Head(key=KEY, created="2026-11-21T19:00:00+00:00", cases=3)


def row(number: int) -> Measurement:
    return Measurement(workload="gemm", params={"m": number}, device="cpu", dtype="fp32", seconds=(0.1, 0.2), median_s=0.15)


def test_what_was_finished_is_taken_over(tmp_path):
    run = Journal(tmp_path / "new", HEAD)
    run.add("one", row(1))
    run.add("two", row(2))
    run.close(finished=False)
    found = take_over(tmp_path / "new", KEY)
    assert found.done == {"one": row(1), "two": row(2)}
    found.add("three", row(3))
    found.close(finished=False)
    again = take_over(tmp_path / "new", KEY)
    assert list(again.done) == ["one", "two", "three"]
    again.close(finished=True)


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_in_which_it_was_killed_is_dropped(tmp_path, cut):
    run = Journal(tmp_path, HEAD)
    run.add("one", row(1))
    run.add("two", row(2))
    path = run.path
    run.close(finished=False)
    path.write_bytes(path.read_bytes()[:-cut])
    found = take_over(tmp_path, KEY)
    assert found.done == {"one": row(1)}
    found.add("three", row(3))
    found.close(finished=False)
    again = take_over(tmp_path, KEY)
    assert list(again.done) == ["one", "three"]
    again.close(finished=True)


def test_a_finished_run_leaves_nothing(tmp_path):
    Journal(tmp_path, HEAD).close(finished=True)
    assert list(tmp_path.iterdir()) == []


def test_another_command_takes_nothing(tmp_path):
    Journal(tmp_path, HEAD).close(finished=False)
    assert take_over(tmp_path, {**KEY, "device": "cuda:0"}) is None
    assert take_over(tmp_path / "none", KEY) is None


def test_a_run_that_still_goes_on_is_not_taken(tmp_path):
    going = Journal(tmp_path, HEAD)
    assert take_over(tmp_path, KEY) is None
    going.close(finished=False)
    found = take_over(tmp_path, KEY)
    assert found is not None
    found.close(finished=True)


def test_the_newest_is_taken_and_damaged_ones_are_passed_by(tmp_path):
    for second in (1, 2):
        run = Journal(tmp_path, msgspec.structs.replace(HEAD, created=f"2026-11-21T19:00:0{second}+00:00"))
        run.add(str(second), row(second))
        run.close(finished=False)
    (tmp_path / "99999999999999-ffff.run.jsonl").write_bytes(b"\xff{nonsense")
    found = take_over(tmp_path, KEY)
    assert list(found.done) == ["2"]
    found.close(finished=True)


def test_old_ones_are_forgotten(tmp_path):
    old = Journal(tmp_path, HEAD)
    path = old.path
    old.close(finished=False)
    os.utime(path, (0, 0))
    Journal(tmp_path, HEAD).close(finished=True)
    assert not path.exists()


def test_a_full_disk_costs_the_journal_only():
    class Full:
        name = "/dev/full"

        def __init__(self):
            self.file = open("/dev/full", "ab", buffering=0)  # noqa: PTH123, SIM115

        def __getattr__(self, name):
            return getattr(self.file, name)

        def seek(self, *_where):
            return 0

    run = Journal.__new__(Journal)
    run.head, run.done, run.trouble, run._file = HEAD, {}, None, Full()
    run.add("one", row(1))
    assert run.trouble == "No space left on device"
    run._file.file.close()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    run = Journal(tmp_path / "file", HEAD)
    run.add("one", row(1))
    run.close(finished=True)
    assert run.trouble
    assert run.path is None


def test_kill_minus_nine_in_the_middle(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom dltool.bench.journal import Head, Journal\n"
        "from dltool.results import Measurement\n"
        f"run = Journal(Path({str(tmp_path)!r}), Head(key={KEY!r}, created='2026', cases=9))\n"
        "for number in range(10**6):\n"
        "    run.add(str(number), Measurement(workload='x', params={}, device='d', dtype='fp32', seconds=(1.0,) * 999))\n"
        "    if number == 20: print('going', flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    found = take_over(tmp_path, KEY)
    assert len(found.done) > 20
    assert list(found.done) == [str(number) for number in range(len(found.done))]
    assert found.head.schema == journal.SCHEMA
    found.close(finished=True)
