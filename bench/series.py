"""Series: a year at the resolution of a screen from the kept reductions, beside reading the samples' raw bytes.

A sample of 400 channels comes every 200 s (every 20 s with --big), but not at night, nor on some days. The reference reads
the bytes of the same samples from a plain file, which is the least that somebody without reductions must do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa

from bench.measure import Journey, against
from hven.services import _pyramids as pyramids
from hven.services import _reductions as reductions

CHANNELS, SCREEN, SECOND = 400, 1000, 1_000_000
YEAR = 365 * 86_400 * SECOND


def samples(step: int) -> Iterator[pa.RecordBatch]:
    """Make a year of spectra: none at night, nor on one day in thirty; bursts of interference."""
    rng = np.random.default_rng(3)
    for day in range(365):
        if day % 30 == 17:
            continue
        times = np.arange(day * 86_400 + 21_600, day * 86_400 + 64_800, step) * SECOND
        values = rng.exponential(size=(len(times), CHANNELS)).astype(np.float32)
        values[rng.integers(0, len(times), 3), rng.integers(0, CHANNELS, 3)] = 1e4
        spectra = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), CHANNELS)
        yield pa.record_batch([pa.array(times), spectra], names=["hven_time", "flux"])


def best(work: object, tries: int = 5) -> float:
    """Time the fastest of several."""
    found = []
    for _ in range(tries):
        begun = perf_counter()
        work()  # type: ignore[operator]
        found.append(perf_counter() - begun)
    return min(found)


def run(only: str = "", *, big: bool = False) -> Iterator[Journey]:
    """Measure the kept year, and how fast it is made."""
    names = ("series.year", "series.reduced")
    if not any(only in name for name in names):
        return
    step = 20 if big else 200
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        raw = directory / "raw"
        with raw.open("wb") as file:
            for batch in samples(step):
                file.write(batch.column(1).values.to_numpy().tobytes())
        size = raw.stat().st_size
        widths = [width for width in reductions.WIDTHS if width >= 15 * step * SECOND and width <= YEAR // 500]
        given = list(samples(step))
        begun = perf_counter()
        pyramids.build(directory, given, ["flux"], widths)
        made = perf_counter() - begun
        width = reductions.width(YEAR // SCREEN, step * SECOND) or 0
        kept = pyramids.kept(directory)
        level = max(one for one in kept if not width % one)
        shown = sum(map(len, reductions.coarser(pyramids.pieces(kept[level], level, 0, YEAR), width // level)))

        def picture() -> None:
            for _ in reductions.coarser(pyramids.pieces(kept[level], level, 0, YEAR), width // level, ["flux"]):
                pass

        whole, plain = best(picture), best(raw.read_bytes)
        room = sum(one.nbytes for one in kept.values())
        note = f"{shown} bins of {width / SECOND / 3600:.1f} h x {CHANNELS} from {kept[level].nbytes / 1e6:.1f} MB of {size / 1e6:.0f} MB of samples; all levels have {room / size:.2f} of these"
        if only in names[0]:
            yield against(names[0], whole * 1000, plain * 1000, 1.0, unit="ms", note=note)
        if only in names[1]:
            yield against(
                names[1],
                size / made / 1e6,
                size / plain / 1e6,
                0.02,
                unit="MB/s",
                higher=True,
                note="all levels are made; the reference reads the raw bytes",
            )
