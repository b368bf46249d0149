"""Known error texts: every row recognises its own example, no text breaks the search, large logs take little memory."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import known_errors, tables
from dltool.checks import CHECKS
from dltool.known_errors import KnownError, scan
from dltool.results import Scope

ROWS = known_errors.known()
CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads(Path(__file__).with_name("cases.json").read_text(encoding="utf-8"))
}
FELL = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."
REPORTED = {
    "driver-too-old-cu12-on-116": (
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11060).",
        "driver-too-old-torch",
    ),
    "driver-570-with-cu130": (
        "UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found version 12080).",
        "driver-too-old-torch",
    ),
    "sm120-torch251-cu121": (
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "no-kernel-image",
    ),
    "sm90-h100-cu117": (
        "NVIDIA H100 PCIe with CUDA capability sm_90 is not compatible with the current PyTorch installation.",
        "torch-arch-not-in-wheel",
    ),
    "sm89-false-alarm": (
        "NVIDIA GeForce RTX 4050 Laptop GPU (sm_89) is not supported by this PyTorch build.",
        "app-arch-check",
    ),
    "p100-cu128-no-pascal": ("cudaErrorNoKernelImageForDevice on the first operation", "no-kernel-image"),
    "kepler-k80-torch27": (
        "Found GPU which is of cuda capability 3.7; PyTorch no longer supports this GPU because it is too old",
        "torch-gpu-too-old",
    ),
    "cpu-wheel-library-hint": ("AssertionError: Torch not compiled with CUDA enabled", "torch-cpu-only"),
    "nvml-mismatch-550": ("Failed to initialize NVML: Driver/library version mismatch", "nvml-version-mismatch"),
    "nvml-mismatch-580-appliance": (
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.178",
        "nvml-version-mismatch",
    ),
    "jax-plugin-differs": (
        "RuntimeWarning: JAX plugin jax_cuda12_plugin version 0.9.2 is installed, but it is not compatible with the installed "
        "jaxlib version 0.9.0.1",
        "jax-plugin-version",
    ),
    "tensorflow-blackwell": ("'cuModuleLoadData(&module, data)' failed with 'CUDA_ERROR_INVALID_PTX'", "invalid-ptx"),
    "tensorflow-without-cuda": ("W tensorflow/gpu_device.cc: Skipping registering GPU devices...", "tensorflow-dlopen"),
    "numpy2-other-packages": ("AttributeError: _ARRAY_API not found", "numpy2"),
    "bitsandbytes-cuda-129": (
        "RuntimeError: Configured CUDA binary not found at /x/bitsandbytes/libbitsandbytes_cuda129.so",
        "bitsandbytes-no-cuda",
    ),
    "flash-attn-turing": ("RuntimeError: FlashAttention only supports Ampere GPUs or newer.", "flash-attn-needs-ampere"),
    "nccl-downgraded": ("libtorch_cuda.so: undefined symbol: ncclCommWindowRegister", "nccl-symbol"),
    "hmm": ("cuInit(0) failed -> CUDA_ERROR_NOT_INITIALIZED: initialization error", "cuda-driver-init"),
    "cvd-empty": ("RuntimeError: No CUDA GPUs are available", "no-cuda-gpus"),
    "torchvision-nms": ("RuntimeError: operator torchvision::nms does not exist", "torchvision-ops"),
    "nccl-cu11-and-cu12": ("ImportError: libtorch_cuda.so: undefined symbol: ncclCommRegister", "nccl-symbol"),
    "ldpath-old-cudnn": (
        "RuntimeError: cuDNN version incompatibility: PyTorch was compiled against (8, 3, 2) but linked against (8, 0, 3)",
        "cudnn-version-incompatible",
    ),
    "ldpath-nvjitlink-121": (
        "libcusparse.so.12: undefined symbol: __nvJitLinkAddData_12_1, version libnvJitLink.so.12",
        "nvjitlink-symbol",
    ),
    "shm-64m": (
        "RuntimeError: DataLoader worker (pid 37) is killed by signal: Bus error. It is possible that dataloader's workers",
        "shm-bus-error",
    ),
    "nofile-too-low": ("RuntimeError: received 0 items of ancdata", "ancdata"),
}
"""Case of cases.json -> what its program printed, and the row that says what it means."""


def ids(text: str | bytes) -> list[str]:
    return [error.id for error in known_errors.recognise(text)]


# --- the table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_recognises_its_example(row: KnownError) -> None:
    first = known_errors.recognise(row.example)[0]
    assert (first.id, first.line, first.count) == (row.id, 1, 1)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_is_complete(row: KnownError) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.id)
    assert row.means.endswith(".")
    assert all((row.means, row.why, row.mend, row.example, row.source))
    assert set(row.checks) <= set(CHECKS.names())
    assert all(len(word) >= 5 for word in known_errors.words_of(row.pattern)), "a telling word outside of groups"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_advice_does_no_harm(row: KnownError) -> None:
    advice = f"{row.mend} {row.prevent}".lower()
    assert "nightly" not in advice
    assert not re.search(r"(export|set) ld_library_path\s*=", advice)


def test_names_are_unique_and_all_rows_serve() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) >= 120
    assert len(scan._rules()) == len(ROWS) + scan._NUMBERED
    assert not [problem for problem in tables.problems() if "errors.csv" in problem or "xid" in problem]
    assert {row.scope for row in ROWS} == set(Scope)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_no_pattern_backtracks_for_long(row: KnownError) -> None:
    pattern = re.compile(row.pattern, re.IGNORECASE | re.ASCII)
    words = known_errors.words_of(row.pattern)
    half = row.example[: len(row.example) // 2]
    for bait in (*words, *(word * 2 for word in words), half, "a", " ", "sm_1", ": ", "(((", "libcudnn_x"):
        hostile = (bait * (100_000 // len(bait) + 1))[:100_000]
        began = time.perf_counter()
        pattern.search(hostile + "!")
        assert time.perf_counter() - began < 5, bait


def test_words_of_a_pattern() -> None:
    assert known_errors.words_of(r"abc(?:def|ghi)jk[lm]n\.op|q{2}rstu\d+vw?x") == ("n.op", "rstu")
    assert known_errors.words_of(r"a\|b|[|()]cd") == ("a|b", "cd")
    assert known_errors.words_of("(only|groups)") == ("",)


# --- texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTED)
def test_texts_of_the_reported_cases(name: str) -> None:
    text, wanted = REPORTED[name]
    assert ids(text) == [wanted]


@pytest.mark.parametrize("name", [name for name in REPORTED if CASES.get(name, {}).get("problems")])
def test_the_named_checks_find_the_cause(name: str) -> None:
    checks = {check for error in known_errors.recognise(REPORTED[name][0]) for check in error.checks}
    assert checks & set(CASES[name]["problems"])


@pytest.mark.parametrize(
    "text", ["", "\n\n", "all went well", "Xid of a table row: 4711", "xid 731 committed", "0 errors, 0 warnings"]
)
def test_nothing_is_made_up(text: str) -> None:
    assert ids(text) == []


def test_order_lines_and_counts() -> None:
    text = "start\nCUDA out of memory. Tried\nfine\nRuntimeError: No CUDA GPUs are available\nCUDA out of memory. Tried again\n"
    memory, gpus = known_errors.recognise(text)
    assert (memory.id, memory.line, memory.count) == ("cuda-out-of-memory", 2, 2)
    assert (gpus.id, gpus.line, gpus.count) == ("no-cuda-gpus", 4, 1)
    assert gpus.text == "RuntimeError: No CUDA GPUs are available"


def test_the_specific_row_wins_over_the_general_one() -> None:
    assert ids("RuntimeError: CUDA error: device-side assert triggered") == ["device-side-assert"]
    assert ids("RuntimeError: CUDA error: something new") == ["cuda-error-other"]
    text = "Unexpected error from cudaGetDeviceCount(). Did you ...? Error 802: system not yet initialized"
    assert ids(text) == ["cuda-802-not-initialised"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\x1b[31mRuntimeError\x1b[0m: CUDA \x1b[1;38;5;9mout\x1b[0m of memory", id="colours"),
        pytest.param("RuntimeError: CUDA out of memory\r\n", id="crlf"),
        pytest.param("  3%|# | 3/99 [00:01]\r  4%|# | 4/99 [00:01]\rRuntimeError: CUDA out of memory\r\n", id="progress bar"),
        pytest.param("RuntimeError:\tCUDA   out\u00a0of memory", id="blanks"),
        pytest.param("RuntimeError: CUDA out of memory".encode("utf-16"), id="utf-16 of PowerShell"),
        pytest.param(b"\xff\xfe\x80 RuntimeError: CUDA out of memory \xc3(", id="no utf-8"),
        pytest.param("[rank1]: RuntimeError: CUDA out of memory", id="rank"),
        pytest.param("runtimeerror: cuda OUT OF MEMORY", id="capitals"),
        pytest.param("x" * 3_000_000 + " CUDA out of memory " + "y" * 3_000_000, id="line without end"),
        pytest.param("\ud800 CUDA out of memory", id="lone surrogate"),
    ],
)
def test_dressed_up_texts(text: str | bytes) -> None:
    assert ids(text) == ["cuda-out-of-memory"]


def test_what_is_shown_is_short_and_holds_the_match() -> None:
    (error,) = known_errors.recognise("a" * 5000 + " RuntimeError: CUDA out of memory " + "b" * 5000)
    assert "CUDA out of memory" in error.text
    assert len(error.text) <= 2 * scan.SHOWN
    (error,) = known_errors.recognise("10%\r20%\rRuntimeError: CUDA out of memory")
    assert error.text == "RuntimeError: CUDA out of memory"


@pytest.mark.parametrize(
    "text",
    [
        "ImportError: /lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.30' not\nfound (required by torch)",
        "RuntimeError: The NVIDIA driver on your\n    system is too old (found version 11060)",
        "RuntimeError: operator torchvi\nsion::nms does not exist",
        "Remapped Rows\n    Correctable Error : 0\n    Uncorrectable Error : 4\n    Pending : Yes",
    ],
)
def test_wrapped_texts(text: str) -> None:
    (error,) = known_errors.recognise("first line\n" + text)
    assert error.line == 2


def test_small_pieces_say_the_same() -> None:
    text = "\n".join(f"{row.example}\nfiller" for row in ROWS).encode()
    whole = known_errors.read([text])
    for size in (1, 7, 4096):
        assert known_errors.read([text[at : at + size] for at in range(0, len(text), size)]) == whole
    assert {error.id for error in whole.errors} == {row.id for row in ROWS}
    assert whole.lines == 2 * len(ROWS)


@given(st.binary(max_size=400))
def test_arbitrary_bytes(data: bytes) -> None:
    known_errors.recognise(data)


@given(
    st.lists(st.sampled_from([row.example for row in ROWS] + ["\x1b[", "\r", "\n", "\0", "Xid (", FELL, "\xff"]), max_size=8),
    st.text(),
)
def test_mixtures(parts: list[str], glue: str) -> None:
    errors = known_errors.recognise(glue.join(parts))
    assert [error.line for error in errors] == sorted(error.line for error in errors)
    assert all(error.line >= 1 <= error.count and error.means for error in errors)


@given(st.text(max_size=60))
def test_names_of_any_kind(name: str) -> None:
    known_errors.by_name(name)


# --- Xids -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name", "where"),
    [
        (FELL, "xid-79", ("0000:3b:00",)),
        (f"[  812.345678] {FELL}", "xid-79", ("0000:3b:00",)),
        (f"Nov 20 04:11:09 node7 kernel: {FELL}", "xid-79", ("0000:3b:00",)),
        (f"[Thu Nov 20 04:11:09 2026] {FELL}", "xid-79", ("0000:3b:00",)),
        (f"2026-11-20T04:11:09,123456+00:00 {FELL}", "xid-79", ("0000:3b:00",)),
        ("[...] NVRM: Xid (0000:03:00): 14, Channel 00000001", "xid-14", ("0000:03:00",)),
        ("NVRM: Xid (PCI:0000:01:00 GPU-I:05): 94, pid=7194, Contained: CE User Channel (0x9).", "xid-94", ("0000:01:00",)),
        ("NVRM: Xid (PCI:0000:01:00): 45, pid=3, name=python, Ch 0 caused by previous Xid 31", "xid-45", ("0000:01:00",)),
        ("nvidia-nvswitch0: SXid (PCI:0000:c2:00.0): 20034, Fatal, Link 28 LTSSM Fault Up", "sxid-20034", ("0000:c2:00.0",)),
        ("the GPU had an Xid 31 last night", "xid-31", ()),
        ("XID error: 48 on GPU 3", "xid-48", ()),
    ],
)
def test_lines_of_the_kernel(line: str, name: str, where: tuple[str, ...]) -> None:
    (error,) = known_errors.recognise(line)
    assert (error.id, error.where) == (name, where)
    assert error.mend


def test_xids_of_several_gpus_are_one_error() -> None:
    lines = [FELL.replace("3b", place) for place in ("3b", "5e", "3b")]
    (error,) = known_errors.recognise("\n".join(lines))
    assert (error.count, error.where) == (3, ("0000:3b:00", "0000:5e:00"))


@pytest.mark.parametrize(
    ("line", "means", "mend"),
    [
        ("145, RLW_SRC_TRACK Nonfatal XC1 i0 Link 07 (0x000000e2 0x00000004 0x0)", "RLW_SRC_TRACK, nonfatal", "Xid 154"),
        ("145, RLW_SRC_TRACK Fatal XC1 i0 Link 07 (0x000000e2 0x00000001 0x0)", "RLW_SRC_TRACK, fatal", "reset"),
        ("149, NETIR_LINK_EVT Fatal XC0 i0 Link 08 (0x00a001c6 0x00000000 0x0)", "NETIR_LINK_EVT, fatal", "bridge, cable"),
        ("149, NETIR_LINK_EVT Fatal XC0 i0 Link 08 (0x020001c6 0x00000000 0x0)", "NETIR_LINK_EVT, fatal", "other end"),
        ("149, NETIR_BER_EVENT Nonfatal XC0 i0 Link 08 (0x00000226 0x00000001)", "NETIR_BER_EVENT, nonfatal", "Nothing to do"),
        ("144, NEW_UNIT Fatal XC0 i0 Link 01 (0x00000000 0x00000000)", "NEW_UNIT, fatal", "reset"),
        ("150, words that nobody knows", "MSE", "xid_nvlink"),
        ("154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", "GPU Reset Required", "reset"),
        ("154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", "Node Reboot Required", "Restart"),
        ("154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)", ": None", "Nothing is left"),
        ("154, GPU recovery action changed from 0x0 (None) to 0x9 (Something New)", "Something New", "asks for"),
        ("999, the future", "not in the table", "Xid 154"),
    ],
)
def test_xids_that_say_more(line: str, means: str, mend: str) -> None:
    (error,) = known_errors.recognise(f"NVRM: Xid (PCI:0018:01:00): {line}")
    assert means in error.means
    assert mend in error.mend


@pytest.mark.parametrize(("severity", "mend"), [("Fatal", "reset"), ("Non-fatal", "Nothing"), ("Correctable", "Nothing")])
def test_the_printed_severity_of_a_switch_counts(severity: str, mend: str) -> None:
    (error,) = known_errors.recognise(f"nvidia-nvswitch3: SXid (PCI:0000:c5:00.0): 19017, {severity}, Link 24 x")
    assert mend in error.mend
    assert severity.lower() in error.why


def test_the_tables_of_numbers() -> None:
    actions = {row["action"] for row in tables.rows("compat/xid_actions")}
    xids = {int(row["number"]): row for row in tables.rows("compat/xid")}
    assert set(range(1, 177)) <= set(xids)
    assert {row["action"] for row in xids.values()} | {row["if_again"] for row in xids.values()} <= {*actions, ""}
    assert {row["fatal"] for row in xids.values()} == {"yes", "no", ""}
    assert {row["xid"] for row in tables.rows("compat/xid_nvlink")} == {str(number) for number in range(144, 151)}
    switches = tables.rows("compat/sxid")
    assert {row["action"] for row in switches} <= actions
    assert {row["fatal"] for row in switches} == {"yes", "no", "port", ""}
    for name in ("xid", "sxid"):
        numbers = [row["number"] for row in tables.rows(f"compat/{name}")]
        assert len(numbers) == len(set(numbers))
    for row in tables.rows("compat/xid_actions"):
        assert set(row["checks"].split()) <= set(CHECKS.names())
    for table in ("errors", "compat/xid", "compat/sxid", "compat/xid_nvlink", "compat/xid_actions"):
        assert all(row["source"] and row["checked"] for row in tables.rows(table))


@pytest.mark.parametrize("number", range(1, 177))
def test_every_xid_is_explained(number: int) -> None:
    error = known_errors.by_name(f"xid-{number}")
    assert error is not None
    assert error.means.startswith(f"Xid {number}: ")
    assert error.mend


@pytest.mark.parametrize("name", ["xid-79", "Xid 79", "XID79", " xid:79 "])
def test_xids_by_name(name: str) -> None:
    found = known_errors.by_name(name)
    assert found is not None
    assert found.id == "xid-79"


def test_rows_by_name() -> None:
    found = known_errors.by_name("CUDA-out-of-memory")
    assert found is not None
    assert (found.id, found.line, found.count) == ("cuda-out-of-memory", 0, 0)
    assert known_errors.by_name("no-such-row") is None


# --- size -----------------------------------------------------------------------------------------------------------------


def test_a_large_log_streams() -> None:
    line = "2026-11-20 12:00:00 INFO train.py:120 epoch 3 step 12345 loss 0.1234 lr 1e-4 grad_norm 0.9 tokens/s 12345\n"
    piece = (line * (scan.PIECE // len(line))).encode()

    def pieces():
        for number in range(16):
            yield piece
            if number == 11:
                yield f"{FELL}\n".encode()

    tracemalloc.start()
    began = time.perf_counter()
    reading = known_errors.read(pieces())
    took = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (error,) = reading.errors
    assert (error.id, error.line) == ("xid-79", 12 * piece.count(b"\n") + 1)
    assert reading.lines == 16 * piece.count(b"\n") + 1
    assert peak < 16 * scan.PIECE
    assert took < 60


def test_counts_stop_at_enough() -> None:
    (error,) = known_errors.recognise("CUDA out of memory\n" * (scan.ENOUGH + 100_000))
    assert error.more
    assert scan.ENOUGH <= error.count <= scan.ENOUGH + 100_000


def test_a_word_that_means_nothing_does_not_hide_a_later_error() -> None:
    assert ids("txid_current 5, xid horizon\n" * 20_000 + FELL) == ["xid-79"]


def test_a_line_without_end_in_pieces() -> None:
    text = (b"x" * 999_983 + b" CUDA out of memory ") * 4
    reading = known_errors.read([text[at : at + 65_536] for at in range(0, len(text), 65_536)])
    assert [(error.id, error.line, error.count) for error in reading.errors] == [("cuda-out-of-memory", 1, 4)]
    assert reading.lines == 1
