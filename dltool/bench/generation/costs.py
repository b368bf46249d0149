"""Operations, bytes and memory of the steps, by making each once on the meta device, where nothing is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from dltool.bench.generation.speakers import Speaker
from dltool.model_results import Flops
from dltool.results import Work
from dltool.zoo import flops
from dltool.zoo.memory import CPU, GPU
from dltool.zoo.recorder import products_of
from dltool.zoo.storages import Storages, following


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a model of one dtype costs at a batch and a context, whatever keeps its keys and values."""

    weights: int
    """Bytes of all parameters and buffers."""
    read: int
    """Bytes of them that each step reads whole: all but tables of which it looks up single rows."""
    kv_per_token: int
    """Bytes of keys and values for each token of a sequence."""
    prefill: Flops | None
    """None: the model cannot be followed without its numbers."""
    decode: Flops | None
    """Of the step that reads the last of `context` tokens."""
    temporary: int
    """Bytes at most alive during the prefill beside weights and cache; 0 where the model cannot be followed."""


def costs(torch: Any, speaker: Speaker, batch: int, context: int, *, gpu: bool) -> Costs:
    """Those of a model on the meta device."""
    ids = torch.empty((batch, context), dtype=torch.int64, device="meta")
    prefill, decode = (_counted(torch, speaker, ids, only_last) for only_last in (False, True))
    return Costs(
        weights=_bytes((*speaker.module.parameters(), *speaker.module.buffers())),
        read=_read(torch, speaker.module),
        kv_per_token=_kv_per_token(torch, speaker),
        prefill=prefill,
        decode=decode,
        temporary=_temporary(torch, speaker, ids, gpu=gpu),
    )


def whole(first: Costs, last: Costs, new: int) -> Flops | None:
    """Operations of a prompt and `new` tokens: each token's grow evenly from the first to the last of them.

    Args:
        first: at the length of the prompt and one token.
        last: at the length of the prompt and all but the last token, which nobody reads.
        new: tokens; the prompt gives the first of them.
    """
    if first.prefill is None or first.decode is None or last.decode is None:
        return first.prefill if new == 1 else None

    def summed(one: int, from_: int, to: int) -> int:
        return one + (from_ + to) * (new - 1) // 2

    kinds = {*first.prefill.by_kind, *first.decode.by_kind}
    by_kind = [(first.prefill.by_kind, first.decode.by_kind, last.decode.by_kind)]
    return replace(
        first.prefill,
        ops=summed(first.prefill.ops, first.decode.ops, last.decode.ops),
        ops_causal_halved=summed(
            first.prefill.ops_causal_halved, first.decode.ops_causal_halved, last.decode.ops_causal_halved
        ),
        by_kind={kind: summed(*(part.get(kind, 0) for part in parts)) for kind in sorted(kinds) for parts in by_kind},
    )


def work_of_prefill(found: Costs, batch: int, context: int) -> Work:
    """The weights once, and the cache written."""
    return Work(ops=_ops(found.prefill), bytes=found.read + batch * context * found.kv_per_token)


def work_of_decode(found: Costs, batch: int, context: int) -> Work:
    """The weights once, and the cache read: bytes, not arithmetic, are what takes the time of small batches."""
    return Work(ops=_ops(found.decode), bytes=found.read + batch * context * found.kv_per_token)


def work_of_whole(found: Costs, counted: Flops | None, batch: int, prompt: int, new: int) -> Work:
    """The weights once for each token, and a cache that grows by one from token to token."""
    kept = sum(range(prompt, prompt + new))
    return Work(ops=_ops(counted), bytes=new * found.read + batch * kept * found.kv_per_token)


def _ops(counted: Flops | None) -> int:
    return counted.ops if counted is not None else 0


def _bytes(tensors: Any) -> int:
    return sum({id(tensor): tensor.nbytes for tensor in tensors}.values())


def _read(torch: Any, module: Any) -> int:
    """Tables that a product multiplies too, such as an embedding that is the head, are read whole."""
    layers = (layer for layer in module.modules() if not isinstance(layer, torch.nn.Embedding))
    return _bytes(parameter for layer in layers for parameter in layer.parameters(recurse=False))


def _kv_per_token(torch: Any, speaker: Speaker) -> int:
    """By keeping one token."""
    cache = speaker.cache(torch, "dynamic", 1, 1)
    with torch.no_grad():
        speaker.scores(torch.zeros((1, 1), dtype=torch.int64, device=next(speaker.module.parameters()).device), cache)
    return cache.nbytes


def _counted(torch: Any, speaker: Speaker, ids: Any, only_last: bool) -> Flops | None:
    """Of all tokens at once, or of the last behind a cache of the others."""
    cache = speaker.cache(torch, "dynamic", *ids.shape)
    run: Callable[[], Any]
    try:
        with torch.no_grad():
            if only_last and ids.shape[1] > 1:
                speaker.scores(ids[:, :-1], cache)
            run = lambda: speaker.scores(ids[:, -1:] if only_last else ids, cache)  # noqa: E731
            return flops.of_products(products_of(run))
    except RuntimeError:  # its code asks for numbers
        return None


def _temporary(torch: Any, speaker: Speaker, ids: Any, *, gpu: bool) -> int:
    habits = GPU if gpu else CPU
    storages = Storages(habits.block)
    storages.hold((*speaker.module.parameters(), *speaker.module.buffers()), "weights")
    cache = speaker.cache(torch, "dynamic", *ids.shape)
    try:
        with torch.no_grad(), following(storages, habits.workspace):
            speaker.scores(ids, cache)
    except RuntimeError:
        return 0
    return max(0, storages.peak - storages.live["weights"] - cache.nbytes)
