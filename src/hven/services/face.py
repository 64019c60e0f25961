"""Face: what every service with parameters does with a request, said once: read, find the table, ask, tag, describe, answer, close; faults in its own words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from hven import formats, query
from hven.model.errors import UserError
from hven.services._answer import answer, begin, caching, etag, request_id, unchanged
from hven.services.address import table_named
from hven.services.errors import headers_of, message_of, status_of
from hven.services.params import read

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from starlette.requests import Request

    from hven.adql.tree import Query
    from hven.model.params import Param, Params
    from hven.model.table import Column, Table
    from hven.site import Holdings, Site
    from hven.site.auth import Policy, Reader

MOST = 64 * 1024  # bytes of a body that has parameters alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a face makes of a request.

    Attributes
    ----------
    query
        Makes the query of the table, with its literals in slots. It is called once for each `key` and state of the table.
    key
        What the query depends on besides the table.
    values
        The literals, by slot.
    maxrec
        Rows at most; 0: the columns alone; None: the site's default.
    present
        Gives the columns of an answer other metadata; called once for each `key` and plan.
    """

    query: Callable[[], Query]
    key: tuple[Hashable, ...] = ()
    values: tuple[Any, ...] = ()
    maxrec: int | None = None
    present: Callable[[tuple[Column, ...]], tuple[Column, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A service with parameters over one table.

    Attributes
    ----------
    path
        Its address, with ``{table}`` in it.
    params
        What it understands; others are named in the answer.
    ask
        Makes a question of a table and the parameters; raises what is wrong with them.
    document
        Writes a fault as the standard has it.
    kind
        The document's media type.
    patient
        Faults of the request are told under status 200, as protocols from before DALI do.
    form
        RESPONSEFORMAT where none is given; None: the Accept header decides.
    """

    name: str
    path: str
    params: Sequence[Param]
    ask: Callable[[Table, Params], Asked]
    document: Callable[[str], bytes]
    kind: str
    patient: bool = False
    form: str | None = None

    def route(self, site: Site, reader: Callable[[Request], Reader], policies: Sequence[Policy]) -> Route:
        """Give the address, for a site and those who ask."""
        known = _Known()

        async def endpoint(request: Request) -> Response:
            try:
                return await self._answer(request, await read(request, MOST), site, reader(request), policies, known)
            except Exception as error:  # noqa: BLE001  (one table of errors)
                status = status_of(error)
                if self.patient and isinstance(error, UserError) and status in {400, 413}:
                    status = 200
                return Response(self.document(message_of(error, request_id(request))), status, headers_of(error), media_type=self.kind)

        return Route(self.path, endpoint, methods=["GET", "POST"])

    async def _answer(
        self, request: Request, params: Params, site: Site, who: Reader, policies: Sequence[Policy], known: _Known
    ) -> Response:
        holdings = site.current()  # one state for the tree and for the query: an ingest may come between
        table = table_named(request.path_params["table"], holdings.catalogue(who, policies))
        asked = self.ask(table, params)
        fmt, options = formats.select(params.one("RESPONSEFORMAT") or self.form, request.headers.get("accept"))
        warnings = query.unused(params, self.params)
        key = (self.name, table.qualified, *asked.key)
        result = query.run(
            known.query(holdings, table, key, asked),
            who,
            site=site,
            maxrec=asked.maxrec,
            policies=policies,
            values=asked.values,
            key=key,
            holdings=holdings,
        )
        try:
            begin(request, result)
            tag = etag(result, *key, *asked.values, asked.maxrec, fmt.name, sorted(options.items()), warnings)
            headers = caching(result, tag)
            if unchanged(request, tag):
                result.close()
                return Response(status_code=304, headers=headers)
            if asked.present is not None:
                result.present(known.presented(result.columns, key, asked.present))
            head = query.head(result, infos=warnings, name=table.name)
            return await answer(request, result, fmt, head, options, headers=headers)
        except BaseException:
            result.close()
            raise


@dataclass(slots=True)
class _Known:
    """The queries of a face and the columns of its answers: made once for each state of the holdings."""

    version: str = ""
    queries: dict[tuple[Hashable, ...], tuple[Table, Query]] = field(default_factory=dict)
    columns: dict[tuple[Hashable, ...], tuple[tuple[Column, ...], tuple[Column, ...]]] = field(default_factory=dict)

    def query(self, holdings: Holdings, table: Table, key: tuple[Hashable, ...], asked: Asked) -> Query:
        if holdings.version != self.version:
            self.version, self.queries, self.columns = holdings.version, {}, {}
        # readers of other reach may know another state of the table: other keys to follow
        known = self.queries.get(key)
        if known is None or known[0] is not table:
            known = self.queries[key] = (table, asked.query())
        return known[1]

    def presented(
        self, columns: tuple[Column, ...], key: tuple[Hashable, ...], present: Callable[[tuple[Column, ...]], tuple[Column, ...]]
    ) -> tuple[Column, ...]:
        known = self.columns.get(key)
        if known is None or known[0] is not columns:
            known = self.columns[key] = (columns, present(columns))
        return known[1]


__all__ = ["Asked", "Face"]
