"""Language inference: the cache changes nothing but the time, costs by hand, sweeps, refusals."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
from bench_cpu import FAST, cpu_device
from typer.testing import CliRunner
from zoo_references import transformers

from dltool.bench import cases, harness
from dltool.bench.generation import backends, checking, costs, figures, speakers, steps
from dltool.bench.workloads import generate
from dltool.bench.workloads.generate import Generate
from dltool.cli.bench import app
from dltool.cli.bench.generate import options_of
from dltool.errors import CannotRun, UsageError

torch = pytest.importorskip("torch")

GPT2 = {"name": "gpt2", "options": "layers=2 width=32 heads=4 vocab_size=50 max_position_embeddings=64"}
LLAMA = {"name": "llama_3.2_1b", "options": "layers=2 width=32 inner=64 heads=4 kv_heads=2 vocab_size=50"}
SMALL = {"batch": 3, "context": 12, "new": 5}
MODELS = [pytest.param(GPT2, id="gpt2"), pytest.param(LLAMA, id="llama")]


@pytest.fixture(scope="module", autouse=True)
def alone():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Little is timed besides: one by one, and as triad."""
    monkeypatch.setattr(figures, "array_bytes", lambda _device: 2**16)
    monkeypatch.setattr(figures, "_SINGLES_S", 0.02)


@pytest.fixture(scope="module")
def cpu():
    return cpu_device()


def session_of(model, cache="static", sdpa="auto"):
    """A small model with its cache and 12 tokens for each of 3 sequences."""
    options = dict(option.split("=") for option in model["options"].split())
    found = speakers.subject(model["name"], options)
    speaker = speakers.Speaker(speakers.made(torch, found, model["name"], "cpu", torch.float32), model["name"])
    ids = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))
    return steps.Session(torch, speaker, speaker.cache(torch, cache, 3, 20), ids, sdpa)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cache", ["static", "dynamic"])
@pytest.mark.parametrize("phase", generate.PHASES)
def test_every_phase_is_right(cpu, model, cache, phase):
    result = harness.measure("generate", Generate(**model, **SMALL, cache=cache, phase=phase), cpu, FAST)
    assert result.not_run is None
    assert result.verified.ok, result.verified
    assert result.verified.reference == "the same 12 tokens without a cache, tokens equal"
    step = result.model
    assert (step.unit, step.samples) == ("token", 3)
    assert step.units == {"prefill": 36, "decode": 3, "generate": 15}[phase]
    assert step.throughput == pytest.approx(step.units / result.median_s)
    assert result.work.ops == step.flops.ops > 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_short_formats_are_within_their_tolerance(cpu, model, dtype):
    result = harness.measure("generate", Generate(**model, **SMALL, phase="generate", dtype=dtype), cpu, FAST)
    assert result.verified.ok, result.verified
    assert result.verified.tolerance == pytest.approx({"bf16": 0.0221, "fp16": 0.00276}[dtype], rel=1e-2)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_a_cache_gives_what_a_forward_of_all_tokens_gives(model, cache):
    session = session_of(model, cache)
    step = session.decode(session.read)
    for _ in range(3):  # each time the same, and the cache does not grow
        step()
        torch.testing.assert_close(session.left[0], session.speaker.scores(session.ids)[:, -1])
        assert int(session.cache.seen) == 12
    session.generate(session.read, 6)()
    tokens = session.left[1]
    text = session.ids
    for place in range(6):
        best = session.speaker.scores(text)[:, -1].argmax(-1, keepdim=True)
        assert torch.equal(best[:, 0], tokens[:, place])
        text = torch.cat((text, best), 1)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_models_of_transformers_with_their_own_caches(cpu, tmp_path, family, kind):
    module = transformers()
    small = {
        "gpt2": (module.GPT2Config, "GPT2LMHeadModel", {"n_layer": 2, "n_embd": 32, "n_head": 4}),
        "llama": (module.LlamaConfig, "LlamaForCausalLM", {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4,
                                                          "num_key_value_heads": 2, "intermediate_size": 64}),
    }[family]  # fmt: skip
    config = {**small[0](vocab_size=50, bos_token_id=0, eos_token_id=0, **small[2]).to_dict(), "architectures": [small[1]]}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    phases = {}
    for phase in generate.PHASES:
        case = Generate(name=f"hf:{path}", **SMALL, cache=kind, phase=phase)
        phases[phase] = harness.measure("generate", case, cpu, FAST)
        assert phases[phase].not_run is None
        assert phases[phase].verified.ok, phases[phase].verified
    per_token = {"gpt2": 2 * 2 * 32 * 4, "llama": 2 * 2 * 16 * 4}[family]
    assert f"KV cache {per_token / 1024:g} KiB a token" in " ".join(phases["decode"].model.notes)
    ours = harness.measure("generate", Generate(**{"gpt2": GPT2, "llama": LLAMA}[family], **SMALL), cpu, FAST)
    assert phases["decode"].work.ops == ours.work.ops


def test_a_wrong_cache_is_found(cpu, monkeypatch):
    def forgetful(cache, layer, keys, values):
        return cache.keys[layer], cache.values[layer]

    monkeypatch.setattr("dltool.bench.generation.caches.StaticCache.extend", forgetful)
    result = harness.measure("generate", Generate(**LLAMA, **SMALL), cpu, FAST)
    assert not result.verified.ok
    assert result.rate is None


def test_other_tokens_are_found_and_ties_are_none():
    session = session_of(GPT2)
    session.generate(session.read, 5)()
    assert checking.generate(session, 1e-5).ok
    right = session.left[1].clone()
    session.left[1] = (right + 1) % 50
    found = checking.generate(session, 1e-5)
    assert not found.ok
    assert "10 of 10 tokens are others" in found.reference  # of the first and the last sequence
    scores = torch.tensor([[[1.0, 1.0 + 1e-6, -1.0]]])
    assert checking._strays(torch.tensor([[0]]), scores, 1e-5) == 0
    assert checking._strays(torch.tensor([[2]]), scores, 1e-5) == 1


def test_a_step_that_was_not_made_is_not_right(cpu):
    assert not Generate(**GPT2, **SMALL).prepare(cpu).verify().ok


@pytest.mark.parametrize("sdpa", ["math", "flash"])
@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_backends(cpu, sdpa, cache):
    result = harness.measure("generate", Generate(**LLAMA, **SMALL, sdpa=sdpa, cache=cache, phase="generate"), cpu, FAST)
    assert result.not_run is None
    assert result.verified.ok


def test_a_backend_that_refuses_is_a_row(cpu):
    result = harness.measure("generate", Generate(**LLAMA, **SMALL, sdpa="cudnn"), cpu, FAST)
    assert result.not_run.startswith("cudnn refuses fp32 with the static cache of llama_3.2_1b: torch has none for this device")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_the_step_is_compiled_whole(monkeypatch, model, cache):
    """Traced as for any backend; inductor itself would take half a minute."""
    asked, whole = [], torch.compile
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", lambda step, mode: asked.append(mode) or whole(step, backend="eager", fullgraph=True))
    session = session_of(model, cache)
    session.generate(steps.following(session, "default", graph=False), 5)()
    assert checking.generate(session, 1e-5).ok
    steps.following(session, "reduce-overhead", graph=False)
    assert asked == [None, "reduce-overhead"]


@pytest.mark.parametrize(("name", "kib"), [("gpt2", 36), ("llama_3.2_1b", 32), ("llama_3_8b", 128), ("llama_2_7b", 512)])
def test_published_sizes_of_the_cache(name, kib):
    """Bytes a token in fp16: 2 x layers x heads of keys x width of a head x 2."""
    options = {"vocab_size": "50"}
    speaker = speakers.Speaker(speakers.made(torch, speakers.subject(name, options), name, "meta", torch.float16), name)
    assert costs._kv_per_token(torch, speaker) == kib * 1024


def test_costs_by_hand():
    """Llama in small: products of 2 x parameters a token, and of 4 x width x what is looked at; the head for the last alone."""
    batch, context, width, layers = 3, 12, 32, 2
    options = dict(option.split("=") for option in LLAMA["options"].split())
    module = speakers.made(torch, speakers.subject(LLAMA["name"], options), LLAMA["name"], "meta", torch.bfloat16)
    found = costs.costs(torch, speakers.Speaker(module, LLAMA["name"]), batch, context, gpu=True)
    layer = 2 * width * width + 2 * width * 16 + 3 * width * 64
    attention = 4 * width * context
    assert found.decode.ops == batch * (2 * (layers * layer + 50 * width) + layers * attention)
    assert found.prefill.ops == batch * (2 * (context * layers * layer + 50 * width) + context * layers * attention)
    assert found.prefill.ops - found.prefill.ops_causal_halved == batch * context * layers * attention // 2
    norms = 5 * width
    assert found.weights == found.read == 2 * (layers * layer + 50 * width + norms)  # its head is its embedding
    assert found.kv_per_token == 2 * layers * 16 * 2
    assert set(found.prefill.by_kind) == {"gemm", "attention"}  # the head's too: one product for all texts
    assert costs.work_of_decode(found, batch, context).bytes == found.read + batch * context * found.kv_per_token
    assert found.temporary > 0


def test_tables_that_are_looked_up_are_not_read():
    module = speakers.made(torch, speakers.subject("llama_2_7b", {"layers": "1"}), "llama_2_7b", "meta", torch.float16)
    found = costs.costs(torch, speakers.Speaker(module, "llama_2_7b"), 1, 4, gpu=True)
    assert found.weights - found.read == 32000 * 4096 * 2


@pytest.mark.parametrize("new", [1, 2, 5])
def test_a_whole_text_costs_what_its_steps_cost(new):
    options = dict(option.split("=") for option in GPT2["options"].split())
    speaker = speakers.Speaker(speakers.made(torch, speakers.subject("gpt2", options), "gpt2", "meta", torch.float32), "gpt2")
    at = {length: costs.costs(torch, speaker, 2, length, gpu=False) for length in range(8, 14)}
    last = max(9, 8 + new - 1)
    found = costs.whole(replace(at[8], decode=at[9].decode), at[last], new)
    assert found.ops == at[8].prefill.ops + sum(at[8 + place].decode.ops for place in range(1, new))
    assert sum(found.by_kind.values()) == found.ops
    bytes_ = costs.work_of_whole(at[8], found, 2, 8, new).bytes
    assert bytes_ == sum(at[8].read + 2 * (8 + place) * at[8].kv_per_token for place in range(new))


def test_what_is_told(cpu):
    result = harness.measure("generate", Generate(**GPT2, **SMALL, phase="generate"), cpu, FAST)
    ttft, rest = result.model.parts
    assert (ttft.name, rest.name) == ("prefill", "decode")
    text = " ".join(result.model.notes)
    assert "TTFT" in text
    assert "+ 4 x TPOT" in text
    assert "tokens/s" in text
    decoded = harness.measure("generate", Generate(**GPT2, **SMALL), cpu, FAST).model
    assert any("triad measured beside it" in note for note in decoded.notes)
    assert any("the cache does not grow" in note for note in decoded.notes)
    assert decoded.first_step_s > 0
    assert decoded.memory.foreseen > 0


def test_percentiles_of_single_steps():
    times = iter([1e-6 * (1 + place % 10) for place in range(400)])
    device = type("Device", (), {"timer": lambda self, step, count: next(times)})()
    found = figures.latencies(device, lambda: None, [0.0005] * 20)  # samples of several steps: timed anew
    assert [one.percent for one in found] == [50, 90, 99]
    assert found[0].seconds == pytest.approx(5e-6)
    few = figures.latencies(device, lambda: None, [0.1] * 10)
    assert [one.percent for one in few] == [50]
    assert figures.latencies(device, lambda: None, [0.1] * 3) == ()


def test_the_share_of_the_boards_bandwidth(cpu):
    made = Generate(**GPT2, **SMALL).prepare(cpu)
    step = made.examine([0.01] * 10)
    told = next(note for note in step.notes if note.startswith("reads"))
    assert "triad" in told
    board = replace(cpu, board=type(cpu.board)(name="board", memory_gb_per_s=0.1))
    case = Generate(**GPT2, **SMALL).prepare(board)
    told = next(note for note in case.examine([0.01] * 10).notes if note.startswith("reads"))
    share = case.work.bytes / 0.01 / 1e8
    assert f"{share:.0%}".replace("%", " %") in told
    assert "of the board's 100 MB/s" in told


def test_sweeps_and_what_makes_no_difference(cpu):
    axes = {"batch": ["1", "4"], "context": ["64", "512"], "new": ["8", "16"], "compile": ["no", "default"]}
    found = [case for _, case in generate.chosen(cpu, axes)]
    assert len(found) == len(set(found)) == 4 * (1 + 2 + 4)  # prefill; decode x compile; generate x compile x new
    assert len(generate.chosen(cpu, {})) == 6
    assert {case.phase for _, case in generate.chosen(cpu, {"phase": ["decode"]})} == {"decode"}
    assert not generate.default_cases(cpu, "standard")
    assert len(generate.default_cases(cpu, "full")) == 2


def test_names():
    assert (Generate().label, Generate().size) == ("decode TPOT", "1 x 128 gpt2 fp32")
    case = Generate(phase="generate", batch=8, cache="dynamic", sdpa="math", compile="default", options="layers=2")
    assert case.size == "8 x 128+32 gpt2 fp32 dynamic math compile=default layers=2"
    assert options_of(["layers=2,4", "width=64"]) == {"options": ["layers=2 width=64", "layers=4 width=64"]}
    assert options_of(["layers=2,width=64"]) == {"options": ["layers=2 width=64"]}
    assert options_of(None) == {}
    for bad in ("layers", "layers=", "=2", "2,layers=3"):
        with pytest.raises(UsageError, match="not KEY=VALUE"):
            options_of([bad])


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        pytest.param(
            {"name": ["resnet50"]}, "resnet50 is no language model but one for image classification", id="not language"
        ),
        pytest.param({"name": ["gpt22"]}, "unknown model `gpt22`", id="unknown"),
        pytest.param({"batch": ["0"]}, "positive whole number", id="batch"),
        pytest.param({"context": ["-1"]}, "positive whole number", id="context"),
        pytest.param({"new": ["0"]}, "positive whole number", id="new"),
        pytest.param({"sdpa": ["flsh"]}, "unknown SDPA backend `flsh`", id="sdpa"),
        pytest.param({"cache": ["big"]}, "unknown cache `big`", id="cache"),
        pytest.param({"compile": ["fast"]}, "unknown mode of torch.compile", id="compile"),
        pytest.param({"phase": ["all"]}, "unknown phase", id="phase"),
        pytest.param({"dtype": ["int8"]}, "no kernels for int8", id="dtype"),
        pytest.param({"dtype": ["tf32"]}, "tf32 exists on CUDA devices only", id="tf32"),
        pytest.param({"graph": ["yes"]}, "cpu has none", id="graph"),
        pytest.param({"graph": ["yes"], "cache": ["dynamic"]}, "needs the static cache", id="graph of a growing cache"),
        pytest.param({"graph": ["yes"], "compile": ["max-autotune"]}, "by itself", id="graph twice"),
        pytest.param({"options": ["layers"]}, "no option of a model", id="option"),
    ],
)
def test_bad_parameters(cpu, axes, text):
    with pytest.raises(UsageError, match=text) as refused:
        generate.chosen(cpu, axes)
    assert refused.value.remedy


@pytest.mark.parametrize("field", ["batch", "context", "new"])
def test_nothing_is_refused_by_the_workload_too(field):
    with pytest.raises(UsageError, match=f"{field}=0"):
        Generate(phase="generate", **{field: 0})
    assert not [case for case in cases(Generate, {"phase": ["decode"]}) if case.new]


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ({**GPT2, "context": 65}, "gpt2 takes 64 tokens at most: 65 tokens are too many"),
        ({**GPT2, "context": 60, "new": 6, "phase": "generate"}, "60 tokens and 6 new ones are too many"),
        ({"name": "llama_2_7b", "options": "layers=1 vocab_size=9", "context": 4097}, "llama_2_7b takes 4096 tokens at most"),
        ({"name": "t5_small", "options": "layers=1"}, "no KV cache is known for t5_small"),
        ({"name": "gpt2", "options": "depth=2"}, "unknown option of gpt2 `depth`"),
    ],
)
def test_rows_that_say_why_not(cpu, case, text):
    result = harness.measure("generate", Generate(**case), cpu, FAST)
    assert text in result.not_run


def test_the_longest_text_fits(cpu):
    longest = {**GPT2, "context": 64}
    for phase in ("prefill", "decode"):
        result = harness.measure("generate", Generate(**longest, phase=phase), cpu, FAST)
        assert result.not_run is None
        assert result.verified.ok
    result = harness.measure("generate", Generate(**{**GPT2, "context": 60, "new": 5, "phase": "generate"}), cpu, FAST)
    assert result.verified.ok


def test_a_model_that_does_not_fit_says_how_much_it_needs(cpu):
    result = harness.measure("generate", Generate(name="llama_3_8b", dtype="bf16"), cpu, FAST)
    assert "GiB do not fit in half of the free memory (1.0 GiB fit)" in result.not_run
    assert "--set layers=2" in result.not_run


def test_the_refusal_of_a_backend_is_only_that():
    def broken():
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        backends.refuse_unless_taken("math", "it", broken)
    with pytest.raises(CannotRun, match="math refuses it: out of luck"):
        backends.refuse_unless_taken("math", "it", lambda: (_ for _ in ()).throw(RuntimeError("out of luck")))


def test_the_command_asks_for_what_was_given(monkeypatch):
    asked = []
    monkeypatch.setattr(sys.modules["dltool.cli.bench.generate"], "run", lambda *given: asked.append(given))
    given = ["gpt2", "llama_3.2_1b", "--dtype", "bf16", "--batch", "1,8", "--sdpa", "math", "--graph", "--set", "layers=2"]
    result = CliRunner().invoke(app, ["generate", *given, "--budget", "9s"])
    assert result.exit_code == 0, result.output
    command, _, axes, device, budget, *_ = asked[0]
    assert (command, device, budget) == ("bench generate", None, "9s")
    assert axes == {
        "name": ["gpt2", "llama_3.2_1b"], "dtype": ["bf16"], "batch": ["1", "8"], "sdpa": ["math"], "graph": ["yes"],
        "options": ["layers=2"],
    }  # fmt: skip
