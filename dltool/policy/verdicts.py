"""The finding of one rule of a policy: what is asked for beside what is seen. Unknown is neither held nor broken."""

from __future__ import annotations

from collections.abc import Sequence

from dltool.lang import tr
from dltool.results import Evidence, Finding, Remedy, Risk, Scalar, Scope, Status

GB = 1e9


def elsewhere() -> Remedy:
    """What helps against every break."""
    return Remedy(
        text=tr(
            "Run on a machine that is what the policy asks for, or change the policy.",
            "换到符合策略要求的机器上运行，或修改策略。",
        ),
        risk=Risk.READ_ONLY,
    )


def verdict(
    name: str,
    holds: bool | None,
    what: str,
    *,
    asked: tuple[str, Scalar],
    seen: tuple[Scalar, str],
    unknown: str = "",
    remedies: Sequence[Remedy] | None = None,
    scope: Scope = Scope.HOST,
    devices: tuple[int, ...] = (),
) -> Finding:
    """The finding of one rule.

    Args:
        name: the id.
        holds: None: it could not be looked at, because `unknown`.
        what: one line that says what is seen and what is asked.
        asked: the policy's key, and the value there.
        seen: the value, and where it was read.
        unknown: why it is not known.
        remedies: of a break; None: only another machine or policy helps.
        scope: who can mend it.
        devices: the GPUs concerned.
    """
    key, wanted = asked
    status = Status.UNKNOWN if holds is None else Status.PASS if holds else Status.FAIL
    cannot = tr(f"{key} of the policy cannot be judged: {unknown}", f"策略中的 {key} 无法判断：{unknown}")
    return Finding(
        id=name,
        status=status,
        summary=cannot if holds is None else what,
        evidence=(
            Evidence(fact="asked for", value=wanted, read_from=f"policy: {key}"),
            Evidence(fact="here", value=seen[0], read_from=seen[1]),
        ),
        remedies=tuple((elsewhere(),) if remedies is None else remedies) if status is Status.FAIL else (),
        scope=scope,
        devices=devices,
    )
