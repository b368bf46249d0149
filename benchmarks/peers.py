#!/usr/bin/env python3
"""Who names the fault: dltool doctor beside other doctors on the broken set-ups of tests/broken; writes docs/peers.md.

The others need an environment of their own, of the same Python as this one. With PyTorch installed first, from the index of its
CPU builds, nothing larger comes with them:

    python -m venv peers
    peers/bin/python -m pip install "torch==2.13.0" --index-url https://download.pytorch.org/whl/cpu
    peers/bin/python -m pip install "env-doctor==0.3.5" "rapids-cli==0.2.0" "numpy==2.4.6" "nvidia-ml-py==13.615.71" \
        "nvidia-cuda-runtime-cu12==12.8.90" "nvidia-cuda-nvrtc-cu12==12.8.93" "nvidia-cuda-nvcc-cu12==12.8.93"
    python benchmarks/peers.py --venv peers --keep runs.json     # some minutes; as root, for the mount namespaces
    python benchmarks/peers.py --from runs.json                  # judge the same outputs again
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from broken import SETUPS, Run, Setup, World, why_not
from broken.world import CANNOT_START

PAGE = ROOT / "docs/peers.md"
LIMIT_S = 30.0
DOCTOR = (sys.executable, "-m", "dltool", "doctor")
PROGRAMS = {
    "dltool doctor": DOCTOR,
    "env-doctor check": ("env-doctor", "check"),
    "env-doctor check --ci": ("env-doctor", "check", "--ci"),
    "torch collect_env": ("python", "-m", "torch.utils.collect_env"),
    "rapids doctor": ("rapids", "doctor"),
}
PACKAGES = ("torch", "numpy", "env-doctor", "rapids-cli", "nvidia-ml-py", "nvidia-cuda-runtime-cu12")
NAMED, SHOWN, SILENT, WRONG, CRASHED, HUNG, NO_START = (
    "names it",
    "shows it",
    "silent",
    "wrong",
    "crashed",
    "hung",
    "cannot start",
)
_MOST_QUOTED = 170
_CRASH = re.compile(r"Traceback \(most recent call last\)|─ Traceback")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a program made of a broken machine."""

    word: str
    line: str
    """The line of its output that decides."""


def judge(setup: Setup, broken: Run, healthy: Run) -> Verdict:
    """By the rules at the head of the page; what is said of the healthy twin too is no answer."""
    if line := said(setup.named_by, broken, healthy):
        return Verdict(NAMED, line)
    if broken.returncode is None:
        return Verdict(HUNG, "")
    if line := said(setup.wrong, broken, healthy):
        return Verdict(WRONG, line)
    if broken.returncode == CANNOT_START:
        return Verdict(NO_START, lines_of(broken)[-1])
    if broken.returncode < 0:
        return Verdict(CRASHED, f"(signal {-broken.returncode})")
    if _CRASH.search(broken.stderr + broken.stdout):
        return Verdict(CRASHED, lines_of(broken)[-1])
    if line := said(setup.shown_by, broken, healthy):
        return Verdict(SHOWN, line)
    return Verdict(SILENT, "")


def said(pattern: str, broken: Run, healthy: Run) -> str:
    """The first place of the broken machine's output that matches, if none of the healthy twin's does; else ""."""
    wanted = re.compile(pattern, re.IGNORECASE)
    return "" if next(places(wanted, healthy), "") else next(places(wanted, broken), "")


def places(wanted: re.Pattern[str], run: Run) -> Iterator[str]:
    """Lines, or pairs of lines where a sentence is broken, that match."""
    lines = lines_of(run)
    yield from filter(wanted.search, lines)
    yield from filter(wanted.search, (f"{one} {two}" for one, two in itertools.pairwise(lines)))


def lines_of(run: Run) -> list[str]:
    """What it printed, with white space folded; stderr last."""
    folded = (" ".join(line.split()) for line in f"{run.stdout}\n{run.stderr}".splitlines())
    return [line for line in folded if re.search(r"\w", line)] or [""]


# --- running ----------------------------------------------------------------------------------------------------------


def observe(setup: Setup, venv: Path, directory: Path) -> dict[str, dict[str, Any]]:
    """Program -> the runs on the broken machine and on its twin."""
    runs: dict[str, dict[str, Any]] = {}
    for broken in (True, False):
        with setup.build(directory, broken=broken, base=venv) as world:
            for program, command in programs(setup).items():
                run = cleaned(world.run(command, timeout_s=LIMIT_S), world)
                runs.setdefault(program, {})["broken" if broken else "healthy"] = asdict(run)
    return runs


def programs(setup: Setup) -> dict[str, tuple[str, ...]]:
    """Where the doctor has to be asked to try things, that is a program of its own."""
    more = {"dltool doctor --probe": (*DOCTOR, *setup.options)} if setup.options else {}
    return {"dltool doctor": DOCTOR, **more, **PROGRAMS}


def cleaned(run: Run, world: World) -> Run:
    """Without the paths of this machine."""

    def clean(text: str) -> str:
        return text.replace(str(world.directory), "/world").replace(str(ROOT), "/dltool")

    return Run(run.returncode, clean(run.stdout), clean(run.stderr), run.seconds)


def versions(venv: Path) -> dict[str, str]:
    """Of what is compared, as installed."""
    code = f"from importlib.metadata import version as v; import json; print(json.dumps({{n: v(n) for n in {PACKAGES}}}))"
    done = subprocess.run([venv / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def collect(venv: Path, only: Iterable[str]) -> dict[str, Any]:
    """All runs, with what it takes to understand them."""
    setups = [setup for setup in SETUPS.values() if not only or setup.name in only]
    runs, left_out = {}, {}
    for setup in setups:
        if reason := next(filter(None, map(why_not, setup.needs)), None):
            left_out[setup.name] = reason
            continue
        print(setup.name, file=sys.stderr)
        with tempfile.TemporaryDirectory() as directory:
            runs[setup.name] = observe(setup, venv, Path(directory))
    python = ".".join(map(str, sys.version_info[:3]))
    return {"date": datetime.date.today().isoformat(), "python": python, "versions": versions(venv), "runs": runs,
            "left_out": left_out}  # fmt: skip


# --- the page ---------------------------------------------------------------------------------------------------------


def page(kept: dict[str, Any]) -> str:
    """docs/peers.md."""
    runs = {name: {who: (Run(**both["broken"]), Run(**both["healthy"])) for who, both in of.items()}
            for name, of in kept["runs"].items()}  # fmt: skip
    verdicts = {name: {who: judge(SETUPS[name], *both) for who, both in of.items()} for name, of in runs.items()}
    parts = [head(kept), summary(runs, verdicts), *(section(SETUPS[name], runs[name], verdicts[name]) for name in runs)]
    parts += [f"`{name}` was left out: {reason}.\n" for name, reason in kept["left_out"].items()]
    return "\n".join(parts)


def head(kept: dict[str, Any]) -> str:
    installed = ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
    return f"""# Who names the fault

`dltool doctor` beside `env-doctor check`, `python -m torch.utils.collect_env` and `rapids doctor` on machines that are really
broken, and on the healthy twin of each. Written by `benchmarks/peers.py` from real runs on {kept["date"]}; it is not made anew
in CI, because the other programs are not installed there.

**How it was made.** A virtual machine with two processors and no GPU, Python {kept["python"]}, {installed}.
Every program runs in the same world: the same environment, activated, the same variables, the same mount namespace and control
group (`tests/broken`). GPU and driver are stand-ins: a library that answers as NVML of an RTX 4090 does, a libcuda, an
`nvidia-smi`, the files under /proc, /dev and /sys. PyTorch is the CPU build whose `version.py` says 2.9.1+cu128, so that no
program sees a CUDA device through it. env-doctor works with the tables that it ships, without network. Each program has
{LIMIT_S:g} s.

**How it is judged.** By rules that are written beside each set-up, in `tests/broken`, and shown below: regular
expressions without regard to case, over lines with white space folded. What a program says on the healthy twin too does not
count, on either side. The first that applies:

1. *{NAMED}*: a line of the output says what is wrong. *{HUNG}*: it was ended after {LIMIT_S:g} s.
2. *{WRONG}*: it says what is not so. *{NO_START}*: its interpreter is gone. *{CRASHED}*: a signal or a traceback ended it.
3. *{SHOWN}*: the fact is in the output, without a word that it is a fault. *{SILENT}*: nothing.

Where a fault shows only when things are tried (torch-segfaults), `dltool doctor` is counted with `--probe`, in a line of its
own. The rules were written by the authors of dltool, who chose the set-ups too: faults that they know of. collect_env is made
to collect, not to judge, and rapids looks at what RAPIDS needs; what they and env-doctor do besides is not measured here.
Times are of single runs, as multiples of that of `dltool doctor` in the same world, and rough.
"""


def summary(runs: dict[str, Any], verdicts: dict[str, dict[str, Verdict]]) -> str:
    lines = ["## All", "", f"| set-up | {' | '.join(PROGRAMS)} |", f"| --- |{' --- |' * len(PROGRAMS)}"]
    faults = [name for name in runs if SETUPS[name].finding]
    for name in runs:
        words = (_word(best(verdicts[name], who)) for who in PROGRAMS)
        lines.append(f"| [{name}](#{name}) | {' | '.join(words)} |")
    counts = (sum(best(verdicts[name], who) == NAMED for name in faults) for who in PROGRAMS)
    lines.append(f"| names the fault, of {len(faults)} | {' | '.join(map(str, counts))} |")
    failing = (sum(of[who][1].returncode != 0 for of in runs.values()) for who in PROGRAMS)
    lines.append(f"| exit code not 0 on the healthy twin, of {len(runs)} | {' | '.join(map(str, failing))} |")
    return "\n".join(lines) + "\n"


def best(of: dict[str, Verdict], who: str) -> str:
    """A program that has a way to look deeper is counted by that."""
    return NAMED if any(one.word == NAMED for name, one in of.items() if name.startswith(who) and who == "dltool doctor") \
        else of[who].word  # fmt: skip


def _word(word: str) -> str:
    return f"**{word}**" if word == NAMED else word


def section(setup: Setup, runs: dict[str, tuple[Run, Run]], verdicts: dict[str, Verdict]) -> str:
    base = runs["dltool doctor"][0].seconds
    lines = [f"## {setup.name}", "", f"{setup.what[0].upper()}{setup.what[1:]}."]
    lines += ["", "| program | verdict | exit code (healthy) | time | decisive line |", "| --- | --- | --- | --- | --- |"]
    for who, (broken, healthy) in runs.items():
        took = f"{broken.seconds / base:.1f}x" if broken.returncode is not None else f"over {LIMIT_S:g} s"
        codes = f"{_code(broken)} ({_code(healthy)})"
        line = _quoted(verdicts[who].line)
        lines.append(f"| {who} | {_word(verdicts[who].word)} | {codes} | {took} | {line} |")
    rules = [("names it", setup.named_by), ("shows it", setup.shown_by), ("wrong", setup.wrong)]
    shown = [f"{word}: `` {rule} ``" for word, rule in rules if rule != "(?!)"]
    return "\n".join([*lines, "", "Rules: " + "; ".join(shown), ""])


def _code(run: Run) -> str:
    return "-" if run.returncode is None else str(run.returncode)


def _quoted(line: str) -> str:
    short = line if len(line) <= _MOST_QUOTED else f"{line[:_MOST_QUOTED]} ..."
    return short.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*").replace("`", "'")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="the environment with the other programs")
    parser.add_argument("--only", action="append", default=[], help="a set-up by name; all by default, without the page")
    parser.add_argument("--keep", type=Path, help="write all outputs here")
    parser.add_argument("--from", dest="kept", type=Path, help="judge these outputs anew, run nothing")
    options = parser.parse_args()
    if options.kept is None and options.venv is None:
        parser.error("--venv or --from")
    kept = json.loads(options.kept.read_text()) if options.kept else collect(options.venv.absolute(), options.only)
    if options.keep:
        options.keep.write_text(json.dumps(kept))
    if options.only:
        print(page(kept))
    else:
        PAGE.write_text(page(kept), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
