"""Serve ``/compare``: the columns of schemas side by side, as a page, as JSON and as a table."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from starlette.routing import Route

from hven.formats import MEDIA_TYPE_OPTION, select_format
from hven.model.deadlines import apply_request_or_new_deadline
from hven.model.errors import DataError, ParamError, UnauthenticatedError
from hven.plugins.schema_life.comparison_documents import comparison_to_json
from hven.plugins.schema_life.comparison_tables import write_differences
from hven.plugins.schema_life.conflict_notes import NOTES_FILE, read_conflict_notes
from hven.plugins.schema_life.described_columns import ComparedSchema, OwnSchemaCache, describe_own_model
from hven.plugins.schema_life.model_addresses import ForeignSchemaCache
from hven.plugins.schema_life.model_documents import is_model_address
from hven.plugins.schema_life.schema_comparison import KINDS_BY_GROUPING, compare_models
from hven.plugins.schema_life.settings import COPIES_FOLDER, get_compare_settings
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    is_json_requested,
)
from hven.services.api.responses import answer_with_stream
from hven.services.face import wrap_endpoint_with_gates_and_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.plugins.schema_life.schema_comparison import ComparisonGroup, SchemaComparison
    from hven.services.face import ServiceContext

MAX_OUTSIDE_MODELS = 6  # of one comparison
MAX_MODELS = 50  # of all kinds; patterns can select the same tables again and again
MAX_COMPARED_COLUMNS = 250_000
MAX_SHOWN_GROUPS = 500
MAX_SHOWN_COLUMNS = 5  # of each value of a conflict
MAX_PARALLEL_COMPARISONS = 2
MAX_COMPARISON_SECONDS = 60.0
MAX_ADDRESS_CHARACTERS = 1000
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePage(TemplateContext):
    """The page of a comparison.

    Attributes
    ----------
    comparison
        The comparison.
    groups, hidden_count
        Groups that are shown, and the number of the others.
    groupings
        Words for what columns are grouped by.
    chosen_models
        The models that the address names.
    only_conflicts
        Whether only groups with conflicts are shown.
    can_conflict
        Whether columns of a group can be in conflict; with the same unit or type, they cannot.
    query
        The query of the address, for links to the files.
    conflict_id
        The only conflict that is shown; empty: all are.
    max_columns
        Columns that are shown of each value.
    """

    template = "schema_life/compare.html"
    comparison: SchemaComparison
    groups: Sequence[ComparisonGroup]
    hidden_count: int
    chosen_models: Sequence[str]
    only_conflicts: bool
    can_conflict: bool
    query: str
    conflict_id: str
    groupings: Sequence[str] = tuple(KINDS_BY_GROUPING)
    max_columns: int = MAX_SHOWN_COLUMNS


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/compare`` and ``/compare/differences``."""
    own_limiter = anyio.CapacityLimiter(MAX_PARALLEL_COMPARISONS)
    outside_limiter = anyio.CapacityLimiter(1)  # waits for other servers, and must not delay other readers

    async def run_comparison(page_context: PageContext) -> SchemaComparison:
        chosen_models = _list_chosen_models(page_context)
        addresses = _list_requested_addresses(page_context, chosen_models)
        _check_chosen_models(page_context, chosen_models, addresses)
        limiter = outside_limiter if addresses else own_limiter
        return await anyio.to_thread.run_sync(_compare_chosen_models, page_context, chosen_models, limiter=limiter)

    async def show_comparison(page_context: PageContext) -> PageContent:
        comparison = await run_comparison(page_context)
        return await anyio.to_thread.run_sync(_build_page_content, page_context, comparison, limiter=own_limiter)

    async def send_table(request: Request) -> Response:
        table_format, options = select_format(request.query_params.get("RESPONSEFORMAT", "csv"))
        comparison = await run_comparison(build_page_context(request, context))
        iterate_chunks = partial(write_differences, comparison, table_format, options)

        headers = {
            "cache-control": "private, no-store",
            "content-type": options[MEDIA_TYPE_OPTION],
            "content-disposition": f'attachment; filename="differences.{table_format.extension}"',
        }
        return await answer_with_stream(request, iterate_chunks, headers)

    table_endpoint = wrap_endpoint_with_gates_and_errors(send_table, build_error_responder(context))
    return [
        Route("/compare", build_page_endpoint(show_comparison, context)),
        Route("/compare/differences", table_endpoint),
    ]


def _list_chosen_models(page_context: PageContext) -> list[str]:
    """List the names of models in the address: several parameters, or lines of one."""
    texts = page_context.request.query_params.getlist("model")
    names = [line.strip() for text in texts for line in text.splitlines()]
    return list(dict.fromkeys(filter(None, names)))


def _check_chosen_models(page_context: PageContext, chosen_models: Sequence[str], addresses: Sequence[str]) -> None:
    """Check that the user may compare so many schemas.

    Raises
    ------
    ParamError
        There are too many addresses, or one is too long.
    UnauthenticatedError
        Somebody who is not logged in names an address outside that the site does not read on a schedule.
    """
    if len(chosen_models) > MAX_MODELS:
        message = f"the request names {len(chosen_models):,} schemas; the limit is {MAX_MODELS}"
        remedy = "choose whole collections, or compare a part of the schemas at a time"
        raise ParamError(message, name="model", remedy=remedy)
    if len(addresses) > MAX_OUTSIDE_MODELS or any(len(name) > MAX_ADDRESS_CHARACTERS for name in chosen_models):
        remedy = (
            f"specify at most {MAX_OUTSIDE_MODELS} addresses, each with at most {MAX_ADDRESS_CHARACTERS} characters"
        )
        raise ParamError("there are too many addresses, or one is too long", name="model", remedy=remedy)
    if addresses and page_context.principal.is_anonymous:
        message = "only users with an account may compare schemas of other servers"
        raise UnauthenticatedError(message, remedy="log in at /login")


def _list_requested_addresses(page_context: PageContext, names: Sequence[str]) -> list[str]:
    """List the addresses that are read for the request: all but those that the site reads on a schedule."""
    scheduled_addresses = get_compare_settings(page_context.context.site.settings).addresses
    return [name for name in names if is_model_address(name) and name not in scheduled_addresses]


def _compare_chosen_models(page_context: PageContext, chosen_models: Sequence[str]) -> SchemaComparison:
    """Compare models; without any, all collections that the user sees, and what the site reads on a schedule."""
    site = page_context.context.site
    cache = site.get_or_create(ForeignSchemaCache, site.settings.data_directory / COPIES_FOLDER)
    scheduled_addresses = get_compare_settings(site.settings).addresses
    models: list[ComparedSchema] = []
    column_count = 0
    if not chosen_models:
        column_count = sum(len(table.columns) for table in page_context.catalogue.iterate_tables())
        _check_column_count(column_count)
        own_models = site.get_or_create(OwnSchemaCache)
        models = own_models.find_or_describe_models(page_context.published_state, page_context.catalogue)
        chosen_models = scheduled_addresses
    with apply_request_or_new_deadline(MAX_COMPARISON_SECONDS, MAX_COMPARISON_SECONDS) as deadline:
        for name in chosen_models:
            if name in scheduled_addresses:
                models.append(cache.find_scheduled_model(name))
            elif is_model_address(name):
                models.append(cache.find_or_read_model(name, allow_private=site.settings.allow_private))
            else:
                deadline.check()
                models.append(describe_own_model(name, page_context.catalogue))
            column_count += len(models[-1].columns)
            _check_column_count(column_count)
    grouping = page_context.request.query_params.get("group", "name")
    try:
        notes = read_conflict_notes(site.settings.directory / NOTES_FILE)
    except DataError as error:  # readers cannot mend the file, and hven compare reports it
        log.warning("the comparison page cannot show the notes: %s", error)
        notes = {}
    return compare_models(models, grouping, notes)


def _check_column_count(column_count: int) -> None:
    """Refuse a comparison that would take too much memory and time.

    Raises
    ------
    ParamError
        There are too many columns.
    """
    if column_count > MAX_COMPARED_COLUMNS:
        message = f"the schemas have more than {MAX_COMPARED_COLUMNS:,} columns, which is too many to compare at once"
        raise ParamError(message, name="model", remedy="choose fewer schemas, or some of their tables")


def _build_page_content(page_context: PageContext, comparison: SchemaComparison) -> PageContent:
    if is_json_requested(page_context.request):
        return PageContent(json_content=comparison_to_json(comparison))
    parameters = page_context.request.query_params
    chosen_models = _list_chosen_models(page_context)
    can_conflict = bool(KINDS_BY_GROUPING[comparison.grouping])
    default_choice = "conflicts" if can_conflict and not chosen_models else "all"
    only_conflicts = parameters.get("show", default_choice) == "conflicts"
    groups = [group for group in comparison.groups if group.key and (group.conflicts or not only_conflicts)]
    conflict_id = parameters.get("conflict", "")
    if conflict_id:
        groups = [group for group in groups if any(conflict.has_id(conflict_id) for conflict in group.conflicts)]
    query = [("model", name) for name in chosen_models]
    query.append(("group", comparison.grouping))
    page = ComparePage(
        comparison=comparison,
        groups=groups[:MAX_SHOWN_GROUPS],
        hidden_count=max(len(groups) - MAX_SHOWN_GROUPS, 0),
        chosen_models=chosen_models,
        only_conflicts=only_conflicts,
        can_conflict=can_conflict,
        query=urlencode(query),
        conflict_id=conflict_id,
    )
    return PageContent(page=page, json_content=None)


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"collection.curators": "collection_link.html"},
)
