"""Describe endpoints: addresses of a table with their own parameters, as an earlier server had them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.errors import TextPlace
    from hven.model.params import Param
    from hven.model.table import Table

ENDPOINTS_KEY = "endpoints"  # of tables in descriptors, and of `Table.extensions`


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointParameter:
    """A parameter of an endpoint.

    Attributes
    ----------
    param
        What it is.
    client_name
        Its name as clients write it.
    condition
        ADQL over the row and ``param.name``: rows that are answered where it is given.
    unit
        Unit in which conditions have it; None: as it is given.
    columns
        Value -> the columns that are answered for it.
    """

    param: Param
    client_name: str
    condition: str | None = None
    unit: str | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEndpoint:
    """An address of a table with parameters of its own.

    Attributes
    ----------
    name
        Among those of its table.
    kind
        ``query``: rows; ``page``: the page of a row; ``sitools2``: a data set of SITools2.
    paths
        The old addresses, without the prefix of the site's.
    title, description
        For people.
    params
        In their order.
    columns
        Items of a select list; empty: all that are shown.
    condition
        ADQL that holds for all rows that it has.
    order_by
        Items of ORDER BY.
    row_limit
        Rows where a request does not say it; None: as many as the site gives.
    format_name, options
        What is answered where a request does not say it: a format, and its options.
    constants
        PARAMs of the answer; ``{updated}`` in a value is when the table was published, ``{source_updated}`` when the
        newest file of its source was written, and ``{param.NAME}`` the value of a parameter of the request.
    column
        Column of a page: the column with the last part of its address.
    cadences
        Cadences of SITools2: name of the filter -> ADQL over the row and ``param.seconds``.
    archives
        Archives of SITools2: end of the address -> ``tar`` or ``zip``.
    place
        Where the descriptor has it.
    """

    name: str
    kind: str = "query"
    paths: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None
    params: tuple[EndpointParameter, ...] = ()
    columns: tuple[str, ...] = ()
    condition: str | None = None
    order_by: tuple[str, ...] = ()
    row_limit: int | None = None
    format_name: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    column: str | None = None
    cadences: Mapping[str, str] = field(default_factory=dict)
    archives: Mapping[str, str] = field(default_factory=dict)
    place: TextPlace | None = field(default=None, compare=False, repr=False)

    @property
    def path(self) -> str:
        """The old address, or the first of several; empty: none."""
        return next(iter(self.paths), "")


def list_endpoints(table: Table) -> tuple[TableEndpoint, ...]:
    """Return the endpoints of a table."""
    endpoints: tuple[TableEndpoint, ...] = table.extensions.get(ENDPOINTS_KEY, ())
    return endpoints
