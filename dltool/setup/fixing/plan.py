"""From findings and their remedies to the steps that mend them here, and to what is left for people: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from dltool.lang import tr
from dltool.results import Finding, Fix, FixByHand, FixLeft, FixPlace, FixStep, FixTarget, Remedy, Risk, Scope, root_problems
from dltool.setup.fixing import putting_back, shapes, words
from dltool.setup.fixing.putting_back import Installed
from dltool.setup.fixing.shapes import Pip
from dltool.setup.recipe import is_of_torch

_RISKS = {Risk.ROOT: "root", Risk.REBOOT: "reboot"}


@dataclass(slots=True)
class Draft:
    """A step that is being put together: removals first, then installations."""

    removals: list[Pip] = field(default_factory=list)
    installs: list[Pip] = field(default_factory=list)
    mends: list[FixTarget] = field(default_factory=list)

    @property
    def calls(self) -> tuple[Pip, ...]:
        """In the order in which they run."""
        return (*self.removals, *self.installs)

    def does(self, calls: Iterable[Pip]) -> bool:
        """Whether it does all of this already."""
        return all(any(own.covers(call) for own in self.calls) for call in calls)

    def shares(self, calls: Iterable[Pip]) -> bool:
        """Whether it does one of these already, or one of these does what it does."""
        return any(own.covers(call) or call.covers(own) for own in self.calls for call in calls)

    def take(self, calls: Iterable[Pip]) -> None:
        """Do this too."""
        for call in calls:
            own = self.removals if call.verb == "uninstall" else self.installs
            if not any(one.covers(call) for one in own):
                own[:] = [*(one for one in own if not call.covers(one)), call]

    @property
    def rank(self) -> int:
        """PyTorch first: what belongs to it is installed for it."""
        names = {name for call in self.calls for name in call.names}
        return 0 if "torch" in names else 1 if any(map(is_of_torch, names)) else 2


def plan(
    findings: Iterable[Finding],
    *,
    place: FixPlace | None,
    installed: Installed,
    trusted: Collection[str],
    index: str | None = None,
) -> Fix:
    """What would be done about the problems that nothing else explains, and what is left.

    Args:
        findings: of the machine that is here.
        place: the environment that was judged; None where it could not be read.
        installed: its distributions by name, as far as they are known.
        trusted: ids of findings whose remedies are our own: those of plugins and policies are shown, never run.
        index: where the wheels come from in place of the index that a remedy names; "" is wherever pip looks by itself.
    """
    findings = tuple(findings)
    blocked = words.blocked(place)
    drafts: list[Draft] = []
    left: list[FixLeft] = []
    every = [(finding, target, list(_choices(finding, place, trusted, index))) for finding, target in _targets(findings)]
    # What can be mended in one way only comes first: it may be one of the ways to mend another.
    for finding, target, choices in sorted(every, key=lambda one: len(one[2]) > 1):
        why_not = _hindrance(finding, choices, trusted, blocked=blocked is not None, place=place, installed=installed)
        if choices and not why_not and not _placed(drafts, _safe(choices, installed), target):
            why_not = "conflict"
        if why_not or not choices:
            left.append(_left(finding, target, why_not, place))
    drafts = _rejoined(sorted(drafts, key=lambda draft: draft.rank))
    notes = (blocked,) if blocked and any(one.reason == "environment" for one in left) else ()
    return Fix(place=place, steps=tuple(_step(draft, installed) for draft in drafts), left=tuple(left), notes=notes)


def _hindrance(
    finding: Finding,
    choices: list[tuple[Pip, ...]],
    trusted: Collection[str],
    *,
    blocked: bool,
    place: FixPlace | None,
    installed: Installed,
) -> str:
    """What stands against all remedies of a finding; nothing where each has its own reason, or none."""
    if finding.id not in trusted:
        return "origin"
    if finding.scope is Scope.PROVIDER:
        return "provider"
    if not choices:
        return ""
    if blocked:
        return "environment"
    if place is not None and place.has_pip is False and not any(call.uv for calls in choices for call in calls):
        return "no-pip"
    return "" if _safe(choices, installed) else "local-files"


def _safe(choices: list[tuple[Pip, ...]], installed: Installed) -> list[tuple[Pip, ...]]:
    """Those that can be taken back."""
    return [calls for calls in choices if not putting_back.lost(calls, installed)]


def _targets(findings: Sequence[Finding]) -> Iterator[tuple[Finding, FixTarget]]:
    """Every root, with the ids of what it explains."""
    for finding in root_problems(findings):
        along = [other.id for other in findings if other.caused_by == finding.id and other.status.is_problem]
        yield finding, FixTarget(finding=finding.id, summary=finding.summary, along=tuple(dict.fromkeys(along)))


def _choices(
    finding: Finding, place: FixPlace | None, trusted: Collection[str], index: str | None
) -> Iterator[tuple[Pip, ...]]:
    """The remedies that can be carried out here, in the finding's order; those that share a step are preferred by `_placed`."""
    if place is None or finding.id not in trusted or finding.scope is Scope.PROVIDER:
        return
    for remedy in finding.remedies:
        calls = [shapes.read(command, python=place.python) for command in remedy.commands]
        understood = tuple(call.moved(index) for call in calls if isinstance(call, Pip))
        if remedy.risk is Risk.USER and understood and len(understood) == len(calls):
            yield understood


def _placed(drafts: list[Draft], choices: list[tuple[Pip, ...]], target: FixTarget) -> bool:
    """Put a finding into the step that mends it anyway, else into one that shares a command, else into one of its own."""
    for calls in choices:
        for draft in drafts:
            if draft.does(calls):
                draft.mends.append(target)
                return True
    for calls in choices:
        shared = next((draft for draft in drafts if draft.shares(calls)), None)
        if any(own.contradicts(call) for draft in drafts if draft is not shared for own in draft.calls for call in calls):
            continue
        if shared is not None and _contradict_within(shared, calls):
            continue
        chosen = shared or Draft()
        if shared is None:
            drafts.append(chosen)
        chosen.take(calls)
        chosen.mends.append(target)
        return True
    return False


def _contradict_within(draft: Draft, calls: Iterable[Pip]) -> bool:
    """Within a step a distribution may be removed and installed again, but not in two versions."""
    return any(own.verb == call.verb and own.contradicts(call) for own in draft.calls for call in calls)


def _rejoined(drafts: list[Draft]) -> list[Draft]:
    """A step whose every command another does as well goes into that one."""
    kept: list[Draft] = []
    for place, draft in enumerate(drafts):
        home = next((other for other in (*kept, *drafts[place + 1 :]) if other.does(draft.calls)), None)
        if home is None:
            kept.append(draft)
        else:
            home.mends.extend(draft.mends)
    return kept


def _step(draft: Draft, installed: Installed) -> FixStep:
    return FixStep(
        title=words.title(draft.removals, draft.installs),
        mends=tuple(draft.mends),
        commands=tuple(call.line for call in draft.calls),
        undo=tuple(call.line for call in putting_back.of_step(draft.calls, installed)),
        notes=(tr("some gigabytes to download", "需要下载数 GB"),) if draft.rank == 0 and draft.installs else (),
    )


def _left(finding: Finding, target: FixTarget, reason: str, place: FixPlace | None) -> FixLeft:
    by_hand = []
    for remedy in finding.remedies:
        own = "" if reason else _of_remedy(remedy, place)
        why = words.reason(own, finding.scope) if own else ""
        by_hand.append(FixByHand(text=remedy.text, commands=remedy.commands, risk=remedy.risk, reason=own, why=why))
    return FixLeft(
        target=target,
        reason=reason,
        why=words.reason(reason, finding.scope) if reason else "",
        remedies=tuple(by_hand),
    )


def _of_remedy(remedy: Remedy, place: FixPlace | None) -> str:
    """Why it is for people: by its risk, else by the first of its lines that is."""
    if remedy.risk in _RISKS:
        return _RISKS[remedy.risk]
    found = [shapes.read(command, python=place.python if place else "python") for command in remedy.commands]
    return next((one for one in found if isinstance(one, str)), "other" if found else "words")


def resumed(fix: Fix, earlier: Iterable[FixStep]) -> Fix:
    """Go on with what an unfinished fix did not do, then what is found now; what was half done is done again.

    What then and now would want in two versions is what was begun; the rest is judged again after it.
    """
    python = fix.place.python if fix.place else ""
    begun: list[tuple[Draft, FixStep]] = []
    for step in (*(one for one in earlier if one.state != "done"), *fix.steps):
        draft = Draft(mends=list(step.mends))
        draft.take(call for line in step.commands if isinstance(call := shapes.read(line, python=python), Pip))
        home = next((other for other, _ in begun if other.does(draft.calls)), None)
        if home is not None:
            home.mends.extend(target for target in step.mends if target not in home.mends)
        elif not any(own.contradicts(call) for other, _ in begun for own in other.calls for call in draft.calls):
            begun.append((draft, step))
    steps = [replace(step, mends=tuple(draft.mends), state="planned", seconds=None) for draft, step in begun]
    return replace(fix, steps=tuple(steps))
