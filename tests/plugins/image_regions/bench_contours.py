"""Regions: chain codes of the HFC's kind to polygons on the Sun, beside GEOS mending plain rings of the same pixels.

The reference does less: it draws a ring through the pixels' centres in the plane of the image, and makes it valid. MOCs stand beside mocpy's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import astropy.units as u
import numpy as np
from bench.measure import Journey, against
from mocpy import MOC

from hven.plugins.image_regions import contours

sys.path.insert(0, str(Path(__file__).parent))

import contour_ingests
from chain_code_samples import codes, polygons, rings

ROWS = 20_000
CORES = 2


def measure_repairs(texts: list[str], starts: np.ndarray) -> float:
    """Count how many plain rings are mended in a second, by two processes."""
    with ProcessPoolExecutor(CORES, mp_context=get_context("forkserver")) as pool:
        list(pool.map(rings, [(texts[:10], starts[:10])] * CORES))  # imports
        begun = time.perf_counter()
        list(pool.map(rings, [(texts * 2, np.tile(starts, (2, 1)))] * CORES))
        return 2 * CORES * len(texts) / (time.perf_counter() - begun)


def mocs(only: str) -> Iterator[Journey]:
    name = "regions.mocs"
    if only not in name:
        return
    texts, starts = codes(200)
    disc = contours.DiscImage(507.9, 518.3, 2.63, 2.63, 985.9, 100.0, -3.0)
    made = contours.build_regions_from_chain_codes(texts, starts[:, 0], starts[:, 1], disc).regions
    made = made.take((np.diff(made.rows) > 0) & (made.ring_counts == 1))
    made.take([0]).to_mocs()  # imports
    begun = time.process_time()
    found, added = made.to_mocs()
    rate = len(made) / (time.process_time() - begun)
    begun = time.process_time()
    for row, moc in enumerate(found):
        some = slice(made.rings[row], made.rings[row + 1])
        MOC.from_polygon(made.lon[some] * u.deg, made.lat[some] * u.deg, max_depth=moc.order)
    known = len(made) / (time.process_time() - begun)
    note = f"{len(made)} polygons of {len(made.lon) / len(made):.0f} corners, {100 * added.max():.1f} % added at most, order {np.median([moc.order for moc in found]):.0f}; per second of CPU; the reference is mocpy, at the same orders, one after the other"
    yield against(name, rate, known, 8.0, unit="regions/s", higher=True, note=note)


def run(only: str = "", *, big: bool = False) -> Iterator[Journey]:
    yield from mocs(only)
    names = ("regions.codes", "regions.ingest", "regions.day", "regions.covered")
    if not any(only in name for name in names):
        return
    texts, starts = codes(2_000)
    yield from contour_ingests.journeys(only, (texts, starts), lambda: measure_repairs(texts, starts), big=big)
    name = names[0]
    if only not in name:
        return
    times = (ROWS * (10 if big else 1)) // len(texts)
    parts = [(texts * 2, np.tile(starts, (2, 1)))] * (times // 2)
    rows = sum(len(part[0]) for part in parts)
    with ProcessPoolExecutor(CORES, mp_context=get_context("forkserver")) as pool:
        list(pool.map(polygons, parts[:CORES]))  # imports
        rates, spent = [], []
        for work in (polygons, rings):
            begun = time.perf_counter()
            spent.append(sum(pool.map(work, parts)))
            rates.append(rows / (time.perf_counter() - begun))
    length = np.array([len(text) for text in texts])
    note = f"{rows} codes of {np.median(length):.0f} steps (mean {length.mean():.0f}, longest {length.max()}), {CORES} processes; {rows / spent[0] * CORES:.0f}/s if the processors did nothing else, goal 8,000"
    yield against(name, rates[0], rates[1], 1.36, unit="regions/s", higher=True, note=note)
