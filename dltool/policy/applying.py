"""A policy on a machine: its own findings, and what the findings of the checks count for."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from dltool.lang import tr
from dltool.machine import Machine
from dltool.policy import rules
from dltool.policy.model import Policy, Waiver
from dltool.results import Evidence, Finding, Remedy, Report, Risk, Status

_CAUSES = (
    "driver-missing",
    "nouveau-loaded",
    "driver-version-mismatch",
    "driver-not-answering",
    "gpu-lost",
    "gpu-fell-off-bus",
)
_COUNT = "policy-gpu-count"
_OF_GPUS = (
    _COUNT, "policy-gpu-model", "policy-gpu-memory", "policy-compute-capability", "policy-dtypes",
    "policy-driver", "policy-cuda",
)  # fmt: skip


def apply(
    policy: Policy, machine: Machine, findings: Iterable[Finding], bench: Report | None, today: datetime.date
) -> tuple[Finding, ...]:
    """The findings as the policy counts them, and those of the policy itself.

    A valid waiver comes first, then `allow`, `deny` and `downgrade`. A crashed check stays one, whatever the policy says.

    Args:
        policy: what the machine must be.
        machine: the facts.
        findings: of the checks.
        bench: the report that the least rates are looked up in.
        today: decides which waivers hold.
    """
    findings = tuple(findings)
    own = _explained((*rules.judge(policy, machine, bench), *_expired(policy, today)), findings, machine)
    return tuple(_counted(finding, policy, today) for finding in (*findings, *own))


def _explained(own: Iterable[Finding], findings: Iterable[Finding], machine: Machine) -> Iterator[Finding]:
    """What is asked of the GPUs under the fault of the driver that hides them, or under their absence."""
    failed = {finding.id: finding.caused_by or finding.id for finding in findings if finding.status is Status.FAIL}
    cause = next((failed[name] for name in _CAUSES if name in failed), None)
    own = tuple(own)
    broken = {finding.id for finding in own if finding.status is Status.FAIL}
    for finding in own:
        if finding.status in (Status.FAIL, Status.UNKNOWN) and finding.id in _OF_GPUS:
            absent = _COUNT in broken and finding.id != _COUNT and not machine.gpus
            yield replace(finding, caused_by=cause or (_COUNT if absent else None))
        else:
            yield finding


def _expired(policy: Policy, today: datetime.date) -> Iterator[Finding]:
    for waiver in policy.waiver:
        if waiver.expires < today:
            yield Finding(
                id="policy-waiver",
                status=Status.WARN,
                summary=tr(
                    f"the waiver of {waiver.id} expired on {waiver.expires}: it counts again",
                    f"{waiver.id} 的豁免已于 {waiver.expires} 到期：重新计入",
                ),
                why=tr(f"The reason was: {waiver.reason}", f"当时的理由：{waiver.reason}"),
                evidence=(
                    Evidence(fact="expires", value=waiver.expires.isoformat(), read_from="policy: waiver"),
                    Evidence(fact="today", value=today.isoformat(), read_from="clock"),
                ),
                remedies=(
                    Remedy(
                        text=tr(
                            "Mend what it is about and remove it, or decide anew and move the day.",
                            "解决它所涉及的问题并删除它，或重新决定并延后日期。",
                        ),
                        risk=Risk.READ_ONLY,
                    ),
                ),
            )


def _counted(finding: Finding, policy: Policy, today: datetime.date) -> Finding:
    if finding.status not in (Status.WARN, Status.FAIL, Status.UNKNOWN):
        return finding
    waiver = _waiver(finding, policy, today)
    if waiver is not None:
        words = (f"waived until {waiver.expires}", f"豁免至 {waiver.expires}")
        return _as(finding, Status.INFO, words, waiver.reason)
    if finding.id in policy.checks.allow:
        return _as(finding, Status.INFO, ("allowed by the policy", "策略允许"), "checks.allow")
    if finding.id in policy.checks.deny and finding.status is not Status.FAIL:
        return _as(finding, Status.FAIL, ("denied by the policy", "策略禁止"), "checks.deny")
    if finding.id in policy.checks.downgrade and finding.status is Status.FAIL:
        return _as(finding, Status.WARN, ("downgraded by the policy", "策略降级"), "checks.downgrade")
    return finding


def _waiver(finding: Finding, policy: Policy, today: datetime.date) -> Waiver | None:
    valid = [waiver for waiver in policy.waiver if waiver.id == finding.id and waiver.expires >= today]
    return max(valid, key=lambda waiver: waiver.expires, default=None)


def _as(finding: Finding, status: Status, words: tuple[str, str], reason: str) -> Finding:
    """The finding with another status; `words` say why, in English and Chinese."""
    english, chinese = words
    was = Evidence(fact=english, value=reason, read_from=f"policy; it was: {finding.status.value}")
    remedies = finding.remedies or (
        Remedy(
            text=tr("Find out why it is not known.", "查明为何无法得知。"), commands=("dltool doctor -v",), risk=Risk.READ_ONLY
        ),
    )
    return replace(
        finding,
        status=status,
        summary=finding.summary + tr(f" ({english})", f"（{chinese}）"),
        evidence=(*finding.evidence, was),
        remedies=remedies if status is not Status.INFO else finding.remedies,
    )
