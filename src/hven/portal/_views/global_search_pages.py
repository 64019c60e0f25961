"""``/search/epn`` and ``/search/obscore``.

One form over all tables of a kind, here and at the services that the site file names.

Without scripts the page comes when all have answered, or their time is over (``_wait=1``); with scripts it comes at
once, and asks ``/search/KIND/ask?_of=TABLE`` for each line that is still to be filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Route

from hven.model.errors import NotFoundError, ParamError, UserError, format_message
from hven.portal._explore import global_search, parse_search, place_names, search_fields
from hven.portal._explore.global_search import STANDARD_FILES, load_standard_table
from hven.portal._explore.search import NEAR_PARAMETER
from hven.portal._pages import SWITCH_PARAMETERS
from hven.portal._pages.texts import load_texts
from hven.portal._views import global_search_map, global_search_rows, remote_thumbnails
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import (
    PageContent,
    PageContext,
    build_error_responder,
    build_json_endpoint,
    build_page_endpoint,
    build_redirect,
)
from hven.portal._views.search_form import build_chips, build_form
from hven.portal._views.table_view import build_runner, translate_faults
from hven.portal._views.workspace import build_map_header_options
from hven.query import resolver
from hven.services.face import answer_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.model.table import Table
    from hven.portal._explore import TableSearch
    from hven.portal._explore.global_search import SearchTarget, TargetResult
    from hven.portal._explore.page_queries import QueryRunner
    from hven.services.face import ServiceContext

TABLE_PARAMETER, WAIT_PARAMETER = "_of", "_wait"
MAP_PARAMETERS = ("_view_at", "_c", "_map")  # of the map alone
LOCAL_TIMEOUT_SECONDS = 2.0  # seconds that a page waits for tables of its own site, if scripts may fill the rest
TITLES = global_search.STANDARD_TITLES
PICTURE_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'"}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return the page of each kind, and what fills one of its lines."""

    async def show_search(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_page, page_context)

    async def search_table(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_search_one_table, page_context)

    async def show_places(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_search_places, page_context)

    async def list_values(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_list_completions, page_context)

    fetch_limiter = anyio.CapacityLimiter(4)  # pictures are fetched at a time

    async def send_picture(request: Request) -> Response:
        query_params = request.query_params
        body = await anyio.to_thread.run_sync(
            remote_thumbnails.fetch_thumbnail,
            query_params.get("url", ""),
            query_params.get("sign", ""),
            context,
            limiter=fetch_limiter,
        )
        headers = {"cache-control": "public, max-age=86400", **PICTURE_HEADERS}
        return Response(body, headers=headers, media_type="image/png")

    error_responder = build_error_responder(context, always_json=True)
    return [
        Route("/search/{kind}/picture", answer_errors(send_picture, error_responder)),
        Route("/search/{kind}/ask", build_json_endpoint(search_table, context)),
        Route("/search/{kind}/places", build_json_endpoint(show_places, context)),
        Route("/search/{kind}/facets", build_json_endpoint(list_values, context)),
        Route(
            "/search/{kind}",
            build_page_endpoint(show_search, context, header_options=build_map_header_options(context.site.settings)),
        ),
    ]


def _read_standard_kind(page_context: PageContext) -> str:
    kind = str(page_context.request.path_params["kind"]).removesuffix(".json")
    if kind not in global_search.STANDARD_KINDS:
        raise NotFoundError(
            format_message("there is no form {kind!r:.40}", kind), remedy="/search/epn or /search/obscore"
        )
    return kind


def _read_conditions(page_context: PageContext) -> list[tuple[str, str]]:
    return _read_form(page_context)[0]


def _read_form(page_context: PageContext) -> tuple[list[tuple[str, str]], bool]:
    """Read what is asked; return whether it came in the parts of a form."""
    parameters = [
        (name, value)
        for name, value in page_context.request.query_params.multi_items()
        if name not in {*SWITCH_PARAMETERS, TABLE_PARAMETER, WAIT_PARAMETER}
    ]
    return search_fields.join_field_parts(parameters)


def _parse_search(
    pairs: Sequence[tuple[str, str]], kind: str, page_context: PageContext
) -> tuple[TableSearch, list[tuple[str, str]]]:
    """Read what is asked, and return it as it goes to the tables: names of places as positions, faults left out."""
    context = page_context.context
    search = translate_faults(
        parse_search(
            pairs,
            load_standard_table(kind),
            locate=lambda name: resolver.resolve_position(name, site=context.site, policies=context.policies),
        ),
        page_context,
    )
    sent_conditions = [
        (name, value) for name, value in search.list_parameters() if not name.startswith("_") or name in {"_q", "_in"}
    ]
    if search.near is not None:
        sent_conditions.append(
            (NEAR_PARAMETER, f"{search.near.longitude!r},{search.near.latitude!r},{search.near.radius_degrees!r}")
        )
    return search, sent_conditions


def _build_page(page_context: PageContext) -> PageContent:
    kind, runner = _read_standard_kind(page_context), build_runner(page_context)
    pairs, was_form = _read_form(page_context)
    search, sent_values = _parse_search(pairs, kind, page_context)
    if was_form:  # a form was sent: what it asks for has an address of its own
        switches = [
            (name, value)
            for name, value in page_context.request.query_params.multi_items()
            if name in {*SWITCH_PARAMETERS, TABLE_PARAMETER, WAIT_PARAMETER}
        ]
        query = urlencode([*search.list_parameters(), *search.wrong, *switches])
        return build_redirect(f"{page_context.base}/search/{kind}{'?' * bool(query)}{query}")
    targets = global_search.list_targets(kind, runner, list(page_context.catalogue.iterate_tables()))
    should_wait = page_context.request.query_params.get(WAIT_PARAMETER) == "1"
    chosen_target = page_context.request.query_params.get(TABLE_PARAMETER, "")
    has_conditions = bool(sent_values)
    immediate_targets = [target for target in targets if target.service is None or (should_wait and has_conditions)]
    rows = global_search.MAX_SINGLE_TABLE_ROWS

    def query_one(target: SearchTarget) -> TargetResult:
        if not has_conditions or chosen_target not in {"", "*", target.key}:
            row_limit = 0
        elif chosen_target == target.key:
            row_limit = rows
        else:
            row_limit = global_search.MAX_SHARED_TABLE_ROWS
        timeout_seconds = _choose_timeout(target, is_quick=not should_wait)
        return global_search.query_target(
            target,
            sent_values,
            kind,
            runner,
            row_limit=row_limit,
            timeout_seconds=timeout_seconds,
        )

    results_by_key = {
        result.target.key: result
        for result in global_search.query_targets(
            immediate_targets,
            query_one,
            timeout_seconds=global_search.SEARCH_TIMEOUT_SECONDS if should_wait else LOCAL_TIMEOUT_SECONDS + 0.5,
        )
    }
    lines = [
        _describe_result(
            results_by_key.get(target.key) or global_search.TargetResult(target=target, status="waiting"),
            page_context,
            search,
            kind,
        )
        for target in targets
    ]
    local_results = [
        result
        for result in results_by_key.values()
        if result.target.service is None and result.status == "ok" and result.target.table is not None
    ]
    if local_results:
        adql = global_search.write_union_query(
            [
                parse_search(sent_values, result.target.table)
                for result in local_results
                if result.target.table is not None
            ],
            kind,
        )
    else:
        adql = search.write_adql()
    sections = global_search.FORM_SECTIONS[kind]
    labels = page_context.build_labels(search.table)
    column_names = [name for names in sections.values() for name in names]
    search_form = build_form(search, None, labels, column_names=column_names)
    by_name = {result["name"].lower(): result for result in search_form["fields"]}
    page_address = f"{page_context.base}/search/{kind}"
    content: dict[str, Any] = {
        "kind": kind,
        "heading": TITLES[kind],
        "here": page_address,
        "form": search_form,
        "sections": [
            {
                "name": name,
                "open": name in {"main", "time"}
                or any(by_name[result]["asked"] for result in names if result in by_name),
                "fields": [by_name[result] for result in names if result in by_name],
            }
            for name, names in sections.items()
        ],
        "chips": build_chips(search, labels),
        "examples": []
        if has_conditions
        else _list_examples(
            kind, runner, [result.table for result in targets if result.table is not None], page_context
        ),
        "lines": [line for line in lines if not _is_folded(line)],
        "folded": [line for line in lines if _is_folded(line)],
        "asked": has_conditions,
        "total": sum(line["rows"] or 0 for line in lines),
        "complete": all(line["status"] in {"ok", "other"} for line in lines),
        "missing": sum(line["status"] in {"late", "failed", "busy"} for line in lines),
        "waiting": has_conditions and any(line["status"] == "waiting" for line in lines),
        "wait_url": f"{page_address}?{urlencode([*search.list_parameters(), (WAIT_PARAMETER, '1')])}",
        "all_url": f"{page_address}?{urlencode([*search.list_parameters(), (TABLE_PARAMETER, '*'), (WAIT_PARAMETER, '1')])}",
        "state": urlencode(search.list_parameters()),
        "adql": adql,
        "adql_url": f"{page_context.base}/adql?{urlencode({'QUERY': adql})}" if local_results else "",
        "answer": global_search_rows.merge_rows(
            list(results_by_key.values()),
            kind,
            STANDARD_FILES[kind],
            page_context,
            is_single_table=chosen_target not in {"", "*"},
        )
        if has_conditions
        else None,
        "faults": [
            {"field": result.field, "message": result.message, "remedy": result.remedy} for result in search.faults
        ],
        "map": global_search_map.classify_map(kind, search) if has_conditions else "",
        "has_map": page_context.request.query_params.get("_map") is not None,
        "surveys": " ".join(page_context.context.site.settings.surveys),
        "shown": chosen_target not in {"", "*"},
        "unlisted": page_context.translator(global_search.get_service_lists(runner.site).fault)
        if runner.site.settings.everywhere.registry
        else "",
        "other": "obscore" if kind == "epn" else "epn",
        "other_title": TITLES["obscore" if kind == "epn" else "epn"],
    }
    json_content = {name: content[name] for name in ("kind", "total", "complete", "adql", "faults", "answer")} | {
        "lines": lines
    }
    return PageContent(template="everywhere.html", template_values=content, json_content=json_content)


def _is_folded(line: dict[str, Any]) -> bool:
    """Return whether a line is of a table without rows for this search: it was asked, or cannot be."""
    return bool(line["status"] == "other" or (line["status"] == "ok" and not line["rows"]))


def _list_examples(
    kind: str, runner: QueryRunner, tables: Sequence[Table], page_context: PageContext
) -> list[dict[str, Any]]:
    """Return searches that find something here, with their rows; of a site without rows of its own, those that may."""
    page_address = f"{page_context.base}/search/{kind}"
    standard_table = load_standard_table(kind)
    labels = page_context.build_labels(standard_table)
    examples = [
        {
            "label": labels.translate_code(standard_table.find_column(name), value),
            "rows": rows,
            "address": f"{page_address}?{urlencode({name: value})}",
        }
        for name, value, rows in global_search.list_example_values(runner, tables)
    ]
    return examples or [
        {
            "label": load_texts(page_context.language).get(label, label),
            "rows": None,
            "address": f"{page_address}?{urlencode(parse_qsl(text))}",
        }
        for label, text in global_search.EXAMPLE_SEARCHES[kind]
    ]


def _choose_timeout(target: SearchTarget, *, is_quick: bool) -> float:
    if target.service is not None:
        return min(target.service.seconds, global_search.SEARCH_TIMEOUT_SECONDS)
    return LOCAL_TIMEOUT_SECONDS if is_quick else global_search.SEARCH_TIMEOUT_SECONDS


def _search_one_table(page_context: PageContext) -> PageContent:
    """Ask one table, for a line of the page."""
    kind, runner = _read_standard_kind(page_context), build_runner(page_context)
    search, sent_values = _parse_search(_read_conditions(page_context), kind, page_context)
    key = page_context.request.query_params.get(TABLE_PARAMETER, "")
    target = next(
        (
            candidate
            for candidate in global_search.list_targets(kind, runner, list(page_context.catalogue.iterate_tables()))
            if candidate.key == key
        ),
        None,
    )
    if target is None:
        raise ParamError(
            format_message("there is no table {key!r} to ask", key[:80]),
            name=TABLE_PARAMETER,
            remedy=format_message("/search/{kind} lists them", kind),
        )
    if not sent_values and target.service is not None:
        raise UserError(
            "nothing is asked", remedy="give at least one condition: services elsewhere are not asked for everything"
        )
    seconds = _choose_timeout(target, is_quick=False)
    (target_result,) = global_search.query_targets(
        [target],
        lambda candidate: global_search.query_target(
            candidate,
            sent_values,
            kind,
            runner,
            row_limit=global_search.MAX_SHARED_TABLE_ROWS if sent_values else 0,
            timeout_seconds=seconds,
        ),
        timeout_seconds=seconds + 1,
    )
    answer = global_search_rows.merge_rows([target_result], kind, STANDARD_FILES[kind], page_context)
    template_values = {**_describe_result(target_result, page_context, search, kind), "answer": answer}
    return PageContent(template="", template_values=template_values)


def _search_places(page_context: PageContext) -> PageContent:
    """Ask all tables where their rows are, for the map."""
    kind, runner = _read_standard_kind(page_context), build_runner(page_context)
    search, sent_values = _parse_search(
        [(name, value) for name, value in _read_conditions(page_context) if name not in MAP_PARAMETERS],
        kind,
        page_context,
    )
    targets = global_search.list_targets(kind, runner, list(page_context.catalogue.iterate_tables()))
    if sent_values:
        chosen_targets = [candidate for candidate in targets if global_search_map.has_places(candidate, kind)]
    else:
        chosen_targets = []

    def query_one(target: SearchTarget) -> TargetResult:
        timeout = _choose_timeout(target, is_quick=False)
        columns, seconds = global_search_map.POSITION_COLUMNS[kind], timeout
        return global_search.query_target(
            target,
            sent_values,
            kind,
            runner,
            row_limit=global_search_map.MAX_TABLE_ROWS,
            columns=columns,
            timeout_seconds=seconds,
        )

    target_results = global_search.query_targets(chosen_targets, query_one)
    template_values = global_search_map.build_map(target_results, kind, search, page_context, runner)
    return PageContent(template="", template_values=template_values)


def _list_completions(page_context: PageContext) -> PageContent:
    """Return what a field may be completed to: values of the tables here, and names of planets and moons."""
    kind = _read_standard_kind(page_context)
    runner = build_runner(page_context)
    name = page_context.request.query_params.get(TABLE_PARAMETER, "")
    search_text = page_context.request.query_params.get("_like", "").strip()[:100]
    column = next((choice for choice in load_standard_table(kind).columns if choice.name == name), None)
    if column is None:
        raise ParamError(
            format_message("there is no column {name!r}", name[:60]),
            name=TABLE_PARAMETER,
            remedy="choose one of the standard's columns",
        )
    tables = [
        choice.table
        for choice in global_search.list_targets(kind, runner, list(page_context.catalogue.iterate_tables()))
        if choice.table is not None
    ]
    value_choices = global_search.count_column_values(name, search_text, runner, tables)
    choices: list[dict[str, Any]] = [
        {"value": choice.value, "label": choice.label, "rows": choice.row_count} for choice in value_choices
    ]
    if name == "target_name" and search_text:
        known_values = {str(choice["value"]).casefold() for choice in choices}
        choices += [
            {"value": choice.name, "label": f"{choice.name} ({choice.note})", "rows": None}
            for choice in place_names.complete_body_name(search_text)
            if choice.name.casefold() not in known_values
        ]
    template_values = {
        "facets": [
            {
                "column": name,
                "label": page_context.build_labels(load_standard_table(kind)).label_field(name),
                "choices": choices,
            }
        ]
    }
    return PageContent(
        template="",
        template_values=template_values,
    )


def _describe_result(
    target_result: TargetResult, page_context: PageContext, search: TableSearch, kind: str
) -> dict[str, Any]:
    """Return what a page says of one table."""
    target = target_result.target
    page_address = f"{page_context.base}/search/{kind}"
    rows_url = (
        f"{page_address}?{urlencode([*search.list_parameters(), (TABLE_PARAMETER, target.key), (WAIT_PARAMETER, '1')])}"
    )
    if target.table is not None:
        rows_url = f"{build_table_address(page_context.base, target.table)}?{search.write_address()}"
    return {
        "key": target.key,
        "title": target.title,
        "table": target.name,
        "service": target.service.url if target.service is not None else "",
        "status": target_result.status,
        "rows": target_result.row_count,
        "message": page_context.translator(target_result.message),
        "adql": target_result.adql,
        "seconds": target_result.elapsed_seconds,
        "rows_url": rows_url if target_result.row_count else "",
    }
