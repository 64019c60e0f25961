"""Rows that are spans of data sets - a file, a day, an event: how the samples between their begin and end are asked for, as services that DataLink describes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.model.params import Param
from hven.model.table import SITE, Hole, Input, Link, Service, begins_and_ends
from hven.model.types import TIMESTAMP
from hven.services._granules import write_own_files
from hven.services._stamps import DAY, UNIX, iso, micros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column, Series, Table
    from hven.services.face import Surroundings


def applies(table: Table) -> bool:
    """Serve tables with data sets, and those whose rows are spans of some."""
    return bool(table.series or table.spanned)


def links(
    table: Table,
    around: Surroundings,
    face: str,
    path: str,
    fixed: Callable[[Series], Mapping[str, str]],
    times: tuple[str, str],
    more: Sequence[Param],
    kind: str,
    told: str,
) -> Sequence[Link]:
    """Describe how samples of rows are asked for, and what describes the data set.

    Parameters
    ----------
    table
        Whose rows are spans.
    around
        The site.
    face
        That is asked; data sets of tables that leave it out are not.
    path
        Where, below the site's address.
    fixed
        What is always sent, of a data set.
    times
        Names of the parameters for begin and end.
    more
        What else may be sent.
    kind
        Media type of samples.
    told
        Where the data set is described: an address below the site's, to which what is always sent is added.

    Returns
    -------
    links
        Two for each data set of the table.
    """
    begin, end = begins_and_ends(table)
    every = [one.table for one in around.site.current().published.values() if one.table.offers(face)]
    known = {one.id: one for other in every for one in other.series}
    found: list[Link] = []
    for one in (known[name] for name in table.spanned if name in known):
        if begin is None or end is None:
            continue
        always = fixed(one)
        inputs = [Input(param=Param(name=name), value=(value,)) for name, value in always.items()]
        inputs += [
            Input(param=Param(name=name, type=TIMESTAMP, description=words), value=(Hole(_of(column)),))
            for name, column, words in zip(times, (begin, end), ("from this time on", "before this time"), strict=True)
        ]
        inputs += [Input(param=param, value=(param.default,) if param.default else ()) for param in more]
        title = one.title or one.id
        condition = write_own_files(table, one)
        query = "&".join(f"{name}={quote(value)}" for name, value in always.items() if name != "server")
        behind = 1 if end.epoch is None else 1000  # so that a file's last sample, or the one of a moment, is among them
        fit = partial(_fitted, times=times, begin=begin, end=end, behind=behind if one.file or begin is end else 0)
        found += [
            Link(
                semantics="#proc", local=(face,), address=(), description=(f"Samples of {title} by {face.upper()}",), type=(kind,),
                service=Service(address=(SITE, path), inputs=tuple(inputs)), narrowed=fit, condition=condition,
            ),
            Link(semantics="#documentation", local=(face,), address=(SITE, f"{told}{query}"), description=(f"What {title} has, by {face.upper()}",), condition=condition),
        ]  # fmt: skip
    return found


def _of(column: Column) -> str:
    quoted = column.name.replace('"', '""')
    return f'target."{quoted}"'


def _fitted(
    service: Service,
    _: str | None,
    __: dict[str, Any],
    *,
    times: tuple[str, str],
    begin: Column,
    end: Column,
    behind: int,
) -> Service | None:
    """Write begin and end as both are asked for; what ends when it begins is one sample."""
    said = {one.param.name: str(one.value[0]) for one in service.inputs if one.param.name in times and one.value}
    if len(said) < 2:
        return None
    low, high = (_moment(said[name], column) for name, column in zip(times, (begin, end), strict=True))
    moments = dict(zip(times, (iso(low), iso(high + behind)), strict=True))
    inputs = (
        replace(one, value=(moments.get(one.param.name, *one.value),)) if one.value else one for one in service.inputs
    )
    return replace(service, inputs=tuple(inputs))


def _moment(text: str, column: Column) -> int:
    """Read a time as a column has it; days in doubles to whole milliseconds, as samples are."""
    if column.epoch is None:
        return micros(text.replace(" ", "T"))
    return round((float(text) + column.epoch - UNIX) * (DAY // 1000)) * 1000


__all__ = ["applies", "links"]
