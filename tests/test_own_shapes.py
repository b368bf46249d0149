"""The user's own shapes: from files and models, against the ceiling, padded."""

from __future__ import annotations

import json
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_fakes import Simulated

from dltool.bench.search.space import Shape
from dltool.bench.shapes import files, measure, model, verdict
from dltool.bench.shapes.own import Own
from dltool.errors import CannotRun, UsageError
from dltool.render import Style
from dltool.render.text import render
from dltool.results import Measurement, Report, Work
from dltool.shape_results import Finalist, Search, Trial

SHAPES = st.lists(
    st.tuples(*[st.integers(1, 2**24 - 1)] * 3, st.sampled_from(["", "bf16", "fp32"]), st.integers(1, 1000)), min_size=1
)

# --- files ------------------------------------------------------------------------------------------------------------


@given(SHAPES, st.sampled_from(["text", "csv", "json", "arrays"]))
def test_every_way_of_writing_says_the_same(tmp_path_factory, rows, way):
    path = tmp_path_factory.getbasetemp() / f"shapes.{way}"
    if way == "text":
        text = "# mine\n\n" + "".join(f"{m} {n}\t{k}, {dtype} {count} a name # why\n" for m, n, k, dtype, count in rows)
    elif way == "csv":
        text = "K,m,N,dtype,count,name\n" + "".join(f'{k},{m},{n},{dtype},{count},"a name"\n' for m, n, k, dtype, count in rows)
    elif way == "json":
        text = json.dumps([dict(zip(("m", "n", "k", "dtype", "count"), row, strict=True), name="a name") for row in rows])
    else:
        text = json.dumps([[*row[:3], *([row[3]] if row[3] else []), row[4], "a name"] for row in rows])
    path.write_text(text, encoding="utf-8")
    wanted = [Own(m=m, n=n, k=k, dtype=dtype or None, count=count, name="a name") for m, n, k, dtype, count in rows]
    assert list(files.read(path)) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("64 64", "line 1: 2 columns where m, n and k are wanted", id="columns"),
        pytest.param("64 64 64\n64 0 64", "line 2: n = 0: a whole number", id="zero"),
        pytest.param("64 -5 64", "line 1: n = -5", id="negative"),
        pytest.param("64 64 99999999", "line 1: k = 99999999", id="huge"),
        pytest.param("64 64 64 bf61", "line 1: unknown dtype `bf61`", id="dtype"),
        pytest.param("64 64 64 bf16 -1", "line 1: count = -1", id="count"),
        pytest.param("", "holds no shapes", id="empty"),
        pytest.param("# nothing", "holds no shapes", id="comment"),
        pytest.param("m,n,k,batch\n1,1,1,1", "line 1: column `batch` is not known", id="csv column"),
        pytest.param("m,n,k\n1,1", "line 2: 2 cells where the header has 3", id="csv cells"),
        pytest.param("m,n\n1,1", "line 2: k is missing", id="csv missing"),
        pytest.param("m,n,m\n1,1,1", "a column occurs twice", id="csv twice"),
        pytest.param("[1", "is not JSON", id="json"),
        pytest.param('{"a": 1}', "no array of shapes", id="json object"),
        pytest.param('[{"m": 1, "n": 2, "k": true}]', "shape 1: k = True", id="json bool"),
        pytest.param('[{"m": 1, "n": 2, "k": 2.5}]', "shape 1: k = 2.5", id="json float"),
        pytest.param("[7]", "shape 1: not an object", id="json number"),
        pytest.param("[" * 5000, "is not JSON", id="json deep"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place(tmp_path, text, said):
    path = tmp_path / "shapes"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        files.read(path)
    assert said in str(caught.value)
    assert caught.value.remedy


@given(st.binary(max_size=200))
def test_any_bytes_are_shapes_or_a_usage_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(data)
    try:
        assert files.read(path)
    except UsageError:
        pass


# --- models -----------------------------------------------------------------------------------------------------------


def linear_net(torch):
    nn = torch.nn
    return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.Linear(96, 96), nn.Linear(96, 10))


def conv_net(torch):
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, dilation=2), nn.Flatten())


def transformer(torch):
    return torch.nn.TransformerEncoderLayer(64, 4, batch_first=True)


@pytest.mark.parametrize(
    ("make", "shape"),
    [(linear_net, (32, 64)), (conv_net, (2, 3, 33, 31)), (transformer, (2, 16, 64))],
    ids=lambda it: getattr(it, "__name__", str(it)),
)
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_operations_are_those_that_torch_counts(make, shape, device):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from dltool.zoo.recorder import shapes_of

    with torch.device(device):
        module, given = make(torch), torch.zeros(shape)
    with FlopCounterMode(display=False) as counter:
        module(given).sum().backward()
    assert sum(own.ops for own in shapes_of(module, (given,)) if not own.again) == counter.get_total_flops()


def test_products_of_a_linear_layer_forward_and_backward():
    torch = pytest.importorskip("torch")
    from dltool.zoo.recorder import shapes_of

    with torch.device("meta"):
        module, given = linear_net(torch), torch.zeros(32, 64)
    found = shapes_of(module, (given,))
    counts = {(Shape(own.m, own.n, own.k), own.name): own.count for own in found}
    assert counts[Shape(32, 96, 64), "forward"] == 1
    assert counts[Shape(32, 96, 96), "forward"] == 2
    assert counts[Shape(32, 96, 96), "backward"] == 2  # gradients of their inputs
    assert counts[Shape(96, 96, 32), "backward"] == 2  # gradients of their weights
    assert [own.count for own in shapes_of(module, (given,), backward=False)] == [1, 2, 1]


def test_attention_and_grouped_convolutions_are_listed_as_products():
    torch = pytest.importorskip("torch")
    from dltool.zoo.recorder import shapes_of

    heads = torch.zeros(2, 4, 16, 8)
    attention = shapes_of(torch.nn.functional.scaled_dot_product_attention, (heads, heads, heads), backward=False)
    assert [((own.m, own.n, own.k), own.batch, own.kind) for own in attention] == [
        ((16, 16, 8), 8, "attention"),
        ((16, 8, 16), 8, "attention"),
    ]
    (grouped,) = shapes_of(torch.nn.Conv2d(8, 16, 3, groups=4), (torch.zeros(1, 8, 10, 10),), backward=False)
    assert (grouped.m, grouped.n, grouped.k, grouped.batch, grouped.kind) == (64, 4, 18, 4, "convolution")
    (transposed,) = shapes_of(torch.nn.ConvTranspose2d(6, 4, 2, stride=2), (torch.zeros(1, 6, 5, 5),), backward=False)
    assert transposed.ops == 2 * 25 * 6 * 4 * 4


MODEL = """
import torch
print("chatter that is no answer")
def net(): return torch.nn.Linear(64, 32)
def with_input(): return torch.nn.Linear(64, 32), torch.zeros(8, 64)
def needs_numbers():
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(64, 32)
        def forward(self, x):
            return self.a(x) if float(x.sum()) < 1e9 else x
    return Module()
def broken(): raise RuntimeError("no weights here")
def number(): return 3
def relu(): return torch.nn.ReLU()
"""


@pytest.fixture
def user_code(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "mymodel.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield
    assert sys.path == before
    assert "mymodel" not in sys.modules  # a user's code runs in a process of its own


@pytest.mark.parametrize("name", ["mymodel:net", "mymodel.py:net", "mymodel:needs_numbers"])
def test_the_products_of_a_users_module(user_code, name):
    found = model.read(name, ["8x64"])
    assert {own.shape for own in found} == {Shape(8, 32, 64), Shape(32, 64, 8)}


def test_a_factory_may_bring_its_inputs(user_code):
    assert model.read("mymodel:with_input", [])[0].shape == Shape(8, 32, 64)


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        ("mymodel:broken", ["8x64"], "RuntimeError: no weights here"),
        ("mymodel:net", ["8x65"], "RuntimeError"),
        ("mymodel:relu", ["8x64"], "makes no matrix products"),
    ],
)
def test_a_model_that_fails_says_how(user_code, name, inputs, said):
    with pytest.raises(CannotRun) as caught:
        model.read(name, inputs)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        ("mymodel:missing", ["8x64"], "has no callable `missing`"),
        ("nosuchmodule:net", ["8x64"], "there is no module nosuchmodule"),
        ("nosuchfile.py:net", ["8x64"], "there is no file nosuchfile.py"),
        ("mymodel:number", [], "gives int, no model"),
        ("mymodel:net", [], "what mymodel:net takes is not known"),
    ],
)
def test_a_callable_that_is_no_model_is_wrong_usage(user_code, name, inputs, said):
    with pytest.raises(UsageError) as caught:
        model.read(name, inputs)
    assert said in str(caught.value)


def test_the_products_of_a_model_of_the_zoo():
    pytest.importorskip("torch")
    found = model.read("resnet18", [], batch=2, options={"num_classes": "10"})
    first, last = found[0], next(own for own in found if own.kind == "gemm")
    assert (first.kind, first.shape) == ("convolution", Shape(2 * 112 * 112, 64, 3 * 7 * 7))
    assert last.shape == Shape(2, 10, 512)
    assert "convolution, gradient of its weight" in {own.name for own in found}


@pytest.mark.parametrize(
    ("name", "inputs"), [("resnet51", []), ("timm:", []), ("a:b:c", []), (":x", []), ("a:net", ["8*64"]), ("a:net", [""])]
)
def test_what_names_no_model_is_refused(name, inputs):
    with pytest.raises(UsageError):
        model.check(name, inputs)


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "neighbour"),
    [
        (Shape(4096, 50257, 768), Shape(4096, 50304, 768)),
        (Shape(512, 512, 512), None),
        (Shape(10, 512, 64), None),
        (Shape(1000, 147, 64), Shape(1024, 160, 64)),
        (Shape(1, 1, 1), None),
    ],
)
def test_the_padded_neighbour(shape, neighbour):
    assert verdict.padded(shape) == neighbour


@given(st.tuples(*[st.integers(1, 10**6)] * 3))
def test_padding_adds_little_and_never_takes_away(sides):
    padded = verdict.padded(Shape(*sides)) or Shape(*sides)
    assert all(old <= new <= old * 9 / 8 for old, new in zip(sides, padded, strict=True))


def noisy(center: float, count: int = 40, seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [center * chance.gauss(1, 0.02) for _ in range(count)]


@pytest.mark.parametrize(
    ("own", "padded", "said"),
    [
        (noisy(1.10), noisy(1.0, seed=1), "faster"),
        (noisy(0.90), noisy(1.0, seed=1), "slower"),
        (noisy(1.0, 400), noisy(1.0, 400, seed=1), "same"),
        (noisy(1.3, 5), noisy(1.0, 5, seed=1), "can't tell"),
    ],
)
def test_padding_is_advised_only_when_it_wins_with_confidence(own, padded, said):
    assert verdict.padding(Shape(64, 64, 64), own, padded).verdict == said


def test_padding_is_hardly_ever_advised_where_there_is_nothing_to_gain():
    verdicts = [
        verdict.padding(Shape(64, 64, 64), noisy(1.0, 20, seed), noisy(1.0, 20, seed + 10_000)).verdict for seed in range(400)
    ]
    assert verdicts.count("faster") <= 0.04 * 400  # 2.5 % on this side of a 95 % interval, and chance


def test_neighbours_are_timed_in_turn():
    device = Simulated()
    order: list[Shape] = []

    def timer(shape: Shape, stage: str, samples: int) -> Trial:
        order.append(shape)
        return device.trial(shape, stage, samples)

    own, neighbour = Shape(4096, 50257, 768), Shape(4096, 50304, 768)
    pad = measure.in_turn(own, neighbour, timer, 0.2)
    assert pad is not None
    assert order[:4] == [neighbour, own, own, neighbour]
    assert measure.in_turn(own, neighbour, Simulated(error_above=0).trial, 0.2) is None


def case(m: int, n: int, k: int, rate: float, dtype: str = "bf16") -> Measurement:
    seconds = 2 * m * n * k / rate
    return Measurement(
        workload="gemm", params={"m": m, "n": n, "k": k, "dtype": dtype}, device="cpu", dtype=dtype, seconds=(seconds,) * 8,
        median_s=seconds, ci95_s=(seconds, seconds), work=Work(ops=2 * m * n * k), rate=rate, rate_unit="FLOP/s",
    )  # fmt: skip


SEARCH = Search(
    dtype="bf16", device="cpu", rate_unit="FLOP/s", lowest=128, highest=4096, tried=40, candidates=900, pruned={"memory": 12},
    spent_s=12.0, finalists=(
        Finalist(m=2048, n=1024, k=1024, rate=1e12, median_s=0.004, ci95_s=(0.0039, 0.0041), samples=20),
        Finalist(m=1024, n=1024, k=1024, rate=0.9e12, median_s=0.002, ci95_s=None, samples=3, behind=0.9),
    ),
    trials=tuple(
        Trial(m=m, n=n, k=1024, stage="coarse", seconds=(2 * m * n * 1024 / 9e11,))
        for m in (512, 1024, 2048) for n in (1024, 1536)
    ),
)  # fmt: skip


def test_the_ceiling_is_the_best_that_was_seen():
    (top,) = verdict.ceilings([SEARCH], [case(512, 512, 512, 8e11)])
    assert (top.rate, top.basis, top.m) == (1e12, "search", 2048)
    (top,) = verdict.ceilings([SEARCH], [case(512, 512, 512, 2e12)])
    assert (top.rate, top.basis, top.m) == (2e12, "own shape", 512)


def table():
    large, small = Own(m=1000, n=1000, k=1000, count=10, name="fc"), Own(m=100, n=100, k=100, count=3, name="tiny")
    heads = Own(m=16, n=16, k=16, batch=8, kind="attention", name="attention Q K^T")
    pad = verdict.padding(Shape(1024, 1024, 1024), [2.0 + i / 100 for i in range(20)], [1.0] * 20)
    rows = [
        verdict.row(small, "bf16", case(100, 100, 100, 1e11), None, None),
        verdict.row(large, "bf16", case(1000, 1000, 1000, 5e11), pad, None),
        verdict.row(heads, "bf16", None, None, "listed only"),
    ]
    return verdict.table("mine.txt", rows, verdict.ceilings([SEARCH], []))


def test_many_tries_of_padding_in_vain_are_told_together():
    pad = verdict.padding(Shape(128, 128, 128), [1.0 + i % 5 / 10 for i in range(20)], [1.0 + i % 5 / 10 for i in range(20)])
    rows = [verdict.row(Own(m=100 + i, n=100, k=100, name="x"), "bf16", case(100, 100, 100, 1e11), pad, None) for i in range(5)]
    report = Report(own_shapes=verdict.table("mine.txt", rows, []))
    assert "padding of 5 other shapes was tried and shows no gain: --verbose" in render(report, Style(width=110))
    assert render(report, Style(width=110, verbose=True)).count("pairs in turn") == 5


def test_where_the_time_goes():
    own = table()
    assert [one.name for one in own.shapes] == ["fc", "tiny", "attention Q K^T"]
    fc = own.shapes[0]
    assert (fc.share_of_ceiling, fc.total_s, fc.ceiling_s) == pytest.approx((0.5, 0.04, 0.02))
    assert own.measured_s == pytest.approx(0.04 + 3 * 2e6 / 1e11)
    assert own.measured_at_ceiling_s == pytest.approx(0.02 + 3 * 2e6 / 1e12)
    assert own.not_measured_at_ceiling_s == pytest.approx(8 * 2 * 16**3 / 1e12)


def test_the_text_says_it():
    text = render(Report(searches=(SEARCH,), own_shapes=table()), Style(width=110))
    assert "bf16: best of 40 shapes 2048x1024x1024, confirmed: 1 TFLOP/s ±2.5 % (1 other is as fast" in text
    assert "left out 12 by memory" in text
    assert "ceiling bf16: 1 TFLOP/s at 2048x1024x1024 (best found in this run)" in text
    assert "one step: 40.1 ms now, 20 ms at the ceiling (50 % of it is reached)" in text
    assert "of what is lost: fc 100 %" in text
    assert "pad" in text
    assert "m 1000 -> 1024, n 1000 -> 1024, k 1000 -> 1024: 52.3 % less time" in text
    assert "1 not measured: listed only" in text


def test_the_report_comes_back_from_json():
    import msgspec

    before = Report(searches=(SEARCH,), own_shapes=table())
    assert msgspec.json.decode(before.to_json(), type=Report) == before


# --- the heat map -----------------------------------------------------------------------------------------------------


def test_the_heat_map_in_a_terminal():
    from dltool.render import heat

    lines = heat.text([SEARCH], width=80, color=False).splitlines()
    assert lines[1].split() == ["n\\m", "512", "1024", "2048"]
    assert lines[2].split() == ["1536", "100", "100", "100"]
    assert lines[3].split()[-1] == "[100]"
    assert "\x1b[48;5;" in heat.text([SEARCH], width=80, color=True)


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_heat_map_as_a_picture(ending, begins):
    pytest.importorskip("matplotlib")
    from dltool.render import heat

    assert heat.picture([SEARCH, SEARCH], ending).startswith(begins)
