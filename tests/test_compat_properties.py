"""What must hold of any question: nothing raises, newer drivers never harm, and what is recommended works."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_compat_answers import assert_works

from dltool import compat, tables
from dltool.compat import Question
from dltool.compat.answer import verdict
from dltool.compat.packages import stack_components

RELEASES = [row for row in tables.rows("compat/torch_releases") if row["status"] == "released"]
BUILDS = [(row["torch"], build) for row in RELEASES for build in row["builds"].split()]
LINUX = sorted({row["driver_linux"] for row in tables.rows("compat/cuda") if row["driver_linux"]}, key=compat.version)
WINDOWS = sorted({row["driver_windows"] for row in tables.rows("compat/cuda") if row["driver_windows"]}, key=compat.version)
CUDAS = sorted({".".join(row["cuda"].split(".")[:2]) for row in tables.rows("compat/cuda")}, key=compat.version)
CAPABILITIES = sorted({row["compute_capability"] for row in tables.rows("architectures")}, key=compat.version)
PYTHONS = [f"3.{minor}" for minor in range(6, 17)]
COMPANIONS = sorted({(row["companion"], row["version"]) for row in tables.rows("compat/companions") if row["version"]})
STACK = [
    (name, version) for name in stack_components() for version in ("", "1.0.9", "2.8.3", "0.0.34", "0.50.0", "1.26.0", "11.3")
]
CUDNNS = sorted({row[end] for row in tables.rows("compat/cudnn") for end in ("cudnn_from", "cudnn_to")}, key=compat.version)
PACKAGES = [row["package"] for row in tables.rows("compat/forward_compat")]
GLIBCS = sorted({row["glibc"] for row in tables.rows("compat/glibc") if row["glibc"]}, key=compat.version)
SEGMENTS = ("geforce", "laptop", "titan", "workstation", "datacenter", "superchip")


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def questions(draw: st.DrawFn, *, fewer: bool = False) -> Question:
    """Any combination of values that the tables know; `fewer`: what a person would ask, so that something often suits."""
    system = draw(st.sampled_from(["linux", "linux", "windows", "wsl"]))
    torch, build = draw(st.sampled_from(BUILDS) | st.just((None, None)))
    asked: dict[str, Any] = {
        "os": system,
        "arch": draw(st.sampled_from(["x86_64", "x86_64", "aarch64"])),
        "driver": draw(maybe(st.sampled_from(LINUX if system == "linux" else WINDOWS))),
        "compute_capabilities": tuple(draw(st.lists(st.sampled_from(CAPABILITIES), max_size=2, unique=True))),
        "torch": torch,
        "build": build,
        "python": draw(maybe(st.sampled_from(PYTHONS))),
        "packages": dict(draw(st.lists(st.sampled_from(COMPANIONS), max_size=2))),
        "glibc": draw(maybe(st.sampled_from(GLIBCS))) if system != "windows" else None,
    }
    if not fewer:
        asked |= {
            "packages": dict(draw(st.lists(st.sampled_from([*COMPANIONS, *STACK]), max_size=3))),
            "cuda": draw(maybe(st.sampled_from(CUDAS))),
            "cudnn": draw(maybe(st.sampled_from(CUDNNS))),
            "gcc": draw(maybe(st.sampled_from(["5", "9.4", "13.2", "16"]))),
            "kernel_module": draw(maybe(st.sampled_from(["open", "proprietary"]))),
            "compat_package": draw(maybe(st.sampled_from(PACKAGES))),
            "gpu_segments": tuple(draw(st.lists(st.sampled_from(SEGMENTS), max_size=1))),
            "extension_ptx": draw(maybe(st.sampled_from(CUDAS))),
            "musl": draw(st.booleans()),
            "tegra": draw(st.booleans()),
        }
    return Question(**asked)


@settings(max_examples=500)
@given(questions())
def test_nothing_raises_and_nothing_is_said_twice(question: Question) -> None:
    found = compat.judge(question)
    assert verdict(found) in ("ok", "warning", "error", "unknown")
    assert all(finding.summary and finding.id for finding in found)
    assert all(finding.why and finding.remedies for finding in found if finding.status.value in ("warn", "fail"))


@settings(max_examples=100)
@given(questions())
def test_the_whole_answer_never_raises(question: Question) -> None:
    found = compat.answer(question)
    assert not (found.recommend and not found.recommend.needs and found.relax)


ORDER = {"ok": 0, "warning": 1, "unknown": 2, "error": 3}


@settings(max_examples=300)
@given(questions(fewer=True), st.integers(0, 9), st.integers(1, 99))
def test_a_newer_driver_of_a_branch_is_never_worse(question: Question, minor: int, more: int) -> None:
    if question.driver is None:
        return
    branch = question.driver.partition(".")[0]
    older, newer = f"{branch}.{minor}.01", f"{branch}.{minor + more}.01"
    before, after = (verdict(compat.judge(replace(question, driver=driver))) for driver in (older, newer))
    assert ORDER[after] <= ORDER[before]


FREE = Question()
REMOVABLE = ("driver", "compute_capabilities", "python", "packages", "glibc")


def rank(question: Question) -> tuple[Any, ...] | None:
    """The release recommended without anything being moved, or None; what works with a limit counts as none."""
    found = compat.recommend(question)
    if found is None or found.needs or "with a limit" in found.why:
        return None
    return compat.version(found.torch).release


@settings(max_examples=200)
@given(questions(fewer=True), st.sampled_from(REMOVABLE))
def test_fewer_constraints_never_mean_an_older_torch(question: Question, field: str) -> None:
    with_it, without = rank(question), rank(replace(question, **{field: getattr(FREE, field)}))
    if with_it is not None:
        assert without is not None
        assert without >= with_it


@settings(max_examples=200)
@given(questions(fewer=True))
@example(Question(driver="535.183.01", compute_capabilities=("8.0",), python="3.12"))
def test_what_is_recommended_works(question: Question) -> None:
    found = compat.recommend(question)
    unpinned = {"torchtext", "torchdata", "triton", "triton-windows"} & set(question.packages)  # not installed with it yet
    if found is not None and not found.needs and not unpinned:
        assert_works(question, found)


@settings(max_examples=200)
@given(questions(fewer=True))
def test_what_is_asked_and_works_is_never_newer_than_the_recommendation(question: Question) -> None:
    if question.torch is None or question.build == "cpu" or verdict(compat.judge(question)) != "ok":
        return
    found = compat.recommend(question)
    assert found is not None
    assert compat.version(found.torch) >= compat.version(question.torch)


@settings(max_examples=200)
@given(questions(fewer=True))
def test_what_is_to_be_moved_is_named_where_nothing_suits(question: Question) -> None:
    found = compat.answer(question)
    if found.recommend is not None and found.recommend.needs:
        assert any(text.startswith(found.recommend.needs) for text in found.relax)
