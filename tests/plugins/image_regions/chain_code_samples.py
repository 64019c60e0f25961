"""Chain codes of the HFC's kind, and the work with them that benches measure in other processes."""

from __future__ import annotations

import time

import numpy as np
import shapely

from hven.plugins.image_regions import contours

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
