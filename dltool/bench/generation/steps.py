"""The steps that are timed: a prompt at once, one token more, and a whole text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dltool.bench.devices import Step
from dltool.bench.generation.backends import only
from dltool.bench.generation.caches import Cache
from dltool.bench.generation.speakers import Speaker

Next = Callable[[Any], tuple[Any, Any]]
"""From the tokens that came last, (N, 1), to the scores (N, vocabulary) and the next tokens (N, 1)."""
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
"""Of torch.compile."""
OWN_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes that record CUDA graphs by themselves."""
_WARM = 3
"""Steps before a graph is recorded, so that libraries have chosen and allocated. Source: torch's notes on CUDA graphs."""


@dataclass(slots=True)
class Session:
    """A model with its cache, and the text that it is given."""

    torch: Any
    speaker: Speaker
    cache: Cache
    ids: Any
    """(N, context)."""
    sdpa: str = "auto"
    left: list[Any] = field(default_factory=list)
    """Scores and tokens of the last step, for whoever checks them."""

    def read(self, ids: Any) -> tuple[Any, Any]:
        """Scores after the last of `ids`, and the best token: greedy."""
        scores = self.speaker.scores(ids, self.cache)[:, -1]
        return scores, scores.argmax(-1, keepdim=True)

    def prefill(self) -> Step:
        """A step reads the prompt into the empty cache and chooses the first token."""

        def step() -> None:
            with self.torch.no_grad(), only(self.sdpa):
                self.cache.empty()
                self.left[:] = self.read(self.ids)

        return step

    def up_to(self, count: int) -> None:
        """Read the first `count` tokens, and mark where the cache is then."""
        with self.torch.no_grad(), only(self.sdpa):
            self.cache.empty()
            if count:
                self.read(self.ids[:, :count])
            self.cache.mark()

    def decode(self, following: Next) -> Step:
        """A step reads the last of the tokens behind all others, each time anew: the cache does not grow."""
        last = self.ids[:, -1:]
        self.up_to(self.ids.shape[1] - 1)

        def step() -> None:
            with self.torch.no_grad(), only(self.sdpa):
                self.cache.reset()
                self.left[:] = following(last)

        return step

    def generate(self, following: Next, new: int) -> Step:
        """A step reads the prompt and says `new` tokens; it does not look whether the text is at its end."""

        def step() -> None:
            with self.torch.no_grad(), only(self.sdpa):
                self.cache.empty()
                scores, token = self.read(self.ids)
                tokens = [token]
                for _ in range(new - 1):
                    scores, token = following(token)
                    tokens.append(token)
                self.left[:] = [scores, self.torch.cat(tokens, 1)]

        return step


def following(session: Session, compile_mode: str, *, graph: bool) -> Next:
    """One token more: as it is, compiled ("no": not), or as a CUDA graph, which is recorded here.

    A graph is recorded where the cache was marked; it advances the position by itself.
    """
    step: Next = session.read
    if compile_mode != "no":
        step = _compiled(session, compile_mode)
    return _recorded(session, step) if graph else step


def _compiled(session: Session, mode: str) -> Next:
    torch = session.torch
    compiled = torch.compile(session.read, mode=None if mode == "default" else mode)
    if mode not in OWN_GRAPHS:
        return compiled  # type: ignore[no-any-return]

    def step(token: Any) -> tuple[Any, Any]:
        torch.compiler.cudagraph_mark_step_begin()
        scores, chosen = compiled(token)
        return scores, chosen.clone()  # the next replay writes over it

    return step


def _recorded(session: Session, step: Next) -> Next:
    torch, token = session.torch, session.ids[:, -1:].clone()
    session.up_to(session.ids.shape[1] - 1)
    side = torch.cuda.Stream(device=token.device)
    side.wait_stream(torch.cuda.current_stream(token.device))
    with torch.no_grad(), only(session.sdpa):
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                session.cache.reset()
                step(token)
        torch.cuda.current_stream(token.device).wait_stream(side)
        session.cache.reset()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(token.device), torch.cuda.graph(graph):
            scores, chosen = step(token)

    def replay(given: Any) -> tuple[Any, Any]:
        token.copy_(given)
        graph.replay()
        return scores, chosen.clone()

    return replay
