"""`dltool bench selftest`."""

from __future__ import annotations

import datetime
import gc
import os
import sys
from typing import TYPE_CHECKING

from dltool.cli.bench.running import Budget, DeviceName
from dltool.cli.common import Output, finish, guarded, report, say

if TYPE_CHECKING:
    from dltool.results import Measurement


@guarded
def selftest(out: Output, device: DeviceName = None, budget: Budget = "4min") -> None:
    """Measure the same against the same: the noise of this machine, which every gate then allows for.

    Example: dltool bench selftest --budget 4min
    """
    from dltool import probe, redact, store, units
    from dltool.bench import elsewhere, fingerprint, noise, verdicts
    from dltool.bench import selftest as selftests
    from dltool.differences import Selftest
    from dltool.render.progress import progress

    budget_s = units.parse_seconds(budget)
    gc.enable()
    machine = probe.read(measure_clock=True)
    shown = redact.redact(machine, probe.redactor(machine))

    def measure(block_s: float) -> tuple[Measurement, ...]:
        return elsewhere.measure(sys.executable, [("selftest", {})], machine, device, block_s, selftests.BLOCKS)

    with progress(selftests.ROUNDS + 1, quiet=out.quiet) as tell:
        pairs = selftests.run(measure, budget_s, progress=tell)
    first = pairs[0][0].a
    fields = fingerprint.fingerprint(shown, first)
    found = Selftest(
        id=fingerprint.short_id(fields),
        fingerprint=fields,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        confidence=verdicts.CONFIDENCE,
        margin=verdicts.MARGIN,
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        noise=tuple(noise.of_case(case) for case in pairs),
        notes=selftests.notes(pairs),
    )
    try:
        store.save_selftest(found)
    except OSError as error:
        say(f"warning: the noise was not kept, so no gate knows of it: {error.strerror or error}", quiet=out.quiet)
    result = report("bench selftest", machine=shown, selftest=found)
    finish(result, out, keep=result)
