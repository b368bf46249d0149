#!/usr/bin/env python3
"""Start-up: the light commands against `import typer, rich`, and doctor against other doctors. Ratios of medians.

python benchmarks/startup.py [--venv ENVIRONMENT]     of the other doctors; benchmarks/peers.py says how to make it
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import BIN, alternate, verdict

DLTOOL = str(BIN / "dltool")
PYTHON = str(BIN / "python")
_LIMIT = 0.2


def light() -> list[bool]:
    took = alternate(
        {
            "base": [PYTHON, "-c", "import typer, rich"],
            "dltool --version": [DLTOOL, "--version"],
            'dltool gpu-info "H100 SXM"': [DLTOOL, "gpu-info", "H100 SXM"],
        },
        rounds=21,
    )
    base = took.pop("base")
    return [verdict(f"{name} / import typer, rich", one / base, 2.0) for name, one in took.items()]


def doctors(venv: Path | None) -> list[bool]:
    """Against collect_env here; with an environment of theirs, against both, on that environment."""
    if venv is None:
        others = {"torch.utils.collect_env": [PYTHON, "-m", "torch.utils.collect_env"]}
        ours = [DLTOOL, "doctor"]
    else:
        others = {
            "torch.utils.collect_env": [f"{venv}/bin/python", "-m", "torch.utils.collect_env"],
            "env-doctor check": [f"{venv}/bin/env-doctor", "check"],
        }
        ours = [DLTOOL, "doctor", "--python", f"{venv}/bin/python"]
    took = alternate({"ours": ours, **others}, rounds=7)
    return [verdict(f"dltool doctor / {name}", took["ours"] / took[name], _LIMIT) for name in others]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="the environment of the other doctors")
    venv = parser.parse_args().venv
    return 0 if all([*light(), *doctors(venv.absolute() if venv else None)]) else 1


if __name__ == "__main__":
    sys.exit(main())
