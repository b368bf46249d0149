#!/usr/bin/env python3
"""Start-up: the light commands against `import typer, rich`, and doctor against torch's collect_env. Ratios of medians."""

from __future__ import annotations

import sys

from common import BIN, alternate, verdict

DLTOOL = str(BIN / "dltool")
PYTHON = str(BIN / "python")


def main() -> int:
    light = alternate(
        {
            "base": [PYTHON, "-c", "import typer, rich"],
            "dltool --version": [DLTOOL, "--version"],
            'dltool gpu-info "H100 SXM"': [DLTOOL, "gpu-info", "H100 SXM"],
        },
        rounds=21,
    )
    base = light.pop("base")
    good = [verdict(f"{name} / import typer, rich", took / base, 2.0) for name, took in light.items()]
    doctor = alternate({"doctor": [DLTOOL, "doctor"], "collect_env": [PYTHON, "-m", "torch.utils.collect_env"]}, rounds=7)
    good.append(verdict("dltool doctor / torch.utils.collect_env", doctor["doctor"] / doctor["collect_env"], 0.2))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
