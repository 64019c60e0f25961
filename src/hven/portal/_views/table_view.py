"""Read the table, the search and the user of a page of one table from its address."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import quote_adql_name
from hven.engines import Snapshot
from hven.model.errors import NotFoundError, ParamError, format_message
from hven.portal._explore import TableSearch, parse_search, place_names, search_fields
from hven.portal._explore.column_pairs import find_range_column_pairs
from hven.portal._explore.constant_columns import list_used_place_columns
from hven.portal._explore.number_formatting import format_unit
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.search_fields import list_display_units
from hven.portal._pages import SWITCH_PARAMETERS
from hven.portal._views.page_addresses import parse_table_name_from_address

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.model.table import Table
    from hven.portal._explore.cell_text import ColumnHeading, TextCell
    from hven.portal._explore.column_labels import ColumnLabels
    from hven.portal._views.page_formats import PageContext
    from hven.site import PublishedTable

# parameters of a page of rows and of the table's state; they are no part of the search
OFFSET_PARAMETER, SIZE_PARAMETER, STATE_PARAMETER, AFTER_KEY_PARAMETER = "_from", "_size", "_asof", "_after"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """A table of a collection, as one reader sees it.

    Attributes
    ----------
    search
        The search of the reader.
    runner
        Runs queries for the reader.
    state
        The id of the published rows: pages that carry it (``_asof``) show the same state, whatever is published later.
        Empty for live tables, which other programs write.
    labels
        The labels of its columns in the reader's language.
    is_state_lost
        Whether the requested state is no longer stored, so that this is the current one.
    """

    table: Table
    published: PublishedTable
    search: TableSearch
    runner: QueryRunner
    labels: ColumnLabels
    state: str = ""
    is_state_lost: bool = False
    has_form_parts: bool = False  # a form sent its fields in parts

    @property
    def quoted_name(self) -> str:
        """The table's name as in a query."""
        return f"{quote_adql_name(self.table.schema)}.{quote_adql_name(self.table.name)}"


def build_query_runner(page_context: PageContext) -> QueryRunner:
    """Build the query runner with the rights of the user of a page.

    Parameters
    ----------
    page_context
        Context of the request.

    Returns
    -------
    runner
        Runs queries for the user.
    """
    return QueryRunner(
        site=page_context.context.site,
        principal=page_context.principal,
        policies=page_context.context.policies,
        published_state=page_context.published_state,
    )


def read_table_view(page_context: PageContext, *, ignored_parameters: Sequence[str] = ()) -> TableView:
    """Read the address of a page of one table.

    Parameters
    ----------
    page_context
        Context of the page.
    ignored_parameters
        Names of parameters that belong to the page and are no part of the search.

    Returns
    -------
    table_view
        The table with its search.

    Raises
    ------
    NotFoundError
        There is no such table that this reader may see.
    """
    collection = page_context.request.path_params["name"]
    table_name = parse_table_name_from_address(page_context.request.path_params["table"])
    query_params = page_context.request.query_params
    is_state_lost = False
    table = None
    for candidate in page_context.catalogue.iterate_tables():
        if (candidate.schema, candidate.name) == (collection, table_name):
            table = candidate
            break
    wanted_state = query_params.get(STATE_PARAMETER, "")
    if table is not None and wanted_state and wanted_state != _compute_table_state_id(page_context, table):
        earlier_state = _find_earlier_state(page_context, table, wanted_state)
        is_state_lost = earlier_state is None
        page_context, table = earlier_state or (page_context, table)
    if table is None or table.qualified_name not in page_context.published_state.tables_by_name:
        message = format_message("there is no table {schema}.{name} here", collection, table_name)
        raise NotFoundError(message, remedy="see the collection's page for its tables")
    page_parameters = {
        *SWITCH_PARAMETERS,
        OFFSET_PARAMETER,
        SIZE_PARAMETER,
        STATE_PARAMETER,
        AFTER_KEY_PARAMETER,
        *ignored_parameters,
    }
    pairs = [(name, value) for name, value in query_params.multi_items() if name not in page_parameters]
    pairs, parted = search_fields.join_form_field_parameters(pairs)
    table_view = build_table_view(page_context, table)
    search = parse_table_search(table_view, page_context, pairs)
    state = _compute_table_state_id(page_context, table)
    return replace(table_view, search=search, state=state, is_state_lost=is_state_lost, has_form_parts=parted)


def build_table_view(page_context: PageContext, table: Table) -> TableView:
    """Build the view of all rows of a table that this reader may see.

    Parameters
    ----------
    page_context
        The request of the page.
    table
        The table.

    Returns
    -------
    table_view
        The view.
    """
    return TableView(
        table=table,
        published=page_context.published_state.tables_by_name[table.qualified_name],
        search=TableSearch(table=table),
        runner=build_query_runner(page_context),
        labels=page_context.build_column_labels(table),
    )


def parse_table_search(
    table_view: TableView, page_context: PageContext, pairs: Sequence[tuple[str, str]]
) -> TableSearch:
    """Parse the search of a table from the parameters of an address.

    Parameters
    ----------
    table_view
        The table, as the reader sees it.
    page_context
        The request of the page.
    pairs
        Names and values of the parameters.

    Returns
    -------
    search
        The search; `TableSearch.faults` has what cannot be read.
    """
    tables = tuple(page_context.catalogue.iterate_tables())
    locate = partial(
        place_names.locate_place_name, table=table_view.table, runner=table_view.runner, tables=tables, pairs=pairs
    )
    girth = partial(place_names.find_body_radius_km, table_view.table, pairs, table_view.runner)
    search = parse_search(pairs, table_view.table, locate=locate, find_radius_km=girth)
    if search.near is not None or search.inside:
        search = search.copy_with(place_columns=list_used_place_columns(table_view.table, table_view.runner))
    return translate_search_faults(search, page_context)


def _compute_table_state_id(page_context: PageContext, table: Table) -> str:
    """Compute the state of a table from its snapshot, or from those of all tables that a view reads.

    It is the newest snapshot's id, with a digest of the others.
    """
    published_state = page_context.published_state
    item = published_state.tables_by_name.get(table.qualified_name)
    if item is None:
        return ""
    read_tables = [item]
    if item.relation is None:
        catalogue = published_state.get_catalogue(page_context.principal, page_context.context.policies)
        visible_names = {visible_table.qualified_name for visible_table in catalogue.iterate_tables()}
        read_names = [name for name in item.read_tables if name in visible_names]
        tables_by_name = published_state.tables_by_name
        read_tables = [tables_by_name[name] for name in read_names if name in tables_by_name]
    relations = [read_table.relation for read_table in read_tables if read_table.relation is not None]
    ids = [relation.id if isinstance(relation, Snapshot) else "" for relation in relations]
    ids.sort(reverse=True)
    if not ids or not all(ids):
        return ""
    if len(ids) == 1:
        return ids[0]
    digest = hashlib.sha256(" ".join(ids).encode()).hexdigest()
    return f"{ids[0]}~{digest[:12]}"


def _find_earlier_state(page_context: PageContext, table: Table, wanted_state: str) -> tuple[PageContext, Table] | None:
    """Find an earlier state and its table; None if it is no longer stored, or is another one."""
    try:
        past_state = page_context.context.site.find_past_state(wanted_state.partition("~")[0])
        earlier_context = replace(page_context, published_state=past_state.published_state)
    except ParamError:
        return None
    catalogue = earlier_context.published_state.get_catalogue(page_context.principal, page_context.context.policies)
    tables_by_name = {candidate.qualified_name: candidate for candidate in catalogue.iterate_tables()}
    earlier_table = tables_by_name.get(table.qualified_name)
    if earlier_table is None or _compute_table_state_id(earlier_context, earlier_table) != wanted_state:
        return None
    return (earlier_context, earlier_table)


def translate_search_faults(search: TableSearch, page_context: PageContext) -> TableSearch:
    """Translate the faults of a search into the language of the page.

    Parameters
    ----------
    search
        The search.
    page_context
        Context of the page.

    Returns
    -------
    search
        The search with translated faults.
    """
    translator = page_context.translator
    faults = [
        replace(fault, message=translator(fault.message), remedy=translator(fault.remedy)) for fault in search.faults
    ]
    return search.copy_with(faults=tuple(faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantColumnSummary:
    """The columns with the same value in all rows.

    Attributes
    ----------
    told
        Label, unit and value of each column with values.
    empty
        Labels of the columns without values.
    """

    told: Sequence[Mapping[str, object]] = ()
    empty: Sequence[str] = ()


def describe_constant_columns(
    headings: Sequence[ColumnHeading], rows: Sequence[Sequence[TextCell | None]], constant_names: Collection[str]
) -> ConstantColumnSummary:
    """Describe the columns with the same value in all rows; without rows, there are none."""
    first = rows[0] if rows else ()
    constant_cells = [
        (heading, value)
        for heading, value in zip(headings, first, strict=False)
        if heading.column.name in constant_names
    ]
    told_columns = []
    empty_labels = []
    for heading, value in constant_cells:
        if value is None:
            empty_labels.append(heading.label)
        else:
            unit = format_unit(heading.unit)
            told_columns.append({"label": heading.label, "unit": unit, "value": value})
    return ConstantColumnSummary(told=told_columns, empty=empty_labels)


def columns_to_json(headings: Sequence[ColumnHeading], constant_names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the columns of an answer as JSON; `constant_names` are those with the same value in all rows.

    Parameters
    ----------
    headings
        Headings of the columns.
    constant_names
        Names of columns with the same value in all rows.
    """
    json_columns = []
    for heading in headings:
        column = heading.column
        display_units = list_display_units(column)
        json_column: dict[str, Any] = {
            "name": column.name,
            "label": heading.label,
            "unit": heading.unit,
            "unit_text": format_unit(heading.unit),
            "usual_unit": heading.usual_unit,
            "stored_unit": column.unit or "",
            "stored_text": format_unit(column.unit or ""),
            "ucd": column.ucd or "",
            "description": column.description or "",
            "title": heading.title,
            "numeric": heading.numeric,
            "kind": heading.kind,
            "units": list(display_units),
            "unit_texts": [format_unit(unit) for unit in display_units],
        }
        if column.name in constant_names:
            json_column["alike"] = True
        json_columns.append(json_column)
    return json_columns


def column_pairs_to_json(headings: Sequence[ColumnHeading], labels: ColumnLabels) -> list[dict[str, Any]]:
    """Return the pairs of columns that pages show as one, as JSON.

    Parameters
    ----------
    headings
        Headings of the columns.
    labels
        Labels of the columns.
    """
    return [
        {
            "name": column_pair.name,
            "label": column_pair.label,
            "title": column_pair.title,
            "low": column_pair.low_number,
            "high": column_pair.high_number,
        }
        for column_pair in find_range_column_pairs(headings, labels)
    ]


def cell_to_json(value: TextCell | None) -> object:
    """Return a cell as JSON: its text, or an object if it has more than a text.

    Parameters
    ----------
    value
        The cell; None: it has no value.
    """
    if value is None:
        return None
    if not (value.href or value.title or value.picture or value.corners):
        return value.text
    cell_facts: dict[str, object] = {"text": value.text}
    if value.href:
        cell_facts["href"] = value.href
    if value.title:
        cell_facts["title"] = value.title
    if value.picture:
        cell_facts["picture"] = True
    if value.corners:
        cell_facts["corners"] = value.corners
    return cell_facts
