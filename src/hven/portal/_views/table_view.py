"""What the pages of one table begin with: the table that the address names, the search in it, and who asks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import quote_name
from hven.engines import Snapshot
from hven.model.errors import NotFoundError, ParamError, format_message
from hven.portal._explore import TableSearch, parse_search, place_names, search_fields
from hven.portal._explore.column_pairs import find_column_pairs
from hven.portal._explore.number_formatting import format_unit
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.search_fields import list_display_units
from hven.portal._pages import SWITCH_PARAMETERS
from hven.portal._views.page_addresses import parse_table_name

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.table import Table
    from hven.portal._explore.cell_text import ColumnHeading, TextCell
    from hven.portal._explore.column_labels import ColumnLabels
    from hven.portal._views.page_formats import PageContext
    from hven.site import PublishedTable

# which rows of a search, and of which state: no part of it
OFFSET_PARAMETER, SIZE_PARAMETER, STATE_PARAMETER, AFTER_KEY_PARAMETER = "_from", "_size", "_asof", "_after"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """A table of a collection, as one reader looks at it.

    Attributes
    ----------
    state
        Names the rows that were published when it was looked at: pages that carry it (``_asof``) are of one state,
        whatever is published meanwhile. Empty: other programs write the table.
    labels
        What its columns are called, in the reader's language.
    is_state_lost
        The state that was asked for is not kept any more: this is that of now.
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
        """The table's name, as a query writes it."""
        return f"{quote_name(self.table.schema)}.{quote_name(self.table.name)}"


def build_runner(page_context: PageContext) -> QueryRunner:
    """Return the road to data for who asks for this page."""
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
    ignored_parameters
        Names of parameters that are the page's own, and no part of the search.

    Raises
    ------
    NotFoundError
        There is no such table that this reader may know of.
    """
    collection = page_context.request.path_params["name"]
    table_name = parse_table_name(page_context.request.path_params["table"])
    query_params = page_context.request.query_params
    is_state_lost = False
    table = next(
        (
            table_candidate
            for table_candidate in page_context.catalogue.iterate_tables()
            if (table_candidate.schema, table_candidate.name) == (collection, table_name)
        ),
        None,
    )
    if (
        table is not None
        and (wanted_state := query_params.get(STATE_PARAMETER, ""))
        and wanted_state != _compute_table_state(page_context, table)
    ):
        earlier_state = _find_earlier_state(page_context, table, wanted_state)
        is_state_lost = earlier_state is None
        page_context, table = earlier_state or (page_context, table)
    if table is None or table.qualified_name not in page_context.published_state.tables_by_name:
        raise NotFoundError(
            format_message("there is no table {schema}.{name} here", collection, table_name),
            remedy="the page of the collection lists its tables",
        )
    page_parameters = {
        *SWITCH_PARAMETERS,
        OFFSET_PARAMETER,
        SIZE_PARAMETER,
        STATE_PARAMETER,
        AFTER_KEY_PARAMETER,
        *ignored_parameters,
    }
    pairs = [(name, value) for name, value in query_params.multi_items() if name not in page_parameters]
    pairs, parted = search_fields.join_field_parts(pairs)
    table_view = build_table_view(page_context, table)
    search = parse_view_search(table_view, page_context, pairs)
    state = _compute_table_state(page_context, table)
    return replace(
        table_view,
        search=search,
        state=state,
        is_state_lost=is_state_lost,
        has_form_parts=parted,
    )


def build_table_view(page_context: PageContext, table: Table) -> TableView:
    """Look at all rows of a table that this reader may know of."""
    return TableView(
        table=table,
        published=page_context.published_state.tables_by_name[table.qualified_name],
        search=TableSearch(table=table),
        runner=build_runner(page_context),
        labels=page_context.build_labels(table),
    )


def parse_view_search(
    table_view: TableView, page_context: PageContext, pairs: Sequence[tuple[str, str]]
) -> TableSearch:
    """Read a search of a table, as an address has it."""
    tables = tuple(page_context.catalogue.iterate_tables())
    locate = partial(
        place_names.locate_name, table=table_view.table, runner=table_view.runner, tables=tables, pairs=pairs
    )
    girth = partial(place_names.find_body_radius_km, table_view.table, pairs, table_view.runner)
    search = parse_search(pairs, table_view.table, locate=locate, find_radius_km=girth)
    return translate_faults(search, page_context)


def _compute_table_state(page_context: PageContext, table: Table) -> str:
    """Name the rows of a table, or of all that a reader's view reads.

    The newest snapshot, and what stands for the others.
    """
    published_state = page_context.published_state
    item = published_state.tables_by_name.get(table.qualified_name)
    if item is None:
        read_tables = []
    else:
        read_tables = [item]
    if item is not None and item.relation is None:
        visible_names = {
            published_table.qualified_name
            for published_table in published_state.get_catalogue(
                page_context.principal, page_context.context.policies
            ).iterate_tables()
        }
        read_tables = [
            published_state.tables_by_name[name]
            for name in item.read_tables
            if name in visible_names and name in published_state.tables_by_name
        ]
    ids = sorted(
        (
            published_table.relation.id if isinstance(published_table.relation, Snapshot) else ""
            for published_table in read_tables
            if published_table.relation is not None
        ),
        reverse=True,
    )
    if not ids or not all(ids):
        return ""
    if len(ids) == 1:
        return ids[0]
    return f"{ids[0]}~{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"


def _find_earlier_state(page_context: PageContext, table: Table, wanted_state: str) -> tuple[PageContext, Table] | None:
    """Find an earlier state and the table as it was; None: it is not kept, or is not the one that is meant."""
    try:
        past_state = page_context.context.site.find_past_state(wanted_state.partition("~")[0])
        earlier_context = replace(
            page_context,
            published_state=past_state.published_state,
        )
    except ParamError:
        return None
    catalogue = earlier_context.published_state.get_catalogue(page_context.principal, page_context.context.policies)
    earlier_table = next(
        (candidate for candidate in catalogue.iterate_tables() if candidate.qualified_name == table.qualified_name),
        None,
    )
    if earlier_table is None or _compute_table_state(earlier_context, earlier_table) != wanted_state:
        return None
    return (earlier_context, earlier_table)


def translate_faults(search: TableSearch, page_context: PageContext) -> TableSearch:
    """Translate the faults of a search into the language of the page."""
    faults = tuple(
        replace(
            search_fault,
            message=page_context.translator(search_fault.message),
            remedy=page_context.translator(search_fault.remedy),
        )
        for search_fault in search.faults
    )
    return search.copy_with(faults=faults)


def list_faults(search: TableSearch) -> list[dict[str, str]]:
    """Return the faults of a search as the JSON of all panes has them."""
    return [{"field": fault.field, "message": fault.message, "remedy": fault.remedy} for fault in search.faults]


def drop_constant_cells(
    headings: Sequence[ColumnHeading], rows: Sequence[Sequence[TextCell | None]], constant_names: Collection[str]
) -> list[list[TextCell | None]]:
    """Drop the cells of columns that say the same in all rows."""
    kept_numbers = [number for number, heading in enumerate(headings) if heading.column.name not in constant_names]
    return [[row[number] for number in kept_numbers] for row in rows]


def describe_constant_columns(
    headings: Sequence[ColumnHeading], rows: Sequence[Sequence[TextCell | None]], constant_names: Collection[str]
) -> dict[str, Any]:
    """Return the columns that say the same in all rows, with what they say, and the labels of those that say nothing.

    Nothing without rows.
    """
    first = rows[0] if rows else ()
    constant_cells = [
        (heading, value)
        for heading, value in zip(headings, first, strict=False)
        if heading.column.name in constant_names
    ]
    return {
        "told": [
            {"name": heading.column.name, "label": heading.label, "unit": format_unit(heading.unit), "value": value}
            for heading, value in constant_cells
            if value is not None
        ],
        "empty": [heading.label for heading, value in constant_cells if value is None],
    }


def columns_to_json(headings: Sequence[ColumnHeading], constant_names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the columns of an answer as the JSON of all panes has them.

    `constant_names` are those that say the same in all rows.
    """
    return [
        {
            "name": heading.column.name,
            "label": heading.label,
            "unit": heading.unit,
            "unit_text": format_unit(heading.unit),
            "usual_unit": heading.usual_unit,
            "stored_unit": heading.column.unit or "",
            "stored_text": format_unit(heading.column.unit or ""),
            "ucd": heading.column.ucd or "",
            "description": heading.column.description or "",
            "title": heading.title,
            "numeric": heading.numeric,
            "kind": heading.kind,
            "units": list(list_display_units(heading.column)),
            "unit_texts": [format_unit(unit) for unit in list_display_units(heading.column)],
            **({"alike": True} if heading.column.name in constant_names else {}),
        }
        for heading in headings
    ]


def pairs_to_json(headings: Sequence[ColumnHeading], labels: ColumnLabels) -> list[dict[str, Any]]:
    """Return the pairs of columns that pages tell as one, as the JSON of all panes has them."""
    return [
        {
            "name": column_pair.name,
            "label": column_pair.label,
            "title": column_pair.title,
            "low": column_pair.low_number,
            "high": column_pair.high_number,
        }
        for column_pair in find_column_pairs(headings, labels)
    ]


def cell_to_json(value: TextCell | None) -> object:
    """Return a cell as JSON: its text, or an object if there is more to it."""
    if value is None or not (value.href or value.title or value.picture or value.corners):
        return None if value is None else value.text
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
