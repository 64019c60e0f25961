"""What the tests of plots publish: a field, a spectrogram in the layout of Wind/WAVES, and bursts that lie in it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SECOND = 1_000_000
START = int(np.datetime64("2003-10-28T00:00:00", "us").astype(int))
FIELD_SECONDS, FIELD_COUNT = 10, 8640
SPECTRUM_COUNT = 1440
CHANNELS = tuple(round(float(value), 4) for value in np.geomspace(0.02, 13.8, 64))
PROPERTIES = {"name": "Time-Frequency", "time_coords_id": "unix", "spectral_coords": {"type": "frequency", "unit": "MHz"}, "ref_position_id": "GEOCENTER"}  # fmt: skip
CRS = {"type": "local", "properties": PROPERTIES}


@dataclass(frozen=True)
class Burst:
    """A burst: its box as BR_X and BR_Y of the HFC give it, in microseconds and MHz."""

    name: str
    begin: int
    end: int
    low: float
    high: float
    has_outline: bool

    def build_ring(self) -> list[list[float]]:
        times = self.begin / 1e6, self.end / 1e6
        corners = [(times[0], self.low), (times[1], self.low), (times[1], self.high), (times[0], self.high)]
        return [list(corner) for corner in [*corners, corners[0]]]


BURSTS = (
    Burst("t3_1", START + 3600 * SECOND, START + 5400 * SECOND, 0.1, 10.0, has_outline=True),
    Burst("t3_2", START + 40_000 * SECOND, START + 41_000 * SECOND, 1.0, 13.0, has_outline=False),
)


def build_field() -> tuple[Any, Any, Any]:
    """Build the field: times, vectors with values that are none, and a speed with a gap."""
    rng = np.random.default_rng(3)
    times = (START + np.arange(FIELD_COUNT) * FIELD_SECONDS * SECOND).astype("M8[us]")
    vectors = rng.normal(size=(FIELD_COUNT, 3)) + 3
    speed = 400 + 50 * np.sin(np.arange(FIELD_COUNT) / 500)
    speed[2000:2500] = np.nan
    return times, vectors, speed


def build_spectra() -> tuple[Any, Any]:
    """Build spectra that are bright inside the boxes of the bursts, and nowhere else."""
    times = START + np.arange(SPECTRUM_COUNT) * 60 * SECOND
    spectra = np.full((SPECTRUM_COUNT, len(CHANNELS)), 10.0, np.float32)
    for burst in BURSTS:
        is_inside = (times >= burst.begin) & (times < burst.end)
        is_channel = (np.array(CHANNELS) >= burst.low) & (np.array(CHANNELS) <= burst.high)
        spectra[np.ix_(is_inside, is_channel)] = 90.0
    return times.astype("M8[us]"), spectra


def write_parquet(columns: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def build_lists(matrix: np.ndarray) -> pa.Array:  # type: ignore[type-arg]
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
