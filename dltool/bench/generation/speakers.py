"""A language model with its cache, whoever wrote it: of the zoo, of transformers, or of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltool import tables
from dltool.bench.generation.caches import Cache, DynamicCache, StaticCache, TheirCache
from dltool.errors import CannotRun, UsageError
from dltool.zoo import providers
from dltool.zoo.entries import entry
from dltool.zoo.subject import Subject, of_source, of_zoo

_TEXT = ("next-token", "next-word", "text-to-text", "translation", "masked-language-modelling", "question-answering")
"""Tasks of `dltool.zoo.tasks` that have to do with text; the models of the first keep a cache."""
_SEED = 1_048_583
"""Random numbers that are used over and over to fill weights: a prime, so that no two rows are alike."""
_STD = 0.02
_KEEPS_ALL = ("StaticLayer", "DynamicLayer")
"""Layers of transformers' caches that keep every key and value, and nothing else."""


class Speaker:
    """Scores the next token, with a cache or without; only where it is asked for (`keep` last positions) are scores made."""

    def __init__(self, module: Any, name: str) -> None:
        """Around a module in eval mode.

        Raises:
            CannotRun: it has no cache that is known here.
        """
        import torch

        self.module, self.keep, self._contiguous = module.eval().requires_grad_(False), 1, torch.contiguous_format
        self.like = _own_cache(module)
        self._theirs = self.like is None and _of_transformers(module)
        head = module.get_output_embeddings() if self._theirs else getattr(module, "lm_head", None)
        if head is None or (self.like is None and not self._theirs):
            raise CannotRun(f"no KV cache is known for {name}", remedy=f"Known: {', '.join(known())}; {_OTHERS}")
        self.vocabulary, self.width = (int(side) for side in head.weight.shape)
        head.register_forward_pre_hook(lambda _head, given: (self._last(given[0]),))

    def _last(self, x: Any) -> Any:
        """Copied, for torch multiplies a slice of several texts as many products, each with a copy of the head's weight."""
        return x if x.shape[1] == self.keep else x[:, -self.keep :].clone(memory_format=self._contiguous)

    def scores(self, ids: Any, cache: Cache | None = None) -> Any:
        """(N, T) -> (N, keep, vocabulary): what may follow the last tokens; with a cache T are those after what it has seen."""
        if self._theirs:
            theirs = cache.theirs if isinstance(cache, TheirCache) else None
            return self.module(input_ids=ids, past_key_values=theirs, use_cache=theirs is not None).logits
        mask = cache.begin(ids.shape[1]) if cache is not None else None
        return self.module(ids, past_key_values=cache, attention_mask=mask)

    def cache(self, torch: Any, kind: str, batch: int, length: int) -> Cache:
        """An empty one, "static" or "dynamic".

        Raises:
            CannotRun: a cache of transformers that does not keep every key and value, or cannot be set back.
        """
        if self.like is None:
            return self._their_cache(kind, length)
        return StaticCache(torch, self.like, batch, length) if kind == "static" else DynamicCache(torch, len(self.like.keys))

    def _their_cache(self, kind: str, length: int) -> Cache:
        import transformers

        config, static = self.module.config, kind == "static"

        def empty() -> Any:
            if static:
                return transformers.StaticCache(config=config, max_cache_len=length)
            return transformers.DynamicCache(config=config)

        cache = TheirCache(empty, static=static)
        kinds = {type(layer).__name__ for layer in cache.theirs.layers}
        settable = all(hasattr(layer, "cumulative_length") for layer in cache.theirs.layers) or not static
        if not kinds <= set(_KEEPS_ALL) or not settable:
            told = ", ".join(sorted(kinds))
            raise CannotRun(f"the {kind} cache of {type(self.module).__name__} ({told}) cannot be set back to a token",
                            remedy="Choose a model whose layers attend to all tokens, or --cache dynamic.")  # fmt: skip
        return cache


_OTHERS = "hf:config.json of a ...ForCausalLM; your own with `cache(batch, length)` as dltool.models.causal.KVCache"


def known() -> tuple[str, ...]:
    """The language models of the zoo that keep keys and values."""
    return tuple(row["name"] for row in tables.rows("language_models"))


def check(name: str) -> None:
    """Refuse what is known to be no language model, before anything is loaded.

    Raises:
        UsageError: no model of this name, or one for something else.
    """
    providers.check(name)
    if providers.in_zoo(name) and entry(name).task not in _TEXT:
        task = entry(name).task.replace("-", " ")
        raise UsageError(f"{name} is no language model but one for {task}",
                         remedy=f"Language models: {', '.join(known())}; {_OTHERS}")  # fmt: skip


def positions(name: str, options: Mapping[str, str], module: Any = None) -> int | None:
    """The most tokens that a model takes; None where nobody says."""
    told = options.get("max_position_embeddings")
    if told is not None and told.isdigit():
        return int(told)
    if providers.in_zoo(name):
        return next((int(row["positions"]) for row in tables.rows("language_models") if row["name"] == name), None)
    config = getattr(module, "config", None)
    longest = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return int(longest) if isinstance(longest, int) else None


def subject(name: str, options: Mapping[str, str]) -> Subject:
    """How the model of this name is made."""
    return of_zoo(name, options) if providers.in_zoo(name) else of_source(providers.source(name), options)


def made(torch: Any, found: Subject, name: str, device: str, dtype: Any) -> Any:
    """The model with random weights. One of the zoo is filled where it lies, in its dtype: a large one takes seconds, not
    minutes, and never twice its memory."""
    if device != "meta" and providers.in_zoo(name):
        module = found.make(device="meta", dtype=dtype)
        if not any(True for _ in module.buffers()):
            return _filled(torch, module, device)
    return found.make(device=device, dtype=dtype)


def _filled(torch: Any, module: Any, device: str) -> Any:
    """A module of the meta device, on a real one; tensors that several layers share stay shared."""
    numbers = torch.randn(_SEED, generator=torch.Generator().manual_seed(0)) * _STD
    real: dict[int, Any] = {}
    for layer in module.modules():
        for name, parameter in layer._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in real:
                tensor = torch.empty_like(parameter, device=device)
                _fill(tensor, numbers.to(device, tensor.dtype), 1.0 if tensor.dim() == 1 and name == "weight" else 0.0)
                real[id(parameter)] = torch.nn.Parameter(tensor, requires_grad=False)
            layer._parameters[name] = real[id(parameter)]
    return module


def _fill(tensor: Any, numbers: Any, around: float) -> None:
    flat = tensor.detach().view(-1)
    for start in range(0, len(flat), len(numbers)):
        part = flat[start : start + len(numbers)]
        part.copy_(numbers[: len(part)])
    if around:
        flat.add_(around)  # the weights of norms


def _own_cache(module: Any) -> Any:
    """The cache of one token that a model of our kind gives; None where it gives none."""
    make = getattr(module, "cache", None)
    if not callable(make):
        return None
    cache = make(1, 1)
    keys: Any = getattr(cache, "keys", None)
    return cache if hasattr(keys, "dim") and keys.dim() == 5 and hasattr(cache, "seen") else None


def _of_transformers(module: Any) -> bool:
    config = getattr(module, "config", None)
    generates = callable(getattr(module, "can_generate", None)) and module.can_generate()
    return bool(generates and config is not None and not getattr(config, "is_encoder_decoder", False))
