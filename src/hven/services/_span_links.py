"""Rows that are spans of data sets - a file, a day, an event.

How the samples between their begin and end are asked for, as services that DataLink describes.
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
    find_begin_and_end_columns,
)
from hven.model.types import TIMESTAMP
from hven.services._granules import write_own_files
from hven.services._time_texts import DAY_MICROSECONDS, UNIX_EPOCH_JD, format_instant, parse_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column, Table, TimeSeries
    from hven.services.face import ServiceContext


def has_data_sets(table: Table) -> bool:
    """Serve tables with data sets, and those whose rows are spans of some."""
    return bool(table.series or table.spanned_series_ids)


def build_span_links(
    table: Table,
    context: ServiceContext,
    face: str,
    service_path: str,
    list_fixed_parameters: Callable[[TimeSeries], Mapping[str, str]],
    time_parameters: tuple[str, str],
    extra_params: Sequence[Param],
    media_type: str,
    documentation_path: str,
) -> Sequence[LinkTemplate]:
    """Describe how samples of rows are asked for, and what describes the data set.

    Parameters
    ----------
    table
        Whose rows are spans.
    context
        The site.
    face
        That is asked; data sets of tables that leave it out are not.
    service_path
        Where, below the site's address.
    list_fixed_parameters
        What is always sent, of a data set.
    time_parameters
        Names of the parameters for begin and end.
    extra_params
        What else may be sent.
    media_type
        Media type of samples.
    documentation_path
        Where the data set is described: an address below the site's, to which what is always sent is added.

    Returns
    -------
    links
        Two for each data set of the table.
    """
    begin, end = find_begin_and_end_columns(table)
    all_tables = [
        item.table
        for item in context.site.get_published_state().tables_by_name.values()
        if item.table.is_served_by(face)
    ]
    series_by_id = {item.id: item for any_table in all_tables for item in any_table.series}
    span_links: list[LinkTemplate] = []
    for item in (series_by_id[name] for name in table.spanned_series_ids if name in series_by_id):
        if begin is None or end is None:
            continue
        always = list_fixed_parameters(item)
        inputs = [ServiceParameter(param=Param(name=name), value=(value,)) for name, value in always.items()]
        inputs += [
            ServiceParameter(
                param=Param(name=name, type=TIMESTAMP, description=words),
                value=(TemplateExpression(_quote_target_column(column)),),
            )
            for name, column, words in zip(
                time_parameters, (begin, end), ("from this time on", "before this time"), strict=True
            )
        ]
        inputs += [
            ServiceParameter(param=param, value=(param.default,) if param.default else ()) for param in extra_params
        ]
        title = item.title or item.id
        condition = write_own_files(table, item)
        query = "&".join(f"{name}={quote(value)}" for name, value in always.items() if name != "server")
        behind = 1 if end.epoch is None else 1000  # so that a file's last sample, or the one of a moment, is among them
        end_padding = behind if item.file or begin is end else 0
        fit = partial(
            _fill_time_parameters,
            times=time_parameters,
            begin=begin,
            end=end,
            end_padding=end_padding,
        )
        span_links += [
            LinkTemplate(
                semantics="#proc",
                local_semantics=(face,),
                address=(),
                description=(f"Samples of {title} by {face.upper()}",),
                type=(media_type,),
                service=ServiceDescriptor(address=(SITE_URL_EXPRESSION, service_path), inputs=tuple(inputs)),
                adapt_service=fit,
                condition=condition,
            ),
            LinkTemplate(
                semantics="#documentation",
                local_semantics=(face,),
                address=(SITE_URL_EXPRESSION, f"{documentation_path}{query}"),
                description=(f"What {title} has, by {face.upper()}",),
                condition=condition,
            ),
        ]
    return span_links


def _quote_target_column(column: Column) -> str:
    quoted = column.name.replace('"', '""')
    return f'target."{quoted}"'


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
    """Write begin and end as both are asked for; what ends when it begins is one sample."""
    time_texts = {
        service_input.param.name: str(service_input.value[0])
        for service_input in service.inputs
        if service_input.param.name in times and service_input.value
    }
    if len(time_texts) < 2:
        return None
    low, high = (_parse_instant(time_texts[name], column) for name, column in zip(times, (begin, end), strict=True))
    moments = dict(zip(times, (format_instant(low), format_instant(high + end_padding)), strict=True))
    inputs = (
        replace(service_input, value=(moments.get(service_input.param.name, *service_input.value),))
        if service_input.value
        else service_input
        for service_input in service.inputs
    )
    return replace(service, inputs=tuple(inputs))


def _parse_instant(text: str, column: Column) -> int:
    """Read a time as a column has it; days in doubles to whole milliseconds, as samples are."""
    if column.epoch is None:
        return parse_microseconds(text.replace(" ", "T"))
    return round((float(text) + column.epoch - UNIX_EPOCH_JD) * (DAY_MICROSECONDS // 1000)) * 1000


__all__ = ["build_span_links", "has_data_sets"]
