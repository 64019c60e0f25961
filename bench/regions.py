"""Regions: chain codes of the HFC's kind to polygons on the Sun, beside GEOS mending plain rings of the same pixels.

The reference does less: it draws a ring through the pixels' centres in the plane of the image, and makes it valid. MOCs stand beside mocpy's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import astropy.units as u
import numpy as np
import shapely
from mocpy import MOC

from bench import footprints, holes
from bench.measure import Journey, against
from hven.model.sky import contours

ROWS = 20_000
CORES = 2
STEPS = np.array(contours.HELIO_STEPS)


def codes(count: int, seed: int = 18) -> tuple[list[str], np.ndarray]:
    """Make chain codes whose lengths are CHARM's (median 178, mean 338, 33 to 3,982 steps), and where each begins."""
    rng = np.random.default_rng(seed)
    digit = {tuple(step): str(k) for k, step in enumerate(STEPS.tolist())}
    made, starts = [], []
    while len(made) < count:
        size = float(np.clip(np.exp(rng.normal(np.log(178), 1.1)), 33, 3982))
        turn = np.linspace(0, 2 * np.pi, int(size * 2), endpoint=False)
        far = np.ones_like(turn)
        for wave in range(2, 12):
            far += rng.normal(0, 0.5 / wave) * np.cos(wave * turn + rng.uniform(0, 6.3))
        far *= size / 9.6
        pixel = np.rint(np.stack([far * np.cos(turn), far * np.sin(turn)], axis=1)).astype(int)
        move = np.roll(pixel, -1, axis=0) - pixel
        path = []
        for way in move:
            while way.any():
                step = np.sign(way)
                path.append(digit[tuple(step.tolist())])
                np.subtract(way, step, out=way)
        if path:
            made.append("".join(path))
            starts.append(pixel[0] + rng.integers(-250, 250, 2) + 512)
    return made, np.array(starts)


def polygons(part: tuple[list[str], np.ndarray]) -> float:
    """Make regions of an image of SOHO's EIT; give the seconds of CPU."""
    disc = contours.DiscImage(507.9, 518.3, 2.63, 2.63, 985.9, 100.0, -3.0)
    begun = time.process_time()
    contours.build_regions_from_chain_codes(part[0], part[1][:, 0], part[1][:, 1], disc)
    return time.process_time() - begun


def rings(part: tuple[list[str], np.ndarray]) -> float:
    """Make valid polygons of rings through the pixels' centres."""
    begun = time.process_time()
    digits = np.frombuffer("".join(part[0]).encode(), np.uint8) - 48
    size = np.array([len(code) for code in part[0]])
    row = np.repeat(np.arange(len(size)), size)
    walked = np.cumsum(STEPS[digits], axis=0)
    first = np.cumsum(size) - size
    place = walked - walked[first][row] + part[1][row]
    shapely.make_valid(shapely.polygons(shapely.linearrings(place.astype(float), indices=row)))
    return time.process_time() - begun


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
    yield from footprints.journeys(only)
    yield from mocs(only)
    names = ("regions.codes", "regions.ingest", "regions.day", "regions.covered")
    if not any(only in name for name in names):
        return
    texts, starts = codes(2_000)
    yield from holes.journeys(only, (texts, starts), lambda: measure_repairs(texts, starts), big=big)
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
