#!/usr/bin/env python3
"""Fuzzing led by coverage, for the readers of what strangers write: compiled files, snapshots, policies, logs.

Not a part of pytest. It needs `pip install atheris` (Linux; CPython up to the version that it has wheels for) beside dltool's
own dependencies:

    python tests/fuzz/run_atheris.py elf -max_total_time=120        one target for two minutes
    python tests/fuzz/run_atheris.py --list                         the targets
    python tests/fuzz/run_atheris.py toml tests/fuzz/found/toml-*   what was found once, again

It begins with honest files of tests/. Whatever a target raises but a `DltoolError` is a bug, and so is an input for which it
needs more than ten seconds. Such an input is written to `crash-HASH` or `timeout-HASH` here: mend it, make it small, and keep
it in tests/fuzz/found/TARGET-WORDS, which test_fuzz_parsers.py reads in every run of the tests.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]


def main() -> int:
    import atheris

    with atheris.instrument_imports(include=["dltool"]):
        from fuzz import targets

    if len(sys.argv) < 2 or sys.argv[1] not in targets.TARGETS:
        print("\n".join(targets.TARGETS))
        return 0 if "--list" in sys.argv else 2
    name, arguments = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as place:
        given = [argument for argument in arguments if not argument.startswith("-")]
        corpus = Path(place, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(targets.TARGETS[name].seeds):
            (corpus / f"honest-{number}").write_bytes(seed)
        atheris.Setup(
            [sys.argv[0], "-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", *arguments, *([] if given else [str(corpus)])],
            lambda data: targets.run(name, data),
        )
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
