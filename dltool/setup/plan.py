"""The plan: what is to be done on a machine, in order, for an environment that works. Pure: facts and tables in, steps out."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from dltool import tables
from dltool.compat.answer import answer, judge, verdict
from dltool.compat.question import Question, of_machine
from dltool.machine import Machine
from dltool.results import Compatibility, Environment, Finding, Plan, Status, Step
from dltool.setup import steps_driver, steps_environment, steps_packages, steps_toolkit
from dltool.setup.choice import Choice, choose, compiled, constraints, nearest, requirements
from dltool.setup.situation import Situation
from dltool.setup.wishes import Wishes


def make(question: Question, wishes: Wishes, *, machine: Machine | None = None, assumed: tuple[str, ...] = ()) -> Plan:
    """The plan for a question.

    Args:
        question: what must work together; torch and Python are chosen where they are not given.
        wishes: purpose, manager, mirrors.
        machine: the machine that it is for; None is one that is not here.
        assumed: what was completed of the question so far.

    Returns:
        A plan without steps and environment where nothing suits: its problems say what to relax.
    """
    question = _on_distro(question, wishes)
    choice, told = _chosen(question, wishes, machine)
    assumed = (*assumed, *told)
    if choice is None:
        return _none(question, wishes, assumed)
    situation = Situation(
        question=choice.question,
        wishes=wishes,
        requirements=requirements(choice.question),
        compiled=compiled(choice.question),
        machine=machine,
        move_driver=choice.needs.startswith("driver"),
    )
    findings = judge(replace(choice.question, cuda=situation.toolkit, gcc=None))  # the toolkit's step takes a gcc that suits
    if any(finding.status is Status.FAIL for finding in findings):
        return _none(question, wishes, assumed, findings)
    return Plan(
        purpose=wishes.purpose,
        steps=tuple(_steps(situation, choice)),
        environment=_environment(situation),
        compat=_judged(choice.question, findings),
        assumed=(*assumed, *_unjudged(choice.question)),
        problems=tuple(_moved(question, choice, machine)),
    )


def _on_distro(question: Question, wishes: Wishes) -> Question:
    """The question with the C library of the distribution."""
    distro = wishes.distro
    if question.os == "windows" or distro is None:
        return question
    return replace(question, glibc=question.glibc or distro.glibc, musl=question.musl or distro.musl)


def _chosen(question: Question, wishes: Wishes, machine: Machine | None) -> tuple[Choice | None, tuple[str, ...]]:
    """What is installed: with the Python that is there, if that suits; and what was assumed for it."""
    told = []
    if not (question.compute_capabilities or question.cpu_only or question.driver):
        told.append("any GPU of today; name yours with --gpu, or --cpu for none")
    best = _possible(question)
    there = _python_there(wishes, machine) if question.python is None else None
    if there is None:
        return best, tuple(told)
    python, where = there
    choice = _possible(replace(question, python=python))
    if best is None or (choice is not None and choice.question.torch == best.question.torch):
        return choice, (*told, *((f"Python {python}, which {where} ships",) if machine is None else ()))
    other = f"torch {best.question.torch}+{best.question.build} suits another one: --python {best.question.python} --manager uv"
    if choice is None:
        return best, (*told, f"Python {best.question.python}: nothing suits {python}, which {where} has")
    return choice, (*told, f"Python {python}, which {where} has; {other}")


def _possible(question: Question) -> Choice | None:
    """A choice that a plan can reach: it may replace a driver, not a Python or a package that was asked for."""
    choice = choose(question)
    return choice if choice is None or not choice.needs or choice.needs.startswith("driver") else None


def _python_there(wishes: Wishes, machine: Machine | None) -> tuple[str, str] | None:
    """The interpreter that venv would start from, and who has it; the other managers bring one."""
    if wishes.manager != "venv":
        return None
    if machine is not None and machine.python is not None:
        return machine.python.version, "this machine"
    if wishes.distro is not None and wishes.distro.python is not None:
        return wishes.distro.python, str(wishes.distro)
    return None


def _steps(situation: Situation, choice: Choice) -> Iterator[Step]:
    yield from steps_driver.steps(situation)
    yield from steps_toolkit.toolkit(situation)
    yield from steps_environment.steps(situation)
    yield steps_packages.torch(situation, choice.why)
    yield from steps_toolkit.cudnn(situation)
    yield from steps_packages.others(situation)
    yield steps_packages.proof(situation)


def _environment(situation: Situation) -> Environment:
    question, wishes = situation.question, situation.wishes
    return Environment(
        manager=wishes.manager,
        python=situation.python,
        torch=question.torch or "",
        build=question.build or "",
        index=wishes.mirror.torch_index(question.build or ""),
        index_kind=wishes.mirror.torch_kind if wishes.mirror.torch else "index",
        requirements=situation.requirements,
        extra_index=wishes.mirror.index,
        channels=wishes.mirror.conda,
        toolkit=situation.toolkit,
        compiled=situation.compiled,
        constraints=constraints(question),
        directory=wishes.place,
    )


def _judged(question: Question, findings: tuple[Finding, ...]) -> Compatibility:
    return Compatibility(verdict=verdict(findings), findings=findings, question=_as_asked(question), data_until=_data_until())


def _as_asked(question: Question) -> dict[str, object]:
    """The constraints that were given."""
    free = Question()
    named = {name: getattr(question, name) for name in Question.__struct_fields__}
    return {name: value for name, value in named.items() if value != getattr(free, name) or name in ("os", "arch")}


def _data_until() -> str:
    return max(row["checked"] for name in ("cuda", "torch_releases", "torch_archs") for row in tables.rows(f"compat/{name}"))


def _moved(question: Question, choice: Choice, machine: Machine | None) -> Iterator[str]:
    """A driver that was found may be replaced; one that was asked for is a constraint that does not hold."""
    found = machine is not None and of_machine(machine).driver == question.driver
    if choice.needs and not found:
        yield f"nothing suits with driver {question.driver}; relax the driver: this plan is for {choice.needs}"


def _unjudged(question: Question) -> Iterator[str]:
    """Packages of which no version was named, so that no rule looked at them."""
    for name, pin in zip(question.packages, requirements(question)[1:], strict=False):
        if pin == name:
            yield f"{name} in whatever version pip finds: name one to have it judged, {name}==X.Y"


def _none(question: Question, wishes: Wishes, assumed: tuple[str, ...], findings: tuple[Finding, ...] = ()) -> Plan:
    """No plan: what stands in the way, and the single constraints of which one must go."""
    judged = answer(question)
    near = nearest(question)
    found = findings or judge(near)
    bad = [finding for finding in found if finding.status is Status.FAIL]
    problems = [f"{finding.summary}. {finding.remedies[0].text}" for finding in bad]
    best = judged.recommend
    if best is not None and not best.needs:
        bound = f"torch {question.torch}" if question.torch else "the exact versions"
        problems.append(f"relax {bound}: torch {best.torch}+{best.build} suits the rest")
    problems += [f"relax one thing: with {text}" for text in judged.relax]
    if question.musl and (other := choose(replace(question, musl=False, glibc=None))):
        problems.append(f"relax one thing: with a distribution of glibc: torch {other.question.torch} would suit")
    elif best is None and not judged.relax:
        problems.append("no published PyTorch suits all of this, and no single change helps")
    compat = replace(judged, verdict="error", findings=found, question=_as_asked(question), data_until=_data_until())
    return Plan(purpose=wishes.purpose, steps=(), compat=compat, assumed=assumed, problems=tuple(problems))
