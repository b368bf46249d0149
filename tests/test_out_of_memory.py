"""An out-of-memory explained: the words of allocators, what holds the memory, and what each way out really gives.

The messages are copied from public issues, named beside them; the one of the CPU was printed by torch 2.13 here.
"""

from __future__ import annotations

import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dltool.bench.networks.allocator_words import parse, variable
from dltool.bench.networks.foretelling import Foretelling, Way
from dltool.bench.networks.out_of_memory import explain, room
from dltool.errors import UsageError
from dltool.render.terminal.out_of_memory import lines
from dltool.step_results import AllocatorWords, Change, Held, OutOfMemory
from dltool.zoo import memory
from dltool.zoo.subject import Subject, of_zoo

KIB, MIB, GIB = 2**10, 2**20, 2**30

OLDEST = (  # torch 1.0; pytorch/pytorch issue 16417
    "RuntimeError: CUDA out of memory. Tried to allocate 12.50 MiB (GPU 0; 10.92 GiB total capacity; 8.57 MiB already "
    "allocated; 9.28 GiB free; 4.68 MiB cached)"
)
TORCH_1_9 = (  # pytorch/pytorch issue 59778
    "CUDA out of memory. Tried to allocate 2.26 GiB (GPU 0; 6.00 GiB total capacity; 781.59 MiB already allocated; 3.03 "
    "GiB free; 1.24 GiB reserved in total by PyTorch)"
)
TORCH_1_13 = (  # cmdr2/stable-diffusion-ui issue 104
    "RuntimeError: CUDA out of memory. Tried to allocate 64.00 MiB (GPU 0; 4.00 GiB total capacity; 3.35 GiB already "
    "allocated; 0 bytes free; 3.41 GiB reserved in total by PyTorch) If reserved memory is >> allocated memory try "
    "setting max_split_size_mb to avoid fragmentation.  See documentation for Memory Management and "
    "PYTORCH_CUDA_ALLOC_CONF"
)
TORCH_2_1 = (  # kerrj/lerf issue 73; "capacty" is theirs
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacty of 23.65 GiB "
    "of which 1.66 GiB is free. Including non-PyTorch memory, this process has 20.81 GiB memory in use. Of the allocated "
    "memory 12.09 GiB is allocated by PyTorch, and 4.84 GiB is reserved by PyTorch but unallocated. If reserved but "
    "unallocated memory is large try setting max_split_size_mb to avoid fragmentation."
)
TORCH_2_5 = (  # murong-xu/CADS issue 4
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 22.78 GiB. GPU 0 has a total capacity of 31.47 GiB of "
    "which 12.73 GiB is free. Including non-PyTorch memory, this process has 18.73 GiB memory in use. Of the allocated "
    "memory 9.08 GiB is allocated by PyTorch, and 9.35 GiB is reserved by PyTorch but unallocated. If reserved but "
    "unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
CONTAINER = (  # kaito-project/kaito issue 976: the process does not know its own number
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 546.00 MiB. GPU 0 has a total capacity of 15.77 GiB of"
    " which 514.19 MiB is free. Process 562167 has 15.25 GiB memory in use. Of the allocated memory 13.73 GiB is "
    "allocated by PyTorch, with 46.00 MiB allocated in private pools (e.g., CUDA Graphs), and 736.86 MiB is reserved by "
    "PyTorch but unallocated."
)
NEIGHBOURS = (  # QwenLM/Qwen2.5-Omni issue 240
    "CUDA out of memory. Tried to allocate 124.68 GiB. GPU 0 has a total capacity of 95.22 GiB of which 51.23 GiB is "
    "free. Process 608946 has 14.91 GiB memory in use. Process 734147 has 29.07 GiB memory in use. Of the allocated "
    "memory 25.50 GiB is allocated by PyTorch, and 3.14 GiB is reserved by PyTorch but unallocated."
)
ALLOWED = (  # ROCm/TheRock issue 2118, torch 2.9
    "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 MiB. GPU 0 has a total capacity of 255.98 GiB of "
    "which 244.65 GiB is free. 1.05 GiB allowed; Of the allocated memory 1017.01 MiB is allocated by PyTorch, with 17.00 "
    "MiB allocated in private pools (e.g., HIP Graphs), and 54.99 MiB is reserved by PyTorch but unallocated."
)
CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "140737488355328 bytes. Error code 12 (Cannot allocate memory)"
)
WINDOWS = (  # lllyasviel/Fooocus issue 237
    "RuntimeError: [enforce fail at ..\\c10\\core\\impl\\alloc_cpu.cpp:72] data. DefaultCPUAllocator: not enough memory: you "
    "tried to allocate 26214400 bytes."
)


def gib(number: float) -> int:
    return round(number * 100) * GIB // 100


def mib(number: float) -> int:
    return round(number * 100) * MIB // 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(OLDEST, {"tried": mib(12.5), "total": gib(10.92), "allocated": mib(8.57), "free": gib(9.28),
                              "unallocated": 0}, id="1.0"),
        pytest.param(TORCH_1_9, {"tried": gib(2.26), "total": gib(6), "allocated": mib(781.59), "free": gib(3.03),
                                 "unallocated": gib(1.24) - mib(781.59)}, id="1.9"),
        pytest.param(TORCH_1_13, {"tried": mib(64), "total": gib(4), "allocated": gib(3.35), "free": 0,
                                  "unallocated": gib(3.41) - gib(3.35)}, id="1.13"),
        pytest.param(TORCH_2_1, {"tried": gib(3), "total": gib(23.65), "free": gib(1.66), "in_use": gib(20.81),
                                 "allocated": gib(12.09), "unallocated": gib(4.84)}, id="2.1"),
        pytest.param(TORCH_2_5, {"tried": gib(22.78), "total": gib(31.47), "free": gib(12.73), "in_use": gib(18.73),
                                 "allocated": gib(9.08), "unallocated": gib(9.35)}, id="2.5"),
        pytest.param(CONTAINER, {"tried": mib(546), "total": gib(15.77), "free": mib(514.19), "others": 0,
                                 "allocated": gib(13.73), "graphs": mib(46), "unallocated": mib(736.86)}, id="container"),
        pytest.param(NEIGHBOURS, {"tried": gib(124.68), "total": gib(95.22), "free": gib(51.23), "others": gib(14.91),
                                  "allocated": gib(25.5), "unallocated": gib(3.14)}, id="neighbours"),
        pytest.param(ALLOWED, {"tried": mib(2), "total": gib(255.98), "free": gib(244.65), "allowed": gib(1.05),
                               "allocated": mib(1017.01), "graphs": mib(17), "unallocated": mib(54.99)}, id="allowed"),
        pytest.param(CPU, {"tried": 2**47}, id="cpu"),
        pytest.param(WINDOWS, {"tried": 26214400}, id="cpu, Windows"),
    ],
)  # fmt: skip
def test_the_words_of_allocators(text: str, said: dict[str, int]) -> None:
    found = parse(f"Traceback (most recent call last):\n  {text}\n")
    for name in AllocatorWords.__struct_fields__:
        value = getattr(found, name)
        assert (value is None) == (name not in said), name
        assert value is None or abs(value - said[name]) <= GIB // 100, name


@pytest.mark.parametrize("text", ["", "RuntimeError: CUDA error: out of memory", "MemoryError", "std::bad_alloc"])
def test_words_without_numbers(text: str) -> None:
    assert parse(text) is None


PIECES = (
    *(
        "12",
        "3.5",
        "1.2.3",
        "..",
        "0",
        "9" * 40,
        " ",
        " bytes",
        " GiB",
        " KB",
        "; ",
        " free",
        " total capacity",
        " allowed",
        ".",
    ),
    *("Tried to allocate ", "tried to allocate ", "Process ", " has ", " memory in use", " already allocated", " cached"),
    *("of which ", " is free", " is allocated by PyTorch", " is reserved by PyTorch but unallocated", "total capacity of "),
)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_is_too_strange(text: str) -> None:
    found = parse(text)
    assert found is None or all(value is None or value >= 0 for value in map(partial(getattr, found), found.__struct_fields__))


def test_a_hostile_text_takes_no_time() -> None:
    began = time.perf_counter()
    for text in ("1" * 200_000, "1." * 100_000, "Process 1 has " * 10_000, "1 GiB " * 30_000):
        parse(text)
    assert time.perf_counter() - began < 5


def test_the_variable_is_the_one_that_the_message_names() -> None:
    assert variable(TORCH_2_5) == "PYTORCH_CUDA_ALLOC_CONF"
    assert variable("try setting PYTORCH_ALLOC_CONF=expandable_segments:True") == "PYTORCH_ALLOC_CONF"
    assert variable("") == "PYTORCH_CUDA_ALLOC_CONF"


class Wide(nn.Module):
    """Six layers without batch norm: 4 MB of weights, 10 KB of activations a sample."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Linear(400, 400, **options), nn.Tanh())))

    def forward(self, x):
        return self.layers(x)


def wide() -> Subject:
    import torch

    def make(*, device=None, dtype=None, training=False):
        return Wide(device=device, dtype=dtype)

    def inputs(batch, *, device="cpu", dtype=None):
        return (torch.zeros(batch, 400, device=device, dtype=dtype),)

    return Subject(name="wide", make=make, inputs=inputs)


ROOM = 40 * MIB


@pytest.fixture(scope="module")
def found() -> OutOfMemory:
    """4096 samples, which take more."""
    return explain(wide(), batch=4096, available_bytes=ROOM)


def by_name(found: OutOfMemory) -> dict[str, Change]:
    return {change.what.split()[0]: change for change in found.changes}


def test_what_holds_the_memory_is_the_whole_peak(found) -> None:
    told = memory.training(wide(), 4096)
    assert found.peak == told.peak == sum(held.bytes for held in found.held)
    assert found.held[0].name == "activations"
    assert sum(held.share for held in found.held) == pytest.approx(1)
    assert [held.bytes for held in found.held] == sorted((held.bytes for held in found.held), reverse=True)


def test_each_gain_is_what_the_model_says_of_the_changed_step(found) -> None:
    ways = by_name(found)
    assert ways["amp-bf16"].peak == memory.training(wide(), 4096, dtype="mixed").peak
    assert ways["bf16"].peak == memory.training(wide(), 4096, dtype="bf16").peak
    batch = int(ways["batch"].what.removeprefix("batch "))
    assert ways["batch"].peak == memory.training(wide(), batch).peak <= room(ROOM, "cuda")
    assert memory.training(wide(), int(batch * 1.1) + 8).peak > room(ROOM, "cuda")
    for change in found.changes:
        if not change.basis:
            continue
        assert change.basis in ("memory model", "estimate")
        assert change.saves == found.peak - change.peak > 0
        assert change.fits == (change.peak <= room(ROOM, "cuda"))


def test_accumulation_makes_the_same_batch(found) -> None:
    words = by_name(found)["accumulate"].what.split()
    parts, size = int(words[1]), int(words[3])
    assert (parts - 1) * size < 4096 <= parts * size
    one = memory.training(wide(), size)
    missing = one.gradients - one.at_peak.get("gradients", 0)
    assert missing > 0
    assert by_name(found)["accumulate"].peak == one.peak + missing
    assert by_name(found)["accumulate"].fits


def test_the_order_is_enough_then_cheap_then_large(found) -> None:
    fits = [{True: 0, None: 1, False: 2}[change.fits] for change in found.changes]
    assert fits == sorted(fits)
    names = [change.what.split()[0] for change in found.changes if change.fits]
    assert names.index("accumulate") < names.index("batch")
    assert found.changes[0].fits


def test_holes_are_left_for_on_a_gpu() -> None:
    assert (room(105 * MIB, "cuda"), room(105 * MIB, "cpu"), room(None, "cuda")) == (100 * MIB, 105 * MIB, None)


def test_where_the_optimizer_holds_most() -> None:
    found = explain(wide(), batch=2, available_bytes=15 * MIB)
    ways = by_name(found)
    assert found.held[0].name == "state"
    assert ways["optimizer"].saves is None or ways["optimizer"].basis == "memory model"
    named = [change for change in found.changes if change.what == "optimizer state in 8 bits"]
    assert [(change.saves, change.basis, change.fits) for change in named] == [(None, "", None)]
    momentum = next(change for change in found.changes if change.what == "optimizer momentum")
    assert momentum.peak == memory.training(wide(), 2, optimizer="momentum").peak
    assert "activation" not in ways, "there are next to none"
    assert any("not even one sample" in note for note in found.notes)
    assert "batch" not in ways


def test_inference_has_no_ways_of_training() -> None:
    found = explain(wide(), batch=100_000, training=False, available_bytes=300 * MIB)
    assert found.optimizer is None
    assert set(by_name(found)) == {"batch", "bf16"}
    assert {held.name for held in found.held} == {"temporary", "inputs", "weights"}


def test_what_the_message_adds() -> None:
    text = TORCH_2_1.replace("3.00 GiB", "6.00 GiB")
    found = explain(wide(), batch=64, error_text=text)
    assert found.available == found.said.allocated + found.said.unallocated + found.said.free
    holes = by_name(found)["fewer"]
    assert (holes.saves, holes.fits, holes.basis) == (found.said.unallocated, None, "message")
    assert holes.how == "export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
    assert any("something else holds memory" in note for note in found.notes)
    assert "fewer" not in by_name(explain(wide(), batch=64, error_text=TORCH_2_5)), "holes and free memory are too little"


def test_neighbours_and_limits_are_named() -> None:
    others = by_name(explain(wide(), batch=64, error_text=NEIGHBOURS))["end"]
    assert (others.saves, others.fits) == (parse(NEIGHBOURS).others, False)
    lifted = by_name(explain(wide(), batch=64, error_text=ALLOWED))["lift"]
    assert "set_per_process_memory_fraction" in lifted.how


def test_a_graph_of_gradients_is_suspected_in_inference_alone() -> None:
    assert by_name(explain(wide(), batch=64, training=False, error_text=TORCH_2_1))["no"].how.startswith("torch.inference_mode")
    assert "no" not in by_name(explain(wide(), batch=64, error_text=TORCH_2_1))


def test_without_any_figure_half_the_batch_is_weighed() -> None:
    found = explain(wide(), batch=4096, device="cpu", error_text="std::bad_alloc")
    assert (found.said, found.available) == (None, None)
    assert by_name(found)["batch"].what == "batch 2048"
    assert all(change.fits is None for change in found.changes)


def test_a_model_that_needs_real_numbers_is_not_run_at_its_batch(monkeypatch) -> None:
    seen = []
    true = memory.training

    def training(subject, batch, **options):
        seen.append(batch)
        from msgspec.structs import replace

        return replace(true(subject, batch, **options), found_on="cpu")

    monkeypatch.setattr(memory, "training", training)
    found = explain(wide(), batch=100_000, available_bytes=200 * MIB)
    assert set(seen) == {2, 4}
    assert abs(found.peak - true(wide(), 100_000).peak) < 0.2 * found.peak
    assert any("drawn as a line" in note for note in found.notes)


def test_names_of_the_benchmark_and_of_the_model() -> None:
    told = Foretelling(wide())
    assert told.memory(8, Way("amp-fp16")) is told.memory(8, Way("mixed"))
    assert told.memory(8, Way("tf32")) is told.memory(8, Way("fp32"))
    assert any("reckoned as fp32" in note for note in explain(wide(), batch=8, precision="int8", training=False).notes)
    with pytest.raises(UsageError, match="unknown dtype"):
        explain(wide(), batch=8, precision="fp99")
    with pytest.raises(UsageError, match="unknown optimizer"):
        explain(wide(), batch=8, optimizer="nonsense")


def test_the_largest_foreseen_fits_and_the_next_does_not() -> None:
    told, way = Foretelling(of_zoo("lenet5"), "cpu"), Way(optimizer="sgd")
    found = told.largest(100 * MIB, way)
    assert told.memory(found, way).peak <= 100 * MIB < told.memory(int(found * 1.02) + 1, way).peak


FOUND = OutOfMemory(
    subject="wide", batch=64, precision="fp32", optimizer="adamw", peak=3 * GIB, peak_in="backward", available=2 * GIB,
    held=(Held(name="activations", bytes=2 * GIB, share=2 / 3), Held(name="state", bytes=GIB, share=1 / 3)),
    said=AllocatorWords(tried=512 * MIB, free=256 * MIB, total=8 * GIB),
    changes=(
        Change(what="amp-bf16", how="--dtype amp-bf16", cost="some rounding", basis="memory model", peak=2 * GIB, saves=GIB,
               fits=True),
        Change(what="checkpoint", how="torch.utils.checkpoint", cost="time", basis="estimate", peak=2 * GIB, saves=GIB,
               fits=False),
        Change(what="8 bits", how="bitsandbytes", cost="a package", basis=""),
    ),
    notes=("a thing",),
)  # fmt: skip


def test_as_text() -> None:
    assert lines(FOUND, 100) == [
        "wide, batch 64, fp32, training with adamw: its tensors take 3 GiB at the peak, in the backward; 2",
        "  GiB are there for it",
        "  activations          2 GiB   67 %  ████████████████",
        "  optimizer state      1 GiB   33 %  ████████",
        "  the allocator: tried to take 512 MiB, 256 MiB free, of 8 GiB",
        "what to change:",
        "  amp-bf16    saves 1 GiB, fits. --dtype amp-bf16. Cost: some rounding.",
        "  checkpoint  saves 1 GiB (an estimate), not enough alone. torch.utils.checkpoint. Cost: time.",
        "  8 bits      no estimate. bitsandbytes. Cost: a package.",
        "  note: a thing",
    ]
    assert all(len(line) <= 60 for line in lines(FOUND, 60))
