"""Serve ``/joint-search/NAME``: one form over several tables, the numbers of rows, and one list of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
import orjson
import pyarrow as pa
from starlette.routing import Route

from hven.adql.adql_writer import write_adql
from hven.model.errors import HvenError, NotFoundError, format_message
from hven.model.table import translate_text
from hven.plugins.joint_search.joint_form_table import build_form_table
from hven.plugins.joint_search.joint_queries import (
    KEY_COLUMN,
    TABLE_COLUMN,
    build_list_query,
    find_choice_faults,
    translate_search,
)
from hven.plugins.joint_search.joint_search_keys import JOINT_SEARCH_KEY, find_joint_search_rules
from hven.portal.api.page_rows import RowPage, build_query_runner, build_table_address, parse_search
from hven.portal.api.pages import (
    SWITCH_PARAMETERS,
    PageContent,
    PageContext,
    PageLink,
    PortalPages,
    TemplateContext,
    build_page_context,
    build_page_endpoint,
    build_redirect,
    find_package_page_address,
    read_whole_number_parameter,
)
from hven.portal.api.search_forms import build_search_form, join_form_field_parameters, translate_search_faults
from hven.portal.api.table_rows import (
    TableView,
    build_column_headings,
    build_condition_chips,
    build_headings_and_cells,
    cell_to_json,
    format_cells,
)
from hven.query import resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.plugins.joint_search.joint_queries import TranslatedSearch
    from hven.plugins.joint_search.joint_search_keys import JointSearchRules
    from hven.portal.api.search_forms import SearchFault, SearchForm
    from hven.portal.api.table_rows import QueryRunner, TableSearch, TextCell
    from hven.services.face import ServiceContext

ROWS_PER_PAGE = 50
OFFSET_PARAMETER = "_from"
LAST_OFFSET = 10_000_000
COUNT_TIMEOUT_SECONDS = 20.0
DOWNLOAD_FORMATS = {"csv": "CSV", "votable": "VOTable", "fits": "FITS", "json": "JSON"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCount:
    """The rows of one table that a search finds.

    Attributes
    ----------
    key, label
        Short name of the table, and what its rows are.
    rows
        Number of rows; None if they cannot be counted.
    missing
        Names and labels of the fields with conditions that the table does not have.
    fault
        Why they cannot be counted; empty if they can.
    url
        Address of the page of the table.
    adql, adql_url
        Query of the rows with the columns of the table, and the address that opens it; empty if there is none.
    """

    key: str
    label: str
    rows: int | None
    missing: Sequence[Mapping[str, str]]
    fault: str
    url: str
    adql: str
    adql_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRow:
    """A row of the list.

    Attributes
    ----------
    label, url
        What it is, and the address that shows it; empty if the row has no key.
    cells
        Its cells.
    marks
        Number of the colour of each cell; 0: none.
    """

    label: str
    url: str
    cells: Sequence[TextCell | None]
    marks: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class JointSearchPage(TemplateContext):
    """The page of a joint search.

    Attributes
    ----------
    collection, collection_title, heading
        Name and title of the collection, and heading of the page.
    here
        Address of the page.
    form, chips, faults
        The form, its conditions, and parameters that cannot be read.
    counts
        Numbers of rows, by table.
    headings, rows
        Headings that sort the list, and its rows.
    first_number, last_number, total
        Numbers of the first and the last row, and of all rows.
    pages
        Queries of other pages by ``first``, ``previous``, ``next`` and ``last``.
    adql, adql_url
        Query of the list, and the address that opens it; empty if no package has such a page.
    downloads
        Names and addresses of the list in formats.
    """

    template = "joint_search/joint_search.html"
    collection: str
    collection_title: str
    heading: str
    here: str
    form: SearchForm
    chips: Sequence[Mapping[str, str]]
    faults: Sequence[SearchFault]
    counts: Sequence[TableCount]
    headings: Sequence[Any]
    rows: Sequence[JointRow]
    first_number: int
    last_number: int
    total: int
    pages: Mapping[str, str]
    adql: str
    adql_url: str
    downloads: Sequence[PageLink]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/joint-search/{name}`` and its JSON twin."""

    async def show_joint_search(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_page, page_context)

    return [Route("/joint-search/{name}", build_page_endpoint(show_joint_search, context))]


def _build_page(page_context: PageContext) -> PageContent:
    schema = page_context.find_collection()
    resource = page_context.published_state.resources[schema.name]
    rules = find_joint_search_rules(resource)
    tables = {}
    if rules is not None:
        tables = _list_visible_tables(rules, page_context)
    if rules is None or not tables:
        message = format_message("the collection {name!r} has no joint search", schema.name)
        raise NotFoundError(message, remedy="see the tables on the page of the collection")
    runner = build_query_runner(page_context)
    form_table = build_form_table(rules, tables)
    pairs, was_form = _read_conditions(page_context)
    search = _parse_form_search(pairs, form_table, rules, page_context)
    here = f"{page_context.base}/joint-search/{quote(schema.name)}"
    if was_form:
        query = urlencode([*search.list_parameters(), *search.wrong, *_list_switches(page_context)])
        return build_redirect(f"{here}?{query}" if query else here)
    moment = datetime.now(UTC).replace(second=0, microsecond=0)  # a query stays the same, and cached, for a minute
    translated = [
        translate_search(search, rules, joint_table, tables[joint_table.key], moment)
        for joint_table in rules.tables
        if joint_table.key in tables
    ]
    labels = page_context.build_column_labels(form_table)
    field_labels = {
        joint_field.name: translate_text(page_context.language, joint_field.label)
        for joint_field in rules.fields
        if joint_field.label
    }
    counts = [_count_table(table_search, labels.label_field, runner, page_context) for table_search in translated]
    total = sum(count.rows or 0 for count in counts)
    offset = read_whole_number_parameter(page_context, OFFSET_PARAMETER, 0, LAST_OFFSET) or 0
    searches_with_rows = [table_search for table_search, count in zip(translated, counts, strict=True) if count.rows]
    list_query = write_adql(build_list_query(translated, search.order))
    found_rows = _fetch_rows(searches_with_rows, search, runner, offset)
    table_view = TableView(
        table=form_table,
        published=page_context.published_state.tables_by_name[next(iter(tables.values())).qualified_name],
        search=search,
        runner=runner,
        labels=labels,
    )
    headings, rows = _describe_rows(found_rows, translated, rules, table_view, page_context)
    page = JointSearchPage(
        collection=schema.name,
        collection_title=resource.title or schema.name,
        heading=translate_text(page_context.language, rules.title) or resource.title or schema.name,
        here=here,
        form=_label_form_fields(build_search_form(search, None, labels), field_labels),
        chips=[
            {**chip, "label": field_labels.get(chip["name"], chip["label"])}
            for chip in build_condition_chips(search, labels)
        ],
        faults=search.faults,
        counts=counts,
        headings=[_label_heading(heading, field_labels) for heading in headings],
        rows=rows,
        first_number=offset + 1 if rows else 0,
        last_number=offset + len(rows),
        total=total,
        pages=_list_pages(search, offset, total),
        adql=list_query,
        adql_url=_build_editor_address(list_query, page_context),
        downloads=_list_downloads(list_query, page_context),
    )
    json_content = {
        "collection": schema.name,
        "total": total,
        "tables": counts,
        "columns": [heading.name for heading in headings],
        "rows": [{"table": row.label, "url": row.url, "cells": list(map(cell_to_json, row.cells))} for row in rows],
        "adql": list_query,
        "faults": search.faults,
    }
    return PageContent(page=page, json_content=json_content)


def _label_form_fields(form: SearchForm, field_labels: Mapping[str, str]) -> SearchForm:
    """Label the fields of a form as the key says; ranges have no column that could have the label."""
    form_fields = [
        replace(form_field, label=field_labels.get(form_field.name, form_field.label)) for form_field in form.fields
    ]
    return replace(form, fields=form_fields)


def _label_heading(heading: Any, field_labels: Mapping[str, str]) -> Any:
    """Label the heading of a field as the key says; that of a range has the name of its first column."""
    field_name = heading.name.removesuffix("_min")
    return replace(heading, label=field_labels.get(heading.name) or field_labels.get(field_name) or heading.label)


def _list_visible_tables(rules: JointSearchRules, page_context: PageContext) -> dict[str, Table]:
    """List the tables of a joint search that the reader may see, by their short names."""
    published_names = page_context.published_state.tables_by_name
    visible_tables = {table.qualified_name: table for table in page_context.catalogue.iterate_tables()}
    return {
        joint_table.key: visible_tables[joint_table.table_name]
        for joint_table in rules.tables
        if joint_table.table_name in visible_tables and joint_table.table_name in published_names
    }


def _read_conditions(page_context: PageContext) -> tuple[list[tuple[str, str]], bool]:
    """Read the parameters of the search; also return whether they came as the parts of a form."""
    query_items = page_context.request.query_params.multi_items()
    page_parameters = {*SWITCH_PARAMETERS, OFFSET_PARAMETER}
    return join_form_field_parameters([pair for pair in query_items if pair[0] not in page_parameters])


def _list_switches(page_context: PageContext) -> list[tuple[str, str]]:
    query_items = page_context.request.query_params.multi_items()
    return [pair for pair in query_items if pair[0] in SWITCH_PARAMETERS]


def _parse_form_search(
    pairs: Sequence[tuple[str, str]], form_table: Table, rules: JointSearchRules, page_context: PageContext
) -> TableSearch:
    """Parse the search of the form; choices that do not exist are faults."""
    context = page_context.context

    def locate(name: str) -> tuple[float, float]:
        return resolver.resolve_object_position(name, site=context.site, policies=context.policies)

    search = parse_search(pairs, form_table, locate=locate)
    choice_faults = find_choice_faults(search, rules)
    wrong_names = {fault.field for fault in choice_faults}
    valid_conditions = [
        (condition, test)
        for condition, test in zip(search.conditions, search.tests, strict=True)
        if condition[0] not in wrong_names
    ]
    wrong_values = [(name, value) for name, values in search.conditions if name in wrong_names for value in values]
    checked_search = search.copy_with(
        conditions=tuple(condition for condition, _ in valid_conditions),
        tests=tuple(test for _, test in valid_conditions),
        faults=(*search.faults, *choice_faults),
        wrong=(*search.wrong, *wrong_values),
    )
    return translate_search_faults(checked_search, page_context)


def _count_table(
    translated: TranslatedSearch, label_field: Callable[[str], str], runner: QueryRunner, page_context: PageContext
) -> TableCount:
    """Count the rows of one table; another table's rows are shown even if this one cannot be counted."""
    row_count: int | None = 0
    fault = ""
    if not translated.missing:
        try:
            row_count = runner.fetch_number(translated.build_count_query(), timeout_seconds=COUNT_TIMEOUT_SECONDS)
        except HvenError as error:
            row_count = None
            fault = page_context.translator(error.message)
    adql = write_adql(translated.build_row_query())
    return TableCount(
        key=translated.key,
        label=translate_text(page_context.language, translated.label),
        rows=row_count,
        missing=[{"name": name, "label": label_field(name)} for name in translated.missing],
        fault=fault,
        url=build_table_address(page_context.base, translated.search.table),
        adql=adql,
        adql_url=_build_editor_address(adql, page_context),
    )


def _fetch_rows(
    searches_with_rows: Sequence[TranslatedSearch], search: TableSearch, runner: QueryRunner, offset: int
) -> pa.Table | None:
    """Fetch a page of the list from the tables that have rows; None if there are none."""
    if not searches_with_rows:
        return None
    query = build_list_query(searches_with_rows, search.order, row_limit=ROWS_PER_PAGE, offset=offset)
    return runner.fetch_table(query, row_limit=ROWS_PER_PAGE)


def _describe_rows(
    found_rows: pa.Table | None,
    translated: Sequence[TranslatedSearch],
    rules: JointSearchRules,
    table_view: TableView,
    page_context: PageContext,
) -> tuple[Sequence[Any], list[JointRow]]:
    """Describe the headings and the rows of the list."""
    columns = table_view.search.list_shown_columns()
    shown_rows = None
    if found_rows is not None:
        shown_rows = found_rows.select([column.name for column in columns])
    empty_rows = pa.table({column.name: pa.array([], column.arrow_field.type) for column in columns})
    row_page = RowPage(
        columns=columns,
        rows=empty_rows if shown_rows is None else shown_rows,
        keys=(),
        offset=0,
        has_more=False,
    )
    column_headings = build_column_headings(
        row_page, table_view.table, table_view.search.units, labels=table_view.labels
    )
    cell_rows = format_cells(row_page, table_view.table, table_view.search.units, labels=table_view.labels)
    headings, cells = build_headings_and_cells(column_headings, cell_rows, table_view)
    if found_rows is None:
        return headings, []
    searches_by_key = {table_search.key: table_search for table_search in translated}
    marks_by_name = _map_colour_numbers(rules, found_rows)
    rows = []
    for number, row_cells in enumerate(cells):
        table_search = searches_by_key[found_rows.column(TABLE_COLUMN)[number].as_py()]
        row = JointRow(
            label=translate_text(page_context.language, table_search.label),
            url=_build_row_address(table_search, found_rows.column(KEY_COLUMN)[number].as_py(), page_context),
            cells=row_cells,
            marks=[marks_by_name[heading.name][number] if heading.name in marks_by_name else 0 for heading in headings],
        )
        rows.append(row)
    return headings, rows


def _map_colour_numbers(rules: JointSearchRules, found_rows: pa.Table) -> dict[str, list[int]]:
    """Return the number of the colour of each row's value, by the names of fields with colours; 0: no colour."""
    marks_by_name = {}
    for joint_field in rules.fields:
        if joint_field.colours and joint_field.name in found_rows.column_names:
            numbers = {value: number for number, value in enumerate(joint_field.colours, 1)}
            values = found_rows.column(joint_field.name).to_pylist()
            marks_by_name[joint_field.name] = [numbers.get(str(value), 0) for value in values]
    return marks_by_name


def _build_row_address(translated: TranslatedSearch, key: str | None, page_context: PageContext) -> str:
    """Return the address of a row in the page of its table; empty if it has no key."""
    table = translated.search.table
    if key is None:
        return ""
    key_value = key if table.find_column(table.primary[0]).type.is_string else int(key)
    row_query = urlencode({"_row": orjson.dumps([key_value]).decode()})
    return f"{build_table_address(page_context.base, table)}?{row_query}"


def _list_pages(search: TableSearch, offset: int, total: int) -> dict[str, str]:
    """List the queries of other pages of the list."""
    last_offset = max(total - 1, 0) // ROWS_PER_PAGE * ROWS_PER_PAGE
    offsets = {}
    if offset:
        offsets = {"first": 0, "previous": max(offset - ROWS_PER_PAGE, 0)}
    if offset < last_offset:
        offsets |= {"next": offset + ROWS_PER_PAGE, "last": last_offset}
    parameters = search.list_parameters()
    return {name: urlencode([*parameters, (OFFSET_PARAMETER, str(start))]) for name, start in offsets.items()}


def _build_editor_address(adql: str, page_context: PageContext) -> str:
    query_editor = find_package_page_address("query_editor_path", page_context.base)
    return f"{query_editor}?{urlencode({'QUERY': adql})}" if query_editor else ""


def _list_downloads(adql: str, page_context: PageContext) -> list[PageLink]:
    """List the downloads of the list: TAP answers them with the rights of the reader."""
    if "tap" not in page_context.context.faces:
        return []
    return [
        PageLink(
            title=title,
            url=f"{page_context.base}/tap/sync?"
            + urlencode({"REQUEST": "doQuery", "LANG": "ADQL", "FORMAT": name, "QUERY": adql}),
        )
        for name, title in DOWNLOAD_FORMATS.items()
    ]


def list_joint_searches(request: Request, context: ServiceContext) -> tuple[tuple[str, str], ...] | None:
    """List the collections with a joint search that the reader may use, with the headings of their pages.

    Parameters
    ----------
    request
        The request of a page.
    context
        The context of the service.

    Returns
    -------
    searches
        Names of the collections, and headings; None: no collection has a joint search.
    """
    published_resources = context.site.get_published_state().resources.values()
    if not any(JOINT_SEARCH_KEY in resource.extensions for resource in published_resources):
        return None
    try:
        page_context = build_page_context(request, context)
    except HvenError:  # error pages have a frame, too
        return None
    resources: Mapping[str, CollectionSpec] = page_context.published_state.resources
    searches = []
    for schema in page_context.catalogue.schemas:
        rules = find_joint_search_rules(resources.get(schema.name))
        if rules is not None and _list_visible_tables(rules, page_context):
            title = translate_text(page_context.language, rules.title) or resources[schema.name].title or schema.name
            searches.append((schema.name, title))
    return tuple(searches)


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"menu": "joint_search_menu.html", "collection.links": "joint_search_link.html"},
    compute_frame_value=list_joint_searches,
)
