"""Series: a year at the resolution of a screen from the kept reductions, beside reading the samples' raw bytes; files in place, beside cdflib.

A sample of 400 channels comes every 200 s (every 20 s with --big), but not at night, nor on some days. The reference reads
the bytes of the same samples from a plain file, which is the least that somebody without reductions must do.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

import cdflib
import numpy as np
import pyarrow as pa
from bench.measure import Journey, against

from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model import settings
from hven.plugins.series import pyramids, reductions, sample_sets
from hven.plugins.series.hapi.output_rows import OUTPUT_FORMATS
from hven.plugins.series.reader_view import ReaderView
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

sys.path.insert(0, str(Path(__file__).parent))

import hapi_bench

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
    """Measure HAPI, the kept year, and how fast it is made; files in place."""
    yield from hapi_bench.run(only, big=big)
    if any(only in name for name in ("series.files-pycdfpp", "series.index", "series.arrived")):
        yield from files(only, big=big)
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
        pyramids.build_pyramid(directory, lambda *_: given, ["flux"], widths)
        made = perf_counter() - begun
        width = reductions.choose_bin_width(YEAR // SCREEN, step * SECOND) or 0
        kept = pyramids.load_pyramid_levels(directory)
        level = max(one for one in kept if not width % one)
        shown = sum(
            map(len, reductions.reduce_bins(pyramids.iterate_bin_chunks(kept[level], level, 0, YEAR), width // level))
        )

        def picture() -> None:
            for _ in reductions.reduce_bins(
                pyramids.iterate_bin_chunks(kept[level], level, 0, YEAR), width // level, ["flux"]
            ):
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


LINKS = 50_000  # to one file, of which a disk allows no more
DESCRIPTOR = """collection: cdf
title: Days
files: data/*.cdf
tables:
  days:
    source: {kind: granules, files: data/*.cdf}
    follow: true
    series: {file: "{target.path}", cadence: 0.034 s}
"""


def files(only: str = "", *, big: bool = False) -> Iterator[Journey]:
    """Measure samples of CDF days as HAPI's binary, beside cdflib and the bytes of its arrays; and an ingest of many files."""
    days, count = 4, 2_500_000 if big else 500_000
    with tempfile.TemporaryDirectory() as place:
        home = Path(place) / "collections" / "cdf"
        (home / "data").mkdir(parents=True)
        (home / "cdf.yaml").write_text(DESCRIPTOR)
        (Path(place) / "hven.toml").write_text('name = "bench"\n')
        rng = np.random.default_rng(4)
        for day in range(1, days + 1):
            _day(home / "data" / f"x_2020010{day}_v01.cdf", day, count, rng)
        with Site(settings.load_settings(Path(place))) as site:
            ingest_collection(site, "cdf")
            around: Any = SimpleNamespace(site=site, policies=DEFAULT_POLICIES)
            view = ReaderView(around, ANONYMOUS_PRINCIPAL, site.get_published_state())
            one = sample_sets.list_data_sets(view, "hapi")["cdf_days"]
            whole = sample_sets.find_time_extent(view, one)
            assert whole is not None

            def ours(sink: Any) -> None:
                batches = sample_sets.read_samples(view, one, "abc", start=whole.start, stop=whole.stop)
                for piece in OUTPUT_FORMATS["binary"][1](batches, [one.time, *one.parameters], None):
                    sink.write(piece)

            if only in "series.files-pycdfpp":
                paths = sorted((home / "data").glob("*.cdf"))
                yield from hapi_bench.binaries("series.files", ours, paths, ("Epoch", *"abc"), days * count)
        if not any(only in name for name in ("series.index", "series.arrived")):
            return
        many = 100_000 if big else 500
        for path in (home / "data").glob("*.cdf"):
            path.unlink()
        for day in range(1, 2 + many // LINKS):
            _day(home / f"seed{day}", day, 1440, rng)
        seeds = sorted(home.glob("seed*"))

        def more(first: int, last: int) -> None:
            for number in range(first, last):
                (home / "data" / f"x_{number:06d}_v01.cdf").hardlink_to(seeds[number // LINKS])

        def measure_call(work: Callable[[Site, str], object]) -> tuple[float, str]:
            begun, spent = perf_counter(), process_time()
            work(site, "cdf")
            return perf_counter() - begun, f"{process_time() - spent:.2f} s of CPU"

        more(0, many)
        with Site(settings.load_settings(Path(place))) as site:
            indexed, own = measure_call(ingest_collection)
            more(many, many + 100)
            arrived, cpu = measure_call(sync_collection)
        yield against("series.arrived", arrived, 5.0, 1.0, unit="s", note=f"of 100 files more beside {many:,}, until they are published; {cpu}")  # fmt: skip
        yield against("series.index", indexed / many * 1000, 6.0, 1.0, unit="ms", note=f"of each of {many:,} files, checksums included; 6 ms are 10,000 files in a minute, 100,000 in ten; {own}")  # fmt: skip


def _day(path: Path, day: int, count: int, rng: np.random.Generator) -> None:
    file = cdflib.cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"}, delete=True)
    zero = cdflib.cdfepoch.compute_tt2000([2020, 1, day, 0, 0, 0, 0, 0, 0])
    said = {"Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [], "Compress": 0}
    file.write_var({"Variable": "Epoch", "Data_Type": 33, **said}, {}, zero + np.arange(count, dtype="i8") * 34_000_000)
    for name in "abc":
        file.write_var({"Variable": name, "Data_Type": 45, **said}, {"DEPEND_0": "Epoch"}, rng.normal(size=count))
    file.close()
