"""Mean, peak and lowest value of bins against a plain loop, and against what das2C's own reducer made of the same samples; what is kept on disk shows the same peaks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import das2_streams
from hven.plugins.series.pyramids import build_pyramid, iterate_bin_chunks, load_pyramid_levels
from hven.plugins.series.reductions import WIDTHS, choose_bin_width, reduce_bins, reduce_samples
from shared import EXAMPLES_FACTOR, shared

SECOND = 1_000_000


def column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values, mask=np.isnan(values)) if values.dtype == np.float64 else pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def batches(times: np.ndarray, columns: dict[str, np.ndarray], cuts: list[int]) -> list[pa.RecordBatch]:
    whole = pa.record_batch([pa.array(times), *map(column, columns.values())], names=["hven_time", *columns])
    edges = [0, *sorted(cuts), len(times)]
    return [whole.slice(low, high - low) for low, high in pairwise(edges)]


def plain(times: np.ndarray, values: np.ndarray, step: int) -> dict[int, tuple[Any, ...]]:
    found: dict[int, list[float]] = {}
    for moment, value in zip(times.tolist(), values.tolist(), strict=True):
        found.setdefault(moment // step, []).append(value)
    return {
        number: (len(real), sum(real), min(real, default=np.nan), max(real, default=np.nan))
        for number, each in found.items()
        for real in [[value for value in each if not np.isnan(value)]]
    }


def test_a_bin_that_a_batch_begins_alone_has_its_mean() -> None:
    """The first batch has one sample of the bin, the next has the others, each of float32."""
    times = np.array([10, 11, 12, 13])
    spectra = np.array([[1.5, np.nan, -2.0], [2.5, np.nan, -1.0], [3.5, 8.0, np.nan], [4.5, np.nan, -3.0]], np.float32)
    made = np.concatenate(list(reduce_samples(batches(times, {"spectra": spectra}, [1]), 10, ["spectra"])))
    np.testing.assert_array_equal(made["m spectra"], [[3.0, 8.0, -2.0]])


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(some.data())
def test_bins_are_those_of_a_plain_loop(data: Any) -> None:
    gaps = data.draw(some.lists(some.sampled_from([1, 2, 7, 1000]), min_size=1, max_size=80))
    times = np.cumsum(gaps) - data.draw(some.integers(0, 50))
    numbers = some.sampled_from([np.nan, 0.0, -1.5, 3.25, 1e6, np.inf]) | some.floats(-1e3, 1e3)
    line = np.array([data.draw(numbers) for _ in gaps])
    spectra = np.array([[data.draw(numbers) for _ in range(3)] for _ in gaps], np.float32)
    step = data.draw(some.sampled_from([1, 2, 3, 10, 500]))
    cuts = data.draw(some.lists(some.integers(0, len(gaps)), max_size=4))
    made = np.concatenate(
        list(reduce_samples(batches(times, {"line": line, "spectra": spectra}, cuts), step, ["line", "spectra"]))
    )
    for values, name, at in [(line, "line", 0), *((spectra[:, at], "spectra", at) for at in range(3))]:
        wanted = plain(times, values, step)
        assert made["number"].tolist() == sorted(wanted)  # gaps stay gaps, and no bin comes twice
        count, total, low, high = zip(*(wanted[number] for number in made["number"].tolist()), strict=True)
        assert made[f"n {name}"][:, at].tolist() == list(count)
        mean = [value / many if many else np.nan for value, many in zip(total, count, strict=True)]
        np.testing.assert_allclose(made[f"m {name}"][:, at], mean, rtol=1e-12, atol=1e-9)
        np.testing.assert_array_equal(made[f"h {name}"][:, at], np.array(high, values.dtype))
        if values is line:
            np.testing.assert_array_equal(made["l line"][:, at], low)
    for factor in (2, 5):
        again = np.concatenate(list(reduce_bins([made[:1], made[1:3], made[3:]], factor)))
        direct = np.concatenate(list(reduce_samples(batches(times, {"line": line}, []), step * factor, ["line"])))
        for name in ("number", "h line", "l line", "n line"):
            np.testing.assert_array_equal(again[name], direct[name])


@pytest.mark.parametrize(("asked", "native", "found"), [
    (5, 1.0, 5), (1, 1.0, None), (0, 1.0, None), (14.9, 1.0, 14.9), (47, 1.0, 45), (61, 1.0, 60), (3599, 1.0, 2700), (86_400 * 9, 1.0, 86_400 * 5), (29, 2.0, 29), (95, 2.0, 60),
])  # fmt: skip
def test_widths_are_multiples_of_what_is_kept(asked: float, native: float, found: float | None) -> None:
    made = choose_bin_width(int(asked * SECOND), native * SECOND)
    assert made == (None if found is None else found * SECOND)
    assert all(not high % low for low, high in pairwise(WIDTHS))


def test_peaks_of_windows_are_those_of_the_samples(tmp_path: Path) -> None:
    """In random windows at the resolution of a screen the peak shown is that of the samples: 100,000 of them with HVEN_PROOF=full."""
    rng = np.random.default_rng(11)
    many = 60_000
    times = np.cumsum(np.where(rng.random(many) < 0.001, 7200, 1)) * SECOND + int(1.6e15)
    line, spectra = rng.standard_cauchy(many), rng.standard_cauchy((many, 4)).astype(np.float32)
    line[rng.random(many) < 0.01] = np.nan
    given = batches(times, {"line": line, "spectra": spectra}, list(range(0, many, 7001)))
    widths = [each for each in WIDTHS if 15 * SECOND <= each <= 86_400 * SECOND]
    build_pyramid(tmp_path, lambda *_: given, ["line", "spectra"], widths)
    levels = load_pyramid_levels(tmp_path)
    assert list(levels) == widths
    missed = 0
    for _ in range(2_000 if EXAMPLES_FACTOR == 1 else 100_000):
        first, last = np.sort(rng.integers(times[0], times[-1], 2))
        asked = int((last - first) // rng.integers(1, 1200))
        step = choose_bin_width(asked, float(SECOND)) or 0
        level = max((one for one in levels if step and not step % one), default=0)
        if not level:
            missed += 1
            continue
        low, high = first // step * step, -(-last // step) * step
        shown = list(reduce_bins(iterate_bin_chunks(levels[level], level, int(low), int(high)), step // level))
        inside = slice(*np.searchsorted(times, (low, high)))
        if inside.start == inside.stop:
            assert not shown
            continue
        bins = np.concatenate(shown)
        assert np.fmax.reduce(bins["h line"][:, 0]) == np.fmax.reduce(line[inside]) or np.isnan(line[inside]).all()
        np.testing.assert_array_equal(bins["h spectra"].max(axis=0), spectra[inside].max(axis=0))
        assert int(bins["n spectra"][:, 0].sum()) == inside.stop - inside.start
        assert step <= asked
    assert missed < 1_000 * (1 if EXAMPLES_FACTOR == 1 else 50)


def test_reductions_equal_those_of_das2c() -> None:
    """The first and the last lines that das2C's das2_bin_avgsec 10 writes of this stream, as its test has them."""
    stream = das2_streams.parse_stream(shared("corpora/das2/das2C--das2_bin_avgsec_input2.d2s").read_bytes())
    values = stream.packets[0].values()
    times = values.pop("")[:, 0]
    assert len(times) == 4800
    given = batches(
        times - times[0], {name: each.astype(np.float32) for name, each in values.items()}, [97, 1000, 1001]
    )
    bins = np.concatenate(list(reduce_samples(given, 10 * SECOND, list(values))))
    shown = np.column_stack([bins[f"m {name}"] for name in ("x", "y", "z", "mag")])
    assert len(bins) == 30
    assert (
        str((bins["number"][0] * 10 * SECOND + 5 * SECOND + times[0]).astype("datetime64[us]"))[:23]
        == "2014-04-08T00:15:05.046"
    )
    np.testing.assert_allclose(shown[0], [0.6662, -1.372, -0.3632, 1.569], rtol=5e-4)
    np.testing.assert_allclose(shown[3], [0.6743, -1.404, -0.4286, 1.616], rtol=5e-4)
    np.testing.assert_allclose(shown[29], [0.5568, -1.401, -0.3478, 1.549], rtol=5e-4)


def test_nothing_is_no_bin() -> None:
    assert list(reduce_samples([], 10, ["line"])) == []
    assert list(reduce_bins([], 10)) == []
    empty = batches(np.empty(0, np.int64), {"line": np.empty(0)}, [])
    assert list(reduce_samples(empty, 10, ["line"])) == []
    assert len(next(reduce_samples(batches(np.array([5]), {"line": np.array([1.0])}, []), 10, ["line"]))) == 1
