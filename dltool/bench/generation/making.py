"""From a case to what is timed: the model is made, and refused where it does not fit, cannot do it, or has no cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dltool.bench import Prepared, dtype_row, resident
from dltool.bench.devices import Device, Step
from dltool.bench.generation import backends, checking, costs, figures, speakers
from dltool.bench.generation.costs import Costs
from dltool.bench.generation.speakers import Speaker
from dltool.bench.generation.steps import Next, Session, following
from dltool.bench.workloads import kit
from dltool.errors import CannotRun
from dltool.model_results import Flops
from dltool.results import Verified, Work
from dltool.step_results import ModelStep
from dltool.zoo import providers
from dltool.zoo.subject import Subject

if TYPE_CHECKING:
    from dltool.bench.workloads.generate import Generate

_SMALLER = "choose a smaller --batch, --context or --dtype, or fewer layers: --set layers=2"


@dataclass(slots=True)
class First:
    """A step that remembers how long its first call took, with the compiling and choosing that is in it."""

    step: Step
    torch: Any
    device: Device
    seconds: float | None = None

    def __call__(self) -> None:
        """Once."""
        if self.seconds is not None:
            self.step()
            return
        began = time.perf_counter()
        self.step()
        if self.device.kind == "cuda":
            self.torch.cuda.synchronize(self.device.name)
        self.seconds = time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Made:
    """A case that is ready."""

    case: Generate
    device: Device
    session: Session
    following: Next
    costs: Costs
    counted: Flops | None
    work: Work
    build_s: float
    resident: int | None
    most: int | None
    """Positions of the model."""

    def prepared(self) -> Prepared:
        """As the harness takes it."""
        case = self.case
        if case.phase == "prefill":
            step = self.session.prefill()
        elif case.phase == "decode":
            step = self.session.decode(self.following)
        else:
            step = self.session.generate(self.following, case.new)
        first = First(step, self.session.torch, self.device)
        return Prepared(first, self._verify, work=self.work, examine=lambda samples: self._examine(first, samples))

    def _verify(self) -> Verified:
        tolerance = checking.tolerance(self.case.dtype, _layers(self.session.speaker), self.session.speaker.width)
        if not self.session.left:
            return Verified(reference="no step was made", error=None, tolerance=tolerance, ok=False)
        if self.case.phase == "decode":
            return checking.decode(self.session, tolerance)
        if self.case.phase == "generate":
            return checking.generate(self.session, tolerance)
        room = self.most is None or self.case.context < self.most
        return checking.prefill(self.session, self.following, tolerance, room)

    def _examine(self, step: First, samples: Sequence[float]) -> ModelStep:
        case = self.case
        told = figures.Told(
            device=self.device, step=step, dtype=case.dtype, phase=case.phase, batch=case.batch,
            tokens={"prefill": case.context, "decode": 1, "generate": case.new}[case.phase], work=self.work,
            flops=self.counted, costs=self.costs, cache_bytes=self.session.cache.nbytes, build_s=self.build_s,
            resident=self.resident,
        )  # fmt: skip
        return figures.figures(told, samples, step.seconds, self._parts() if case.phase == "generate" else ())

    def _parts(self) -> Any:
        """The prompt, and a token in the middle of the new ones."""
        said = self.session.left[1][:, : max(1, self.case.new // 2)]
        middle = replace(self.session, ids=self.session.torch.cat((self.session.ids, said), 1), left=[])
        prefill = self.session.prefill()
        ttft = figures.part_times(self.device, prefill, prefill, 1)[0]
        return (ttft, figures.part_times(self.device, lambda: None, middle.decode(self.following), self.case.new)[1])


def make(torch: Any, case: Generate, device: Device) -> Made:
    """A case on a device.

    Raises:
        CannotRun: no cache is known for the model, it takes fewer tokens, there is no room, or the backend refuses.
    """
    options = dict(option.split("=", 1) for option in case.options.split())
    found = speakers.subject(case.name, options)
    dtype = getattr(torch, dtype_row(case.dtype)["torch"])
    cost, counted, work, most = _foreseen(torch, case, device, found, dtype, options)
    held, began = resident.now(), time.perf_counter()
    figures.forget_peaks(torch, device)
    speaker = Speaker(speakers.made(torch, found, case.name, device.name, dtype), case.name)
    build_s = time.perf_counter() - began
    ids = torch.randint(speaker.vocabulary, (case.batch, case.context), generator=torch.Generator().manual_seed(0))
    # one position more than the step needs: the check reads a token behind a prompt
    cache = speaker.cache(torch, case.cache, case.batch, case.context + (case.new or (case.phase == "prefill")))
    session = Session(torch, speaker, cache, ids.to(device.name), case.sdpa)
    _refuse_backend(session, case)
    plain_or_not = following(session, case.compile, graph=case.graph == "yes")
    return Made(case, device, session, plain_or_not, cost, counted, work, build_s, held, most)


def _foreseen(
    torch: Any, case: Generate, device: Device, found: Subject, dtype: Any, options: dict[str, str]
) -> tuple[Costs, Flops | None, Work, int | None]:
    """What a step costs, the work of it, and the positions of the model; refused where it asks for too much."""
    module = speakers.made(torch, found, case.name, "meta", dtype)
    speaker, gpu = Speaker(module, case.name), device.kind == "cuda"
    most, last = speakers.positions(case.name, options, module), case.context + max(0, case.new - 1)
    if most is not None and last > most:
        told = f"{case.context} tokens" + (f" and {case.new} new ones" if case.new else "")
        raise CannotRun(f"{case.name} takes {most} tokens at most: {told} are too many", remedy="Give a smaller --context.")
    cost = costs.costs(torch, speaker, case.batch, case.context, gpu=gpu)
    _check_room(case, device, cost, dtype)
    if case.phase == "prefill":
        return cost, cost.prefill, costs.work_of_prefill(cost, case.batch, case.context), most
    if case.phase == "decode":
        return cost, cost.decode, costs.work_of_decode(cost, case.batch, case.context), most
    ends = [
        costs.costs(torch, speaker, case.batch, length, gpu=gpu) for length in (case.context + 1, max(last, case.context + 1))
    ]
    counted = costs.whole(replace(cost, decode=ends[0].decode), ends[1], case.new)
    return cost, counted, costs.work_of_whole(cost, counted, case.batch, case.context, case.new), most


def _check_room(case: Generate, device: Device, cost: Costs, dtype: Any) -> None:
    """Weights, the cache (twice where a longer one is made from it) and what a prefill holds for a moment."""
    weights = cost.weights
    if not providers.in_zoo(case.name):
        weights += cost.weights * 4 // dtype.itemsize  # others' models are made in fp32
    kept = case.batch * (case.context + case.new) * cost.kv_per_token
    kit.check_room(device, weights + kept * (2 if case.cache == "dynamic" else 1) + cost.temporary, _SMALLER)


def _refuse_backend(session: Session, case: Generate) -> None:
    """Two tokens and one behind them show whether the backend takes what is to come."""
    if case.sdpa == "auto":
        return
    head, kind = session.ids[:, :2], f"{case.dtype} with the {case.cache} cache of {case.name}"

    def ask() -> None:
        with session.torch.no_grad():
            session.cache.empty()
            session.read(head)
            if case.phase != "prefill" and session.ids.shape[1] > 2:
                session.read(head[:, :1])

    backends.refuse_unless_taken(case.sdpa, kind, ask)


def _layers(speaker: Speaker) -> int:
    if speaker.like is not None:
        return len(speaker.like.keys)
    config = speaker.module.config
    return int(getattr(config, "num_hidden_layers", None) or getattr(config, "n_layer", None) or 1)
