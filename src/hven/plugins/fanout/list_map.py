"""Find where the rows of a list and their results are on the sky, for the map of the list's page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hven.plugins.fanout.joined_table import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from hven.model.params import Param

MAX_DRAWN_RESULTS = 10_000  # positions of joined results on the map; the number of all is stated
# phases of jobs and their labels; the phase of a row is the first of these that one of its jobs has
PHASE_LABELS = {
    "ERROR": "failed",
    "ABORTED": "aborted",
    "UNKNOWN": "unknown",
    "SUSPENDED": "suspended",
    "EXECUTING": "running",
    "QUEUED": "waiting",
    "PENDING": "pending",
    "HELD": "held",
    "ARCHIVED": "archived",
    "COMPLETED": "done",
}
ROW_PHASE_ORDER = tuple(PHASE_LABELS)
RESULT_LABEL = "results"
POSITION_COLUMN_NAMES = (("ra", "dec"), ("s_ra", "s_dec"), ("raj2000", "dej2000"), ("ra_icrs", "de_icrs"))
_DUPLICATE_SUFFIX_PATTERN = re.compile(r"_\d+$")  # the joined table adds it to a name that the list's rows have, too


class SkyPositions(NamedTuple):
    """Positions on the sky.

    Attributes
    ----------
    rows
        Number of the list's row of each position, from 1, of shape (n,).
    longitudes, latitudes
        In degrees, of shape (n,).
    total
        How many positions there are; not all of them may be here.
    """

    rows: np.ndarray
    longitudes: np.ndarray
    latitudes: np.ndarray
    total: int

    def copy_without_positions(self) -> SkyPositions:
        """Return no positions."""
        return SkyPositions(self.rows[:0], self.longitudes[:0], self.latitudes[:0], 0)


def find_position_params(columns: Sequence[Param]) -> tuple[int, int] | None:
    """Return the places of the columns of a list's rows that contain longitude and latitude in degrees."""
    numbers = [column.name.lower() if column.unit in (None, "", "deg") else "" for column in columns]
    return _find_position_names(numbers)


def locate_list_rows(columns: Sequence[Param], rows: Sequence[Sequence[str]]) -> SkyPositions:
    """Read the positions of the rows of a list.

    Parameters
    ----------
    columns
        The columns of the rows, with a position (`find_position_params`).
    rows
        The texts of each row. A row without a position is left out.
    """
    places = find_position_params(columns)
    if places is None:
        return _select_positions(np.empty(0, np.int64), np.empty(0), np.empty(0))
    longitudes, latitudes = (np.array([row[place] or "nan" for row in rows], dtype=np.float64) for place in places)
    return _select_positions(np.arange(1, len(rows) + 1), longitudes, latitudes)


def locate_results(path: Path, row_column_count: int) -> SkyPositions:
    """Read the positions in the joined table of a list.

    Parameters
    ----------
    path
        The joined table as Parquet.
    row_column_count
        How many of its columns describe the list's row. They come first and are not searched for positions.
    """
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        plain_names = [""] * row_column_count
        plain_names += [_DUPLICATE_SUFFIX_PATTERN.sub("", name.lower()) for name in names[row_column_count:]]
        places = _find_position_names(plain_names)
        if places is None or any(not _is_number(file.schema_arrow.field(place).type) for place in places):
            return _select_positions(np.empty(0, np.int64), np.empty(0), np.empty(0))
        table = file.read(columns=[ROW_NUMBER_COLUMN.name, *(names[place] for place in places)])
    row_numbers = table.column(ROW_NUMBER_COLUMN.name).to_numpy()
    longitudes, latitudes = (
        pc.fill_null(table.column(names[place]).cast(pa.float64()), np.nan).to_numpy() for place in places
    )
    return _select_positions(row_numbers, longitudes, latitudes, MAX_DRAWN_RESULTS)


def find_worst_row_phases(row_count: int, jobs: Iterable[tuple[int, str]], missing_phase: str) -> list[str]:
    """Return the phase of each row: that of its job which needs most attention.

    Parameters
    ----------
    row_count
        Number of rows.
    jobs
        Row, from 1, and phase of each job.
    missing_phase
        Phase of a row without jobs.
    """
    ranks = [len(ROW_PHASE_ORDER)] * row_count
    for row, phase in jobs:
        ranks[row - 1] = min(ranks[row - 1], ROW_PHASE_ORDER.index(phase))
    phases = (*ROW_PHASE_ORDER, missing_phase)
    return [phases[rank] for rank in ranks]


def describe_map(
    row_positions: SkyPositions,
    result_positions: SkyPositions,
    row_phases: Sequence[str],
    row_names: Sequence[str],
    texts: Mapping[str, str],
) -> dict[str, Any]:
    """Describe the positions as the map of a table receives them, coloured by the phases of rows.

    Parameters
    ----------
    row_positions, result_positions
        Positions of the list's rows, and of the joined results.
    row_phases, row_names
        Phase and name of each row of the list.
    texts
        Translations of labels.

    Returns
    -------
    document
        A JSON object. The key of a position begins with the number of its row of the list.
    """
    phases = [row_phases[row - 1] for row in row_positions.rows.tolist()]
    phases_present = [phase for phase in reversed(ROW_PHASE_ORDER) if phase in phases]
    labels = {phase: texts.get(label, label) for phase, label in PHASE_LABELS.items()}
    choices = [(phase, labels[phase], phases.count(phase)) for phase in phases_present]
    values = [phases_present.index(phase) for phase in phases]
    result_rows = result_positions.rows.tolist()
    if result_rows:
        values += [len(choices)] * len(result_rows)
        choices.append(("results", texts.get(RESULT_LABEL, RESULT_LABEL), len(result_rows)))
    return {
        "kind": "sky",
        "total": row_positions.total + result_positions.total,
        "files": False,
        "lon": [*row_positions.longitudes.tolist(), *result_positions.longitudes.tolist()],
        "lat": [*row_positions.latitudes.tolist(), *result_positions.latitudes.tolist()],
        "counts": [],
        "radius": None,
        "keys": [
            *map(str, row_positions.rows.tolist()),
            *(f"{row}.{number}" for number, row in enumerate(result_rows, 1)),
        ],
        "shapes": [],
        "outlines": [],
        "names": [row_names[row - 1] for row in (*row_positions.rows.tolist(), *result_rows)],
        "colouring": {
            "column": "phase",
            "label": "",
            "unit": "",
            "values": values,
            "choices": choices,
            "low": None,
            "high": None,
        },
        "colours": [],
        "frame": None,
    }


def _find_position_names(names: Sequence[str]) -> tuple[int, int] | None:
    prefixed_pairs = [(name, f"{name[:-2]}dec") for name in names if name.endswith("_ra")]
    for pair in (*POSITION_COLUMN_NAMES, *prefixed_pairs):
        if all(name in names for name in pair):
            return names.index(pair[0]), names.index(pair[1])
    return None


def _is_number(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_floating(arrow_type) or pa.types.is_integer(arrow_type))


def _select_positions(
    rows: np.ndarray, longitudes: np.ndarray, latitudes: np.ndarray, max_count: int | None = None
) -> SkyPositions:
    is_position = np.isfinite(longitudes) & (np.abs(latitudes) <= 90)
    selected = np.flatnonzero(is_position)
    shown = selected[:max_count]
    return SkyPositions(rows[shown], longitudes[shown] % 360, latitudes[shown], len(selected))
