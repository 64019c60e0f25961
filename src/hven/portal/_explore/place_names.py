"""Complete the names of places and objects while readers type them, and turn the names into positions.

Names on a body are looked up in the site's own tables of named features. Such a table has a name, a body, and a
longitude and latitude with the UCDs ``pos.bodyrc.lon`` and ``.lat``, as the gazetteer of planetary nomenclature has.
Names on the sky are looked up in the searched table, then with the resolver. Every look-up is a query with the rights
of the reader.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.adql import syntax_tree
from hven.model.errors import HvenError, UserError, format_message
from hven.model.sky import bodies
from hven.portal._explore.map_frames import classify_table_map
from hven.portal._explore.search import NEAR_PARAMETER, TableSearch, build_column_ref, find_position_columns
from hven.query import resolver

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner

MAX_SUGGESTIONS = 20  # names that a field offers
MAX_NAME_CHARACTERS = 100
MAX_FEATURES = 400  # of a body, the largest ones
QUERY_TIMEOUT_SECONDS = 3.0
BODY_COLUMNS = ("body", "target_name", "target", "planet")
_BODY_SUFFIX_PATTERN = re.compile(r"(.+?)\s*\(([^()]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceNameSuggestion:
    """A known name: the text that a field takes, and the note beside it.

    `radius_degrees` is 0 if the size is unknown.
    """

    name: str
    note: str = ""
    longitude: float | None = None
    latitude: float | None = None
    radius_degrees: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GazetteerTable:
    """A table of named features and the roles of its columns; `size_column` is in km."""

    table: Table
    name_column: str
    body_column: str
    longitude_column: str
    latitude_column: str
    size_column: str | None = None


def has_positions_on_body(table: Table) -> bool:
    """Return whether the positions of a table are on a body, not on the sky.

    Parameters
    ----------
    table
        A table.
    """
    if classify_table_map(table) == "body":
        return True
    return table.position is None and find_position_columns(table) is not None


def list_gazetteers(tables: Iterable[Table], runner: QueryRunner) -> list[GazetteerTable]:
    """List the tables of named features that the reader may see.

    Parameters
    ----------
    tables
        Tables that the reader may see.
    runner
        Runs queries for the reader.

    Returns
    -------
    gazetteers
        The tables of features.
    """
    gazetteers = []
    for table in tables:
        if table.qualified_name not in runner.published_state.tables_by_name or table.release is not None:
            continue
        gazetteer = recognize_gazetteer_table(table)
        if gazetteer is not None:
            gazetteers.append(gazetteer)
    return gazetteers


def recognize_gazetteer_table(table: Table) -> GazetteerTable | None:
    """Find the roles of the columns of a table of named features; None if it is no such table.

    Parameters
    ----------
    table
        A table.

    Returns
    -------
    gazetteer
        The roles of the columns; None if it is no such table.
    """
    if table.position is not None:
        return None
    position_columns = find_position_columns(table)
    if position_columns is None:
        return None
    texts = [column for column in table.columns if column.type.is_string and not column.hidden]
    main_ids = [column for column in texts if _get_lower_case_ucd(column).startswith("meta.id;meta.main")]
    name = main_ids[0] if main_ids else None
    body = find_body_column(texts)
    if name is None or body is None or name is body:
        return None
    size_column = None
    for column in table.columns:
        is_size = column.unit == "km" and _get_lower_case_ucd(column).startswith("phys.size")
        if is_size and column.type.is_numeric and not column.hidden:
            size_column = column.name
            break
    return GazetteerTable(
        table=table,
        name_column=name.name,
        body_column=body.name,
        longitude_column=position_columns[0],
        latitude_column=position_columns[1],
        size_column=size_column,
    )


def find_body_column(columns: Sequence[Column]) -> Column | None:
    """Return the column that names the body, the first of `BODY_COLUMNS` that there is.

    Parameters
    ----------
    columns
        Columns of a table.
    """
    for body_name in BODY_COLUMNS:
        for column in columns:
            if column.name.lower() == body_name:
                return column
    return None


def find_single_body(table: Table, pairs: Iterable[tuple[str, str]], runner: QueryRunner) -> str:
    """Return the body of the positions of a search: the one that it asks for, or the only one of the table.

    Return an empty text if there are several.

    Parameters
    ----------
    table
        A table.
    pairs
        Parameters of the address.
    runner
        Runs queries for the reader.
    """
    column = find_body_column([column for column in table.columns if column.type.is_string])
    if column is None:
        return ""
    requested_bodies = [value for name, value in pairs if name.lower() == column.name.lower()]
    if requested_bodies:
        if len(requested_bodies) == 1 and re.fullmatch(r"[\w /'-]+", requested_bodies[0]):
            return requested_bodies[0]
        return ""
    statistics = runner.find_table_with_visible_counts(table).statistics
    has_one_body = statistics.get(column.name, {}).get("distinct") == 1
    if not has_one_body or runner.has_hidden_rows(table):
        return ""
    column_ref = build_column_ref(column.name)
    select = syntax_tree.Select(
        (syntax_tree.SelectItem(column_ref),), _build_table_from_item(table), top=syntax_tree.Literal(1)
    )
    rows = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)
    body_names = rows.column(0).to_pylist()
    if body_names and body_names[0] is not None:
        return str(body_names[0])
    return ""


def find_body_radius_km(table: Table, pairs: Iterable[tuple[str, str]], runner: QueryRunner) -> float | None:
    """Return the radius in km of the body of the positions of a search.

    Return None if there is no body, if there are several, or if the radius is unknown.

    Parameters
    ----------
    table
        A table.
    pairs
        Parameters of the address.
    runner
        Runs queries for the reader.

    Returns
    -------
    radius_km
        The radius, in the unit km; None if it is unknown.
    """
    if not has_positions_on_body(table):
        return None
    parameters = list(pairs)
    body = find_single_body(table, parameters, runner)
    if not body:
        for name, value in parameters:
            if name == NEAR_PARAMETER:  # Vieta (Mars), 200 km
                name_match = _BODY_SUFFIX_PATTERN.fullmatch(value.rpartition(",")[0].strip())
                if name_match is not None:
                    body = name_match[2]
                    break
    solar_system_body = bodies.find_solar_system_body(body)
    if solar_system_body is None or solar_system_body.radii is None:
        return None
    return solar_system_body.radii[0]


def locate_place_name(
    name: str, table: Table, runner: QueryRunner, *, tables: Sequence[Table] = (), pairs: Sequence[tuple[str, str]] = ()
) -> tuple[float, float]:
    """Return the position of a name, in degrees, on the sky or the body of the table.

    Parameters
    ----------
    name
        The name.
    table
        The searched table.
    runner
        Runs queries for the reader.
    tables
        Tables that the reader may see, among them those of features.
    pairs
        Parameters of the address.

    Raises
    ------
    UserError
        The name is unknown, ambiguous, or has no fixed position.
    """
    if has_positions_on_body(table):
        gazetteers = list_gazetteers(tables, runner)
        single_body = find_single_body(table, pairs, runner)
        feature = _locate_feature(name, runner, gazetteers, single_body)
        if feature.longitude is None or feature.latitude is None:
            raise UserError(
                format_message("the place {name!r} has no position", feature.name),
                remedy="write the position in degrees: longitude, latitude",
            )
        return feature.longitude, feature.latitude
    position = _locate_unique_row_by_name(name, table, runner)
    if position is not None:
        return position
    return resolver.resolve_object_position(name, site=runner.site, policies=runner.policies)


def complete_place_name(
    prefix: str,
    table: Table,
    runner: QueryRunner,
    *,
    tables: Sequence[Table] = (),
    pairs: Sequence[tuple[str, str]] = (),
) -> list[PlaceNameSuggestion]:
    """Return the names of places that begin with a text, then those that contain it."""
    prefix = " ".join(prefix.split())[:MAX_NAME_CHARACTERS]
    if len(prefix) < 2:
        return []
    if has_positions_on_body(table):
        body = find_single_body(table, pairs, runner)
        suggestions: list[PlaceNameSuggestion] = []
        for name_source in list_gazetteers(tables, runner):
            suggestions += _search_features(name_source, prefix, runner, body, is_exact=False)
        return suggestions[:MAX_SUGGESTIONS]
    if table.position is not None:
        names = [column.name for column in _list_name_columns(table)]
    else:
        names = []
    suggestions = _suggest_row_names(table, names, table.position, prefix, runner)
    table_names = set(resolver.list_object_name_tables(runner.site.settings)) - {table.qualified_name.lower()}
    for name_table in tables:
        if name_table.qualified_name.lower() in table_names and name_table.position is not None:
            name_columns = [column.name for column in _list_name_columns(name_table)]
            suggestions += _suggest_row_names(name_table, name_columns, name_table.position, prefix, runner)
    if table.position is not None:
        for name, sky_object in resolver.complete_object_name(prefix, MAX_SUGGESTIONS, runner.site.settings):
            if sky_object.position is not None:
                longitude, latitude = sky_object.position
                suggestion = PlaceNameSuggestion(
                    name=name,
                    note=sky_object.kind or "",
                    longitude=longitude,
                    latitude=latitude,
                    radius_degrees=sky_object.radius_degrees,
                )
                suggestions.append(suggestion)
    # the first suggestion of a name wins, at the place of the last one
    distinct_suggestions = {suggestion.name.casefold(): suggestion for suggestion in reversed(suggestions)}
    return list(distinct_suggestions.values())[::-1][:MAX_SUGGESTIONS]


def complete_body_name(prefix: str) -> list[PlaceNameSuggestion]:
    """Return the planets, moons and small bodies whose name begins with a text.

    Parameters
    ----------
    prefix
        Beginning of the name.
    """
    begin = prefix.strip().casefold()
    if not begin:
        return []
    matching_bodies = [body for body in bodies.iterate_solar_system_bodies() if body.name.casefold().startswith(begin)]
    return [PlaceNameSuggestion(name=body.name, note=body.kind) for body in matching_bodies[:MAX_SUGGESTIONS]]


def _locate_feature(
    name: str, runner: QueryRunner, gazetteers: Sequence[GazetteerTable], body_name: str
) -> PlaceNameSuggestion:
    if not gazetteers:
        message = format_message("{name!r} is not a position, and no table here has place names", name)
        raise UserError(message, remedy="write the position in degrees: longitude, latitude")
    matches: list[PlaceNameSuggestion] = []
    for gazetteer in gazetteers:
        matches += _search_features(gazetteer, name, runner, body_name, is_exact=True)
    name_match = _BODY_SUFFIX_PATTERN.fullmatch(name)
    if not matches and name_match is not None:
        for gazetteer in gazetteers:
            matches += _search_features(gazetteer, name_match[1], runner, name_match[2], is_exact=True)
    if not matches:
        table_names = ", ".join(gazetteer.table.qualified_name for gazetteer in gazetteers)
        if body_name:
            message = format_message(
                "no place on {body} has the name {name!r} (Hven searched {tables})", body_name, name, table_names
            )
        else:
            message = format_message("no place has the name {name!r} (Hven searched {tables})", name, table_names)
        raise UserError(message, remedy="check the spelling, or write the position in degrees: longitude, latitude")
    first_match = matches[0]
    first_position = (first_match.longitude, first_match.latitude)
    if any((match.longitude, match.latitude) != first_position for match in matches):
        shown_matches = "; ".join(f"{match.name} ({match.note})" for match in matches[:5])
        message = format_message("{count} places are called {name!r}: {shown}", len(matches), name, shown_matches)
        raise UserError(message, remedy="write the body in brackets, as in Olympus Mons (Mars)")
    return first_match


def find_features(gazetteer: GazetteerTable, name: str, runner: QueryRunner) -> list[tuple[str, PlaceNameSuggestion]]:
    """Return the features with a name, each with its body.

    Parameters
    ----------
    gazetteer
        The table of features.
    name
        Name of the features.
    runner
        Runs queries for the reader.
    """
    matches = _search_features(gazetteer, name, runner, "", is_exact=True)
    features_by_body = []
    for feature in matches:
        name_match = _BODY_SUFFIX_PATTERN.fullmatch(feature.name)
        if name_match is not None:
            features_by_body.append((name_match[2], feature))
    return features_by_body


def _search_features(
    gazetteer: GazetteerTable, name_text: str, runner: QueryRunner, body: str, *, is_exact: bool
) -> list[PlaceNameSuggestion]:
    if body:
        body_ref = build_column_ref(gazetteer.body_column)
        lower_body = syntax_tree.FunctionCall("LOWER", (body_ref,))
        body_condition = syntax_tree.Comparison("=", lower_body, syntax_tree.Literal(body.lower()))
    else:
        body_condition = None
    if is_exact:
        test = _build_name_condition(gazetteer.name_column, name_text)
    else:
        test = _build_prefix_condition(gazetteer.name_column, name_text)
    columns = [
        gazetteer.name_column,
        gazetteer.body_column,
        gazetteer.longitude_column,
        gazetteer.latitude_column,
    ]
    if gazetteer.size_column:
        columns.append(gazetteer.size_column)
    condition = syntax_tree.join_conditions_with_and
    rows = _fetch_rows(gazetteer.table, columns, condition(test, body_condition), runner)
    if not is_exact and rows.num_rows < MAX_SUGGESTIONS:
        substring_test = _build_substring_condition(gazetteer.name_column, name_text)
        substring_condition = syntax_tree.join_conditions_with_and(substring_test, body_condition)
        rows = _join_distinct_rows_up_to_limit(rows, _fetch_rows(gazetteer.table, columns, substring_condition, runner))
    features = []
    for row in rows.to_pylist():
        name, body_name, lon, lat = (row[column_name] for column_name in columns[:4])
        if name is None or lon is None or lat is None:
            continue
        if gazetteer.size_column:
            size = row.get(gazetteer.size_column)
        else:
            size = None
        note_parts = [str(body_name), f"{lon:.6g} {lat:.6g}"]
        if size:
            note_parts.append(f"{size:.4g} km")
        feature = PlaceNameSuggestion(
            name=str(name) if body else f"{name} ({body_name})",
            note=", ".join(note_parts),
            longitude=lon % 360,
            latitude=lat,
            radius_degrees=_compute_feature_radius(size, str(body_name)),
        )
        features.append(feature)
    return features


def _build_name_condition(column_name: str, name: str) -> syntax_tree.Expr:
    """Build the condition that a column has a name, regardless of case."""
    lower_name = syntax_tree.FunctionCall("LOWER", (build_column_ref(column_name),))
    return syntax_tree.Comparison("=", lower_name, syntax_tree.Literal(" ".join(name.lower().split())))


def _compute_feature_radius(size_km: float | None, body: str) -> float:
    """Return half the size of a feature as an angle at the centre of its body, rounded up to two digits."""
    radii = None
    for solar_system_body in bodies.iterate_solar_system_bodies():
        if solar_system_body.name.casefold() == body.casefold():
            radii = solar_system_body.radii
            break
    if not size_km or radii is None:
        return 0.0
    angle = min(math.degrees(size_km / 2 / radii[0]), 180.0)
    step = 10 ** math.floor(math.log10(angle) - 1)
    return float(f"{math.ceil(angle / step) * step:.3g}")


def _locate_unique_row_by_name(name: str, table: Table, runner: QueryRunner) -> tuple[float, float] | None:
    """Look up a name in the table itself. Return None if no row has it, or several rows have."""
    if table.position is None:
        return None
    for column in _list_name_columns(table):
        test = _build_name_condition(column.name, name)
        try:
            rows = _fetch_rows(table, list(table.position), test, runner, row_limit=2)
        except HvenError:
            return None
        if rows.num_rows == 1:
            lon, lat = (rows.column(at)[0].as_py() for at in range(2))
            if lon is not None and lat is not None:
                return float(lon) % 360, float(lat)
    return None


def _suggest_row_names(
    table: Table, column_names: Sequence[str], position: tuple[str, str] | None, name_text: str, runner: QueryRunner
) -> list[PlaceNameSuggestion]:
    suggestions = []
    for name in column_names:
        columns = [name, *(position or ())]
        prefix_condition = _build_prefix_condition(name, name_text)
        rows = _fetch_rows(table, columns, prefix_condition, runner)
        if rows.num_rows < MAX_SUGGESTIONS:
            substring_condition = _build_substring_condition(name, name_text)
            rows = _join_distinct_rows_up_to_limit(rows, _fetch_rows(table, columns, substring_condition, runner))
        for row in rows.to_pylist():
            coordinates = [row[coordinate_name] for coordinate_name in position or ()]
            if coordinates and None not in coordinates:
                note = " ".join(f"{value:.6g}" for value in coordinates)
            else:
                note = ""
            suggestions.append(PlaceNameSuggestion(name=str(row[name]), note=note))
    return suggestions


def _list_name_columns(table: Table) -> list[Column]:
    """Return at most three columns with names of objects, by rank."""
    if "s_region" in {column.name.lower() for column in table.columns}:
        return []  # rows of observations: their names are those of files, not of places
    name_columns = []
    for column in table.columns:
        ucd = _get_lower_case_ucd(column)
        is_object_name = ucd.startswith("meta.id") and ";src" not in ucd and ";instr" not in ucd
        if column.type.is_string and not column.hidden and is_object_name:
            name_columns.append(column)
    name_columns.sort(key=lambda column: column.rank)
    return name_columns[:3]


def _fetch_rows(
    table: Table,
    columns: Sequence[str],
    condition: syntax_tree.Expr | None,
    runner: QueryRunner,
    *,
    row_limit: int = MAX_SUGGESTIONS,
) -> pa.Table:
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in dict.fromkeys(columns))
    select = syntax_tree.Select(
        items, _build_table_from_item(table), where=condition, top=syntax_tree.Literal(row_limit)
    )
    by_first_column = syntax_tree.OrderItem(build_column_ref(columns[0]))
    query = syntax_tree.Query(select, order_by=(by_first_column,))
    return runner.fetch_table(query, timeout_seconds=QUERY_TIMEOUT_SECONDS)


def _join_distinct_rows_up_to_limit(first: pa.Table, second: pa.Table) -> pa.Table:
    all_rows = [*first.to_pylist(), *second.to_pylist()]
    distinct_rows = list(dict.fromkeys(tuple(row.items()) for row in all_rows))
    kept_rows = [dict(row) for row in distinct_rows[:MAX_SUGGESTIONS]]
    return pa.Table.from_pylist(kept_rows, schema=first.schema)


def _build_prefix_condition(name: str, text: str) -> syntax_tree.Expr:
    return syntax_tree.build_text_condition(build_column_ref(name), (text, ""))


def _build_substring_condition(name: str, text: str) -> syntax_tree.Expr:
    return syntax_tree.build_text_condition(build_column_ref(name), ("", text, ""))


def _build_table_from_item(table: Table) -> syntax_tree.FromItem:
    return TableSearch(table=table).build_from_item()


def _get_lower_case_ucd(column: Column) -> str:
    return (column.ucd or "").lower()


def list_body_features(body: str, runner: QueryRunner, tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return the largest named features of a body from the gazetteers: name, longitude, latitude, size in km.

    Parameters
    ----------
    body
        Name of the body.
    runner
        Runs queries for the reader.
    tables
        Tables that the reader may see.
    """
    body_features: list[dict[str, Any]] = []
    for gazetteer in list_gazetteers(tables, runner) if body else ():
        if gazetteer.size_column is None:
            continue
        columns = (gazetteer.name_column, gazetteer.longitude_column, gazetteer.latitude_column, gazetteer.size_column)
        column_ref = build_column_ref(gazetteer.body_column)
        lower_body = syntax_tree.FunctionCall("LOWER", (column_ref,))
        body_condition = syntax_tree.Comparison("=", lower_body, syntax_tree.Literal(body.lower()))
        schema_name = syntax_tree.Ident(gazetteer.table.schema, quoted=True)
        source = syntax_tree.TableRef((schema_name, syntax_tree.Ident(gazetteer.table.name, quoted=True)))
        size_ref = build_column_ref(gazetteer.size_column)
        has_size = syntax_tree.NullPredicate(size_ref, negated=True)
        condition = syntax_tree.join_conditions_with_and(body_condition, has_size)
        items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in columns)
        top = syntax_tree.Literal(MAX_FEATURES)
        select = syntax_tree.Select(items, source, where=condition, top=top)
        largest_first = syntax_tree.OrderItem(size_ref, descending=True)
        query = syntax_tree.Query(select, order_by=(largest_first,))
        try:
            rows = runner.fetch_table(query, timeout_seconds=QUERY_TIMEOUT_SECONDS)
        except HvenError:
            continue  # the map is drawn without names
        feature_columns = [rows.column(at).to_pylist() for at in range(4)]
        for name, lon, lat, size in zip(*feature_columns, strict=True):
            if None not in (name, lon, lat):
                body_features.append({"name": name, "lon": lon % 360, "lat": lat, "size": size})
    return body_features
