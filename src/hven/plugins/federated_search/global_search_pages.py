"""Serve ``/search/epn`` and ``/search/obscore``: one form over all tables of a standard, local and remote.

Without scripts the page waits for all results, or for the timeout (``_wait=1``). With scripts it comes at once, and
fetches ``/search/KIND/ask?_of=TABLE`` for each missing line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Route

from hven.model.errors import NotFoundError, ParamError, UserError, format_message
from hven.plugins.federated_search import (
    coincident_rows_data,
    global_search,
    global_search_map,
    global_search_rows,
    remote_table_page,
    remote_thumbnails,
)
from hven.plugins.federated_search.global_search import STANDARD_FILES, load_standard_table
from hven.plugins.federated_search.remote_table_page import build_remote_table_address
from hven.plugins.federated_search.search_menu import list_searchable_standards
from hven.portal.api.page_rows import (
    NEAR_PARAMETER,
    build_json_endpoint,
    build_query_runner,
    build_table_address,
    parse_search,
)
from hven.portal.api.pages import (
    SWITCH_PARAMETERS,
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_endpoint,
    find_package_page_address,
    load_page_translations,
    record_to_dict,
)
from hven.portal.api.search_forms import (
    FormSection,
    build_map_header_options,
    build_search_form,
    join_form_field_parameters,
    translate_search_faults,
)
from hven.portal.api.table_pages import build_search_redirect
from hven.portal.api.table_places import complete_body_name
from hven.portal.api.table_rows import build_condition_chips
from hven.query import resolver
from hven.services.face import wrap_endpoint_with_gates_and_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.model.table import Table
    from hven.plugins.federated_search.global_search import SearchableTable, TableQueryOutcome
    from hven.portal.api.search_forms import SearchFault, SearchForm, SearchFormField
    from hven.portal.api.table_rows import QueryRunner, TableSearch
    from hven.services.face import ServiceContext

TABLE_PARAMETER, WAIT_PARAMETER = "_of", "_wait"
OWN_PARAMETERS = (TABLE_PARAMETER, WAIT_PARAMETER)
MAP_PARAMETERS = ("_view_at", "_c", "_map")  # parameters of the map alone
LOCAL_TIMEOUT_SECONDS = 2.0  # how long a page waits for the tables of its own site, if scripts fetch the rest
TITLES = global_search.STANDARD_TITLES
PICTURE_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableResultLine:
    """The line of a table.

    Attributes
    ----------
    key, title, table, service
        Key of the table, title of its collection, its name, and the address of a remote service.
    status, message
        Whether it has answered, and why not.
    rows, rows_url
        Number of rows that were found, and the address that shows them.
    votable_url
        Address of these rows at the service that has them, as a VOTable; empty without rows.
    adql, seconds
        Query of the table, and how long it took.
    """

    key: str
    title: str
    table: str
    service: str
    status: str
    rows: int | None
    message: str
    adql: str
    seconds: float
    rows_url: str
    votable_url: str

    @property
    def is_collapsed(self) -> bool:
        """Whether the table has no rows for this search, or cannot answer it."""
        has_found_nothing = self.status == "ok" and not self.rows
        return has_found_nothing or self.status == "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalSearchPage(TemplateContext):
    """The page of one form over all tables of a standard.

    Attributes
    ----------
    kind, heading
        The standard and its title.
    other, other_title
        The other standard and its title.
    here
        Address of the page.
    form, sections
        The form, and its fields by section.
    chips
        Conditions of the search; a period also has its kind as ``when``.
    faults
        Parameters that cannot be read.
    examples
        Searches for a reader who has not written any.
    asked
        Whether the search has conditions.
    lines, folded
        Lines of the tables, and those without rows.
    total, missing, waiting
        Rows of all tables, number of tables that did not respond, and whether some are not queried yet.
    wait_url, all_url
        Addresses of the page with the answers of all tables, and with the first rows of all.
    state
        Query of the search.
    adql, adql_url
        Query over all tables, and the address that opens it.
    answer
        Rows of the tables; None without conditions.
    map, has_map, surveys
        What a map shows, empty for no map; whether it is open; addresses of its surveys, separated by spaces.
    shown
        Whether only one table is shown.
    unlisted
        Why the registry could not be read; empty if it was read.
    """

    template = "federated_search/everywhere.html"
    kind: str
    heading: str
    other: str
    other_title: str
    here: str
    form: SearchForm
    sections: Sequence[FormSection]
    chips: Sequence[Mapping[str, str]]
    faults: Sequence[SearchFault]
    examples: Sequence[Mapping[str, object]]
    asked: bool
    lines: Sequence[TableResultLine]
    folded: Sequence[TableResultLine]
    total: int
    missing: int
    waiting: bool
    wait_url: str
    all_url: str
    state: str
    adql: str
    adql_url: str
    answer: Mapping[str, object] | None
    map: str
    has_map: bool
    surveys: str
    shown: bool
    unlisted: str


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page of each standard and the answers for its scripts."""

    async def show_search(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_search_page, page_context)

    async def search_table(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_search_one_table, page_context)

    async def show_places(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_search_positions_for_map, page_context)

    async def list_values(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_list_completions, page_context)

    fetch_limiter = anyio.CapacityLimiter(4)  # at most four pictures are fetched at a time

    async def send_picture(request: Request) -> Response:
        query_params = request.query_params
        body = await anyio.to_thread.run_sync(
            remote_thumbnails.fetch_remote_thumbnail,
            query_params.get("url", ""),
            query_params.get("sign", ""),
            context,
            limiter=fetch_limiter,
        )
        headers = {"cache-control": "public, max-age=86400", **PICTURE_HEADERS}
        return Response(body, headers=headers, media_type="image/png")

    error_responder = build_error_responder(context, is_always_json=True)
    map_options = build_map_header_options(context.site.settings)
    return [
        *coincident_rows_data.build_routes(context),
        *remote_table_page.build_routes(context),
        Route("/search/{kind}/picture", wrap_endpoint_with_gates_and_errors(send_picture, error_responder)),
        Route("/search/{kind}/ask", build_json_endpoint(search_table, context)),
        Route("/search/{kind}/places", build_json_endpoint(show_places, context)),
        Route("/search/{kind}/facets", build_json_endpoint(list_values, context)),
        Route("/search/{kind}", build_page_endpoint(show_search, context, header_options=map_options)),
    ]


def _read_standard_kind(page_context: PageContext) -> str:
    kind = str(page_context.request.path_params["kind"]).removesuffix(".json")
    if kind not in global_search.STANDARD_KINDS:
        message = format_message("there is no search form {kind!r:.40}", kind)
        raise NotFoundError(message, remedy="use /search/epn or /search/obscore")
    return kind


def _read_conditions(page_context: PageContext) -> list[tuple[str, str]]:
    return _read_form_conditions(page_context)[0]


def _read_form_conditions(page_context: PageContext) -> tuple[list[tuple[str, str]], bool]:
    """Read the conditions; also return whether they came as the parts of a form."""
    page_parameters = {*SWITCH_PARAMETERS, *OWN_PARAMETERS}
    query_items = page_context.request.query_params.multi_items()
    parameters = [(name, value) for name, value in query_items if name not in page_parameters]
    return join_form_field_parameters(parameters)


def _parse_search(
    pairs: Sequence[tuple[str, str]], kind: str, page_context: PageContext
) -> tuple[TableSearch, list[tuple[str, str]]]:
    """Parse the conditions; also return those for the tables, with positions instead of names and without faults."""
    context = page_context.context

    def locate(name: str) -> tuple[float, float]:
        return resolver.resolve_object_position(name, site=context.site, policies=context.policies)

    parsed_search = parse_search(pairs, load_standard_table(kind), locate=locate)
    search = translate_search_faults(parsed_search, page_context)
    sent_conditions = []
    for name, value in search.list_parameters():
        if not name.startswith("_") or name in {"_q", "_in"}:
            sent_conditions.append((name, value))
    if search.near is not None:
        circle = search.near
        circle_text = f"{circle.longitude!r},{circle.latitude!r},{circle.radius_degrees!r}"
        sent_conditions.append((NEAR_PARAMETER, circle_text))
    return search, sent_conditions


def _build_editor_address(adql: str, page_context: PageContext) -> str:
    """Build the address of the page for queries with a query; empty if no package has such a page."""
    query_editor = find_package_page_address("query_editor_path", page_context.base)
    return f"{query_editor}?{urlencode({'QUERY': adql})}" if query_editor else ""


def _build_search_page(page_context: PageContext) -> PageContent:
    kind = _read_standard_kind(page_context)
    runner = build_query_runner(page_context)
    pairs, was_form = _read_form_conditions(page_context)
    search, sent_values = _parse_search(pairs, kind, page_context)
    if was_form:
        return build_search_redirect(
            search, f"{page_context.base}/search/{kind}", page_context, kept_parameters=OWN_PARAMETERS
        )
    targets = global_search.list_searchable_tables(kind, runner, list(page_context.catalogue.iterate_tables()))
    should_wait = page_context.request.query_params.get(WAIT_PARAMETER) == "1"
    chosen_target = page_context.request.query_params.get(TABLE_PARAMETER, "")
    has_conditions = bool(sent_values)
    immediate_targets = [target for target in targets if target.service is None or (should_wait and has_conditions)]
    rows = global_search.MAX_SINGLE_TABLE_ROWS

    def query_one(target: SearchableTable) -> TableQueryOutcome:
        if not has_conditions or chosen_target not in {"", "*", target.key}:
            row_limit = 0
        elif chosen_target == target.key:
            row_limit = rows
        else:
            row_limit = global_search.MAX_SHARED_TABLE_ROWS
        timeout_seconds = _choose_timeout(target, is_quick=not should_wait)
        return global_search.query_searchable_table(
            target, sent_values, kind, runner, row_limit=row_limit, timeout_seconds=timeout_seconds
        )

    page_timeout = global_search.SEARCH_TIMEOUT_SECONDS if should_wait else LOCAL_TIMEOUT_SECONDS + 0.5
    results = global_search.query_searchable_tables(immediate_targets, query_one, timeout_seconds=page_timeout)
    results_by_key = {result.target.key: result for result in results}
    all_results = [
        results_by_key.get(target.key) or global_search.TableQueryOutcome(target=target, status="waiting")
        for target in targets
    ]
    lines = [_describe_table_outcome(result, page_context, search, kind) for result in all_results]
    answered_targets = [result.target for result in results_by_key.values() if result.status == "ok"]
    local_tables = [target.table for target in answered_targets if target.service is None]
    local_searches = [parse_search(sent_values, table) for table in local_tables if table is not None]
    adql = global_search.write_union_query(local_searches, kind) if local_searches else search.write_adql()
    adql_address = _build_editor_address(adql, page_context) if local_searches else ""
    sections = global_search.FORM_SECTIONS[kind]
    labels = page_context.build_column_labels(search.table)
    column_names = [name for names in sections.values() for name in names]
    search_form = build_search_form(search, None, labels, column_names=column_names)
    page_address = f"{page_context.base}/search/{kind}"
    is_single_table = chosen_target not in {"", "*"}
    examples = []
    answer = None
    if has_conditions:
        answer = global_search_rows.merge_result_rows(
            list(results_by_key.values()), kind, STANDARD_FILES[kind], page_context, is_single_table=is_single_table
        )
    else:
        site_tables = [target.table for target in targets if target.table is not None]
        examples = _list_example_searches(kind, runner, site_tables, page_context)
    parameters = search.list_parameters()
    wait_query = urlencode([*parameters, (WAIT_PARAMETER, "1")])
    all_query = urlencode([*parameters, (TABLE_PARAMETER, "*"), (WAIT_PARAMETER, "1")])
    other_kind = "obscore" if kind == "epn" else "epn"
    statuses = [line.status for line in lines]
    total_rows = sum(line.rows or 0 for line in lines)
    page = GlobalSearchPage(
        kind=kind,
        heading=TITLES[kind],
        here=page_address,
        form=search_form,
        sections=_group_form_fields(search_form.fields, sections),
        chips=build_condition_chips(search, labels),
        examples=examples,
        asked=has_conditions,
        lines=[line for line in lines if not line.is_collapsed],
        folded=[line for line in lines if line.is_collapsed],
        total=total_rows,
        missing=sum(status in {"late", "failed", "busy"} for status in statuses),
        waiting=has_conditions and "waiting" in statuses,
        wait_url=f"{page_address}?{wait_query}",
        all_url=f"{page_address}?{all_query}",
        state=urlencode(parameters),
        adql=adql,
        adql_url=adql_address,
        answer=answer,
        faults=search.faults,
        map=global_search_map.classify_search_map(kind, search) if has_conditions else "",
        has_map=page_context.request.query_params.get("_map") is not None,
        surveys=" ".join(page_context.context.site.settings.surveys),
        shown=is_single_table,
        unlisted=_describe_registry_fault(runner, page_context),
        other=other_kind,
        other_title=TITLES[other_kind],
    )
    json_content = {
        "kind": kind,
        "total": total_rows,
        "complete": all(status in {"ok", "other"} for status in statuses),
        "adql": adql,
        "faults": search.faults,
        "answer": answer,
        "lines": lines,
    }
    return PageContent(page=page, json_content=json_content)


def _group_form_fields(
    form_fields: Sequence[SearchFormField], sections: Mapping[str, Sequence[str]]
) -> list[FormSection]:
    """Group the fields of the form by section; sections with conditions are open."""
    fields_by_name = {form_field.name.lower(): form_field for form_field in form_fields}
    form_sections = []
    for section_name, names in sections.items():
        section_fields = [fields_by_name[name] for name in names if name in fields_by_name]
        is_open = section_name in {"main", "time"} or any(form_field.asked for form_field in section_fields)
        form_sections.append(FormSection(name=section_name, open=is_open, fields=section_fields))
    return form_sections


def _describe_registry_fault(runner: QueryRunner, page_context: PageContext) -> str:
    """Return why the registry could not be read; empty if it was read, or is not to be read."""
    if not runner.site.settings.everywhere.registry:
        return ""
    registered_tables = global_search.get_registered_table_cache(runner.site)
    return page_context.translator(registered_tables.fault)


def _list_example_searches(
    kind: str, runner: QueryRunner, tables: Sequence[Table], page_context: PageContext
) -> list[dict[str, object]]:
    """List searches that find rows here, with their row counts; on a site without rows, general examples."""
    page_address = f"{page_context.base}/search/{kind}"
    standard_table = load_standard_table(kind)
    labels = page_context.build_column_labels(standard_table)
    examples = []
    for name, value, rows in global_search.list_example_values(runner, tables):
        column = standard_table.find_column(name)
        label = labels.translate_code(column, value)
        query = urlencode({name: value})
        examples.append({"label": label, "rows": rows, "address": f"{page_address}?{query}"})
    if examples:
        return examples
    translations = load_page_translations(page_context.language)
    for label, text in global_search.EXAMPLE_SEARCHES[kind]:
        example_address = f"{page_address}?{urlencode(parse_qsl(text))}"
        examples.append({"label": translations.get(label, label), "rows": None, "address": example_address})
    return examples


def _choose_timeout(target: SearchableTable, *, is_quick: bool) -> float:
    if target.service is not None:
        return min(target.service.seconds, global_search.SEARCH_TIMEOUT_SECONDS)
    if is_quick:
        return LOCAL_TIMEOUT_SECONDS
    return global_search.SEARCH_TIMEOUT_SECONDS


def _search_one_table(page_context: PageContext) -> PageContent:
    """Query one table, for a line of the page."""
    kind = _read_standard_kind(page_context)
    runner = build_query_runner(page_context)
    search, sent_values = _parse_search(_read_conditions(page_context), kind, page_context)
    key = page_context.request.query_params.get(TABLE_PARAMETER, "")
    targets = global_search.list_searchable_tables(kind, runner, list(page_context.catalogue.iterate_tables()))
    target = next((candidate for candidate in targets if candidate.key == key), None)
    if target is None:
        message = format_message("{key!r} is not a table of this search", key[:80])
        raise ParamError(message, name=TABLE_PARAMETER, remedy=format_message("see /search/{kind} for the list", kind))
    if not sent_values and target.service is not None:
        raise UserError(
            "the search has no condition",
            remedy="enter at least one condition, because Hven never requests a whole table from a remote service",
        )
    seconds = _choose_timeout(target, is_quick=False)
    row_limit = global_search.MAX_SHARED_TABLE_ROWS if sent_values else 0

    def query_one(target: SearchableTable) -> TableQueryOutcome:
        return global_search.query_searchable_table(
            target, sent_values, kind, runner, row_limit=row_limit, timeout_seconds=seconds
        )

    (target_result,) = global_search.query_searchable_tables([target], query_one, timeout_seconds=seconds + 1)
    answer = global_search_rows.merge_result_rows([target_result], kind, STANDARD_FILES[kind], page_context)
    line = _describe_table_outcome(target_result, page_context, search, kind)
    return PageContent(json_content={**record_to_dict(line), "answer": answer})


def _search_positions_for_map(page_context: PageContext) -> PageContent:
    """Query all tables for the positions of their rows, for the map."""
    kind = _read_standard_kind(page_context)
    runner = build_query_runner(page_context)
    conditions = [(name, value) for name, value in _read_conditions(page_context) if name not in MAP_PARAMETERS]
    search, sent_values = _parse_search(conditions, kind, page_context)
    targets = global_search.list_searchable_tables(kind, runner, list(page_context.catalogue.iterate_tables()))
    if sent_values:
        chosen_targets = [candidate for candidate in targets if global_search_map.has_map_places(candidate, kind)]
    else:
        chosen_targets = []

    def query_one(target: SearchableTable) -> TableQueryOutcome:
        return global_search.query_searchable_table(
            target,
            sent_values,
            kind,
            runner,
            row_limit=global_search_map.MAX_TABLE_ROWS,
            columns=global_search_map.POSITION_COLUMNS[kind],
            timeout_seconds=_choose_timeout(target, is_quick=False),
        )

    target_results = global_search.query_searchable_tables(chosen_targets, query_one)
    map_json = global_search_map.build_map_json(target_results, kind, search, page_context, runner)
    return PageContent(json_content=map_json)


def _list_completions(page_context: PageContext) -> PageContent:
    """List the completions of a field: values of the local tables, and names of planets and moons."""
    kind = _read_standard_kind(page_context)
    runner = build_query_runner(page_context)
    name = page_context.request.query_params.get(TABLE_PARAMETER, "")
    search_text = page_context.request.query_params.get("_like", "").strip()[:100]
    standard_table = load_standard_table(kind)
    column = next((candidate for candidate in standard_table.columns if candidate.name == name), None)
    if column is None:
        message = format_message("there is no column {name!r}", name[:60])
        raise ParamError(message, name=TABLE_PARAMETER, remedy="choose one of the standard's columns")
    targets = global_search.list_searchable_tables(kind, runner, list(page_context.catalogue.iterate_tables()))
    tables = [target.table for target in targets if target.table is not None]
    value_choices = global_search.count_column_values(name, search_text, runner, tables)
    choices: list[dict[str, Any]] = [
        {"value": choice.value, "label": choice.label, "rows": choice.row_count} for choice in value_choices
    ]
    if name == "target_name" and search_text:
        known_values = {str(choice["value"]).casefold() for choice in choices}
        for body in complete_body_name(search_text):
            if body.name.casefold() not in known_values:
                label = f"{body.name} ({body.note})"
                choices.append({"value": body.name, "label": label, "rows": None})
    label = page_context.build_column_labels(standard_table).label_field(name)
    return PageContent(json_content={"facets": [{"column": name, "label": label, "choices": choices}]})


def _describe_table_outcome(
    target_result: TableQueryOutcome, page_context: PageContext, search: TableSearch, kind: str
) -> TableResultLine:
    """Describe the result of one table for the page."""
    target = target_result.target
    if target.table is not None:
        rows_url = f"{build_table_address(page_context.base, target.table)}?{search.write_query_string()}"
    else:
        service_name = target.service.name if target.service is not None else ""
        table_address = build_remote_table_address(page_context.base, kind, service_name, target.name)
        rows_url = f"{table_address}?{search.write_query_string()}"
    return TableResultLine(
        key=target.key,
        title=target.title,
        table=target.name,
        service=target.service.url if target.service is not None else "",
        status=target_result.status,
        rows=target_result.row_count,
        message=page_context.translator(target_result.message),
        adql=target_result.adql,
        seconds=target_result.elapsed_seconds,
        rows_url=rows_url if target_result.row_count else "",
        votable_url=_build_votable_address(target_result, page_context) if target_result.row_count else "",
    )


def _build_votable_address(target_result: TableQueryOutcome, page_context: PageContext) -> str:
    """Build the address at which the TAP service of a table sends the rows that were found."""
    service = target_result.target.service
    if service is None and "tap" not in page_context.context.faces:
        return ""
    if service is None:
        tap_address = f"{page_context.base}/tap"
    else:
        tap_address = service.url.rstrip("/")
    if not tap_address.startswith(("http://", "https://")):  # a registry may contain anything
        return ""
    parameters = {"REQUEST": "doQuery", "LANG": "ADQL", "FORMAT": "votable", "QUERY": target_result.adql}
    return f"{tap_address}/sync?{urlencode(parameters)}"


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"menu": "menu.html", "table.trail": "all_tables_link.html", "table.row": "nearby_rows.html"},
    compute_frame_value=list_searchable_standards,
)
