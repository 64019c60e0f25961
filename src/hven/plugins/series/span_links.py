"""Links of rows that are time spans of data sets: a file, a day, an event.

The services that return the samples between begin and end are described as DataLink has it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.model.params import Param
from hven.model.table import (
    SITE_URL_EXPRESSION,
    LinkTemplate,
    ServiceDescriptor,
    ServiceParameter,
    TemplateExpression,
    find_begin_and_end_time_columns,
)
from hven.model.types import TIMESTAMP
from hven.plugins.series.column_times import to_instant
from hven.plugins.series.sample_files import write_data_set_file_condition
from hven.plugins.series.table_series import list_spanned_data_set_ids, list_table_series
from hven.plugins.series.time_texts import format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column, Table, TimeSeriesSpec
    from hven.services.face import ServiceContext


def has_data_sets_or_spans(table: Table) -> bool:
    """Return whether a table has data sets, or rows that are time spans of some."""
    return bool(list_table_series(table) or list_spanned_data_set_ids(table))


def build_span_links(
    table: Table,
    context: ServiceContext,
    *,
    face: str,
    service_path: str,
    list_fixed_parameters: Callable[[TimeSeriesSpec], Mapping[str, str]],
    time_parameters: tuple[str, str],
    extra_params: Sequence[Param],
    media_type: str,
    documentation_path: str,
) -> Sequence[LinkTemplate]:
    """Describe how the samples of rows are requested, and link the description of the data set.

    Parameters
    ----------
    table
        Table whose rows are time spans.
    context
        Service context of the site.
    face
        Name of the face; data sets of tables that leave it out have no links.
    service_path
        Path of the service, below the address of the site.
    list_fixed_parameters
        Returns the parameters of a data set that are always sent.
    time_parameters
        Names of the parameters for begin and end.
    extra_params
        Optional parameters.
    media_type
        Media type of the samples.
    documentation_path
        Path and begin of the query of the description, below the address of the site; the fixed parameters are added.

    Returns
    -------
    links
        Two for each data set of the table.
    """
    begin, end = find_begin_and_end_time_columns(table)
    if begin is None or end is None:
        return []
    series_by_id = _collect_series(context, face)
    extra_inputs = [
        ServiceParameter(param=param, value=(param.default,) if param.default else ()) for param in extra_params
    ]
    span_links: list[LinkTemplate] = []
    for series_id in list_spanned_data_set_ids(table):
        series = series_by_id.get(series_id)
        if series is None:
            continue
        fixed_parameters = list_fixed_parameters(series)
        inputs = []
        for name, value in fixed_parameters.items():
            inputs.append(ServiceParameter(param=Param(name=name), value=(value,)))
        inputs.append(_build_row_time_parameter(time_parameters[0], begin, "from this time on"))
        inputs.append(_build_row_time_parameter(time_parameters[1], end, "before this time"))
        inputs += extra_inputs
        title = series.title or series.id
        condition = write_data_set_file_condition(table, series)
        query = "&".join(f"{name}={quote(value)}" for name, value in fixed_parameters.items() if name != "server")
        end_padding = 0
        if series.file or begin is end:
            # the last sample of a file, or that of a single time, is included
            end_padding = 1 if end.epoch is None else 1000
        fill_times = partial(
            _fill_time_parameters,
            times=time_parameters,
            begin=begin,
            end=end,
            end_padding=end_padding,
        )
        service_link = LinkTemplate(
            semantics="#proc",
            local_semantics=(face,),
            address=(),
            description=(f"Samples of {title} by {face.upper()}",),
            type=(media_type,),
            service=ServiceDescriptor(address=(SITE_URL_EXPRESSION, service_path), inputs=tuple(inputs)),
            adapt_service=fill_times,
            condition=condition,
        )
        documentation_link = LinkTemplate(
            semantics="#documentation",
            local_semantics=(face,),
            address=(SITE_URL_EXPRESSION, f"{documentation_path}{query}"),
            description=(f"Description of {title}, by {face.upper()}",),
            condition=condition,
        )
        span_links += [service_link, documentation_link]
    return span_links


def _collect_series(context: ServiceContext, face: str) -> dict[str, TimeSeriesSpec]:
    """Collect the data sets of tables that a face serves, by id."""
    series_by_id: dict[str, TimeSeriesSpec] = {}
    for published in context.site.get_published_state().tables_by_name.values():
        if published.table.is_served_by(face):
            series_by_id |= {series.id: series for series in list_table_series(published.table)}
    return series_by_id


def _build_row_time_parameter(name: str, column: Column, description: str) -> ServiceParameter:
    """Build a parameter whose value is a time of the row."""
    quoted_name = column.name.replace('"', '""')
    return ServiceParameter(
        param=Param(name=name, type=TIMESTAMP, description=description),
        value=(TemplateExpression(f'target."{quoted_name}"'),),
    )


def _fill_time_parameters(
    service: ServiceDescriptor,
    _: str | None,
    __: dict[str, Any],
    *,
    times: tuple[str, str],
    begin: Column,
    end: Column,
    end_padding: int,
) -> ServiceDescriptor | None:
    """Write begin and end of a row in the form of the service, with `end_padding` microseconds after the end."""
    time_texts = {}
    for service_input in service.inputs:
        if service_input.param.name in times and service_input.value:
            time_texts[service_input.param.name] = str(service_input.value[0])
    if len(time_texts) < 2:
        return None
    begin_name, end_name = times
    low = to_instant(time_texts[begin_name], begin)
    high = to_instant(time_texts[end_name], end)
    written_times = {begin_name: format_instant(low), end_name: format_instant(high + end_padding)}
    inputs = []
    for service_input in service.inputs:
        written_time = written_times.get(service_input.param.name)
        if service_input.value and written_time is not None:
            other_values = service_input.value[1:]
            inputs.append(replace(service_input, value=(written_time, *other_values)))
        else:
            inputs.append(service_input)
    return replace(service, inputs=tuple(inputs))
