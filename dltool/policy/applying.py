"""A policy on a machine: its own findings, and what the findings of the checks count for."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from dltool.machine import Machine
from dltool.policy import rules
from dltool.policy.model import Policy, Waiver
from dltool.results import Evidence, Finding, Remedy, Report, Risk, Status

EXPLANATIONS = {
    "policy-gpu-count": "Are as many GPUs here as the policy asks for (gpu.count)?",
    "policy-gpu-model": "Is every GPU a model that the policy asks for (gpu.model)?",
    "policy-gpu-memory": "Has every GPU the memory that the policy asks for (gpu.min_memory_gb)?\n\n"
    "What the driver and ECC keep for themselves, 2 % at most, is not held against it.",
    "policy-compute-capability": "Has every GPU the compute capability that the policy asks for (gpu.min_compute_capability)?",
    "policy-driver": "Is the driver as new as the policy asks for (driver.min)?",
    "policy-cuda": "Does the driver implement the CUDA that the policy asks for (cuda.min)?",
    "policy-dtypes": "Has every GPU arithmetic for the number formats of the policy (dtypes.required)?\n\n"
    "By the tables of architectures; a format that is only imitated does not count.",
    "policy-shm": "Is /dev/shm as large as the policy asks for (host.min_shm_gb)?",
    "policy-disk": "Is as much room free as the policy asks for (host.min_disk_gb)?\n\n"
    "On the file system of the working directory; where that is not known, of the home directory.",
    "policy-open-files": "May a process open as many files as the policy asks for (host.min_open_files)?",
    "policy-memory": "Is there as much main memory as the policy asks for (host.min_memory_gb)?\n\n"
    "The limit of the control group counts where it is lower.",
    "policy-bench": "Does the bench report show the rates that the policy asks for (bench)?\n\n"
    "On each device the best case counts that ran and was verified. Give the report with --bench FILE.",
    "policy-waiver": "Do all waivers of the policy still hold?\n\n"
    "After its last day a waiver hides nothing: mend what it is about, or decide anew and move the day.",
}
"""Of each finding of a policy what it asks, and what is to be known of it."""
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
                summary=f"the waiver of {waiver.id} expired on {waiver.expires}: it counts again",
                why=f"The reason was: {waiver.reason}",
                evidence=(
                    Evidence(fact="expires", value=waiver.expires.isoformat(), read_from="policy: waiver"),
                    Evidence(fact="today", value=today.isoformat(), read_from="clock"),
                ),
                remedies=(
                    Remedy(text="Mend what it is about and remove it, or decide anew and move the day.", risk=Risk.READ_ONLY),
                ),
            )


def _counted(finding: Finding, policy: Policy, today: datetime.date) -> Finding:
    if finding.status not in (Status.WARN, Status.FAIL, Status.UNKNOWN):
        return finding
    waiver = _waiver(finding, policy, today)
    if waiver is not None:
        return _as(finding, Status.INFO, f"waived until {waiver.expires}", waiver.reason)
    if finding.id in policy.checks.allow:
        return _as(finding, Status.INFO, "allowed by the policy", "checks.allow")
    if finding.id in policy.checks.deny and finding.status is not Status.FAIL:
        return _as(finding, Status.FAIL, "denied by the policy", "checks.deny")
    if finding.id in policy.checks.downgrade and finding.status is Status.FAIL:
        return _as(finding, Status.WARN, "downgraded by the policy", "checks.downgrade")
    return finding


def _waiver(finding: Finding, policy: Policy, today: datetime.date) -> Waiver | None:
    valid = [waiver for waiver in policy.waiver if waiver.id == finding.id and waiver.expires >= today]
    return max(valid, key=lambda waiver: waiver.expires, default=None)


def _as(finding: Finding, status: Status, words: str, reason: str) -> Finding:
    was = Evidence(fact=words, value=reason, read_from=f"policy; it was: {finding.status.value}")
    remedies = finding.remedies or (
        Remedy(text="Find out why it is not known.", commands=("dltool doctor -v",), risk=Risk.READ_ONLY),
    )
    return replace(
        finding,
        status=status,
        summary=f"{finding.summary} ({words})",
        evidence=(*finding.evidence, was),
        remedies=remedies if status is not Status.INFO else finding.remedies,
    )
