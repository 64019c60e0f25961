"""Build the form of a search for its page: fields with their values and faults, and the conditions as a list."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.portal._explore import cadence, coordinate_notation, facets, row_pages, search_fields
from hven.portal._explore.cell_text import build_column_headings, format_cells
from hven.portal._explore.column_labels import ColumnLabels
from hven.portal._explore.column_pairs import join_range_cells
from hven.portal._explore.constant_columns import count_rows_without_place, find_single_valued_columns
from hven.portal._explore.number_formatting import format_unit, is_spectral
from hven.portal._explore.observation_lines import build_observation_line_search
from hven.portal._explore.place_names import has_positions_on_body
from hven.portal._explore.search import (
    CADENCE_PARAMETER,
    NEAR_PARAMETER,
    REGION_PARAMETER,
    WORDS_PARAMETER,
    list_place_columns,
    load_search_conditions,
)
from hven.services.file_rows import classify_column_display

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hven.model.table import Table
    from hven.portal._explore import TableSearch
    from hven.portal._explore.observation_lines import ObservationColumnRoles
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.search import SearchCircle, SearchFault
    from hven.portal._explore.search_fields import FormField

FORM_PARAMETERS = (WORDS_PARAMETER, NEAR_PARAMETER, CADENCE_PARAMETER)  # fields of the form that are no columns
MAX_MAIN_FIELDS = 16  # of the main section, besides those with values and those that a descriptor or a standard lists
MAX_LISTED_CODES = 60  # codes of a selection list
MIN_INITIAL_FIELDS = 5  # a form with fewer fields has space for a further one


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFormField:
    """A field of a form with its values.

    Attributes
    ----------
    name, label, unit, description
        The column or the pair of columns: its name, its label, its unit or time scale, and its tooltip.
    kind
        ``time``, ``range``, ``code``, ``flag`` or ``text``.
    low, high, around, given
        The values: the first or only one, the last one, the margin of a time, and the chosen unit.
    usual
        Unit of values without a unit; empty: the stored one.
    units
        Units that the reader can choose.
    codes
        Codes that the reader can choose, with their words.
    round
        Whether it is an angle around a circle.
    light
        Whether it is spectral.
    principal, section
        Whether the descriptor or the standard counts it among the main columns, and its section.
    asked
        Whether the search has values for it.
    choices
        Whether a script offers all its values.
    """

    name: str
    label: str
    unit: str
    description: str
    kind: str
    low: str
    high: str
    around: str
    given: str
    usual: str
    units: tuple[str, ...]
    codes: Sequence[tuple[str, str]]
    round: bool
    light: bool
    principal: bool
    section: str
    asked: bool
    choices: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FormSection:
    """A section of a form, which is open or closed at first.

    Attributes
    ----------
    name
        Name of the section.
    fields
        Fields of the section.
    open
        Whether it is open.
    """

    name: str
    fields: Sequence[SearchFormField]
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionSearchFields:
    """The fields of a place.

    Attributes
    ----------
    centre, size, unit
        Name or position of the centre, and the radius with its unit.
    found
        Position that a name was resolved to.
    body
        Whether the positions are on a body.
    """

    centre: str = ""
    size: str = ""
    unit: str = "deg"
    found: str = ""
    body: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchForm:
    """The form of a search.

    Attributes
    ----------
    fields, sections
        The fields, and the same in sections.
    words
        Words of the search.
    place, every
        Fields of the place and of the cadence, if the table has any.
    faults
        Faults by the names of their fields.
    kept
        Further parameters of the search.
    unplaced_rows
        Number of rows of the table that have no position; None: unknown.
    """

    fields: Sequence[SearchFormField]
    sections: Sequence[FormSection]
    words: str
    place: PositionSearchFields | None
    every: Mapping[str, object] | None
    faults: Mapping[str, SearchFault]
    kept: Sequence[tuple[str, str]]
    unplaced_rows: int | None = None


def build_search_form(
    search: TableSearch, runner: QueryRunner | None, labels: ColumnLabels, *, column_names: Iterable[str] | None = None
) -> SearchForm:
    """Build the form of a search; with `column_names`, it has fields of these columns only.

    Parameters
    ----------
    search
        The search.
    runner
        Runs queries for the reader, which find columns that cannot narrow the search; None: all have fields.
    labels
        Labels of the columns.
    column_names
        Names of the columns that have fields; None: all.

    Returns
    -------
    search_form
        The form.
    """
    written_values = list_field_values(search)
    wanted_names = None
    if column_names is not None:
        wanted_names = {name.lower() for name in column_names}
    constant_names = frozenset[str]()
    place = build_position_search_fields(search)
    unplaced_rows = None
    if runner is not None:
        constant_names = find_single_valued_columns(search.table, runner)
        if place is not None:
            unplaced_rows = count_rows_without_place(search.table, runner)
    choice_columns = _find_choice_columns(search.table, runner)
    written_columns = [name for name in written_values if not name.startswith("_")]
    form_fields = []
    for form_field in search_fields.build_form_fields(search.table, written_columns):
        if wanted_names is not None and form_field.name.lower() not in wanted_names:
            continue
        is_useless = _is_constant_field(form_field, constant_names, labels) or _is_picture_field(
            form_field, search.table
        )
        if is_useless and form_field.name not in written_values:
            continue
        described_field = describe_form_field(form_field, written_values.get(form_field.name, ()), labels)
        has_choices = form_field.column.name in choice_columns and not form_field.is_pair
        form_fields.append(replace(described_field, choices=has_choices))
    initial_names = _choose_initial_fields(form_fields, search.table) if wanted_names is None else ()
    kept_parameters = []
    for name, value in search.list_parameters():
        is_form_field = name in FORM_PARAMETERS or _has_column(search.table, name)
        if name.startswith("_") and not is_form_field:
            kept_parameters.append((name, value))
    return SearchForm(
        fields=form_fields,
        sections=_group_fields_by_section(form_fields, initial_names),
        words=search.words or dict(search.wrong).get(WORDS_PARAMETER, ""),
        place=place,
        every=describe_cadence_fields(search, runner, labels),
        faults={fault.field: fault for fault in search.faults},
        kept=kept_parameters,
        unplaced_rows=unplaced_rows,
    )


def _choose_initial_fields(form_fields: Sequence[SearchFormField], table: Table) -> tuple[str, ...]:
    """Return the names of the fields that a form begins with.

    If these are few and none is spectral, the spectral ones are added.
    """
    initial_names = search_fields.list_initial_form_fields(table)
    initial_fields = [form_field for form_field in form_fields if _is_initial_field(form_field, initial_names)]
    has_enough_fields = len(initial_fields) >= MIN_INITIAL_FIELDS
    has_spectral_field = any(form_field.light for form_field in initial_fields)
    if table.form or not initial_names or has_enough_fields or has_spectral_field:
        return initial_names
    spectral_names = [form_field.name.lower() for form_field in form_fields if form_field.light]
    return (*initial_names, *spectral_names)


def _is_initial_field(form_field: SearchFormField, initial_names: Sequence[str]) -> bool:
    """Return whether a field is among the initial ones, or of a principal column of the table's own."""
    if form_field.name.lower() in {name.lower() for name in initial_names}:
        return True
    return not form_field.section and form_field.principal


def _is_constant_field(form_field: FormField, constant_names: Collection[str], labels: ColumnLabels) -> bool:
    """Return whether all rows have the same value, so that a field is useless."""
    if not form_field.is_pair:
        return form_field.column.name in constant_names
    _, low, high = labels.range_pairs[form_field.column.name]
    return low.name in constant_names and high.name in constant_names


def _is_picture_field(form_field: FormField, table: Table) -> bool:
    """Return whether a field is of picture addresses: only a descriptor puts these into a form."""
    return classify_column_display(form_field.column, table) == "picture" and form_field.name not in table.form


def _find_choice_columns(table: Table, runner: QueryRunner | None) -> set[str]:
    """Return the columns whose field shows all their choices."""
    if runner is None:
        return set()
    return {
        column.name
        for column in facets.find_facet_columns(table, runner)
        if facets.can_show_all_choices(column, runner, table)
    }


def list_field_values(search: TableSearch) -> dict[str, tuple[str, ...]]:
    """Return the values that the reader wrote into each field, valid or not."""
    values_by_field = dict(search.conditions)
    for name, value in search.wrong:
        values_by_field[name] = (*values_by_field.get(name, ()), value)
    return values_by_field


def describe_form_field(form_field: FormField, values: Sequence[str], labels: ColumnLabels) -> SearchFormField:
    """Describe a field with its values."""
    column = form_field.column
    if form_field.kind in {"time", "range"}:
        parts = search_fields.split_field_condition(values, is_time=form_field.kind == "time")
    else:
        parts = search_fields.FormFieldParts(low=",".join(values))
    if form_field.kind == "code":
        codes = list(labels.find_code_words(column).items())
    else:
        codes = []
    usual_unit = labels.find_unit_scale(column).unit
    if usual_unit not in form_field.units[1:]:
        usual_unit = ""
    if form_field.kind == "code" and not 0 < len(codes) <= MAX_LISTED_CODES:
        kind = "text"
    else:
        kind = form_field.kind
    if kind == "code":
        options = dict(codes)
    else:
        options = {"true": "", "false": ""}
    if kind in {"code", "flag"} and parts.low and parts.low.lower() not in {*options, "null"}:
        kind = "text"  # several values, or a condition that the selection list does not offer
    units: tuple[str, ...] = search_fields.MARGIN_UNITS
    if kind != "time":
        own_units = []
        if parts.unit:
            own_units = [parts.unit]
        units = tuple(dict.fromkeys([*form_field.units, *own_units]))
    is_circular = any(word in (column.ucd or "") for word in (".lon", "pos.eq.ra", ".azi"))
    return SearchFormField(
        name=form_field.name,
        label=labels.label_field(form_field.name),
        unit=labels.find_unit_or_time_scale(column),
        description=labels.write_column_tooltip(column, form_field.name),
        kind=kind,
        low=parts.low,
        high=parts.high,
        around=parts.margin,
        given=parts.unit or ("" if values else usual_unit),
        usual=usual_unit,
        units=units,
        codes=codes,
        round=column.unit == "deg" and kind == "range" and is_circular,
        light=kind == "range" and is_spectral(column),
        principal=column.is_principal,
        section=column.section or "",
        asked=bool(values),
    )


def build_position_search_fields(search: TableSearch) -> PositionSearchFields | None:
    """Describe the fields of a place; None if the table has no positions.

    Parameters
    ----------
    search
        The search.

    Returns
    -------
    fields
        The fields with their values.
    """
    if not list_place_columns(search.table):
        return None
    has_body = has_positions_on_body(search.table)
    invalid_text = dict(search.wrong).get(NEAR_PARAMETER)
    if invalid_text is not None:
        if "," in invalid_text:
            centre, _, radius = invalid_text.rpartition(",")
        else:
            centre = invalid_text
            radius = "1"
        number, _, unit = radius.strip().partition(" ")
        return PositionSearchFields(centre=centre, size=number, unit=unit or "deg", body=has_body)
    if search.near is None:
        return PositionSearchFields(body=has_body)
    circle = search.near
    number, unit = _format_radius(circle)
    position_text = f"{circle.longitude:.6g}, {circle.latitude:.6g}"
    return PositionSearchFields(
        centre=circle.name or f"{circle.longitude!r},{circle.latitude!r}",
        size=number,
        unit=unit,
        found=position_text if circle.name else "",
        body=has_body,
    )


def _format_radius(circle: SearchCircle) -> tuple[str, str]:
    """Return number and unit of a radius: as written if it is a length, otherwise in a suitable unit."""
    radius_match = re.fullmatch(r"(\S*?)\s*([A-Za-z]+)", circle.radius_text)
    if radius_match is not None:
        return (radius_match[1], radius_match[2])
    return coordinate_notation.format_radius(circle.radius_degrees)


def describe_cadence_fields(
    search: TableSearch, runner: QueryRunner | None, labels: ColumnLabels
) -> dict[str, object] | None:
    """Describe the fields of a cadence; None if rows of this table cannot be thinned."""
    table = search.table
    if cadence.find_time_column(table) is None or len(table.primary) != 1:
        return None
    invalid_text = dict(search.wrong).get(CADENCE_PARAMETER)
    cadence_text = ""
    if search.every is not None:
        cadence_text = str(search.every)
    length, _, group_column = (invalid_text or cadence_text).partition(",")
    names = []
    if runner is not None:
        names = [column.name for column in facets.find_facet_columns(table, runner)]
    if group_column and group_column not in names:
        names.append(group_column)
    return {
        "length": length,
        "each": group_column,
        "names": [(name, labels.label_field(name)) for name in names],
        "lengths": cadence.OFFERED_STEPS,
    }


def build_condition_chips(search: TableSearch, labels: ColumnLabels) -> list[dict[str, str]]:
    """Describe each condition, with the address of the search without it.

    Parameters
    ----------
    search
        The search.
    labels
        Labels of its columns.

    Returns
    -------
    chips
        Name, label, value and address of each condition.
    """
    condition_chips = []
    columns_by_name = {column.name: column for column in search.table.columns}
    for name, values in search.conditions:
        other_parameters = [pair for pair in search.list_parameters() if pair[0] != name]
        column = columns_by_name.get(name)
        shown_values = values
        if column is not None:
            shown_values = tuple(labels.translate_code(column, value) for value in values)
        value_text = ", ".join(shown_values)
        label = labels.label_field(name)
        if column is None and name in load_search_conditions():
            label = load_search_conditions()[name].label
        chip = {**_build_condition_chip(name, value_text, other_parameters), "label": label}
        condition_chips.append({**chip, **_describe_period(search.table, name, values)})
    own_conditions = {
        WORDS_PARAMETER: search.words,
        REGION_PARAMETER: search.inside,
        CADENCE_PARAMETER: "" if search.every is None else str(search.every),
        NEAR_PARAMETER: "",
    }
    if search.near is not None:
        centre = search.near.name or f"{search.near.longitude:.6g}, {search.near.latitude:.6g}"
        own_conditions[NEAR_PARAMETER] = f"{centre}, {' '.join(_format_radius(search.near))}"
    for name, value in own_conditions.items():
        if value:
            other_parameters = [pair for pair in search.list_parameters() if pair[0] != name]
            condition_chips.append(_build_condition_chip(name, value, other_parameters))
    return condition_chips


def describe_field_parts(search: TableSearch) -> dict[str, dict[str, str]]:
    """Return the values in the fields of columns, for scripts.

    Parameters
    ----------
    search
        The search.
    """
    written_values = list_field_values(search)
    labels = ColumnLabels(table=search.table)
    field_parts = {}
    for form_field in search_fields.build_form_fields(search.table, written_values):
        values = written_values.get(form_field.name)
        if values:
            described_field = describe_form_field(form_field, values, labels)
            field_parts[form_field.name] = {
                "low": described_field.low,
                "high": described_field.high,
                "around": described_field.around,
                "unit": described_field.given,
            }
    return field_parts


def _describe_period(table: Table, name: str, values: Sequence[str]) -> dict[str, str]:
    """Describe a time condition as one day, month or year, which reads better than a range."""
    form_fields = search_fields.build_form_fields(table, [name])
    is_time = any(form_field.name == name and form_field.kind == "time" for form_field in form_fields)
    if len(values) != 1 or not is_time:
        return {}
    parts = search_fields.split_field_condition(values, is_time=True)
    date_match = search_fields.DATE_PATTERN.fullmatch(parts.low)
    if parts.margin or parts.high or date_match is None:
        return {}
    if date_match[2]:
        period = "day"
    elif date_match[1]:
        period = "month"
    else:
        period = "year"
    return {"when": period, "value": parts.low}


def _build_condition_chip(name: str, value: str, other_parameters: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {
        "name": name,
        "label": name,
        "value": value if len(value) <= 80 else f"{value[:79]}…",
        "address": urlencode([pair for pair in other_parameters if pair[0] != "_row"]),
    }


def _group_fields_by_section(
    form_fields: Sequence[SearchFormField], initial_names: Sequence[str] = ()
) -> list[FormSection]:
    """Group fields into sections: the initial fields, the sections of the descriptor or its standard, the others.

    The main section is always open, so further fields without values are in a closed one.
    """
    order = {name.lower(): place for place, name in enumerate(initial_names)}
    fields_by_section: dict[tuple[str, bool], list[SearchFormField]] = {}
    has_sections = any(form_field.section for form_field in form_fields)
    for form_field in form_fields:
        is_initial = _is_initial_field(form_field, initial_names)
        if is_initial:
            key = ("", True)
        else:
            is_listed_section = bool(has_sections and form_field.section)
            key = (form_field.section, form_field.principal or is_listed_section)
        fields_by_section.setdefault(key, []).append(form_field)
    main_fields = fields_by_section.get(("", True), [])
    main_fields.sort(key=lambda form_field: order.get(form_field.name.lower(), len(order)))
    kept_fields = []
    more_fields = []
    for place, form_field in enumerate(main_fields):
        if place < max(MAX_MAIN_FIELDS, len(order)) or form_field.asked:
            kept_fields.append(form_field)
        else:
            more_fields.append(form_field)
    if more_fields:
        fields_by_section["", True] = kept_fields
        fields_by_section["", False] = more_fields + fields_by_section.get(("", False), [])
    sections = []
    for (name, principal), section_fields in fields_by_section.items():
        is_main = not name and principal
        is_open_by_default = not order and name in {"target", "time"}
        has_values = any(form_field.asked for form_field in section_fields)
        section = FormSection(
            name=name or ("main" if principal else "more"),
            fields=section_fields,
            open=is_main or is_open_by_default or has_values,
        )
        sections.append(section)
    return sorted(sections, key=lambda section: {"main": -1, "more": 1}.get(section.name, 0))


def describe_relaxed_searches(
    search: TableSearch,
    runner: QueryRunner,
    labels: ColumnLabels,
    observation_key: ObservationColumnRoles | None = None,
) -> list[dict[str, object]]:
    """Describe the searches without single conditions, for a search that finds nothing.

    With `observation_key`, the counted lines are observations.
    """
    chips_by_name = {chip["name"]: chip for chip in build_condition_chips(search, labels)}
    if observation_key is None:
        relaxed = row_pages.relax_search(search, runner)
    else:
        relaxed = row_pages.relax_search(
            search,
            runner,
            to_lines=lambda relaxed_search: build_observation_line_search(relaxed_search, observation_key),
        )
    descriptions = []
    for relaxed_search in relaxed:
        if not relaxed_search.value_ranges.keys() <= chips_by_name.keys():
            continue
        removed_conditions = [
            {**chips_by_name[name], "range": _format_value_range(ends, labels)}
            for name, ends in relaxed_search.value_ranges.items()
        ]
        description = {
            "left": removed_conditions,
            "rows": relaxed_search.row_count,
            "observations": observation_key is not None,
            "address": relaxed_search.search.write_query_string(),
        }
        descriptions.append(description)
    return descriptions


def _format_value_range(extremes: row_pages.RowPage | None, labels: ColumnLabels) -> str:
    """Format the range of the values of a condition that finds nothing; empty if they have no range."""
    if extremes is None:
        return ""
    (column_heading,) = build_column_headings(extremes, labels.table, labels=labels)
    # each end keeps its own decimals
    single_rows = [replace(extremes, rows=extremes.rows.slice(at, 1)) for at in (0, 1)]
    ends = [format_cells(row_page, labels.table, labels=labels)[0][0] for row_page in single_rows]
    if column_heading.kind == "code" or None in ends:
        return ""
    joined_cell = join_range_cells(*(reversed(ends) if column_heading.scale.is_inverse else ends))
    if joined_cell is None:
        return ""
    return f"{joined_cell.text} {format_unit(column_heading.unit)}".rstrip()


def _has_column(table: Table, name: str) -> bool:
    return any(column.name == name for column in table.columns)
