"""The ways out of a basket: all files as one archive or one script, the rows of each table, its keys to upload to TAP, how to cite it.

Below ``/basket`` or ``/basket/TOKEN``: ``files``, ``table`` (``_of`` says which), ``cite.bib``.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
import pyarrow as pa
from starlette.routing import Route

from hven import formats
from hven import services as dali
from hven.adql.text import quote as quoted
from hven.formats import Info
from hven.model.errors import NotFound, ParamError, say
from hven.portal._explore import cart
from hven.portal._explore.baskets import Basket
from hven.portal._views import downloads
from hven.portal._views.basket_rows import QUIET, Given, Held, given, held
from hven.portal._views.downloads import AS, OF, SECONDS
from hven.portal._views.page_formats import Asked, asked, refused
from hven.services import archives, scripts
from hven.services.citing import bibtex
from hven.services.citing import sentence as cited
from hven.services.face import careful
from hven.services.file_rows import list_link_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.formats import Format
    from hven.portal._views.table_page import View
    from hven.query import Result
    from hven.services.face import Surroundings

KEYED = "_keys"  # the keys of rows alone
BASKET = "basket"  # what files are called
UPLOADED = "TAP_UPLOAD.basket"
FILES = pa.schema([("address", pa.string()), ("name", pa.string())])


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the ways out of a reader's own basket, and of shared ones."""
    table = downloads.streamed(_table, around)

    async def files(request: Request) -> Response:
        state = asked(request, around)
        made: Response = await anyio.to_thread.run_sync(_files, state)
        return made

    async def cite(request: Request) -> Response:
        state = asked(request, around)
        found = await anyio.to_thread.run_sync(lambda: cited_by(list(held(state, given(state).basket)), state))
        body = "\n\n".join(entry for _, entry in found)
        return dali.whole(request, f"{body}\n".encode(), _headers("text/x-bibtex; charset=utf-8", f"{BASKET}.bib"))

    every = (("files", careful(files, refused(around))), ("table", table), ("cite.bib", careful(cite, refused(around))))
    return [Route(f"{of}/{what}", way) for of in ("/basket", "/basket/{token}") for what, way in every]


def ways(views: Sequence[View]) -> list[str]:
    """List how the files of some tables are taken: those that any of them has."""
    known = {way for seen in views for way in downloads.ways(seen)}
    return [way for way in (*archives.KINDS, *scripts.SCRIPTS) if way in known]


def offered(one: Held, about: Given) -> dict[str, Any]:
    """Return what there is to take of one table: its rows, how many files and how large, its keys to upload."""
    links = list_link_columns(one.seen.table)
    counted = cart.count(one.seen.search, links[0], one.seen.asking) if links else None

    def at(**more: str) -> str:
        return f"{about.here}/table?{urlencode({OF: one.part.of, **more})}"

    return {
        "formats": [{"label": label, "url": at(**{AS: name})} for name, label in formats.menu_entries()],
        "votable": at(**{AS: "votable"}),
        "files": None if counted is None else counted.files,
        "bytes": None if counted is None else counted.size,
        "upload": _upload(one, at(**{AS: "votable", KEYED: "1"})) if one.seen.table.primary else [],
    }


def cited_by(found: Sequence[Held], state: Asked) -> list[tuple[str, str]]:
    """Return how to cite each collection that something is of: as a sentence and for BibTeX."""
    named: dict[str, None] = {}
    for one in found:
        release = one.seen.published.release
        named[one.seen.table.schema if release is None else release.collection] = None
    known = [resource for name in named if (resource := state.holdings.resources.get(name)) is not None]
    above = f"{state.brand.root}/collections/"
    return [(cited(one), bibtex(one, f"{above}{quote(one.name)}")) for one in known]


def _upload(one: Held, url: str) -> list[dict[str, str]]:
    """Write how rows are asked for by TAP with their keys as a table that is sent: a query may be too long for an address."""
    table = one.seen.table
    on = " AND ".join(f"t.{name} = b.{name}" for name in map(quoted, table.primary))
    query = f"SELECT t.* FROM {quoted(table.schema)}.{quoted(table.name)} AS t JOIN {UPLOADED} AS b ON {on}"
    tap = url.partition("/basket")[0] + "/tap"
    return [
        {"name": "ADQL", "text": query},
        {
            "name": "curl",
            "text": f"curl -f -o basket.vot {shlex.quote(url)}\n"
            f"curl -f -o answer.vot {shlex.quote(f'{tap}/sync')} -F LANG=ADQL -F RESPONSEFORMAT=votable "
            f"-F {shlex.quote(f'QUERY={query}')} -F UPLOAD=basket,param:keys -F keys=@basket.vot",
        },
        {
            "name": "pyvo",
            "text": "import pyvo\nfrom astropy.table import Table\n\n"
            f"keys = Table.read({url!r}, format='votable')\nservice = pyvo.dal.TAPService({tap!r})\n"
            f"table = service.search({query!r}, uploads={{'basket': keys}}).to_table()",
        },
    ]


def _table(state: Asked, keys: Sequence[str]) -> tuple[Result, Format, dict[str, str], list[Info], str]:  # noqa: ARG001  (of marked rows there are none)
    """Give the rows of one table, or their keys alone."""
    of = state.request.query_params.get(OF, "")
    found = next(held(state, _of(given(state).basket, of)), None)
    if found is None:
        raise NotFound("the basket has nothing of this table", remedy="its page lists what it has")
    seen, limits = _understood(found).seen, state.around.site.settings.limits
    fmt, options = formats.select(state.request.query_params.get(AS) or "votable")
    shown = [column.name for column in seen.table.columns if not column.hidden]
    made = seen.search.query(columns=list(seen.table.primary) if state.request.query_params.get(KEYED) else shown)
    result = seen.asking.run(made, most=limits.maxrec_hard, seconds=SECONDS)
    return result, fmt, options, [], f"{downloads.called(seen)}-{BASKET}.{fmt.extension.lstrip('.')}"


def _of(basket: Basket, of: str) -> Basket:
    """Return what a basket has of one table."""
    return Basket(parts=tuple(one for one in basket.parts if one.of == of))


def _understood(one: Held) -> Held:
    """Refuse searches that are not understood any more: a program would take the answer for all.

    Raises
    ------
    ParamError
        There is one.
    """
    for _, search in one.searches:
        for fault in search.faults:
            raise ParamError(
                say("{name}: {message}", fault.field, say(fault.message)), name=fault.field, remedy=fault.remedy
            )
    return one


def _files(state: Asked) -> Response:
    """Answer with the files themselves, or with a script or a list of them."""
    kind = state.request.query_params.get(AS) or "zip"
    if kind not in {*archives.KINDS, *scripts.SCRIPTS}:
        names = ", ".join((*archives.KINDS, *scripts.SCRIPTS))
        raise ParamError(
            say("{name}={value} is not known", AS, kind[:40]), name=AS, remedy=say("one of {names}", names)
        )
    about = given(state)
    found = [one for one in map(_understood, held(state, about.basket)) if downloads.ways(one.seen)]
    if not found:
        raise ParamError("nothing in this basket leads to files", name="", remedy="download its rows instead")
    return _packed(state, found, about, kind) if kind in archives.KINDS else _script(state, found, about, kind)


def _packed(state: Asked, found: Sequence[Held], about: Given, kind: str) -> Response:
    """Write the files of all tables as one archive."""
    every: list[str] = []
    told = [("Basket", about.here)]
    for one in found:
        links = list_link_columns(one.seen.table)
        more, column = downloads.addresses(one.seen, state, links[0] if links else None)
        every += more
        told.append(("Table", f"{one.seen.table.qualified}, column {column}, {len(more):,} files"))
        if len(every) > state.around.site.settings.limits.archive_files:
            raise archives.too_large(state.around)
    plan = archives.planned(state.around, state.request, every)
    settings = state.around.site.settings
    title = settings.title or settings.name
    return archives.answer(state.request, plan, kind=kind, called=BASKET, title=title, about=told)


def _script(state: Asked, found: Sequence[Held], about: Given, kind: str) -> Response:
    """Write a script of the files of all tables."""
    linked = [one for one in found if list_link_columns(one.seen.table)]
    if not linked:
        raise ParamError("no column of these tables leads to files", name=AS, remedy="take them as one archive")
    made = scripts.scripts(state.around.signing(state.request) or str)[kind]
    infos = [Info(name="Basket", value=about.here)]
    infos += [Info(name="Files", value=f"of {one.seen.table.qualified}") for one in linked]
    infos += [
        Info(
            name="Left out", value=f"files of {one.seen.table.qualified}, which have no addresses: an archive has them"
        )
        for one in found
        if one not in linked
    ]
    infos.append(Info(name="Written", value=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} by {state.base}"))
    headers = _headers(made.media_types[0], f"{BASKET}-{kind}{made.extension}")
    return archives.listed(state.request, made, _links(linked), infos, headers)


def _links(found: Sequence[Held]) -> Iterator[pa.RecordBatch]:
    """Read addresses and names of the files of some tables, all in one shape."""
    for one in found:
        column = list_link_columns(one.seen.table)[0]
        with one.seen.asking.run(cart.query(one.seen.search, column), most=scripts.MOST + 1, seconds=SECONDS) as result:
            for batch in result.batches():
                if column.link:
                    texts: Any = pa.array(scripts.written(batch, column.link), pa.string())
                else:
                    texts = batch.column(0).cast(pa.string())
                named = batch.num_columns > 1 and not column.link
                names = batch.column(1).cast(pa.string()) if named else pa.nulls(batch.num_rows, pa.string())
                yield pa.RecordBatch.from_arrays([texts, names], schema=FILES)


def _headers(kind: str, name: str) -> dict[str, str]:
    return {
        **QUIET,
        "content-type": kind,
        "vary": "accept-encoding, authorization, cookie",
        "content-disposition": f'attachment; filename="{name}"',
        "x-content-type-options": "nosniff",
    }
