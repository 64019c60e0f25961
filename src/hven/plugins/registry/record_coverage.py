"""Describe the coverage of tables in space, time and wavelength for registry records (VODataService 1.2, section 3.2).

All values come from the statistics of published tables.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hven.formats import escape_xml, quote_attribute
from hven.model import sky, units
from hven.model.table import find_begin_and_end_time_columns
from hven.services.api.positions import has_icrs_position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.model.table import Table
    from hven.site import PublishedTable

MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)  # the day of the modified Julian date 0
MJD_EPOCH = 2_400_000.5  # the Julian date of that day
MIN_CALENDAR_MJD, MAX_CALENDAR_MJD = -600_000, 2_000_000  # days that `datetime` can express
SECONDS_PER_DAY = 86_400
MAX_COVERAGE_ORDER = 6  # finest HEALPix order of a published coverage: cells of about one degree
# a longer coverage is published at a coarser order; VODataService 1.2 asks for a few dozens of kB at most
MAX_COVERAGE_CHARACTERS = 40_000
SPECTRAL_COLUMN_PAIRS = (("em_min", "em_max"), ("spectral_range_min", "spectral_range_max"))  # of ObsCore and EPN-TAP
BODY_UCD = "pos.bodyrc"


def write_coverage_xml(published_tables: Sequence[PublishedTable], waveband: Iterable[str]) -> str:
    """Write the common coverage of some tables as XML; tables with rows that not everybody may see are left out.

    Parameters
    ----------
    published_tables
        Published tables of a collection.
    waveband
        Messengers and wavebands of the collection, as words of VODataService.

    Returns
    -------
    xml
        The element ``coverage``; empty if nothing is known.
    """
    public_items = [item for item in published_tables if item.table.is_fully_public]
    parts = [_write_spatial_coverage(public_items)]
    time_spans = [span for item in public_items if (span := _find_time_span(item)) is not None]
    spectral_spans = [span for item in public_items for span in _find_spectral_spans(item)]
    for element, spans in (("temporal", time_spans), ("spectral", spectral_spans)):
        if spans:
            lowest = min(low for low, _ in spans)
            highest = max(high for _, high in spans)
            parts.append(f"<{element}>{lowest:.10g} {highest:.10g}</{element}>")
    parts += [f"<waveband>{escape_xml(band)}</waveband>" for band in waveband]
    coverage_xml = "".join(parts)
    if coverage_xml:
        return f"<coverage>{coverage_xml}</coverage>"
    return ""


def _write_spatial_coverage(published_tables: Sequence[PublishedTable]) -> str:
    """Write the coverage in one frame, because a record has room for one: the sky before the bodies."""
    coverages_by_frame: dict[str, list[str]] = {}
    for item in published_tables:
        frame = _find_position_frame(item)
        if item.coverage and frame is not None:
            coverages_by_frame.setdefault(frame, []).append(item.coverage)
    if not coverages_by_frame:
        return ""
    frame = min(coverages_by_frame)
    moc_text = _merge_coverages(tuple(coverages_by_frame[frame]))
    if frame:
        return f"<spatial frame={quote_attribute(frame)}>{moc_text}</spatial>"
    return f"<spatial>{moc_text}</spatial>"


def find_sample_sky_circle(table: Table, published_table: PublishedTable) -> tuple[float, float, float] | None:
    """Find a circle on the sky in which a table has rows, or return None where its coverage is not known or public.

    Parameters
    ----------
    table
        Table with positions.
    published_table
        The same table as published, with its coverage.

    Returns
    -------
    circle
        Longitude, latitude and radius in degrees.
    """
    if not published_table.coverage or table.policy is not None or _find_position_frame(published_table) != "":
        return None
    moc = sky.Moc.parse(published_table.coverage)
    if not len(moc.ranges):
        return None
    bits_below_order = 2 * (sky.healpix.MAX_ORDER - moc.order)
    first_cell = moc.ranges[0, 0] >> bits_below_order
    lon, lat = sky.healpix.compute_cell_centers(moc.order, np.array([first_cell]))
    cell_side = np.sqrt(np.pi / 3) / 2**moc.order
    radius = float(np.degrees(cell_side))  # no corner of a cell is farther from its centre than the side is long
    return float(lon[0]), float(lat[0]), radius


def _find_position_frame(published_table: PublishedTable) -> str | None:
    """Find the frame of a table's positions: empty for ICRS; None where clients could not interpret it."""
    table = published_table.table
    if table.position is None:
        return None
    column = table.find_column(table.position[0])
    if (column.ucd or "").lower().startswith(BODY_UCD):
        target_statistics = published_table.statistics.get("target_name", {})
        body = target_statistics.get("minimum")
        if isinstance(body, str) and body == target_statistics.get("maximum"):
            return f"IAU_{body.upper().replace(' ', '_')}"
        return None
    if has_icrs_position(table):
        return ""
    return None


@lru_cache(maxsize=16)  # several records of a table have the same coverage
def _merge_coverages(texts: tuple[str, ...]) -> str:
    """Unite coverages at the finest order at which the text is short enough."""
    mocs = [sky.Moc.parse(text) for text in texts]
    ranges = sky.healpix.merge_ranges(np.concatenate([moc.ranges for moc in mocs]))
    finest_order = max(moc.order for moc in mocs)
    moc_text = ""
    for order in range(MAX_COVERAGE_ORDER, 2, -1):
        coarse_ranges = sky.healpix.degrade_ranges(ranges, order)
        moc_text = str(sky.Moc(coarse_ranges, min(order, finest_order)))
        if len(moc_text) <= MAX_COVERAGE_CHARACTERS:
            break
    return moc_text


def _find_time_span(published_table: PublishedTable) -> tuple[float, float] | None:
    """Find the earliest begin and the latest end of a table's rows, as modified Julian dates."""
    begin_column, end_column = find_begin_and_end_time_columns(published_table.table)
    if begin_column is None or end_column is None:
        return None
    begin_statistics = published_table.statistics.get(begin_column.name, {})
    end_statistics = published_table.statistics.get(end_column.name, {})
    begin = _to_mjd(begin_statistics.get("minimum"), begin_column.epoch)
    end = _to_mjd(end_statistics.get("maximum"), end_column.epoch)
    if begin is None or end is None or begin > end:
        return None
    return (begin, end)


def find_date_span(published_table: PublishedTable) -> tuple[str, str] | None:
    """Find the day on which the first row of a table begins and the day on which the last one ends.

    Parameters
    ----------
    published_table
        Published table with its statistics.
    """
    time_span = _find_time_span(published_table)
    if time_span is None:
        return None
    if not all(MIN_CALENDAR_MJD < mjd < MAX_CALENDAR_MJD for mjd in time_span):
        return None
    moments = [MJD_ZERO + timedelta(days=mjd) for mjd in time_span]
    first_day, last_day = (moment.date().isoformat() for moment in moments)
    return first_day, last_day


def list_earth_boxes(published_tables: Sequence[PublishedTable]) -> list[dict[str, dict[str, float]]]:
    """List the bounding boxes of tables with positions on the Earth, as DataCite writes them.

    Tables with positions on the sky or on other bodies have none.

    Parameters
    ----------
    published_tables
        Published tables with their statistics.
    """
    boxes = []
    for item in published_tables:
        if item.table.position is None or _find_position_frame(item) != "IAU_EARTH":
            continue
        box = _build_earth_box(item, *item.table.position[:2])
        if box is not None:
            boxes.append({"geoLocationBox": box})
    return boxes


def _build_earth_box(
    published_table: PublishedTable, longitude_column: str, latitude_column: str
) -> dict[str, float] | None:
    """Build the bounding box of a table's positions; None where the statistics are no valid box."""
    bounds: list[float] = []
    for column_name in (longitude_column, latitude_column):
        column_statistics = published_table.statistics.get(column_name, {})
        for extreme in ("minimum", "maximum"):
            bound = column_statistics.get(extreme)
            if not isinstance(bound, int | float) or not np.isfinite(bound):
                return None
            bounds.append(bound)
    west, east, south, north = bounds
    if east > 180:  # DataCite counts longitudes from -180 to 180
        if west < 180:
            west, east = -180.0, 180.0
        else:
            west, east = west - 360, east - 360
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        return None
    return {
        "westBoundLongitude": float(west),
        "eastBoundLongitude": float(east),
        "southBoundLatitude": float(south),
        "northBoundLatitude": float(north),
    }


def _to_mjd(value: object, epoch: float | None) -> float | None:
    """Convert a statistic of a time column to a modified Julian date: days since `epoch`, or ISO 8601 without it."""
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
    return (moment - MJD_ZERO).total_seconds() / SECONDS_PER_DAY


def _find_spectral_spans(published_table: PublishedTable) -> Iterator[tuple[float, float]]:
    """Yield the spectral interval of ObsCore's or EPN-TAP's columns, in joules."""
    columns_by_name = {column.name.lower(): column for column in published_table.table.columns}
    for low_name, high_name in SPECTRAL_COLUMN_PAIRS:
        low_column = columns_by_name.get(low_name)
        high_column = columns_by_name.get(high_name)
        if low_column is None or high_column is None:
            continue
        energies = []
        for column, extreme in ((low_column, "minimum"), (high_column, "maximum")):
            energy = _convert_to_joules(published_table.statistics.get(column.name, {}).get(extreme), column.unit or "")
            if energy is not None:
                energies.append(energy)
        if len(energies) == 2:
            yield min(energies), max(energies)


def _convert_to_joules(value: object, unit: str) -> float | None:
    """Convert a spectral value to joules; None where it is no positive number or has no spectral unit."""
    try:
        factor, is_reciprocal = units.compute_spectral_conversion(unit, "J")
    except ValueError:
        return None
    if not isinstance(value, int | float) or not np.isfinite(value) or value <= 0:
        return None
    if is_reciprocal:
        return factor / value
    return factor * value
