"""What commands find out: findings, measurements, boards, and the report that holds them. JSON in and out.

The field names are a promise to other programs (docs/report.schema.json); `SCHEMA` changes when one changes meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from dltool.catalog import Architecture, Board, NumberFormat
from dltool.differences import Comparison, Gate, Selftest
from dltool.errors import ExitCode, UsageError
from dltool.learning_results import Learning
from dltool.machine import SCHEMA as MACHINE_SCHEMA
from dltool.machine import Machine, read_bounded, refuse_long_numbers
from dltool.model_results import Model
from dltool.reference import Figure
from dltool.shape_results import OwnShapes, Search
from dltool.step_results import ModelStep, OutOfMemory

SCHEMA = "dltool/report/1"
ENVIRONMENT_SCHEMA = "dltool/env/1"
Scalar = str | int | float | bool | None


class Status(str, Enum):
    """The outcome of one check."""

    PASS = "pass"
    INFO = "info"
    """Worth knowing; nothing to do."""
    WARN = "warn"
    """Works, but slower or riskier than it should be."""
    FAIL = "fail"
    """Will not work."""
    UNKNOWN = "unknown"
    """Could not look; neither pass nor fail."""
    SKIP = "skip"
    """Does not apply here."""
    CRASH = "crash"
    """The check itself broke: our bug."""

    @property
    def severity(self) -> int:
        """How much it matters: a greater number first."""
        return ("skip", "pass", "info", "unknown", "warn", "crash", "fail").index(self.value)

    @property
    def is_problem(self) -> bool:
        """Whether something is to be mended."""
        return self in (Status.WARN, Status.FAIL, Status.CRASH)


class Risk(str, Enum):
    """What running a remedy's commands needs and may disturb."""

    READ_ONLY = "read-only"
    USER = "user"
    ROOT = "root"
    REBOOT = "reboot"


class Scope(str, Enum):
    """Who can mend it: the user, the machine's owner, or the provider of the machine."""

    ENVIRONMENT = "environment"
    HOST = "host"
    PROVIDER = "provider"


class Evidence(Struct, frozen=True, kw_only=True):
    """A fact that a verdict rests on, and where it was read."""

    fact: str
    value: Scalar
    read_from: str


class Remedy(Struct, frozen=True, kw_only=True):
    """One way to mend a problem: in words, and as exact commands."""

    text: str
    commands: tuple[str, ...] = ()
    risk: Risk = Risk.USER


class Finding(Struct, frozen=True, kw_only=True):
    """One answer of one check."""

    status: Status
    summary: str
    id: str = ""
    """The check's name; filled in by the runner."""
    why: str = ""
    evidence: tuple[Evidence, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    scope: Scope = Scope.ENVIRONMENT
    devices: tuple[int, ...] = ()
    """NVML indices of the GPUs concerned; empty is the whole machine."""
    caused_by: str | None = None
    """The id of the problem that explains this one."""
    doc: str = ""
    plugin: str = ""
    """The distribution that brings the check, "dltool-mine 1.0"; empty: dltool itself."""

    def __post_init__(self) -> None:
        if self.status in (Status.WARN, Status.FAIL) and not self.remedies:
            raise ValueError(f"{self.summary!r}: a {self.status.value} needs a remedy")


class LogError(Struct, frozen=True, kw_only=True):
    """A known error that was found in a text: what it means, and where it stands."""

    id: str
    """The name of its row in catalog/errors.csv, or "xid-79", "sxid-20034"."""
    means: str
    why: str
    mend: str
    prevent: str = ""
    checks: tuple[str, ...] = ()
    """Names of doctor's checks that look for the cause on a machine."""
    scope: Scope = Scope.ENVIRONMENT
    line: int = 0
    """Of the first place, counted from 1; 0: it was asked for by its name."""
    count: int = 0
    """How many lines tell of it."""
    more: bool = False
    """There were so many that the rest was not counted."""
    text: str = ""
    """The first such line, shortened."""
    where: tuple[str, ...] = ()
    """PCI addresses of the GPUs or switches that the lines name."""


def root_problems(findings: Iterable[Finding]) -> list[Finding]:
    """The problems that no other problem here explains, the gravest first."""
    problems = [finding for finding in findings if finding.status.is_problem]
    ids = {finding.id for finding in problems}
    roots = [finding for finding in problems if finding.caused_by not in ids]
    return sorted(roots, key=lambda finding: -finding.status.severity)


class Work(Struct, frozen=True, kw_only=True):
    """What one step cannot avoid: arithmetic operations (a multiply-add is two) and bytes moved to and from memory."""

    ops: int = 0
    bytes: int = 0
    skipped_ops: int = 0
    """Those of `ops` that a 2:4 sparse product skips: the rate counts them, as datasheets do."""


class Span(Struct, frozen=True, kw_only=True):
    """A sampled quantity while the clock ran."""

    minimum: float
    median: float
    maximum: float


class Conditions(Struct, frozen=True, kw_only=True):
    """What the device did while the samples were taken. Unknown is null."""

    sm_mhz: Span | None = None
    memory_mhz: Span | None = None
    power_w: Span | None = None
    temperature_c: Span | None = None
    throttle: tuple[str, ...] | None = None
    other_processes: int | None = None
    other_names: tuple[str, ...] = ()
    """What the other programs on the GPU are called, where this process may see them."""
    load_average: float | None = None
    """Of the host, over the last minute, when the case began."""
    cpu_mhz: float | None = None
    """On a CPU: timed right after the last sample."""
    preemptions: int | None = None
    """On a CPU: how often a thread of the benchmark had to make room for another program."""
    quota_wait_s: float | None = None
    """For how long the control group's CPU quota stopped it."""
    steal: float | None = None
    """The share of the processors' time that the hypervisor gave to others."""
    cpu_share: float | None = None
    """On a CPU: the share of its processors' time that the benchmark got; the rest was others', or its threads waited."""


class Shares(Struct, frozen=True, kw_only=True):
    """What a rate is of three peaks, 1.0 being all of it. Unknown is null."""

    datasheet: float | None = None
    """Of the peak as it is published, at the clock that the datasheet means."""
    max_clock: float | None = None
    """Of the peak at the highest clock of the device."""
    held_clock: float | None = None
    """Of the peak at the clock that was held while it was timed."""


class Loss(Struct, frozen=True, kw_only=True):
    """One step of the way from a peak down to a measured rate."""

    cause: str
    """"boost", "power", "thermal", "clock", "quantisation", "shape", "bandwidth", "threads", "isa", "kernel" ..."""
    factor: float
    """What is left of the rate after it: 0.71 is a loss of 29 %. Above 1 is a gain: a clock above that of the datasheet."""
    text: str
    """In words: "power cap held 1410 of 1980 MHz"."""


class Normal(Struct, frozen=True, kw_only=True):
    """How a rate compares with what others published of the same board and dtype."""

    verdict: str
    """"normal", "low", "high" or "unknown"."""
    text: str
    low: float | None = None
    high: float | None = None
    """The range of the published rates, in the unit of the measurement."""
    figures: int = 0
    """How many there are."""
    sources: tuple[str, ...] = ()


class Verified(Struct, frozen=True, kw_only=True):
    """The result compared with a reference computed in a wider type."""

    reference: str
    error: float | None
    """None: the result was no number at all."""
    tolerance: float
    ok: bool


class Measurement(Struct, frozen=True, kw_only=True):
    """One timed case: raw samples and what follows from them.

    A case that could not be timed has no samples and says why in `not_run`.
    """

    workload: str
    params: Mapping[str, Scalar]
    device: str
    dtype: str
    label: str = ""
    """What tells the case from its neighbours, in a word or three; empty: the dtype does."""
    size: str = ""
    """How large it is, in short; empty: the parameters tell."""
    seconds: tuple[float, ...] = ()
    """Every sample, in order: seconds for one step."""
    steps_per_sample: int = 1
    warmup_s: float | None = None
    """How long the warm-up took until the samples were steady; None when it never became steady within its limit."""
    median_s: float | None = None
    iqr_s: float | None = None
    ci95_s: tuple[float, float] | None = None
    """95 % confidence interval of the median, from order statistics; None with too few samples."""
    warnings: tuple[str, ...] = ()
    work: Work = Work()
    rate: float | None = None
    """Operations or bytes per second at the median."""
    rate_unit: str = ""
    peak: float | None = None
    peak_basis: str | None = None
    share_of_peak: float | None = None
    share_of_triad: float | None = None
    """Bytes per second as a share of what the triad of the same run reached."""
    implementation: str | None = None
    """"native", "emulated", "library" ...: how the device does this dtype, with the reason."""
    support: str | None = None
    """"native", "emulated", "library-missing" or "unsupported"; null where it is not known."""
    kernel: str | None = None
    """The kernel, or the library's code path, that really ran."""
    burst_s: float | None = None
    """Seconds of a step right after the start, before clocks and heat settled; `median_s` is what was sustained."""
    cold_s: float | None = None
    """Median seconds of a step whose data no cache holds."""
    shares: Shares | None = None
    losses: tuple[Loss, ...] = ()
    """From the datasheet's peak down to the rate: the product of the factors is `shares.datasheet`; where no datasheet tells a
    peak (a CPU), from the peak at the highest clock, or at the clock held, whichever is known first."""
    explained: str = ""
    """The same in one sentence."""
    normal: Normal | None = None
    energy_j: float | None = None
    """Joules of a step, from the power that was drawn."""
    conditions: Conditions = Conditions()
    verified: Verified | None = None
    settings: Mapping[str, Scalar] = {}
    """Versions and switches without which the figure is no result."""
    overhead_s: float | None = None
    """Wall time of the case outside its timed samples."""
    not_run: str | None = None
    model: ModelStep | None = None
    """Of a step of a model: throughput, latency, where its time went, memory, utilisation."""
    out_of_memory: OutOfMemory | None = None
    """Of a model for which there was no memory: what would hold it, and what to change."""
    learning: Learning | None = None
    """Of a training: whether it learns as fp32 does."""


class SupportCell(Struct, frozen=True, kw_only=True):
    """Whether a device has one kind of product, found by trying it at a tiny size."""

    dtype: str
    """A name of catalog/dtypes.csv."""
    operation: str
    """How it is multiplied: a value of that table's column."""
    layout: str
    """"nn", "nt", "tn" or "tt": whether A and B are transposed views; empty where there is no such choice."""
    device: str
    state: str | None
    """"native", "emulated", "library-missing" or "unsupported"; null where it cannot be told."""
    why: str = ""
    kernel: str | None = None
    """The kernel, or the library's code path, that ran."""
    verified: Verified | None = None


class Recommendation(Struct, frozen=True, kw_only=True):
    """The build to install."""

    torch: str
    build: str
    install: tuple[str, ...]
    """Commands."""
    why: str
    packages: tuple[str, ...] = ()
    """Companions to install with it, "torchvision==0.29.2"."""
    needs: str = ""
    """What must be changed besides, where nothing suits as it is: "driver branch 525 to 580"."""


class Compatibility(Struct, frozen=True, kw_only=True):
    """The answer to: will these work together?"""

    verdict: str
    """"ok", "warning", "error" or "unknown"."""
    findings: tuple[Finding, ...] = ()
    """What each rule says, those that hold too."""
    recommend: Recommendation | None = None
    relax: tuple[str, ...] = ()
    """Where nothing suits: the constraints of which one must go."""
    assumed: tuple[str, ...] = ()
    """What was completed of the question."""
    question: Mapping[str, Any] = {}
    data_until: str = ""
    """The day on which the tables were last checked."""


class Step(Struct, frozen=True, kw_only=True):
    """One step of a plan: why, how, how to see that it is done, and how to take it back."""

    id: str
    """"driver", "toolkit", "environment", "torch" ..."""
    title: str
    why: str
    state: str = "needed"
    """"needed", "done" (so already) or "optional"."""
    commands: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    """Commands that show that it is done."""
    undo: tuple[str, ...] = ()
    risk: Risk = Risk.USER
    notes: tuple[str, ...] = ()
    source: str = ""


class Environment(Struct, frozen=True, kw_only=True):
    """The Python environment that a plan makes."""

    manager: str
    """"venv", "conda", "uv" or "pixi"."""
    python: str
    torch: str
    build: str
    index: str
    """Where the wheels of torch are."""
    index_kind: str = "index"
    """"index", or "links": a flat list of wheels, for --find-links."""
    requirements: tuple[str, ...]
    """Exact pins of everything that is installed: "torch==2.14.1+cu126"."""
    extra_index: str | None = None
    """Where everything else is, if not at the usual place: a mirror."""
    channels: str | None = None
    """Folder of the conda channels, if not the usual one: a mirror."""
    toolkit: str | None = None
    """CUDA toolkit that compiles its extensions, "13.0"; None where none is needed."""
    compiled: tuple[str, ...] = ()
    """Packages that are compiled while they are installed."""
    constraints: tuple[str, ...] = ()
    """What must not move when more is installed: torch and all that belongs to it."""
    directory: str | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """How to get from what is there to an environment that works."""

    purpose: str
    """"training", "inference" or "building-extensions"."""
    steps: tuple[Step, ...]
    environment: Environment | None = None
    compat: Compatibility | None = None
    """How what the plan chooses is judged."""
    assumed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why there is no plan, or what it cannot reach."""


class CreationStep(Struct, frozen=True, kw_only=True):
    """One step in making an environment, as it went."""

    id: str
    """"environment", "torch", "packages", "compiled" or "proof"."""
    title: str
    state: str
    """"planned", "done", "failed", or "kept" (done by an earlier run)."""
    commands: tuple[str, ...] = ()
    seconds: float | None = None


class Creation(Struct, frozen=True, kw_only=True):
    """How an environment was made, or would be; whether it works stands in the report's findings."""

    directory: str
    state: str
    """"planned", "finished", or "failed" (the proof did)."""
    environment: Environment
    interpreter: str | None = None
    """The Python that it is made from; None where the manager finds or brings one."""
    steps: tuple[CreationStep, ...] = ()
    seconds: float | None = None
    log: str | None = None
    activate: str | None = None
    """The command that activates it."""
    notes: tuple[str, ...] = ()


class EnvironmentFound(Struct, frozen=True, kw_only=True):
    """A Python environment on this machine, and whether its PyTorch suits driver and GPUs here."""

    path: str
    kind: str
    """"venv", "conda", "uv", "pyenv" or "system"."""
    found_by: str
    """Where it was looked for: "VIRTUAL_ENV", "~/.pyenv/versions" ..."""
    python: str | None = None
    torch: str | None = None
    build: str | None = None
    """"cu126", "cpu"."""
    verdict: str | None = None
    """"ok", "warning", "error" or "unknown"; None where there is no PyTorch to judge."""
    why: str = ""
    packages: int | None = None
    """How many distributions are installed."""
    active: bool = False
    created_here: bool = False
    """Made by `dltool setup create`."""


class FrozenPackage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One installed distribution, so that it can be installed again."""

    name: str
    version: str
    source: str = "index"
    """"index", "pytorch" (PyTorch's own index), "conda", "url", "vcs" or "local" (files of that machine)."""
    url: str | None = None
    """Where a "url", "vcs" or "local" one was from, without credentials."""
    revision: str | None = None
    """The commit of a "vcs" one."""
    glibc: str | None = None
    """The oldest glibc that its compiled files run on, by its wheel's tags."""


class FrozenTorch(Struct, frozen=True, kw_only=True):
    """The PyTorch build: what a version number alone does not say."""

    version: str
    build: str
    index: str
    cuda: str | None = None
    cudnn: str | None = None
    machine_code: tuple[str, ...] | None = None
    """The GPU architectures compiled in, "sm_80"; None where the tables do not know."""
    ptx: tuple[str, ...] | None = None


class FrozenEnvironment(Struct, frozen=True, kw_only=True):
    """A Python environment, described so that it can be rebuilt elsewhere, and what a machine must have for it."""

    schema: str = ENVIRONMENT_SCHEMA
    created: str = ""
    dltool: str = ""
    python: str
    """The full version, "3.12.7"."""
    implementation: str = "CPython"
    system: str = "linux"
    arch: str = "x86_64"
    torch: FrozenTorch | None = None
    driver_floor: str | None = None
    """The oldest Linux driver that runs the build; None for CPU builds and where the tables do not know."""
    driver_floor_windows: str | None = None
    glibc_floor: str | None = None
    """The oldest glibc that every compiled package runs on."""
    packages: tuple[FrozenPackage, ...] = ()
    """Sorted by name; the NVIDIA libraries that come as wheels are among them."""
    left_out: Mapping[str, str] = {}
    """What cannot be rebuilt elsewhere, and why."""


class FixPlace(Struct, frozen=True, kw_only=True):
    """The Python environment that is to be mended, and whether it may be changed. Unknown is null."""

    python: str
    """Its interpreter."""
    prefix: str | None = None
    kind: str | None = None
    """"venv", "conda" or "system"."""
    packages: str | None = None
    """The directory that takes its packages."""
    writable: bool | None = None
    externally_managed: bool | None = None
    """The system's package manager owns it (PEP 668)."""
    has_pip: bool | None = None


class FixTarget(Struct, frozen=True, kw_only=True):
    """A problem that nothing else explains, and what it explains itself."""

    finding: str
    """Its id."""
    summary: str
    along: tuple[str, ...] = ()
    """Ids of the findings that are expected to go with it."""


class FixStep(Struct, frozen=True, kw_only=True):
    """Commands in the Python environment that belong together."""

    title: str
    mends: tuple[FixTarget, ...]
    commands: tuple[str, ...]
    undo: tuple[str, ...] = ()
    """Puts back what the commands name, by what is known beforehand."""
    notes: tuple[str, ...] = ()
    state: str = "planned"
    """"planned", "done", "failed" or "not done"."""
    seconds: float | None = None


class FixByHand(Struct, frozen=True, kw_only=True):
    """A remedy that is left to people."""

    text: str
    commands: tuple[str, ...] = ()
    """The exact lines."""
    risk: Risk = Risk.USER
    reason: str = ""
    """"root", "reboot", "shell", "container", "placeholder", "build", "other", "words" (no command); empty: see the problem."""
    why: str = ""
    """The reason in words, and where the lines belong."""


class FixLeft(Struct, frozen=True, kw_only=True):
    """A problem that is left to people."""

    target: FixTarget
    reason: str = ""
    """Of all its remedies: "provider", "environment", "no-pip", "local-files", "origin" or "conflict"; empty: see each."""
    why: str = ""
    remedies: tuple[FixByHand, ...] = ()


class FixOutcome(Struct, frozen=True, kw_only=True):
    """What became of a problem when the machine was looked at again."""

    finding: str
    summary: str
    state: str
    """"mended", "remains", "new", or "unclear": gone, but its step did not come to its end."""


class FixUnfinished(Struct, frozen=True, kw_only=True):
    """An earlier fix of this environment that did not come to its end; the steps of this one go on with it."""

    created: str
    record: str
    done: int
    """How many of its steps were done."""
    total: int
    undo: tuple[str, ...] = ()
    """Commands that put back what was installed before it."""


class Fix(Struct, frozen=True, kw_only=True):
    """What `doctor --fix` would do or did, what it leaves to people, and how to take it back."""

    state: str = "planned"
    """"planned", "done" or "failed"."""
    place: FixPlace | None = None
    steps: tuple[FixStep, ...] = ()
    left: tuple[FixLeft, ...] = ()
    notes: tuple[str, ...] = ()
    unfinished: FixUnfinished | None = None
    carry_out: str | None = None
    """The command that does the steps; None where there are none, or the machine is elsewhere."""
    record: str | None = None
    """The directory with the list of what was installed before, and the log."""
    undo: tuple[str, ...] = ()
    """Commands that put everything back."""
    failure: str = ""
    """What stopped it, and what to do."""
    outcome: tuple[FixOutcome, ...] = ()


class Report(Struct, frozen=True, kw_only=True):
    """Everything one command found out: every renderer takes one, every command makes one."""

    schema: str = SCHEMA
    dltool: str = ""
    created: str = ""
    command: tuple[str, ...] = ()
    machine: Machine | None = None
    headline: str = ""
    """The one thing to know of the findings."""
    findings: tuple[Finding, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    support: tuple[SupportCell, ...] = ()
    """What the device can multiply: `dltool bench gemm --support`."""
    comparisons: tuple[Comparison, ...] = ()
    """The measurements against those of a baseline, or of A against B."""
    selftest: Selftest | None = None
    searches: tuple[Search, ...] = ()
    """For the best shape of a dtype; what its winner reaches stands in the measurements."""
    own_shapes: OwnShapes | None = None
    models: tuple[Model, ...] = ()
    boards: tuple[Board, ...] = ()
    architectures: tuple[Architecture, ...] = ()
    formats: tuple[NumberFormat, ...] = ()
    plan: Plan | None = None
    compat: Compatibility | None = None
    creation: Creation | None = None
    environments: tuple[EnvironmentFound, ...] = ()
    fix: Fix | None = None
    figures: tuple[Figure, ...] = ()
    """What others published."""
    log: tuple[LogError, ...] = ()
    """Known errors in a text that was given to doctor, in the order of the text."""
    interrupted: bool = False

    def to_json(self) -> bytes:
        """Indented JSON with a final newline."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def exit_code(self, bar: Status = Status.FAIL) -> ExitCode:
        """What the shell is told: a finding at or above `bar`, and a crashed check in any case, is 1; nothing measured is 3."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.measurements and all(measurement.not_run for measurement in self.measurements):
            return ExitCode.CANNOT_RUN
        if self.searches and not self.measurements:
            return ExitCode.CANNOT_RUN
        if any(comparison.gate is Gate.BROKEN for comparison in self.comparisons):
            return ExitCode.FINDINGS
        checked = [*(case.verified for case in self.measurements), *(cell.verified for cell in self.support)]
        if not all(verified.ok for verified in checked if verified is not None):
            return ExitCode.FINDINGS
        if any(case.learning is not None and not case.learning.ok for case in self.measurements):
            return ExitCode.FINDINGS
        if self.compat is not None and self.compat.verdict == "error":
            return ExitCode.FINDINGS
        if self.plan is not None and self.plan.problems:
            return ExitCode.FINDINGS
        counted = [finding.status for finding in self.findings if finding.status.is_problem]
        at_bar = any(status is Status.CRASH or status.severity >= bar.severity for status in counted)
        if not at_bar and self.fix is not None and self.fix.state == "failed":
            return ExitCode.CANNOT_RUN
        return ExitCode.FINDINGS if at_bar else ExitCode.HEALTHY


def load(path: Path) -> Report:
    """Read a report back.

    Raises:
        UsageError: unreadable, not JSON, another schema, or damaged; says where.
    """
    data = read_bounded(path)
    remedy = "Reports are written by: dltool doctor --json -o FILE, dltool bench --json -o FILE"
    try:
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
        if schema != SCHEMA:
            raise UsageError(f"{path} is not a report of this dltool: its schema is {schema!r}", remedy=remedy)
        report = msgspec.json.decode(data, type=Report)
        refuse_long_numbers(report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise UsageError(f"{path} is not a report: {error}", remedy=remedy) from None
    if report.machine is not None and report.machine.schema != MACHINE_SCHEMA:
        raise UsageError(f"{path} holds a machine of another schema: {report.machine.schema!r}", remedy=remedy)
    return report


class _SchemaOnly(Struct, frozen=True, kw_only=True):
    schema: str | None = None
