"""Findings from what a step of the probe told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dltool import child, units
from dltool.machine import Machine
from dltool.probing import causes
from dltool.probing.causes import Cause
from dltool.probing.running import Death, Limits, Told
from dltool.probing.steps import Step
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_READ_FROM = "dltool doctor --probe"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a judgement may look at besides what the step told."""

    machine: Machine
    limits: Limits
    static: Sequence[Finding]
    """Doctor's findings and those of the steps before."""
    addresses: Sequence[str] = ()
    """PCI addresses of CUDA's devices, in CUDA's order, as far as known."""

    @property
    def has_gpu(self) -> bool:
        """Whether there is a GPU that programs here should see."""
        held_back = all(device.kernel_driver == "vfio-pci" for device in self.machine.pci or ())
        return bool(self.machine.gpus or self.machine.os.tegra or (self.machine.pci and not held_back))

    def nvml_indices(self, cases: Iterable[str]) -> tuple[int, ...]:
        """The GPUs that the cases name by CUDA's numbers, by NVML's."""
        numbers = {int(word[5:]) for case in cases for word in case.split() if word[:5] == "cuda:" and word[5:].isdigit()}
        known = {gpu.pci_bus_id.lower()[-12:]: gpu.index for gpu in self.machine.gpus if gpu.pci_bus_id}
        there = (self.addresses[number] for number in numbers if number < len(self.addresses))
        return tuple(sorted({known[address[-12:]] for address in there if address[-12:] in known}))


def judge(step: Step, told: Told, scene: Scene) -> Iterator[Finding]:
    """What a step shows: each fault, then what is well, or why nothing could be tried."""
    if told.not_started:
        yield _unknown(step, f"{step.doing} could not be tried: the interpreter does not start: {told.not_started}")
        return
    faults = [*_deaths(step, told, scene), *_failures(step, told, scene)]
    yield from faults
    passed, skipped = told.in_state("pass"), told.in_state("skip")
    if passed:
        evidence = tuple(_evidence(case) for case in (*passed, *skipped))
        summary = _PASSED[step.id](told, passed)
        yield Finding(id=step.id, status=Status.PASS, summary=summary, evidence=evidence)
    elif not faults:
        yield Finding(id=step.id, status=Status.SKIP, summary=_nothing_tried(step, skipped))


def not_taken(step: Step, missing: Finding) -> Finding:
    """A step that stands on one that failed."""
    summary = f"{step.doing}: not tried, because of {missing.id}"
    return Finding(id=step.id, status=Status.SKIP, summary=summary, caused_by=missing.caused_by or missing.id)


def _unknown(step: Step, summary: str) -> Finding:
    return Finding(id=step.id, status=Status.UNKNOWN, summary=summary)


# --- a child that died ------------------------------------------------------------------------------------------------------


def _deaths(step: Step, told: Told, scene: Scene) -> Iterator[Finding]:
    for death in told.deaths:
        # What hung once hangs again wherever it is touched.
        again = ("probe-memory", "probe-cuinit") if death.answer.timed_out else ()
        cause = causes.of_death(death.answer, (*step.explained_by, *again), scene.machine, scene.static)
        # Compiling takes long on a small machine and does no harm.
        slow = step.id == "probe-compile" and death.answer.timed_out
        yield Finding(
            id=step.id,
            status=Status.UNKNOWN if slow else Status.FAIL,
            summary=f"{_what(step, death)} {_how(death, scene.limits)}",
            why=cause.why,
            evidence=tuple(_last_words(death)),
            remedies=cause.remedies,
            scope=cause.scope,
            devices=scene.nvml_indices([death.case]),
            caused_by=cause.caused_by,
        )


def _what(step: Step, death: Death) -> str:
    return f"{step.doing} on {death.case}" if ":" in death.case or death.case.startswith("cpu") else step.doing


def _how(death: Death, limits: Limits) -> str:
    answer = death.answer
    if answer.over_memory:
        return f"was ended: it took more than {units.gib(limits.memory_bytes)} of memory"
    if answer.returncode == 0:
        return "ended without an answer"
    return child.how_it_ended(answer.returncode, limits.seconds)


def _last_words(death: Death) -> Iterator[Evidence]:
    if death.case:
        yield Evidence(fact="tried", value=death.case, read_from=_READ_FROM)
    if words := causes.last_lines(death.answer.errors):
        yield Evidence(fact="last words", value=words, read_from="stderr of the probe's process")


# --- a case that failed -----------------------------------------------------------------------------------------------------


def _failures(step: Step, told: Told, scene: Scene) -> Iterator[Finding]:
    """One finding for each error; the cases that have it stand together."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for case in told.in_state("fail", "absent"):
        groups.setdefault(str(case.get("why") or case.get("code")), []).append(case)
    for cases in groups.values():
        if step.id == "probe-cuinit":
            yield _of_cuinit(step, told, cases[0], scene)
        elif step.id == "probe-memory" and cases[0]["case"] == "CUDA":
            yield from _of_no_cuda(step, cases[0], scene)
        else:
            yield _of_failure(step, told, cases, scene)


def _of_failure(step: Step, told: Told, cases: Sequence[Mapping[str, Any]], scene: Scene) -> Finding:
    why, names = str(cases[0].get("why", "")), [str(case["case"]) for case in cases]
    cause = causes.of_failure(why, step.explained_by, scene.static)
    if cause.known is None:
        cause = causes.of_failure(told.errors, step.explained_by, scene.static)
    where = f" on {', '.join(names)}" if step.id not in ("probe-import", "probe-nccl", "probe-compile") else ""
    evidence = [_evidence(case) for case in cases]
    if words := causes.last_lines(told.errors):
        evidence.append(Evidence(fact="last words", value=words, read_from="stderr of the probe's process"))
    library = causes.missing_library(why)
    text = f"the library {library} is missing" if library else (why.splitlines() or ["no reason given"])[0][:300]
    return _fault(step, f"{step.doing} fails{where}: {text}", cause, evidence, scene.nvml_indices(names))


def _fault(step: Step, summary: str, cause: Cause, evidence: Iterable[Evidence], devices: tuple[int, ...] = ()) -> Finding:
    return Finding(
        id=step.id,
        status=Status.FAIL,
        summary=summary,
        why=cause.why or step.means,
        evidence=tuple(evidence),
        remedies=cause.remedies,
        scope=cause.scope,
        devices=devices,
        caused_by=cause.caused_by,
    )


def _of_cuinit(step: Step, told: Told, case: Mapping[str, Any], scene: Scene) -> Finding:
    why, code = str(case.get("why", "")), case.get("code")
    library = str(told.facts.get("library") or "")
    evidence = [Evidence(fact="libcuda", value=library, read_from="/proc/self/maps")] if library else []
    if not scene.has_gpu and (case["state"] == "absent" or code == 100):
        what = "cuInit finds none either" if code == 100 else "no libcuda.so.1 either"
        return Finding(id=step.id, status=Status.SKIP, summary=f"no NVIDIA GPU, {what}", evidence=tuple(evidence))
    if not isinstance(code, int):
        words = "libcuda.so.1 cannot be loaded" if case["state"] == "absent" else "the driver cannot be started"
        return _fault(step, f"{words}: {why}", causes.of_failure(why, step.explained_by, scene.static), evidence)
    name, means, checks = causes.of_code(code)
    name = str(case.get("name") or "") or name or "an error without a name"
    call = str(case.get("call") or "cuInit")
    evidence.append(Evidence(fact=call, value=code, read_from="libcuda.so.1"))
    # Only what fits this number: another fault of the machine need not be the reason.
    cause = causes.of_failure("", checks or step.explained_by, scene.static)
    summary = f"{call} answers {code} ({name})" + (f": {means}" if means else "")
    return _fault(step, summary, cause, evidence)


def _of_no_cuda(step: Step, case: Mapping[str, Any], scene: Scene) -> Iterator[Finding]:
    """PyTorch without CUDA is a fault only where there is a GPU to be had."""
    if scene.has_gpu:
        why = str(case.get("why", ""))
        cause = causes.of_failure(
            why, (*(f.id for f in scene.static if f.id == "probe-cuinit"), *step.explained_by), scene.static
        )
        yield _fault(step, f"PyTorch does not get CUDA: {why[:300]}", cause, (_evidence(case),))


# --- what is well -----------------------------------------------------------------------------------------------------------


def _evidence(case: Mapping[str, Any]) -> Evidence:
    text = str(case.get("why", "")).strip() or case["state"]
    if case.get("tolerance") is not None and case.get("error") is not None:
        text = f"error {case['error']:.1e}, allowed {case['tolerance']:.1e}"
    elif case.get("bytes_per_s"):
        text = f"bit-exact, {units.rate(case['bytes_per_s'], 'B/s')} there and back"
    elif case.get("direct") is not None:
        text = "bit-exact, direct" if case["direct"] else "bit-exact, through the host"
    return Evidence(fact=str(case["case"]), value=text, read_from=_READ_FROM)


def _nothing_tried(step: Step, skipped: Sequence[Mapping[str, Any]]) -> str:
    if step.id == "probe-p2p":
        return "fewer than two GPUs: there are no pairs"
    reasons = dict.fromkeys(str(case.get("why", "")) for case in skipped)
    return f"{step.doing}: not tried: {'; '.join(reasons) or 'nothing to try'}"


def _by_device(passed: Sequence[Mapping[str, Any]]) -> str:
    """ "cpu: fp64, fp32; cuda:0: fp64"."""
    devices: dict[str, list[str]] = {}
    for case in passed:
        device, _, what = str(case["case"]).partition(" ")
        devices.setdefault(device, []).append(what)
    return "; ".join(f"{device}: {', '.join(what)}" for device, what in devices.items())


def _names(passed: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(case["case"]) for case in passed)


def _cuinit_passed(told: Told, _: object) -> str:
    count = told.facts.get("count")
    return f"the driver starts: cuInit answers 0, {count} GPU{'s' * (count != 1)}, CUDA {told.facts.get('cuda')}"


def _import_passed(told: Told, _: object) -> str:
    return f"import torch: {told.facts.get('version')} in {units.significant(float(told.facts.get('seconds') or 0.0), 2)} s"


def _memory_passed(_: Told, passed: Sequence[Mapping[str, Any]]) -> str:
    return f"memory holds what is written to it: {_names([case for case in passed if case['case'] != 'CUDA'])}"


def _peers_passed(told: Told, passed: Sequence[Mapping[str, Any]]) -> str:
    direct = sum(bool(case.get("direct")) for case in passed)
    left_out = told.facts.get("left_out")
    more = f"; {left_out} more pairs were left out" if left_out else ""
    return f"bytes arrive unchanged between GPUs: {len(passed)} pairs, {direct} of them directly{more}"


def _nccl_passed(told: Told, _: object) -> str:
    ranks, backend = told.facts.get("ranks"), told.facts.get("backend")
    processes = f"{ranks} process{'es' * (ranks != 1)}"
    version = f" {told.facts['version']}" if told.facts.get("version") else ""
    return f"all-reduce over {processes} by {backend}{version}"


def _conv_passed(told: Told, passed: Sequence[Mapping[str, Any]]) -> str:
    cudnn, onednn = told.facts.get("cudnn"), told.facts.get("onednn")
    by = ", ".join(filter(None, (f"cuDNN {cudnn}" if cudnn else "", "oneDNN" if onednn else "")))
    return f"convolutions are right ({by or 'no library'}): {_by_device(passed)}"


_PASSED: Mapping[str, Callable[[Told, Sequence[Mapping[str, Any]]], str]] = {
    "probe-cuinit": _cuinit_passed,
    "probe-import": _import_passed,
    "probe-memory": _memory_passed,
    "probe-matmul": lambda _, passed: f"matrix products are right: {_by_device(passed)}",
    "probe-transfer": lambda _, passed: f"bytes come back unchanged: {_names(passed)}",
    "probe-p2p": _peers_passed,
    "probe-nccl": _nccl_passed,
    "probe-conv": _conv_passed,
    "probe-compile": lambda _, passed: f"torch.compile works on {_names(passed)}",
}


def no_python(step: Step, machine: Machine) -> Finding:
    """There is no interpreter to try anything in."""
    return _unknown(step, f"{step.doing} could not be tried: {machine.why_missing('python')}")


def no_torch(step: Step) -> Finding:
    """Nothing to try: PyTorch is not installed."""
    return Finding(id=step.id, status=Status.SKIP, summary=f"{step.doing}: PyTorch is not installed")


def crashed(step: Step, error: Exception) -> Finding:
    """The judgement itself broke: our bug."""
    remedy = Remedy(text="Report it.", commands=("dltool snapshot -o machine.json",), risk=Risk.READ_ONLY)
    text = f"the probe {step.id} broke: {type(error).__name__}: {error}"
    return Finding(id=step.id, status=Status.CRASH, summary=text, remedies=(remedy,))
