"""Findings from what a step of the probe told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dltool import child, units
from dltool.lang import tr
from dltool.machine import Machine
from dltool.probing import causes, passing
from dltool.probing.causes import Cause
from dltool.probing.running import Death, Limits, Told
from dltool.probing.steps import Step
from dltool.results import Evidence, Finding, Remedy, Risk, Status


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
        summary = tr(
            f"{step.doing} could not be tried: the interpreter does not start: {told.not_started}",
            f"{step.doing}：无法尝试，解释器不能启动：{told.not_started}",
        )
        yield _unknown(step, summary)
        return
    faults = [*_deaths(step, told, scene), *_failures(step, told, scene)]
    yield from faults
    passed, skipped = told.in_state("pass"), told.in_state("skip")
    if passed:
        evidence = tuple(passing.evidence(case) for case in (*passed, *skipped))
        summary = passing.SUMMARIES[step.id](told, passed)
        yield Finding(id=step.id, status=Status.PASS, summary=summary, evidence=evidence)
    elif not faults:
        yield Finding(id=step.id, status=Status.SKIP, summary=passing.nothing_tried(step, skipped))


def not_taken(step: Step, missing: Finding) -> Finding:
    """A step that stands on one that failed."""
    summary = tr(f"{step.doing}: not tried, because of {missing.id}", f"{step.doing}：因 {missing.id} 而未尝试")
    return Finding(id=step.id, status=Status.SKIP, summary=summary, caused_by=missing.caused_by or missing.id)


def no_python(step: Step, machine: Machine) -> Finding:
    """There is no interpreter to try anything in."""
    reason = machine.why_missing("python")
    summary = tr(f"{step.doing} could not be tried: {reason}", f"{step.doing}：无法尝试：{reason}")
    return _unknown(step, summary)


def no_torch(step: Step) -> Finding:
    """Nothing to try: PyTorch is not installed."""
    told = tr(f"{step.doing}: PyTorch is not installed", f"{step.doing}：没有安装 PyTorch")
    return Finding(id=step.id, status=Status.SKIP, summary=told)


def crashed(step: Step, error: Exception) -> Finding:
    """The judgement itself broke: our bug."""
    report = "dltool snapshot -o machine.json"
    remedy = Remedy(text=tr("Report it.", "请报告此问题。"), commands=(report,), risk=Risk.READ_ONLY)
    what = f"{type(error).__name__}: {error}"
    text = tr(f"the probe {step.id} broke: {what}", f"探测 {step.id} 自身出错：{what}")
    return Finding(id=step.id, status=Status.CRASH, summary=text, remedies=(remedy,))


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
            summary=_what(step, death) + tr(" ", "：") + _how(death, scene.limits),
            why=cause.why,
            evidence=tuple(_last_words(death)),
            remedies=cause.remedies,
            scope=cause.scope,
            devices=scene.nvml_indices([death.case]),
            caused_by=cause.caused_by,
        )


def _what(step: Step, death: Death) -> str:
    if ":" in death.case or death.case.startswith("cpu"):
        return tr(f"{step.doing} on {death.case}", f"{death.case} 上的{step.doing}")
    return step.doing


def _how(death: Death, limits: Limits) -> str:
    answer = death.answer
    if answer.over_memory:
        size = units.gib(limits.memory_bytes)
        return tr(f"was ended: it took more than {size} of memory", f"被终止：占用的内存超过 {size}")
    if answer.returncode == 0:
        return tr("ended without an answer", "没有给出结果就结束了")
    return tr(child.how_it_ended(answer.returncode, limits.seconds), _how_it_ended(answer.returncode, limits.seconds))


def _how_it_ended(returncode: int | None, limit_s: float) -> str:
    """`child.how_it_ended` in Chinese."""
    if returncode is None:
        return f"{limit_s:g} 秒内没有结束"
    if returncode < 0:
        return f"被 {child.signal_name(-returncode)} 终止"
    return f"以退出码 {returncode} 结束"


def _last_words(death: Death) -> Iterator[Evidence]:
    if death.case:
        yield Evidence(fact="tried", value=death.case, read_from=passing.READ_FROM)
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
    evidence = [passing.evidence(case) for case in cases]
    if words := causes.last_lines(told.errors):
        evidence.append(Evidence(fact="last words", value=words, read_from="stderr of the probe's process"))
    return _fault(step, _fails(step, names, _error(why)), cause, evidence, scene.nvml_indices(names))


def _fails(step: Step, names: Sequence[str], error: str) -> str:
    if step.id in ("probe-import", "probe-nccl", "probe-compile"):
        return tr(f"{step.doing} fails: {error}", f"{step.doing}：失败：{error}")
    where = ", ".join(names)
    return tr(f"{step.doing} fails on {where}: {error}", f"{step.doing}：在 {where} 上失败：{error}")


def _error(why: str) -> str:
    """The error in one line."""
    if library := causes.missing_library(why):
        return tr(f"the library {library} is missing", f"缺少库 {library}")
    return (why.splitlines() or [tr("no reason given", "没有给出原因")])[0][:300]


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
    why, code, absent = str(case.get("why", "")), case.get("code"), case["state"] == "absent"
    library = str(told.facts.get("library") or "")
    evidence = [Evidence(fact="libcuda", value=library, read_from="/proc/self/maps")] if library else []
    if not scene.has_gpu and (absent or code == 100):
        return Finding(id=step.id, status=Status.SKIP, summary=_no_gpu(by_driver=code == 100), evidence=tuple(evidence))
    if not isinstance(code, int):
        cause = causes.of_failure(why, step.explained_by, scene.static)
        return _fault(step, _not_started(why, loaded=not absent), cause, evidence)
    name, means, checks = causes.of_code(code)
    name = str(case.get("name") or "") or name or tr("an error without a name", "没有名称的错误")
    call = str(case.get("call") or "cuInit")
    evidence.append(Evidence(fact=call, value=code, read_from="libcuda.so.1"))
    # Only what fits this number: another fault of the machine need not be the reason.
    cause = causes.of_failure("", checks or step.explained_by, scene.static)
    more = f": {means}" if means else ""
    summary = tr(f"{call} answers {code} ({name}){more}", f"{call} 返回 {code}（{name}）{more.replace(': ', '：')}")
    return _fault(step, summary, cause, evidence)


def _no_gpu(*, by_driver: bool) -> str:
    if by_driver:
        return tr("no NVIDIA GPU, cuInit finds none either", "没有 NVIDIA GPU，cuInit 也没有找到")
    return tr("no NVIDIA GPU, no libcuda.so.1 either", "没有 NVIDIA GPU，也没有 libcuda.so.1")


def _not_started(why: str, *, loaded: bool) -> str:
    if loaded:
        return tr(f"the driver cannot be started: {why}", f"无法启动驱动：{why}")
    return tr(f"libcuda.so.1 cannot be loaded: {why}", f"无法加载 libcuda.so.1：{why}")


def _of_no_cuda(step: Step, case: Mapping[str, Any], scene: Scene) -> Iterator[Finding]:
    """PyTorch without CUDA is a fault only where there is a GPU to be had."""
    if scene.has_gpu:
        why = str(case.get("why", ""))
        cause = causes.of_failure(
            why, (*(f.id for f in scene.static if f.id == "probe-cuinit"), *step.explained_by), scene.static
        )
        summary = tr(f"PyTorch does not get CUDA: {why[:300]}", f"PyTorch 用不了 CUDA：{why[:300]}")
        yield _fault(step, summary, cause, (passing.evidence(case),))
