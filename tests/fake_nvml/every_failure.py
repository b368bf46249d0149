"""Run the child's half of the NVML probe once for each failure named on standard input, all in this one process.

One process for each would take minutes. In and out is JSON: ["nvmlDeviceGetName=15", ...], and what each run wrote.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

from dltool.probe import nvml_child


def main() -> None:
    outputs: list[str] = []
    for failure in json.load(sys.stdin):
        os.environ["FAKE_NVML_ERROR"] = failure
        written = io.StringIO()
        with contextlib.redirect_stdout(written):
            nvml_child.Child().main()
        outputs.append(written.getvalue())
    json.dump(outputs, sys.stdout)


if __name__ == "__main__":
    main()
