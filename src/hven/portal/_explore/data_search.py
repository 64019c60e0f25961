"""Finding data by words: values of rows, and rows around a place whose name is known, on the sky and on bodies; each with its number of rows."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hven.model import Cache
from hven.model.errors import HvenError
from hven.model.sky import Moc
from hven.portal._explore import map_frames, names, value_index
from hven.portal._explore.search import NEAR, read
from hven.portal._explore.value_index import Index, Match, fold
from hven.query import resolver
from hven.query.resolver import bright

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from hven.model.table import Table
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search

OF_TABLE = 5  # hits in one table
MOST_WORDS = 8
PLACES = 4  # named places that rows are counted around
AROUND = 24  # tables that are counted around one of them
WAIT = 0.03  # seconds for numbers that are not known yet
SECONDS = 5.0  # for one of them; what is late is there the next time
POINT = 0.1  # degrees around an object that has no size
_WORD = re.compile(r"[^\s,;:()]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A named place: `target` is its body, empty on the sky; `radius` in degrees."""

    name: str
    note: str
    target: str
    lon: float
    lat: float
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found: values, the best first; rows around places; `late`: values of some tables are just being counted."""

    values: tuple[Match, ...]
    around: tuple[tuple[Place, Match], ...]
    places: tuple[Place, ...]
    late: bool


class Counter:
    """Threads that count rows, and go on when nobody waits any more: the answers are remembered."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(4, thread_name_prefix="counting")
        self.covered: Cache[Moc] = Cache(512)  # what tables cover, in coarse cells


def find(
    words: str,
    tables: Sequence[Table],
    asking: Asking,
    said: Mapping[str, str],
    *,
    most: int = 30,
    seconds: float = 2.0,
    key: Hashable = None,
    patience: float = WAIT,
) -> Found:
    """Find data by words.

    Parameters
    ----------
    words
        As they were written.
    tables
        Those that the reader may know of: nothing else is looked at.
    said
        By qualified name: what titles and descriptions say of a table, folded (`value_index.fold`).
    most
        Values at most.
    seconds
        To count values that nobody has counted yet in this state of the tables.
    key
        Names the tables, their state, and what the reader sees of them.
    patience
        Seconds for numbers of rows that are not known yet.
    """
    wanted = list(dict.fromkeys(filter(None, (fold(word) for word in _WORD.findall(words)[:MOST_WORDS]))))
    index, road = asking.site.kept(Index), replace(asking, begun=None)
    if not wanted:
        return Found(values=(), around=(), places=(), late=False)
    known, late = index.known(tables, road, seconds, key)
    until = time.monotonic() + patience
    candidates: list[value_index.Candidate] = []
    for values in known:
        candidates += value_index.find(wanted, values, said.get(values.table.qualified, ""), OF_TABLE)
    candidates.sort(key=lambda one: -one[0])
    found = _best([value_index.match(one) for one in candidates[: 3 * most]], most)
    spots = _places(words, found, tables, road)
    near = _near(spots, tables, known, road)
    uncounted = [one for one in (*found, *(match for _, match in near)) if one.rows is None and not one.live]
    counted = _counts(uncounted, tables, road, until)
    fresh = {id(one): counted.get(id(one), -1) for one in uncounted}

    def told(one: Match) -> Match | None:
        number = fresh.get(id(one), one.rows)
        return None if number == 0 else replace(one, rows=None if number == -1 else number)

    around = [(spot, match) for spot, one in near if (match := told(one)) is not None]
    around.sort(key=lambda pair: (pair[0].name, -(pair[1].rows or 0)))
    return Found(
        values=tuple(match for one in found if (match := told(one)) is not None),
        around=tuple(around),
        places=tuple(spots),
        late=late,
    )


def _best(found: list[Match], most: int) -> list[Match]:
    """Order values; the same value of two columns of one table is told once, with the more rows."""
    seen: set[tuple[str, str]] = set()
    best = []
    for one in sorted(found, key=lambda one: (-one.score, -(one.rows or 0), one.table.qualified)):
        mark = (one.table.qualified, one.text.casefold())
        if mark not in seen:
            seen.add(mark)
            best.append(one)
    return best[:most]


def _places(words: str, found: Sequence[Match], tables: Sequence[Table], asking: Asking) -> list[Place]:
    """Find the places that are called so: features of bodies among the values that were found, objects of the sky by the resolvers nearby."""
    spots = []
    known = {one.table.qualified: one for one in names.gazetteers(tables, asking)}
    features = [
        one for one in found if one.table.qualified in known and one.conditions[0][0] == known[one.table.qualified].name
    ]
    for match in features[:PLACES]:
        one = known[match.table.qualified]
        for body, feature in names.features(one, match.text, asking)[:PLACES]:
            if feature.lon is not None and feature.lat is not None:
                spots.append(Place(name=match.text, note=feature.note, target=body, lon=feature.lon, lat=feature.lat, radius=feature.radius or POINT))  # fmt: skip
    spots = spots[:PLACES]
    try:
        what = resolver.resolve(words, site=asking.site, policies=asking.policies, remote=False)
    except HvenError:
        what = None
    if what is not None and what.position is not None:
        size = next((radius for one, radius in bright.objects() if one == what), 0.0)
        spots.append(Place(name=what.name, note=what.kind or "", target="", lon=what.position[0], lat=what.position[1], radius=max(size, POINT)))  # fmt: skip
    return spots


def _near(
    spots: Sequence[Place], tables: Sequence[Table], known: Sequence[value_index.Values], asking: Asking
) -> list[tuple[Place, Match]]:
    """List the tables that may have rows around places, each as a search that is not counted yet."""
    found = []
    mapped = [(table, map_frames.kind(table)) for table in tables]
    values = {one.table.qualified: one for one in known}
    for spot in spots:
        number = 0
        for table, kind in mapped:
            if number >= AROUND or kind != ("body" if spot.target else "sky"):
                continue
            if spot.target:
                target = _on(table, spot.target, values.get(table.qualified), asking)
                if target is None or names.gazetteer(table) is not None:
                    continue
            else:
                target = ()
                if not _covers(table, spot, asking):
                    continue
            number += 1
            where = f"{spot.name} ({spot.target})" if spot.target else spot.name
            conditions = (*target, (NEAR, f"{where},{spot.radius:.4g}"))
            found.append((spot, Match(table=table, text=spot.name, conditions=conditions, rows=None, score=40.0)))
    return found


def _on(
    table: Table, body: str, values: value_index.Values | None, asking: Asking
) -> tuple[tuple[str, str], ...] | None:
    """Return the condition that a table's places are on a body; none if all are; None: it has none there."""
    column = next((one for name in names.BODIES for one in table.columns if one.name.lower() == name), None)
    if column is None:
        return None
    only = names.body_of(table, (), asking)
    if only:
        return () if only.casefold() == body.casefold() else None
    if values is None or column.name not in values.names:
        return None
    own = values.columns == values.names.index(column.name)
    there = {text.casefold() for text, mine in zip(values.texts.to_pylist(), own, strict=True) if mine}
    return ((column.name, body),) if body.casefold() in there else None


def _covers(table: Table, spot: Place, asking: Asking) -> bool:
    """Return whether a table has positions around a place, as far as its coverage says."""
    item = asking.published(table)
    if not item.coverage:
        return True
    # cells about as large as the circle: those that hold its middle or its edge hold all that is near
    order = int(np.clip(np.log2(58.6 / max(spot.radius, 1e-3)) - 1, 0, 29))
    turn = np.radians(np.arange(0, 360, 30))
    lat = np.clip(spot.lat + spot.radius * np.append(np.sin(turn), 0.0), -90.0, 90.0)
    lon = (spot.lon + spot.radius * np.append(np.cos(turn), 0.0) / np.maximum(np.cos(np.radians(lat)), 1e-3)) % 360.0
    known, key = asking.site.kept(Counter).covered, (table.qualified, item.run, item.updated, order)
    cells = known.find(key)
    if cells is None:
        known.keep(key, cells := Moc.parse(item.coverage).degrade(order))
    return bool(cells.contains(lon, lat).any())


def _counts(matches: Sequence[Match], tables: Sequence[Table], asking: Asking, until: float) -> dict[int, int]:
    """Count the rows of searches, as far as that is done in time."""
    if not matches:
        return {}
    pool = asking.site.kept(Counter).pool
    begun = {pool.submit(_count, one, tables, asking): id(one) for one in matches}
    done, _ = wait(begun, timeout=max(until - time.monotonic(), 0.005))
    return {begun[one]: number for one in done if (number := one.result()) is not None}


def _count(match: Match, tables: Sequence[Table], asking: Asking) -> int | None:
    try:
        return asking.number(search_of(match, tables, asking).count(), seconds=SECONDS)
    except HvenError:
        return None  # the search itself says what is wrong


def search_of(match: Match, tables: Sequence[Table], asking: Asking) -> Search:
    """Return the search that a link stands for."""
    table = match.table
    pairs = list(match.conditions)
    located = partial(names.place, table=table, asking=asking, tables=tables, pairs=pairs)
    return read(pairs, table, locate=located, girth=partial(names.girth, table, pairs, asking))
