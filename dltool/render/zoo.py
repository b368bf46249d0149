"""What every format says alike of models: counts, sizes, operations, what fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dltool.model_results import Fit, Flops, Layer, Memory, Model
from dltool.units import significant

CONVENTION = "a multiply-add counts as two operations; products and convolutions only"
_MEMORY = ("weights", "gradients", "state", "activations", "inputs")
_WORDS = {"state": "optimizer state", "bf16": "bf16 or fp16", "mixed": "mixed, weights in fp32"}


def title(model: Model) -> str:
    """Its name with its options."""
    told = ", ".join(f"{key}={value}" for key, value in model.options.items())
    return f"{model.name}({told})" if told else model.name


def task(name: str) -> str:
    """As a heading."""
    return name.replace("-", " ")


def count(number: float | None) -> str:
    """25557032 -> "25.6 M"; a number that nobody told is blank."""
    if number is None:
        return ""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{_three(number / factor)} {unit}"
    return f"{number:g}"


def _three(number: float) -> str:
    """Three digits, zeros at the end kept: columns of such figures read well."""
    return f"{number:.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def row(model: Model) -> tuple[str, ...]:
    """Name, parameters, 1e9 operations forward, year, input and title: a line of a list."""
    gflops = model.forward_gflops
    told = "" if gflops is None else _three(gflops) if gflops >= 0.095 else significant(gflops, 2)
    return model.name, count(model.params), told, str(model.year or ""), takes(model.input), model.title


def billions(operations: float) -> str:
    """Operations in units of 1e9, four digits."""
    return significant(operations / 1e9, 4)


def size(number: int) -> str:
    """Bytes with the unit that fits."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= factor:
            return f"{significant(number / factor)} {unit}" if number < 1000 * factor else f"{number / factor:.0f} {unit}"
    return f"{number} B"


def takes(description: str) -> str:
    """An input without its kind and batch: "float:N,3,224,224" -> "3x224x224"."""
    parts = []
    for part in description.split(" + "):
        sides = [side.strip() for side in part.partition(":")[2].split(",")]
        parts.append("x".join(side for side in sides if side != "N") or "1")
    return " + ".join(parts)


def operations(model: Model) -> Iterator[tuple[str, str, str, str]]:
    """Lines of what, GFLOP and GMAC of one sample, and remark."""
    if model.flops is None:
        return
    found, one = model.flops, model.flops.forward.ops / model.flops.batch
    yield from _pass("forward", found.forward, found.batch, None)
    if found.train_step is not None and found.train_batch:
        yield from _pass("training step", found.train_step, found.train_batch, one)


def _pass(name: str, found: Flops, batch: int, forward: float | None) -> Iterator[tuple[str, str, str, str]]:
    def figures(operations: int) -> tuple[str, str]:
        return billions(operations / batch), billions(operations / batch / 2)

    times = f"{found.ops / batch / forward:.3f} x forward" if forward else ""
    yield name, *figures(found.ops), times
    if found.ops_causal_halved != found.ops:
        yield f"{name}, causal attention halved", *figures(found.ops_causal_halved), ""
    if found.ops_again:
        yield f"{name}, with what attention makes anew", *figures(found.ops + found.ops_again), ""
    if found.counter is not None and found.counter != found.ops:
        yield f"{name}, by torch's FlopCounterMode", *figures(found.counter), ""


def memory(held: tuple[Memory, ...]) -> Iterator[tuple[str, ...]]:
    """A line for each part, a column for each way to run it."""
    for part in _MEMORY:
        sizes = [getattr(one, part) for one in held]
        if any(sizes):
            yield _WORDS.get(part, part), *(size(each) if each else "-" for each in sizes)
    yield "temporary, at the peak", *(size(one.at_peak.get("temporary", 0)) for one in held)
    yield "peak", *(f"{size(one.peak)}" for one in held)


def ways(held: tuple[Memory, ...]) -> tuple[str, ...]:
    """What each column of `memory` is."""
    return tuple(f"{'training step' if one.optimizer else 'forward'} of {one.batch}" for one in held)


def fit(one: Fit) -> tuple[str, str, str, str, str]:
    """Purpose, precision, the largest batch, its peak, and what each sample takes."""
    batch = f"{one.batch:,}" if one.batch else "none"
    return one.purpose, _WORDS.get(one.dtype, one.dtype), batch, size(one.peak or 0), size(one.per_sample)


def layers(rows: Iterable[Layer]) -> Iterator[tuple[str, str, str, str, str]]:
    """Name, type, output, parameters, multiply-adds."""
    for row in rows:
        output = " + ".join("x".join(map(str, shape)) for shape in row.output)
        calls = f" ({row.calls} times)" if row.calls > 1 else ""
        params, macs = (f"{number:,}" if number else "" for number in (row.params, row.macs))
        yield row.name + calls, row.type, output, params, macs


def facts(model: Model) -> Mapping[str, str]:
    """What is known of it, by label."""
    trained = "" if model.trainable in (None, model.params) else f", {model.trainable:,} of them trainable"
    told = {
        "task": ", ".join(filter(None, (task(model.task), str(model.year or "")))),
        "paper": model.paper,
        "input": f"{model.input}; N is the batch" if "N" in model.input else model.input,
        "parameters": f"{model.params:,}{trained}" if model.params is not None else "",
        "published": model.published,
        "equals": model.reference,
        "source": model.source,
        "variants": ", ".join(model.variants),
        "options": ", ".join(f"{one.name}={one.default}" for one in model.takes),
        "KV cache": f"{size(model.kv_cache_per_token)} for each token of a sample" if model.kv_cache_per_token else "",
    }
    return {label: text for label, text in told.items() if text}
