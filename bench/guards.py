"""What protection costs: an ingest with checksums and cones with clock, ceiling and heartbeat, each beside itself without them, in turn."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

from bench import data
from bench.foundation import SITE, STARS, cones, measure_ingest, site_of
from bench.measure import CACHE, HVEN, Journey, pairs, serve_site

UNGUARDED = (sys.executable, "-m", "bench.unguarded")
ROUNDS = 7
NEEDS = {"wrk": ("guards.cones",)}


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    for journey, name in ((ingest, "guards.ingest"), (measure_crowd, "guards.cones")):
        if only in name:
            yield from journey()


def ingest() -> Iterator[Journey]:
    """Tycho-2 with and without checksums."""
    csv = data.tycho_csv()
    csv.read_bytes()  # into the page cache
    site_of(SITE, "tycho", STARS, csv)

    def measure_ingest(*program: object) -> float:
        shutil.rmtree(SITE / "var", ignore_errors=True)
        begun = time.perf_counter()
        subprocess.run([*program, "ingest", "tycho", "--site", SITE], check=True, capture_output=True)
        return time.perf_counter() - begun

    plain, guarded = (lambda: measure_ingest(*UNGUARDED)), (lambda: measure_ingest(HVEN))
    value, reference, ratio = pairs(guarded, plain, ROUNDS)
    guarded()  # those after this find true checksums
    yield Journey(
        name="guards.ingest",
        value=value,
        unit="s",
        reference=reference,
        ratio=ratio,
        target=1.03,
        note="reference: no checksums",
    )


def measure_crowd() -> Iterator[Journey]:
    """32 clients of cones, of a server of one worker: the rest of the machine is the clients'."""
    if not (SITE / "var").exists():
        site_of(SITE, "tycho", STARS, data.tycho_csv())
        measure_ingest(SITE, "tycho")
    script = CACHE / "guards.lua"
    lines = ",\n".join(f'"/cone/tycho.main?RA={ra}&DEC={dec}&SR=0.1"' for ra, dec in cones(5000))
    script.write_text(
        f"local paths = {{{lines}}}\nlocal at = 0\nrequest = function()\n at = at % #paths + 1\n return wrk.format('GET', paths[at])\nend\n"
    )

    def rate(port: int) -> float:
        command = ["wrk", "-t1", "-c32", "-d4s", "-s", str(script), f"http://127.0.0.1:{port}"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if "Non-2xx" in text or "Socket errors" in text:
            raise RuntimeError(text)
        return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))  # type: ignore[union-attr]

    with serve_site(SITE, workers=1) as guarded, serve_site(SITE, workers=1, program=UNGUARDED) as plain:
        for server in (guarded, plain):
            rate(server.port)
        value, reference, ratio = pairs(lambda: rate(guarded.port), lambda: rate(plain.port), ROUNDS)
    yield Journey(
        name="guards.cones",
        value=value,
        unit="cones/s",
        reference=reference,
        ratio=ratio,
        target=0.98,
        higher=True,
        note="reference: no clock, no ceiling, no heartbeat",
    )
