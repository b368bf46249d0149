"""`dltool bench generate`."""

from __future__ import annotations

import itertools
from typing import Annotated

import typer

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, How, axes_of, cases_of, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded, names
from dltool.errors import UsageError

Names = Annotated[
    list[str],
    typer.Argument(help="Language models: gpt2, llama_3.2_1b, hf:config.json, package.module:callable.", metavar="NAME.."),
]


@guarded
def generate(
    out: Output,
    how: How,
    against: Against,
    name: Names,
    dtype: Dtypes = None,
    batch: Annotated[list[str] | None, typer.Option("--batch", help="Sequences at once: 1,8.", metavar="N,..")] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", help="Tokens of the prompt, and behind which one more is said.", metavar="N,.."),
    ] = None,
    new: Annotated[
        list[str] | None, typer.Option("--new", help="Tokens to say after the prompt; 32 by default.", metavar="N,..")
    ] = None,
    phase: Annotated[
        list[str] | None, typer.Option("--phase", help="prefill, decode, generate; all by default.", metavar="NAME,..")
    ] = None,
    cache: Annotated[
        list[str] | None, typer.Option("--cache", help="static: set apart at the start; dynamic: grown.", metavar="KIND,..")
    ] = None,
    sdpa: Annotated[
        list[str] | None,
        typer.Option("--sdpa", help="Attention by auto, math, flash, efficient or cudnn.", metavar="NAME,.."),
    ] = None,
    compile_: Annotated[
        list[str] | None,
        typer.Option("--compile", help="torch.compile of the decode step: no, default, max-autotune ...", metavar="MODE,.."),
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="The decode step as a CUDA graph.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Options of the models: layers=2,width=64.", metavar="KEY=VALUE,.."),
    ] = None,
    device: DeviceName = None,
    budget: Budget = "60s",
) -> None:
    """Measure language models: time to the first token, time per token, tokens/s, KV cache and bandwidth.

    Example: dltool bench generate llama_3.2_1b --dtype bf16 --batch 1,8 --context 128,1024 --cache static,dynamic
    """
    texts = {"name": name, "batch": batch, "context": context, "new": new, "phase": phase, "cache": cache, "sdpa": sdpa,
             "compile": compile_, "graph": ["yes"] if graph else None}  # fmt: skip
    axes = axes_of(dtype, None)
    for key, values in texts.items():
        if values is None:
            continue
        axes[key] = names(values)
        if not axes[key]:
            raise UsageError(f"--{key} names nothing", remedy="dltool bench generate --help shows examples.")
    axes |= options_of(set_)
    run("bench generate", cases_of("generate"), axes, device, budget, out, how, against)


def options_of(settings: list[str] | None) -> dict[str, list[str]]:
    """Options of the models, `layers=2,4` or `layers=2,width=64`: every combination of their values, each as one text.

    Raises:
        UsageError: a setting is not KEY=VALUE.
    """
    given: dict[str, list[str]] = {}
    key = ""
    for setting in settings or ():
        for place, part in enumerate(setting.split(",")):
            name, sign, value = part.strip().rpartition("=")
            if (not sign and not place) or not value or (sign and not name):
                raise UsageError(f"--set {setting}: not KEY=VALUE", remedy="For example: --set layers=2,width=64")
            key = name.strip() or key
            given.setdefault(key, []).append(value.strip())
    combined = itertools.product(*([f"{key}={value}" for value in values] for key, values in given.items()))
    return {"options": [" ".join(one) for one in combined]} if given else {}
