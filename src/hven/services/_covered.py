"""What tables cover on the sky, or a body, in time and in wavelength, for the records of registries (VODataService 1.2 section 3.2): from what was counted when they were published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from hven.model import sky, units
from hven.model.table import begins_and_ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.model.table import Table
    from hven.site import Published

MJD = 2_400_000.5
CELLS = 6  # order to which a coverage is told at most, about a degree
LONG = (
    40_000  # characters of a coverage; a longer one is told to a coarser order (VODataService 1.2: a few dozens of kB)
)
PAIRS = (("em_min", "em_max"), ("spectral_range_min", "spectral_range_max"))  # of ObsCore and EPN-TAP
ICRS = ("ICRS", "FK5")
BODY = "pos.bodyrc"
ELSEWHERE = (BODY, "pos.earth", "pos.galactic", "pos.ecliptic")  # UCDs of longitudes that are no right ascension


def coverage(items: Sequence[Published], waveband: Iterable[str]) -> str:
    """Write what some tables cover together; nothing that was counted over rows that not everybody sees.

    Parameters
    ----------
    items
        As published.
    waveband
        Words of their collection.
    """
    known = [item for item in items if item.table.everybodys]
    frames: dict[str, list[str]] = {}
    for item in known:
        frame = _frame(item)
        if item.coverage and frame is not None:
            frames.setdefault(frame, []).append(item.coverage)
    spatial = ""
    if frames:  # one alone can be told: that of the sky before those of bodies
        frame = min(frames)
        where = f" frame={quoteattr(frame)}" if frame else ""
        spatial = f"<spatial{where}>{_union(tuple(frames[frame]))}</spatial>"
    times = [span for item in known if (span := _times(item)) is not None]
    energies = [span for item in known for span in _energies(item)]
    told = "".join((
        spatial,
        *(f"<{name}>{min(low for low, _ in spans):.10g} {max(high for _, high in spans):.10g}</{name}>" for name, spans in (("temporal", times), ("spectral", energies)) if spans),
        *(f"<waveband>{escape(one)}</waveband>" for one in waveband),
    ))  # fmt: skip
    return f"<coverage>{told}</coverage>" if told else ""


def place(table: Table, item: Published) -> tuple[float, float, float] | None:
    """Return a place on the sky with rows: longitude, latitude and radius in degrees; None: none is known.

    Parameters
    ----------
    table
        With positions.
    item
        As it is published.
    """
    if not item.coverage or table.policy is not None or _frame(item) != "":
        return None
    moc = sky.Moc.parse(item.coverage)
    if not len(moc.ranges):
        return None
    lon, lat = sky.healpix.center(moc.order, np.array([moc.ranges[0, 0] >> 2 * (sky.healpix.ORDER - moc.order)]))
    size = float(np.degrees(np.sqrt(np.pi / 3) / 2**moc.order))  # side of a cell: no corner is farther from its centre
    return float(lon[0]), float(lat[0]), size


def _frame(item: Published) -> str | None:
    """Return the frame of a table's positions: empty for the sky's; None: nobody could use it."""
    table = item.table
    if table.position is None:
        return None
    column = table.column(table.position[0])
    if (column.ucd or "").lower().startswith(BODY):
        known = item.statistics.get("target_name", {})
        body = known.get("minimum")
        return f"IAU_{body.upper().replace(' ', '_')}" if isinstance(body, str) and body == known.get("maximum") else None  # fmt: skip
    return "" if has_icrs_position(table) else None


def has_icrs_position(table: Table) -> bool:
    """Check whether a table's position is right ascension and declination: not on a body, not in another frame of the sky."""
    if table.position is None:
        return False
    column = table.column(table.position[0])
    if (column.ucd or "").lower().startswith(ELSEWHERE):
        return False
    system = next((one.system for one in table.frames if one.id == column.frame and one.system), ICRS[0])
    return system.upper().startswith(ICRS)


@lru_cache(maxsize=16)  # a table's records have the same
def _union(texts: tuple[str, ...]) -> str:
    """Unite coverages, to an order at which their text is short."""
    mocs = [sky.Moc.parse(text) for text in texts]
    ranges, found = sky.healpix.merge(np.concatenate([one.ranges for one in mocs])), ""
    for order in range(CELLS, 2, -1):
        found = str(sky.Moc(sky.healpix.degrade(ranges, order), min(order, max(one.order for one in mocs))))
        if len(found) <= LONG:
            break
    return found


def _times(item: Published) -> tuple[float, float] | None:
    """Return when its rows began and ended, as modified Julian dates."""
    begin, end = begins_and_ends(item.table)
    if begin is None or end is None:
        return None
    ends = (
        _mjd(item.statistics.get(begin.name, {}).get("minimum"), begin.epoch),
        _mjd(item.statistics.get(end.name, {}).get("maximum"), end.epoch),
    )
    return None if ends[0] is None or ends[1] is None or ends[0] > ends[1] else (ends[0], ends[1])


def days(item: Published) -> tuple[str, str] | None:
    """Return on which days the first row of a table begins and the last one ends.

    Parameters
    ----------
    item
        As it is published.
    """
    found = _times(item)
    if found is None or not all(-600_000 < one < 2_000_000 for one in found):  # years that calendars of computers have
        return None
    first, last = ((datetime(1858, 11, 17, tzinfo=UTC) + timedelta(days=one)).date().isoformat() for one in found)
    return first, last


def on_earth(items: Sequence[Published]) -> list[dict[str, dict[str, float]]]:
    """Return the boxes of positions on the Earth, as DataCite has them: positions on the sky and on other bodies are no places there.

    Parameters
    ----------
    items
        As published.
    """
    found = []
    for item in items:
        if item.table.position is None or _frame(item) != "IAU_EARTH":
            continue
        (west, east), (south, north) = (
            [item.statistics.get(name, {}).get(end) for end in ("minimum", "maximum")]
            for name in item.table.position[:2]
        )
        if not all(isinstance(one, int | float) and np.isfinite(one) for one in (west, east, south, north)):
            continue
        if east > 180:  # type: ignore[operator]  # DataCite counts from -180 to 180
            west, east = (-180.0, 180.0) if west < 180 else (west - 360, east - 360)  # type: ignore[operator]
        if -180 <= west <= east <= 180 and -90 <= south <= north <= 90:  # type: ignore[operator]
            names = ("westBoundLongitude", "eastBoundLongitude", "southBoundLatitude", "northBoundLatitude")
            found.append({"geoLocationBox": dict(zip(names, map(float, (west, east, south, north)), strict=True))})  # type: ignore[arg-type]
    return found


def _mjd(value: object, epoch: float | None) -> float | None:
    if epoch is not None:
        return float(value) + epoch - MJD if isinstance(value, int | float) and np.isfinite(value) else None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1858, 11, 17, tzinfo=UTC)).total_seconds() / 86_400


def _energies(item: Published) -> Iterator[tuple[float, float]]:
    """Yield the spectral interval of ObsCore's or EPN-TAP's columns, in joules."""
    names = {column.name.lower(): column for column in item.table.columns}
    for low, high in PAIRS:
        found = names.get(low), names.get(high)
        if found[0] is None or found[1] is None:
            continue
        ends = []
        for column, which in ((found[0], "minimum"), (found[1], "maximum")):
            value = item.statistics.get(column.name, {}).get(which)
            try:
                by, divided = units.spectral(column.unit or "", "J")
            except ValueError:
                break
            if isinstance(value, int | float) and np.isfinite(value) and value > 0:
                ends.append(by / value if divided else by * value)
        if len(ends) == 2:
            yield min(ends), max(ends)


__all__ = ["coverage", "days", "on_earth", "place"]
