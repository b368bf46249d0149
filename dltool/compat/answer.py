"""The verdict on a question, and the newest published build that suits all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from dltool.catalog import Architecture, Support
from dltool.compat import builds, packages

# isort: off
# The rules apply in the order in which they are loaded.
from dltool.compat import rules_driver, rules_forward, rules_kernel_module
from dltool.compat import rules_packages, rules_cudnn, rules_nccl, rules_stack
from dltool.compat import rules_torch, rules_gpu_code

# isort: on
from dltool.compat.builds import cuda_of_build
from dltool.compat.drivers import branches_for, driver_floor
from dltool.compat.question import Question
from dltool.compat.rules import RULES, Rule
from dltool.compat.versions import version
from dltool.lang import tr
from dltool.results import Compatibility, Finding, Recommendation, Status

__all__ = ["TorchChoice", "answer", "judge", "newest_torch", "recommend", "support"]
_LOADED = (
    rules_driver, rules_forward, rules_kernel_module, rules_packages, rules_cudnn, rules_nccl, rules_stack, rules_torch,
    rules_gpu_code,
)  # fmt: skip
_RELAXED = ("kernel_module", "driver", "python", "packages", "cuda", "glibc", "musl", "os", "compute_capabilities")
"""Constraints, one of which may be moved; the cheapest to move first."""
_WORDS = ("ok", "warning", "error")
_OF_BUILD = tuple(
    rule
    for rule in RULES.values()
    if rule.__module__ in (rules_driver.__name__, rules_forward.__name__, rules_kernel_module.__name__)
)
"""Rules that ask for the CUDA of a build and not for the release: their answer is the same for every release."""
_OF_RELEASE = tuple(rule for rule in RULES.values() if rule not in _OF_BUILD)
_PINNED = ("torchvision", "torchaudio", "torchtext", "torchdata")
"""Companions that are installed beside torch; triton and NumPy come by themselves."""
_MOVABLE = ("kernel_module", "driver", "python", "packages", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchChoice:
    """The newest published torch that suits a question."""

    torch: str
    build: str
    companions: tuple[str, ...]
    index: str
    verdict: str = "ok"

    def requirements(self) -> str:
        """What to give to pip: exact versions with the build's local label, and the index that serves them."""
        pins = [f'"{name}+{self.build}"' for name in (f"torch=={self.torch}", *self.companions)]
        return f"{' '.join(pins)} --index-url {self.index}"


def judge(question: Question) -> tuple[Finding, ...]:
    """What every rule says, in their order; a rule of which nothing was asked says nothing."""
    return tuple(replace(finding, id=name) for name, rule in RULES.items() for finding in rule(question))


def verdict(findings: Iterable[Finding]) -> str:
    """The worst of the findings: "error", "warning", "unknown" or "ok"."""
    found = {finding.status for finding in findings}
    order = ((Status.FAIL, "error"), (Status.WARN, "warning"), (Status.UNKNOWN, "unknown"))
    return next((word for status, word in order if status in found), "ok")


def answer(question: Question) -> Compatibility:
    """Verdict, all findings, and the recommendation."""
    findings = judge(question)
    choice = choose(question)
    moved = () if choice is not None else tuple(_relaxed(question))
    return Compatibility(
        verdict=verdict(findings),
        findings=findings,
        recommend=_recommendation(question, choice, moved),
        relax=tuple(_would_suit(text, found) for _, found, text in moved),
    )


def _would_suit(instead: str, found: TorchChoice) -> str:
    name = f"torch {found.torch}+{found.build}"
    return tr(f"{instead}: {name} would suit", f"{instead}：则 {name} 合适")


def recommend(question: Question) -> Recommendation | None:
    """The newest published build that suits driver, GPUs, Python, system and packages at once.

    Where none does, the one that suits once a single constraint is moved that its owner can move, which `needs` names; None
    where even that does not help.
    """
    choice = choose(question)
    return _recommendation(question, choice, () if choice is not None else tuple(_relaxed(question)))


def _recommendation(
    question: Question, choice: TorchChoice | None, moved: Sequence[tuple[str, TorchChoice, str]]
) -> Recommendation | None:
    needs = ""
    if choice is None:
        choice, needs = next(((found, text) for field, found, text in moved if field in _MOVABLE), (None, ""))
    if choice is None:
        return None
    return Recommendation(
        torch=choice.torch,
        build=choice.build,
        install=(f"python -m pip install {choice.requirements()}",),
        packages=choice.companions,
        needs=needs,
        why=_why(question, choice, needs),
    )


def _why(question: Question, choice: TorchChoice, needs: str) -> str:
    if needs:
        why = tr(f"nothing suits as it is; this does with {needs}", f"目前没有合适的；改用以下条件后它合适：{needs}")
    elif question.torch == choice.torch and question.build == choice.build:
        why = tr("what was asked is the newest that suits", "所问的就是合适的最新版本")
    else:
        why = tr("the newest published build that suits all that was asked", "符合所问各项的最新发布构建")
    limit = tr("; it works with a limit, see its findings", "；可用但有限制，见上面的说明")
    return why if choice.verdict == "ok" else why + limit


def choose(question: Question) -> TorchChoice | None:
    """The newest release, in the build that suits best; one with a limit only where no release is without."""
    limited: TorchChoice | None = None
    names = [name for name in question.packages if name in rules_packages.COMPANIONS]
    others = {name: found for name, found in question.packages.items() if name not in rules_packages.COMPANIONS}
    wanted = {name: "" for name in names if name != "numpy"}
    base = replace(question, cudnn=None, compat_package=None, extension_ptx=None, gcc=None, packages={**others, **wanted})
    by_build: dict[str, str] = {}
    for row in builds.releases():
        for build in ("cpu",) if question.cpu_only else builds.cuda_builds(row):
            candidate = replace(base, torch=row["torch"], build=build)
            if build not in by_build:
                by_build[build] = _quick_verdict(candidate, _OF_BUILD)
            word = by_build[build]
            if word != "error":
                word = max(word, _quick_verdict(candidate, _OF_RELEASE), key=_WORDS.index)
            if word == "ok" or (word == "warning" and limited is None):
                choice = _choice(candidate, names, word)
                if word == "ok":
                    return choice
                limited = choice
    return limited


def _quick_verdict(question: Question, rules: Iterable[Rule]) -> str:
    """As `verdict`, but it stops at the first of these rules that rules the candidate out."""
    worst = "ok"
    for rule in rules:
        for finding in rule(question):
            if finding.status in (Status.FAIL, Status.UNKNOWN):
                return "error"
            if finding.status is Status.WARN:
                worst = "warning"
    return worst


def _choice(question: Question, names: Sequence[str], word: str) -> TorchChoice:
    torch, build = question.torch or "", question.build or ""
    windows = question.os == "windows"
    pins = (packages.companion_pin(torch, build, name, windows=windows) for name in names if name in _PINNED)
    return TorchChoice(
        torch=torch, build=build, companions=tuple(pin for pin in pins if pin), index=builds.wheel_index(build), verdict=word
    )


def _relaxed(question: Question) -> Iterator[tuple[str, TorchChoice, str]]:
    """The constraint, the best without it, and in words what must be in its place."""
    free = Question()
    for field in _RELAXED:
        if getattr(question, field) == getattr(free, field):
            continue
        choice = choose(replace(question, **{field: getattr(free, field)}))
        if choice is not None:
            yield field, choice, _driver_instead(question, choice) if field == "driver" else _instead(field)


def _instead(field: str) -> str:
    """What is in the place of a constraint that is moved."""
    return {
        "kernel_module": tr("the other kernel modules", "另一种内核模块"),
        "python": tr("another Python", "另一个 Python"),
        "packages": tr("none of the other packages", "不装其他软件包"),
        "cuda": tr("another toolkit", "另一个工具包"),
        "glibc": tr("a newer C library", "更新的 C 库"),
        "musl": tr("a distribution with glibc", "使用 glibc 的发行版"),
        "os": "Linux",
        "compute_capabilities": tr("another GPU", "另一块 GPU"),
    }[field]


def _driver_instead(question: Question, choice: TorchChoice) -> str:
    """The driver branches that drive all GPUs and run the build's CUDA."""
    if question.tegra:
        return tr("a newer JetPack", "更新的 JetPack")
    capabilities = question.compute_capabilities
    floor = driver_floor(cuda_of_build(choice.build) or "")
    branches = [
        int(row["branch"])
        for row in branches_for(capabilities[0] if capabilities else "7.5")
        if all(row in branches_for(capability) for capability in capabilities)
        and (floor is None or int(row["branch"]) >= version(floor.floor).major)
        and row["type"] != "developer"
    ]
    if not branches:
        return tr("another driver", "另一个驱动")
    first, last = branches[0], branches[-1]
    return tr(f"driver branch {first} to {last}", f"{first} 到 {last} 分支的驱动")


def newest_torch(
    *,
    python: str | None,
    driver: str | None,
    compute_capabilities: Sequence[str],
    windows: bool = False,
    wsl: bool = False,
    processor: str = "x86_64",
    companions: Iterable[str] = (),
    glibc: str | None = None,
) -> TorchChoice | None:
    """The newest published CUDA build that suits everything named at once; None where no build is known to.

    Args:
        python: version of the interpreter.
        driver: version of the driver; None when a driver is still to be installed.
        compute_capabilities: of every GPU that must run it.
        wsl: Linux wheels on the driver of Windows, whose versions are counted otherwise.
        companions: which of torchvision and torchaudio to choose along with it.
        glibc: version of the C library.
    """
    return choose(
        Question(
            python=python,
            driver=driver,
            compute_capabilities=tuple(compute_capabilities),
            os="windows" if windows else "wsl" if wsl else "linux",
            arch=builds.processor_name(processor),
            packages=dict.fromkeys(companions, ""),
            glibc=glibc,
        )
    )


def support(architecture: Architecture, *, aarch64: bool = False) -> Support:
    """Which CUDA toolkits, driver branches and PyTorch releases support a GPU of this architecture, and the last that did.

    Args:
        aarch64: the GPU sits beside an Arm processor (Jetson, Grace).
    """
    choice = choose(Question(compute_capabilities=(architecture.compute_capability,), arch="aarch64" if aarch64 else "x86_64"))
    return Support(
        cuda_first=architecture.cuda_first or None,
        cuda_last=architecture.cuda_last or None,
        driver_last=architecture.driver_last or None,
        torch_last=choice.torch if choice else None,
        torch_build=choice.build if choice else None,
        torch_newest=choice is not None and choice.torch == builds.releases()[0]["torch"],
    )
