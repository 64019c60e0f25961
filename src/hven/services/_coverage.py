"""Coverage of tables on the sky or a body, in time and in wavelength, for registry records.

It follows VODataService 1.2, section 3.2, and comes from the statistics of published tables.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from hven.model import sky, units
from hven.model.table import find_begin_and_end_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.model.table import Table
    from hven.site import PublishedTable

MJD_EPOCH = 2_400_000.5
MAX_COVERAGE_ORDER = 6  # order to which a coverage is told at most, about a degree
MAX_COVERAGE_CHARACTERS = (
    40_000  # characters of a coverage; a longer one is told to a coarser order (VODataService 1.2: a few dozens of kB)
)
SPECTRAL_COLUMN_PAIRS = (("em_min", "em_max"), ("spectral_range_min", "spectral_range_max"))  # of ObsCore and EPN-TAP
ICRS_FRAMES = ("ICRS", "FK5")
BODY_UCD = "pos.bodyrc"
NON_EQUATORIAL_UCDS = (
    BODY_UCD,
    "pos.earth",
    "pos.galactic",
    "pos.ecliptic",
)  # UCDs of longitudes that are no right ascension


def write_coverage(items: Sequence[PublishedTable], waveband: Iterable[str]) -> str:
    """Write what some tables cover together; nothing that was counted over rows that not everybody sees.

    Parameters
    ----------
    items
        As published.
    waveband
        Words of their collection.
    """
    public_items = [item for item in items if item.table.is_fully_public]
    frames: dict[str, list[str]] = {}
    for item in public_items:
        frame = _find_frame(item)
        if item.coverage and frame is not None:
            frames.setdefault(frame, []).append(item.coverage)
    spatial = ""
    if frames:  # one alone can be told: that of the sky before those of bodies
        frame = min(frames)
        if frame:
            where = f" frame={quoteattr(frame)}"
        else:
            where = ""
        spatial = f"<spatial{where}>{_merge_coverages(tuple(frames[frame]))}</spatial>"
    times = [span for item in public_items if (span := _find_time_span(item)) is not None]
    energies = [span for item in public_items for span in _find_spectral_spans(item)]
    coverage_xml = "".join(
        (
            spatial,
            *(
                f"<{name}>{min(low for low, _ in spans):.10g} {max(high for _, high in spans):.10g}</{name}>"
                for name, spans in (("temporal", times), ("spectral", energies))
                if spans
            ),
            *(f"<waveband>{escape(band)}</waveband>" for band in waveband),
        )
    )
    if coverage_xml:
        return f"<coverage>{coverage_xml}</coverage>"
    return ""


def find_sample_place(table: Table, item: PublishedTable) -> tuple[float, float, float] | None:
    """Return a place on the sky with rows: longitude, latitude and radius in degrees; None: none is known.

    Parameters
    ----------
    table
        With positions.
    item
        As it is published.
    """
    if not item.coverage or table.policy is not None or _find_frame(item) != "":
        return None
    moc = sky.Moc.parse(item.coverage)
    if not len(moc.ranges):
        return None
    lon, lat = sky.healpix.compute_cell_centers(
        moc.order, np.array([moc.ranges[0, 0] >> 2 * (sky.healpix.MAX_ORDER - moc.order)])
    )
    size = float(np.degrees(np.sqrt(np.pi / 3) / 2**moc.order))  # side of a cell: no corner is farther from its centre
    return float(lon[0]), float(lat[0]), size


def _find_frame(item: PublishedTable) -> str | None:
    """Return the frame of a table's positions: empty for the sky's; None: nobody could use it."""
    table = item.table
    if table.position is None:
        return None
    column = table.find_column(table.position[0])
    if (column.ucd or "").lower().startswith(BODY_UCD):
        target_statistics = item.statistics.get("target_name", {})
        body = target_statistics.get("minimum")
        if isinstance(body, str) and body == target_statistics.get("maximum"):
            return f"IAU_{body.upper().replace(' ', '_')}"
        return None
    return "" if has_icrs_position(table) else None


def has_icrs_position(table: Table) -> bool:
    """Check whether a table's position is right ascension and declination.

    Not on a body, not in another frame of the sky.
    """
    if table.position is None:
        return False
    column = table.find_column(table.position[0])
    if (column.ucd or "").lower().startswith(NON_EQUATORIAL_UCDS):
        return False
    system = next(
        (table_frame.system for table_frame in table.frames if table_frame.id == column.frame and table_frame.system),
        ICRS_FRAMES[0],
    )
    return system.upper().startswith(ICRS_FRAMES)


@lru_cache(maxsize=16)  # a table's records have the same
def _merge_coverages(texts: tuple[str, ...]) -> str:
    """Unite coverages, to an order at which their text is short."""
    mocs = [sky.Moc.parse(text) for text in texts]
    ranges = sky.healpix.merge_ranges(np.concatenate([moc.ranges for moc in mocs]))
    moc_text = ""
    for order in range(MAX_COVERAGE_ORDER, 2, -1):
        moc_text = str(sky.Moc(sky.healpix.degrade_ranges(ranges, order), min(order, max(moc.order for moc in mocs))))
        if len(moc_text) <= MAX_COVERAGE_CHARACTERS:
            break
    return moc_text


def _find_time_span(item: PublishedTable) -> tuple[float, float] | None:
    """Return when its rows began and ended, as modified Julian dates."""
    begin, end = find_begin_and_end_columns(item.table)
    if begin is None or end is None:
        return None
    ends = (
        _to_mjd(item.statistics.get(begin.name, {}).get("minimum"), begin.epoch),
        _to_mjd(item.statistics.get(end.name, {}).get("maximum"), end.epoch),
    )
    if ends[0] is None or ends[1] is None or ends[0] > ends[1]:
        return None
    return (ends[0], ends[1])


def find_date_span(item: PublishedTable) -> tuple[str, str] | None:
    """Return on which days the first row of a table begins and the last one ends.

    Parameters
    ----------
    item
        As it is published.
    """
    time_span = _find_time_span(item)
    if time_span is None or not all(
        -600_000 < day < 2_000_000 for day in time_span
    ):  # years that calendars of computers have
        return None
    first, last = ((datetime(1858, 11, 17, tzinfo=UTC) + timedelta(days=day)).date().isoformat() for day in time_span)
    return first, last


def list_earth_boxes(items: Sequence[PublishedTable]) -> list[dict[str, dict[str, float]]]:
    """Return the boxes of positions on the Earth, as DataCite has them.

    Positions on the sky and on other bodies are no places there.

    Parameters
    ----------
    items
        As published.
    """
    boxes = []
    for item in items:
        if item.table.position is None or _find_frame(item) != "IAU_EARTH":
            continue
        (west, east), (south, north) = (
            [item.statistics.get(name, {}).get(end) for end in ("minimum", "maximum")]
            for name in item.table.position[:2]
        )
        if not all(isinstance(bound, int | float) and np.isfinite(bound) for bound in (west, east, south, north)):
            continue
        if east > 180:  # type: ignore[operator]  # DataCite counts from -180 to 180
            west, east = (-180.0, 180.0) if west < 180 else (west - 360, east - 360)  # type: ignore[operator]
        if -180 <= west <= east <= 180 and -90 <= south <= north <= 90:  # type: ignore[operator]
            bounds = {
                "westBoundLongitude": float(west),  # type: ignore[arg-type]
                "eastBoundLongitude": float(east),  # type: ignore[arg-type]
                "southBoundLatitude": float(south),  # type: ignore[arg-type]
                "northBoundLatitude": float(north),  # type: ignore[arg-type]
            }
            boxes.append({"geoLocationBox": bounds})
    return boxes


def _to_mjd(value: object, epoch: float | None) -> float | None:
    if epoch is not None:
        if isinstance(value, int | float) and np.isfinite(value):
            return float(value) + epoch - MJD_EPOCH
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    if not moment.tzinfo:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1858, 11, 17, tzinfo=UTC)).total_seconds() / 86_400


def _find_spectral_spans(item: PublishedTable) -> Iterator[tuple[float, float]]:
    """Yield the spectral interval of ObsCore's or EPN-TAP's columns, in joules."""
    names = {column.name.lower(): column for column in item.table.columns}
    for low, high in SPECTRAL_COLUMN_PAIRS:
        interval_columns = names.get(low), names.get(high)
        if interval_columns[0] is None or interval_columns[1] is None:
            continue
        ends = []
        for column, statistic in ((interval_columns[0], "minimum"), (interval_columns[1], "maximum")):
            value = item.statistics.get(column.name, {}).get(statistic)
            try:
                by, divided = units.compute_spectral_conversion(column.unit or "", "J")
            except ValueError:
                break
            if isinstance(value, int | float) and np.isfinite(value) and value > 0:
                ends.append(by / value if divided else by * value)
        if len(ends) == 2:
            yield min(ends), max(ends)


__all__ = ["find_date_span", "find_sample_place", "list_earth_boxes", "write_coverage"]
