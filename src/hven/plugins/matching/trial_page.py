"""Serve ``/match``: try a match of two tables in a region, before it is written into a descriptor."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from pydantic import ValidationError
from starlette.routing import Route

from hven.model.deadlines import apply_request_or_new_deadline
from hven.model.errors import HvenError, NotFoundError, ParamError, format_message
from hven.plugins.matching.catalogue_reading import ID_UCD, LATITUDE_UCD, LONGITUDE_UCD
from hven.plugins.matching.match_options import REFERENCE_NAME, CatalogueOptions
from hven.plugins.matching.match_trial import (
    MAX_REACH_ARCSEC,
    MAX_REGION_DEGREES,
    MAX_STARS,
    MatchTrial,
    TrialRegion,
    run_match_trial,
)
from hven.portal.api.page_rows import build_query_runner
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    RunningQueries,
    TemplateContext,
    build_page_endpoint,
    is_json_requested,
    run_while_connected,
)
from hven.services import find_http_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Column, Table
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.sources import SiteQueryRunner

MAX_PARALLEL_TRIALS = 1
MAX_TRIAL_SECONDS = 20.0
PLOT_WIDTH, PLOT_HEIGHT = 600, 160
# the fields of the form, with their initial values
DEFAULTS = {
    "first": "",
    "first_epoch": "2000",
    "second": "",
    "second_epoch": "2000",
    "ra": "",
    "dec": "",
    "sr": "1",
    "reach": "5",
    "radius": "1.5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBar:
    """A bar of the histogram, in pixels of the plot.

    Attributes
    ----------
    x, width, height, chance_height
        Its place.
    facts
        What a match finds if its radius is the right edge of the bar.
    address
        Address of the page with this radius.
    is_within
        Whether it is within the chosen radius.
    """

    x: float
    width: float
    height: float
    chance_height: float
    facts: Mapping[str, float]
    address: str
    is_within: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchTrialPage(TemplateContext):
    """The page of a trial.

    Attributes
    ----------
    tables
        Tables that the user can choose, as ``schema.table``.
    fields
        Values of the form.
    fault
        Why there is no result.
    trial
        The result, if there is one.
    bars
        The bars of its histogram.
    chosen
        What a match with the chosen radius finds.
    yaml
        Lines for a descriptor.
    limits
        Limits of the form: largest region, largest separation.
    """

    template = "matching/match_trial.html"
    tables: Sequence[str]
    fields: Mapping[str, str]
    fault: str
    trial: MatchTrial | None
    bars: Sequence[TrialBar]
    chosen: Mapping[str, float]
    yaml: str
    limits: tuple[float, float]


class TrialQueryAnswer:
    """The rows of a query with the metadata of their columns, as sources read them."""

    def __init__(self, result: QueryResult) -> None:
        self._result = result
        self.columns: Sequence[Column] = result.columns

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._result.iterate_batches()


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/match``."""
    limiter = anyio.Semaphore(MAX_PARALLEL_TRIALS)

    async def show_trial(page_context: PageContext) -> PageContent:
        fields = {
            name: page_context.request.query_params.get(name, default).strip() for name, default in DEFAULTS.items()
        }
        tables = {table.qualified_name: table for table in page_context.catalogue.iterate_tables() if table.position}
        trial, fault, status, lines = None, "", 200, ""
        if fields["first"] or fields["second"]:

            def run_trial(running_queries: RunningQueries) -> tuple[MatchTrial, str]:
                return _run_trial(page_context, fields, tables, running_queries)

            try:
                async with limiter:
                    trial, lines = await run_while_connected(page_context.request, run_trial)
            except HvenError as error:
                if is_json_requested(page_context.request):
                    raise
                fault, status = page_context.translator.translate_error(error), find_http_status(error)
        bars: Sequence[TrialBar] = ()
        chosen: Mapping[str, float] = {}
        if trial is not None:
            bars, chosen = _build_histogram_bars(trial, fields, page_context)
        page = MatchTrialPage(
            tables=sorted(tables),
            fields=fields,
            fault=fault,
            trial=trial,
            bars=bars,
            chosen=chosen,
            yaml=lines,
            limits=(MAX_REGION_DEGREES, MAX_REACH_ARCSEC),
        )
        json_content = {"tables": sorted(tables)} if trial is None else {**trial.to_json(), "yaml": lines}
        return PageContent(page=page, json_content=json_content, status=status)

    return [Route("/match", build_page_endpoint(show_trial, context))]


def _run_trial(
    page_context: PageContext,
    fields: Mapping[str, str],
    tables: Mapping[str, Table],
    running_queries: RunningQueries,
) -> tuple[MatchTrial, str]:
    """Run the trial that the form describes; return it with the lines for a descriptor."""
    first, second = (_build_catalogue_options(fields, name, tables) for name in ("first", "second"))
    region = TrialRegion(
        ra=_read_number(fields, "ra", 0, 360),
        dec=_read_number(fields, "dec", -90, 90),
        radius=_read_number(fields, "sr", 0, MAX_REGION_DEGREES),
    )
    reach = _read_number(fields, "reach", 0.001, MAX_REACH_ARCSEC)
    radius = _read_number(fields, "radius", 0, reach)
    runner = build_query_runner(page_context).with_start_callback(running_queries.add_query)
    with ExitStack() as stack, apply_request_or_new_deadline(MAX_TRIAL_SECONDS, MAX_TRIAL_SECONDS):

        def run_query(text: str, uploads: object = None) -> TrialQueryAnswer:
            del uploads  # a trial has no conditions
            result = runner.run_query(text, row_limit=MAX_STARS + 1, timeout_seconds=MAX_TRIAL_SECONDS)
            return TrialQueryAnswer(stack.enter_context(result))

        query_runner: SiteQueryRunner = run_query
        trial = run_match_trial(first, second, region, reach, query_runner)
    return trial, _write_match_descriptor(first, second, radius, _find_id_column_name(tables[first.table]))


def _build_catalogue_options(fields: Mapping[str, str], name: str, tables: Mapping[str, Table]) -> CatalogueOptions:
    """Build the options of a table: its columns are named where their UCDs don't say what they are."""
    table = tables.get(fields[name])
    if table is None:
        raise NotFoundError(
            format_message("there is no table {name!r} with positions here", fields[name][:80]),
            remedy="choose one from the list",
        )
    epoch: float | str = fields[f"{name}_epoch"]
    with suppress(ValueError):  # the name of a column
        epoch = float(epoch)
    known_ucds = {(column.ucd or "").lower() for column in table.columns}
    longitude, latitude = table.position or ("", "")
    named_columns = (
        ("id", ID_UCD, table.primary[0] if table.primary else ""),
        ("ra", LONGITUDE_UCD, longitude),
        ("dec", LATITUDE_UCD, latitude),
    )
    columns = {key: column_name for key, ucd, column_name in named_columns if column_name and ucd not in known_ucds}
    try:
        return CatalogueOptions.model_validate({"table": table.qualified_name, "epoch": epoch, **columns})
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ParamError(message, name=f"{name}_epoch", remedy="write a year such as 2016.0") from None


def _read_number(fields: Mapping[str, str], name: str, low: float, high: float) -> float:
    try:
        value = float(fields[name])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        message = format_message(
            "{name}={text!r} is not a number from {low} to {high}",
            name,
            fields[name][:40],
            f"{low:g}",
            f"{high:g}",
        )
        raise ParamError(message, name=name, remedy="write a number such as 1.5")
    return value


def _build_histogram_bars(
    trial: MatchTrial, fields: Mapping[str, str], page_context: PageContext
) -> tuple[Sequence[TrialBar], Mapping[str, float]]:
    """Build the bars of the histogram, and the facts of the chosen radius, which is moved to the edge of a bar."""
    bin_count = len(trial.pairs)
    chosen_count = max(int((trial.edges <= float(fields["radius"]) * (1 + 1e-9)).sum()) - 1, 1)
    tallest = max(float(trial.pairs.max()), float(trial.chance_pairs.max()), 1.0)
    width = PLOT_WIDTH / bin_count
    bars = []
    for number in range(bin_count):
        facts = trial.summarize_first_bins(number + 1)
        address = page_context.request.url.include_query_params(radius=f"{facts['radius']:g}")
        bars.append(
            TrialBar(
                x=number * width,
                width=width,
                height=float(trial.pairs[number]) / tallest * PLOT_HEIGHT,
                chance_height=float(trial.chance_pairs[number]) / tallest * PLOT_HEIGHT,
                facts=facts,
                address=f"?{address.query}",
                is_within=number < chosen_count,
            )
        )
    return bars, bars[chosen_count - 1].facts


def _find_id_column_name(table: Table) -> str:
    names = [column.name for column in table.columns if (column.ucd or "").lower() == ID_UCD]
    return next(iter((*names, *table.primary)), "id")


def _write_match_descriptor(first: CatalogueOptions, second: CatalogueOptions, radius: float, id_name: str) -> str:
    """Write the table of a descriptor that matches the two tables."""
    name = second.table.rpartition(".")[2].lower()
    if name == REFERENCE_NAME:
        name = "catalogue"
    title = f"Rows of {first.table} with their partners in {second.table}"
    reference, catalogue = (_write_options(options) for options in (first, second))
    return (
        "matched:\n"
        f"  title: {title}\n"
        f"  primary: {id_name}\n"
        "  source:\n"
        "    kind: match\n"
        f"    reference: {{{reference}}}\n"
        "    catalogues:\n"
        f"      {name}: {{{catalogue}, radius: {radius:g}}}\n"
    )


def _write_options(options: CatalogueOptions) -> str:
    values: dict[str, Any] = options.model_dump(exclude_unset=True)
    return ", ".join(f"{key}: {value}" for key, value in values.items())


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"collection.curators": "collection_link.html"},
)
