"""Find data by words: values of rows, and rows around named places on the sky and on bodies, with row counts."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model import LruCache
from hven.model.errors import HvenError
from hven.model.sky import Moc
from hven.plugins.discovery import value_index
from hven.plugins.discovery.value_index import ValueIndex, ValueMatch, normalize_search_text
from hven.portal.api.page_rows import NEAR_PARAMETER, parse_search
from hven.portal.api.table_places import (
    classify_table_map,
    find_body_column,
    find_body_radius_km,
    find_features,
    find_single_body,
    list_gazetteers,
    locate_place_name,
    recognize_gazetteer_table,
)
from hven.query import resolver

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from hven.model.table import Table
    from hven.portal.api.table_rows import QueryRunner, TableSearch

MAX_TABLE_HITS = 5  # matches in one table
MAX_WORDS = 8
MAX_PLACES = 4  # named places around which rows are counted
MAX_TABLES_AROUND = 24  # tables that are counted around one place
COUNT_WAIT_SECONDS = 0.03  # how long an answer waits for counts that are not cached
COUNT_TIMEOUT_SECONDS = 5.0  # for one count; a late count is cached for the next answer
DEFAULT_RADIUS_DEGREES = 0.1  # around an object without a size
_WORD_PATTERN = re.compile(r"[^\s,;:()]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPlace:
    """A named place: `target` is its body, empty on the sky."""

    name: str
    note: str
    target: str
    longitude: float
    latitude: float
    radius_degrees: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSearchResult:
    """The result of a search: matching values, the best first, and rows around places.

    `is_incomplete`: the values of some tables are still being counted.
    """

    values: tuple[ValueMatch, ...]
    place_matches: tuple[tuple[NamedPlace, ValueMatch], ...]
    places: tuple[NamedPlace, ...]
    is_incomplete: bool


class RowCountExecutor:
    """Threads that count rows; they finish after an answer was sent, and the counts are cached."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(4, thread_name_prefix="counting")
        self.table_coverage: LruCache[Moc] = LruCache(512)  # the coverage of tables in coarse cells


def search_data(
    words: str,
    tables: Sequence[Table],
    runner: QueryRunner,
    table_texts: Mapping[str, str],
    *,
    max_values: int = 30,
    count_seconds: float = 2.0,
    cache_key: Hashable = None,
    wait_seconds: float = COUNT_WAIT_SECONDS,
) -> DataSearchResult:
    """Find data by words.

    Parameters
    ----------
    words
        The words as the reader wrote them.
    tables
        The tables that the reader may see; no others are searched.
    table_texts
        By qualified name: the folded title and description of a table (`value_index.normalize_search_text`).
    max_values
        The maximum number of values.
    count_seconds
        The time for counting values that are not counted yet in this state of the tables.
    cache_key
        Names the tables, their state, and the reader's access.
    wait_seconds
        The time for counting rows that are not counted yet.
    """
    first_words = _WORD_PATTERN.findall(words)[:MAX_WORDS]
    folded_words = list(dict.fromkeys(filter(None, map(normalize_search_text, first_words))))
    index = runner.site.get_or_create(ValueIndex)
    detached_runner = replace(runner, on_query_start=None)
    if not folded_words:
        return DataSearchResult(values=(), place_matches=(), places=(), is_incomplete=False)
    table_values, is_incomplete = index.find_values(tables, detached_runner, count_seconds, cache_key)
    until = time.monotonic() + wait_seconds
    candidates: list[value_index.Candidate] = []
    for values in table_values:
        table_text = table_texts.get(values.table.qualified_name, "")
        candidates += value_index.find_value_candidates(folded_words, values, table_text, MAX_TABLE_HITS)
    candidates.sort(key=lambda candidate: -candidate[0])
    best_candidates = candidates[: 3 * max_values]
    all_matches = [value_index.build_value_match(candidate) for candidate in best_candidates]
    value_matches = _choose_best_matches(all_matches, max_values)
    named_places = _find_named_places(words, value_matches, tables, detached_runner)
    place_matches = _list_tables_near(named_places, tables, table_values, detached_runner)
    matches = [*value_matches, *(match for _, match in place_matches)]
    uncounted = [match for match in matches if match.row_count is None and not match.is_live]
    counted = count_rows_of_matches(uncounted, tables, detached_runner, until)
    new_counts = {id(match): counted.get(id(match), -1) for match in uncounted}

    def with_count(match: ValueMatch) -> ValueMatch | None:
        number = new_counts.get(id(match), match.row_count)
        if number == 0:
            return None
        return replace(match, row_count=None if number == -1 else number)

    counted_values = [with_count(match) for match in value_matches]
    counted_places = []
    for place, place_match in place_matches:
        counted_match = with_count(place_match)
        if counted_match is not None:
            counted_places.append((place, counted_match))
    counted_places.sort(key=lambda pair: (pair[0].name, -(pair[1].row_count or 0)))
    return DataSearchResult(
        values=tuple(match for match in counted_values if match is not None),
        place_matches=tuple(counted_places),
        places=tuple(named_places),
        is_incomplete=is_incomplete,
    )


def _choose_best_matches(matches: list[ValueMatch], max_matches: int) -> list[ValueMatch]:
    """Sort matches; a value that two columns of a table have is listed once, with the larger count."""
    seen_marks: set[tuple[str, str]] = set()
    best = []
    for match in sorted(matches, key=lambda match: (-match.score, -(match.row_count or 0), match.table.qualified_name)):
        mark = (match.table.qualified_name, match.text.casefold())
        if mark not in seen_marks:
            seen_marks.add(mark)
            best.append(match)
    return best[:max_matches]


def _find_named_places(
    words: str, value_matches: Sequence[ValueMatch], tables: Sequence[Table], runner: QueryRunner
) -> list[NamedPlace]:
    """Find the places with a name.

    Features of bodies are among the matching values; objects on the sky come from the local resolvers.
    """
    places = []
    gazetteers = {gazetteer.table.qualified_name: gazetteer for gazetteer in list_gazetteers(tables, runner)}
    features = []
    for match in value_matches:
        gazetteer = gazetteers.get(match.table.qualified_name)
        if gazetteer is not None and match.conditions[0][0] == gazetteer.name_column:
            features.append((match, gazetteer))
    for match, gazetteer in features[:MAX_PLACES]:
        for body, feature in find_features(gazetteer, match.text, runner)[:MAX_PLACES]:
            if feature.longitude is not None and feature.latitude is not None:
                place = NamedPlace(
                    name=match.text,
                    note=feature.note,
                    target=body,
                    longitude=feature.longitude,
                    latitude=feature.latitude,
                    radius_degrees=feature.radius_degrees or DEFAULT_RADIUS_DEGREES,
                )
                places.append(place)
    places = places[:MAX_PLACES]
    try:
        resolved_name = resolver.resolve_object_name(
            words, site=runner.site, policies=runner.policies, includes_remote=False
        )
    except HvenError:
        resolved_name = None
    if resolved_name is not None and resolved_name.position is not None:
        longitude, latitude = resolved_name.position
        place = NamedPlace(
            name=resolved_name.name,
            note=resolved_name.kind or "",
            target="",
            longitude=longitude,
            latitude=latitude,
            radius_degrees=max(resolved_name.radius_degrees, DEFAULT_RADIUS_DEGREES),
        )
        places.append(place)
    return places


def _list_tables_near(
    places: Sequence[NamedPlace],
    tables: Sequence[Table],
    table_values: Sequence[value_index.TableValueSearchIndex],
    runner: QueryRunner,
) -> list[tuple[NamedPlace, ValueMatch]]:
    """List the tables that may have rows around places, each as a match without a count."""
    place_matches = []
    mapped = [(table, classify_table_map(table)) for table in tables]
    values = {candidate.table.qualified_name: candidate for candidate in table_values}
    for place in places:
        number = 0
        for table, kind in mapped:
            if number >= MAX_TABLES_AROUND or kind != ("body" if place.target else "sky"):
                continue
            if place.target:
                target = _build_body_condition(table, place.target, values.get(table.qualified_name), runner)
                if target is None or recognize_gazetteer_table(table) is not None:
                    continue
            else:
                target = ()
                if not _is_place_covered(table, place, runner):
                    continue
            number += 1
            if place.target:
                where = f"{place.name} ({place.target})"
            else:
                where = place.name
            conditions = (*target, (NEAR_PARAMETER, f"{where},{place.radius_degrees:.4g}"))
            place_match = ValueMatch(table=table, text=place.name, conditions=conditions, row_count=None, score=40.0)
            place_matches.append((place, place_match))
    return place_matches


def _build_body_condition(
    table: Table, body_name: str, values: value_index.TableValueSearchIndex | None, runner: QueryRunner
) -> tuple[tuple[str, str], ...] | None:
    """Return the condition that the places of a table are on a body; empty if all are; None if none are."""
    column = find_body_column(table.columns)
    if column is None:
        return None
    single_body = find_single_body(table, (), runner)
    if single_body:
        if single_body.casefold() == body_name.casefold():
            return ()
        return None
    if values is None or column.name not in values.names:
        return None
    is_in_column = values.columns == values.names.index(column.name)
    column_texts = values.texts.filter(pa.array(is_in_column)).to_pylist()
    body_names = {text.casefold() for text in column_texts}
    if body_name.casefold() in body_names:
        return ((column.name, body_name),)
    return None


def _is_place_covered(table: Table, place: NamedPlace, runner: QueryRunner) -> bool:
    """Return whether a table has positions around a place, as far as its coverage says."""
    item = runner.find_table_with_visible_counts(table)
    if not item.coverage:
        return True
    # cells about as large as the circle: those of its centre and its edge cover the whole circle
    order = int(np.clip(np.log2(58.6 / max(place.radius_degrees, 1e-3)) - 1, 0, 29))
    turn = np.radians(np.arange(0, 360, 30))
    lat = np.clip(place.latitude + place.radius_degrees * np.append(np.sin(turn), 0.0), -90.0, 90.0)
    longitude_scale = np.maximum(np.cos(np.radians(lat)), 1e-3)
    lon = (place.longitude + place.radius_degrees * np.append(np.cos(turn), 0.0) / longitude_scale) % 360.0
    coverage_cache = runner.site.get_or_create(RowCountExecutor).table_coverage
    key = (table.qualified_name, item.run_id, item.updated, order)
    cells = coverage_cache.find(key)
    if cells is None:
        cells = Moc.parse(item.coverage).degrade(order)
        coverage_cache.store(key, cells)
    return bool(cells.contains(lon, lat).any())


def count_rows_of_matches(
    matches: Sequence[ValueMatch], tables: Sequence[Table], runner: QueryRunner, give_up_time: float
) -> dict[int, int]:
    """Count the rows of matches in parallel; those that take too long are left out."""
    if not matches:
        return {}
    pool = runner.site.get_or_create(RowCountExecutor).executor
    matches_by_future = {pool.submit(_count_rows_of_match, match, tables, runner): id(match) for match in matches}
    timeout = max(give_up_time - time.monotonic(), 0.005)
    finished, _ = wait(matches_by_future, timeout=timeout)
    counts = {}
    for future in finished:
        number = future.result()
        if number is not None:
            counts[matches_by_future[future]] = number
    return counts


def _count_rows_of_match(match: ValueMatch, tables: Sequence[Table], runner: QueryRunner) -> int | None:
    try:
        count_query = build_match_search(match, tables, runner).build_count_query()
        return runner.fetch_number(count_query, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    except HvenError:
        return None  # the page of the search shows the error


def build_match_search(match: ValueMatch, tables: Sequence[Table], runner: QueryRunner) -> TableSearch:
    """Return the search that the link of a match leads to."""
    table = match.table
    pairs = list(match.conditions)
    locate = partial(locate_place_name, table=table, runner=runner, tables=tables, pairs=pairs)
    find_radius_km = partial(find_body_radius_km, table, pairs, runner)
    return parse_search(pairs, table, locate=locate, find_radius_km=find_radius_km)
