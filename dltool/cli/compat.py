"""`dltool compat`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dltool.cli.asking import Asking
from dltool.cli.common import SpokenOutput, finish, guarded, report

if TYPE_CHECKING:
    from dltool.compat.ask import Asked


@guarded
def compat(out: SpokenOutput, asking: Asking) -> None:
    """Say whether driver, GPU, CUDA, PyTorch and Python go together, by which rules, and what to install if not.

    Any subset may be given; nothing is this machine. Exit code 1: they do not.
    Example: dltool compat --gpu "RTX 5090" --driver 560.35.03 --torch 2.7.1+cu128
    """
    from msgspec.structs import replace

    from dltool import compat as rules
    from dltool import tables
    from dltool.cli.gpu_info import warn_of_tables

    asked = asking.ask() if asking.given else _here()
    answer = rules.answer(asked.question)
    checked = max(row["checked"] for name in ("cuda", "torch_releases", "torch_archs") for row in tables.rows(f"compat/{name}"))
    answer = replace(answer, assumed=asked.assumed, question=_as_asked(asked), data_until=checked)
    warn_of_tables(quiet=out.quiet)
    finish(report("compat", compat=answer), out, keep=None)


def _here() -> Asked:
    """This machine as a question."""
    from dltool import probe
    from dltool.compat.ask import Asked
    from dltool.compat.question import of_machine

    return Asked(question=of_machine(probe.read()), assumed=("nothing was asked: this machine",))


def _as_asked(asked: Asked) -> dict[str, object]:
    """The constraints that were given, for the report."""
    from dltool.compat.question import Question

    free = Question()
    fields = Question.__struct_fields__
    return {name: value for name in fields if (value := getattr(asked.question, name)) != getattr(free, name) or name == "os"}
