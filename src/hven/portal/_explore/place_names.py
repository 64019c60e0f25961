"""Names of places and objects as readers write them: completed while they are written, and turned into positions.

On a body they are looked up in the site's own tables of named features (a name, a body, and a longitude and latitude
with the UCDs ``pos.bodyrc.lon`` and ``.lat``: the gazetteer of planetary nomenclature is one); on the sky in the table
that is asked, then by the resolver. Every look-up goes the road of all queries, for the reader who asks.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql import syntax_tree
from hven.model.errors import HvenError, UserError, format_message
from hven.model.sky import bodies
from hven.portal._explore.map_frames import classify_map
from hven.portal._explore.search import NEAR_PARAMETER, TableSearch, build_column_ref, find_position_columns
from hven.query import resolver
from hven.query.resolver import bright

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner

MAX_SUGGESTIONS = 20  # names that a field offers
MAX_NAME_CHARACTERS = 100  # characters of a name
QUERY_TIMEOUT_SECONDS = 3.0  # seconds
BODY_COLUMNS = ("body", "target_name", "target", "planet")
_BODY_SUFFIX_PATTERN = re.compile(r"(.+?)\s*\(([^()]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameSuggestion:
    """A name that is known here: what a field takes, what is told beside it.

    `radius_degrees` in degrees, 0 if nobody knows how large it is.
    """

    name: str
    note: str = ""
    longitude: float | None = None
    latitude: float | None = None
    radius_degrees: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gazetteer:
    """A table of named features: which of its columns say what; `size_column` in km."""

    table: Table
    name_column: str
    body_column: str
    longitude_column: str
    latitude_column: str
    size_column: str | None = None


def is_on_body(table: Table) -> bool:
    """Return whether places of this table are on a body, and not on the sky."""
    return classify_map(table) == "body" or (table.position is None and find_position_columns(table) is not None)


def list_gazetteers(tables: Iterable[Table], runner: QueryRunner) -> list[Gazetteer]:
    """Find the tables of named features among those that the reader may know of."""
    return [
        found_gazetteer
        for table in tables
        if table.qualified_name in runner.published_state.tables_by_name
        and table.release is None
        and (found_gazetteer := find_gazetteer(table)) is not None
    ]


def find_gazetteer(table: Table) -> Gazetteer | None:
    """Return which columns of a table of named features are which; None: it is none."""
    if table.position is not None:
        position_columns = None
    else:
        position_columns = find_position_columns(table)
    if position_columns is None:
        return None
    texts = [column for column in table.columns if column.type.is_string and not column.hidden]
    name = next(
        (candidate for candidate in texts if _get_lower_case_ucd(candidate).startswith("meta.id;meta.main")), None
    )
    body = next((candidate for named in BODY_COLUMNS for candidate in texts if candidate.name.lower() == named), None)
    if name is None or body is None or name is body:
        return None
    sizes = [
        candidate
        for candidate in table.columns
        if candidate.unit == "km"
        and _get_lower_case_ucd(candidate).startswith("phys.size")
        and candidate.type.is_numeric
        and not candidate.hidden
    ]
    size_column = sizes[0].name if sizes else None
    return Gazetteer(
        table=table,
        name_column=name.name,
        body_column=body.name,
        longitude_column=position_columns[0],
        latitude_column=position_columns[1],
        size_column=size_column,
    )


def find_single_body(table: Table, pairs: Iterable[tuple[str, str]], runner: QueryRunner) -> str:
    """Return on which body the places of a search are: what it asks for, or the only one that the table has; empty.

    There are several.
    """
    column = next(
        (
            candidate
            for named in BODY_COLUMNS
            for candidate in table.columns
            if candidate.name.lower() == named and candidate.type.is_string
        ),
        None,
    )
    if column is None:
        return ""
    requested_bodies = [value for name, value in pairs if name.lower() == column.name.lower()]
    if requested_bodies:
        if len(requested_bodies) == 1 and re.fullmatch(r"[\w /'-]+", requested_bodies[0]):
            return requested_bodies[0]
        return ""
    if runner.find_published_table(table).statistics.get(column.name, {}).get(
        "distinct"
    ) != 1 or runner.has_hidden_rows(table):
        return ""
    column_ref = build_column_ref(column.name)
    select = syntax_tree.Select((syntax_tree.SelectItem(column_ref),), _build_source(table), top=syntax_tree.Literal(1))
    body_names = (
        runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS).column(0).to_pylist()
    )
    if body_names and body_names[0] is not None:
        return str(body_names[0])
    return ""


def find_body_radius_km(table: Table, pairs: Iterable[tuple[str, str]], runner: QueryRunner) -> float | None:
    """Return the radius in km of the body that the places of a search are on; None.

    There is none, or several, or nobody knows it.
    """
    if not is_on_body(table):
        return None
    parameters = list(pairs)
    name_matches = (
        _BODY_SUFFIX_PATTERN.fullmatch(value.rpartition(",")[0].strip())
        for name, value in parameters
        if name == NEAR_PARAMETER
    )  # Vieta (Mars), 200 km
    body = find_single_body(table, parameters, runner) or next(
        (name_match[2] for name_match in name_matches if name_match is not None), ""
    )
    solar_system_body = bodies.find_body(body)
    if solar_system_body is None or solar_system_body.radii is None:
        return None
    return solar_system_body.radii[0]


def locate_name(
    name: str, table: Table, runner: QueryRunner, *, tables: Sequence[Table] = (), pairs: Sequence[tuple[str, str]] = ()
) -> tuple[float, float]:
    """Return the position of a name, in degrees, on what the table's positions are on.

    Raises
    ------
    UserError
        Nobody knows it, it is the name of several, or it has no fixed place.
    """
    if is_on_body(table):
        gazetteers = list_gazetteers(tables, runner)
        single_body = find_single_body(table, pairs, runner)
        feature = _locate_feature(name, runner, gazetteers, single_body)
        if feature.longitude is None or feature.latitude is None:
            raise UserError(
                format_message("{name} has no position", feature.name),
                remedy="give the position itself: longitude, latitude",
            )
        return feature.longitude, feature.latitude
    position = _locate_own_row(name, table, runner)
    if position is not None:
        return position
    return resolver.resolve_position(name, site=runner.site, policies=runner.policies)


def complete_name(
    prefix: str,
    table: Table,
    runner: QueryRunner,
    *,
    tables: Sequence[Table] = (),
    pairs: Sequence[tuple[str, str]] = (),
) -> list[NameSuggestion]:
    """Return names of places that begin with what somebody writes; then those that contain it."""
    prefix = " ".join(prefix.split())[:MAX_NAME_CHARACTERS]
    if len(prefix) < 2:
        return []
    if is_on_body(table):
        body = find_single_body(table, pairs, runner)
        suggestions: list[NameSuggestion] = []
        for name_source in list_gazetteers(tables, runner):
            suggestions += _search_features(name_source, prefix, runner, body, is_exact=False)
        return suggestions[:MAX_SUGGESTIONS]
    if table.position is not None:
        names = [column.name for column in _list_name_columns(table)]
    else:
        names = []
    suggestions = _search_rows(table, names, table.position, prefix, runner)
    local = runner.site.settings.resolver.table
    name_table = next(
        (
            name_source
            for name_source in tables
            if local
            and name_source.qualified_name.lower() == local.lower()
            and name_source.qualified_name != table.qualified_name
        ),
        None,
    )
    if name_table is not None and name_table.position is not None:
        suggestions += _search_rows(
            name_table, [column.name for column in _list_name_columns(name_table)], name_table.position, prefix, runner
        )
    if table.position is not None:
        suggestions += [
            NameSuggestion(
                name=name,
                note=sky_object.kind or "",
                longitude=sky_object.position[0],
                latitude=sky_object.position[1],
                radius_degrees=radius,
            )
            for name, sky_object, radius in bright.complete_name(prefix, MAX_SUGGESTIONS)
            if sky_object.position is not None
        ]
    return list({name_source.name.casefold(): name_source for name_source in reversed(suggestions)}.values())[::-1][
        :MAX_SUGGESTIONS
    ]


def complete_body_name(prefix: str) -> list[NameSuggestion]:
    """Return planets, moons and small bodies whose name begins with what somebody writes."""
    begin = prefix.strip().casefold()
    return [
        NameSuggestion(name=solar_system_body.name, note=solar_system_body.kind)
        for solar_system_body in bodies.iterate_bodies()
        if begin and solar_system_body.name.casefold().startswith(begin)
    ][:MAX_SUGGESTIONS]


def _locate_feature(name: str, runner: QueryRunner, gazetteers: Sequence[Gazetteer], body_name: str) -> NameSuggestion:
    if not gazetteers:
        raise UserError(
            format_message("{name!r} is no position, and no table here has names of places", name),
            remedy="write longitude, latitude in degrees",
        )
    name_match = _BODY_SUFFIX_PATTERN.fullmatch(name)
    matches = [match for each in gazetteers for match in _search_features(each, name, runner, body_name, is_exact=True)]
    if not matches and name_match is not None:
        matches = [
            match
            for each in gazetteers
            for match in _search_features(each, name_match[1], runner, name_match[2], is_exact=True)
        ]
    if not matches:
        table_names = ", ".join(match.table.qualified_name for match in gazetteers)
        raise UserError(
            format_message("no place on {body} is called {name!r}; asked: {tables}", body_name, name, table_names)
            if body_name
            else format_message("no place is called {name!r}; asked: {tables}", name, table_names),
            remedy="look at its spelling, or write longitude, latitude in degrees",
        )
    first_match = matches[0]
    if any((match.longitude, match.latitude) != (first_match.longitude, first_match.latitude) for match in matches):
        shown_matches = "; ".join(f"{match.name}: {match.note}" for match in matches[:5])
        raise UserError(
            format_message("{count} places are called {name!r}: {shown}", len(matches), name, shown_matches),
            remedy="write the body in brackets: Olympus Mons (Mars)",
        )
    return first_match


def find_features(gazetteer: Gazetteer, name: str, runner: QueryRunner) -> list[tuple[str, NameSuggestion]]:
    """Return the features that have a name, each with its body."""
    matches = _search_features(gazetteer, name, runner, "", is_exact=True)
    return [
        (name_match[2], feature)
        for feature in matches
        if (name_match := _BODY_SUFFIX_PATTERN.fullmatch(feature.name)) is not None
    ]


def _search_features(
    gazetteer: Gazetteer, name_text: str, runner: QueryRunner, body: str, *, is_exact: bool
) -> list[NameSuggestion]:
    column_ref = build_column_ref(gazetteer.name_column)
    lower = syntax_tree.FunctionCall("LOWER", (column_ref,))
    if body:
        body_condition = syntax_tree.Comparison(
            "=",
            syntax_tree.FunctionCall("LOWER", (build_column_ref(gazetteer.body_column),)),
            syntax_tree.Literal(body.lower()),
        )
    else:
        body_condition = None
    test = (
        syntax_tree.Comparison("=", lower, syntax_tree.Literal(" ".join(name_text.lower().split())))
        if is_exact
        else _build_prefix_condition(gazetteer.name_column, name_text)
    )
    columns = [
        gazetteer.name_column,
        gazetteer.body_column,
        gazetteer.longitude_column,
        gazetteer.latitude_column,
        *([gazetteer.size_column] if gazetteer.size_column else []),
    ]
    rows = _fetch_rows(gazetteer.table, columns, syntax_tree.join_conditions(test, body_condition), runner)
    if not is_exact and rows.num_rows < MAX_SUGGESTIONS:
        rows = _merge_rows(
            rows,
            _fetch_rows(
                gazetteer.table,
                columns,
                syntax_tree.join_conditions(
                    _build_substring_condition(gazetteer.name_column, name_text), body_condition
                ),
                runner,
            ),
        )
    features = []
    for row in rows.to_pylist():
        name, body_name, lon, lat = (row[each] for each in columns[:4])
        if name is None or lon is None or lat is None:
            continue
        if gazetteer.size_column:
            size = row.get(gazetteer.size_column)
        else:
            size = None
        note = ", ".join([str(body_name), f"{lon:.6g} {lat:.6g}", *([f"{size:.4g} km"] if size else [])])
        features.append(
            NameSuggestion(
                name=str(name) if body else f"{name} ({body_name})",
                note=note,
                longitude=lon % 360,
                latitude=lat,
                radius_degrees=_compute_feature_radius(size, str(body_name)),
            )
        )
    return features


def _compute_feature_radius(size_km: float | None, body: str) -> float:
    """Return half the size of a feature as an angle seen from the centre of its body, rounded up to two digits."""
    radii = next(
        (
            solar_system_body.radii
            for solar_system_body in bodies.iterate_bodies()
            if solar_system_body.name.casefold() == body.casefold()
        ),
        None,
    )
    if not size_km or radii is None:
        return 0.0
    angle = min(math.degrees(size_km / 2 / radii[0]), 180.0)
    step = 10 ** math.floor(math.log10(angle) - 1)
    return float(f"{math.ceil(angle / step) * step:.3g}")


def _locate_own_row(name: str, table: Table, runner: QueryRunner) -> tuple[float, float] | None:
    """Look a name up among the rows' own; None: none has it, or several have."""
    if table.position is None:
        return None
    for column in _list_name_columns(table):
        column_ref = build_column_ref(column.name)
        test = syntax_tree.Comparison(
            "=",
            syntax_tree.FunctionCall("LOWER", (column_ref,)),
            syntax_tree.Literal(" ".join(name.lower().split())),
        )
        try:
            rows = _fetch_rows(table, list(table.position), test, runner, row_limit=2)
        except HvenError:
            return None
        if rows.num_rows == 1:
            lon, lat = (rows.column(at)[0].as_py() for at in range(2))
            if lon is not None and lat is not None:
                return float(lon) % 360, float(lat)
    return None


def _search_rows(
    table: Table, column_names: Sequence[str], position: tuple[str, str] | None, name_text: str, runner: QueryRunner
) -> list[NameSuggestion]:
    suggestions = []
    for name in column_names:
        columns = [name, *(position or ())]
        prefix_condition = _build_prefix_condition(name, name_text)
        rows = _fetch_rows(table, columns, prefix_condition, runner)
        if rows.num_rows < MAX_SUGGESTIONS:
            substring_condition = _build_substring_condition(name, name_text)
            rows = _merge_rows(rows, _fetch_rows(table, columns, substring_condition, runner))
        for row in rows.to_pylist():
            coordinates = [row[each] for each in position or ()]
            if coordinates and None not in coordinates:
                note = " ".join(f"{value:.6g}" for value in coordinates)
            else:
                note = ""
            suggestions.append(NameSuggestion(name=str(row[name]), note=note))
    return suggestions


def _list_name_columns(table: Table) -> list[Column]:
    """Return the columns of names that rows of objects have of their own."""
    texts = [
        column
        for column in table.columns
        if column.type.is_string and not column.hidden and _get_lower_case_ucd(column).startswith("meta.id")
    ]
    if "s_region" in {column.name.lower() for column in table.columns}:
        return []  # rows of observations: their names are those of files, not of places
    return sorted(
        (
            candidate
            for candidate in texts
            if ";src" not in _get_lower_case_ucd(candidate) and ";instr" not in _get_lower_case_ucd(candidate)
        ),
        key=lambda candidate: candidate.rank,
    )[:3]


def _fetch_rows(
    table: Table,
    columns: Sequence[str],
    condition: syntax_tree.Expr | None,
    runner: QueryRunner,
    *,
    row_limit: int = MAX_SUGGESTIONS,
) -> pa.Table:
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in dict.fromkeys(columns))
    select = syntax_tree.Select(items, _build_source(table), where=condition, top=syntax_tree.Literal(row_limit))
    column_ref = build_column_ref(columns[0])
    return runner.fetch_table(
        syntax_tree.Query(select, order_by=(syntax_tree.OrderItem(column_ref),)),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )


def _merge_rows(first: pa.Table, second: pa.Table) -> pa.Table:
    rows = list(dict.fromkeys(tuple(row.items()) for row in (*first.to_pylist(), *second.to_pylist())))
    return pa.Table.from_pylist([dict(row) for row in rows[:MAX_SUGGESTIONS]], schema=first.schema)


def _build_prefix_condition(name: str, text: str) -> syntax_tree.Expr:
    return syntax_tree.LikePredicate(
        build_column_ref(name), syntax_tree.Literal(f"{_escape_pattern(text)}%"), ignore_case=True
    )


def _build_substring_condition(name: str, text: str) -> syntax_tree.Expr:
    return syntax_tree.LikePredicate(
        build_column_ref(name), syntax_tree.Literal(f"%{_escape_pattern(text)}%"), ignore_case=True
    )


def _escape_pattern(text: str) -> str:
    return text.replace("%", "_")


def _build_source(table: Table) -> syntax_tree.FromItem:
    return TableSearch(table=table).build_source()


def _get_lower_case_ucd(column: Column) -> str:
    return (column.ucd or "").lower()
