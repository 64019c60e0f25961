"""SODA 1.0: ``/soda/sync`` and ``/soda/async`` cut rows' files: by a shape on the sky, wavelengths, times, polarizations, or pixels."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.responses import Response

from hven import services as dali
from hven.formats.media import selecting
from hven.model.table import SITE, Hole, Input, Link, Service, rooted
from hven.query.turns import Turns
from hven.services import _vosi as vosi
from hven.services import cutouts, filed, uws
from hven.services._threads import computed, in_turn
from hven.services.face import Face, Surroundings, Way, asking, route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.model.table import Schema, Table, Template
    from hven.site import Published

SYNC, ASYNC = selecting.STANDARD, "ivo://ivoa.net/std/SODA#async-1.0"
NARROWED = 20  # rows of one list of links whose files are looked into
LIMIT = 1 << 20  # bytes of parameters
AT_ONCE = 2
WAITING = 64  # that may wait for these; more are told to come again


def routes(around: Surroundings) -> Sequence[BaseRoute]:
    """Route ``/soda/sync``, ``/soda/async`` and ``/soda/capabilities``."""
    cutting = Turns(AT_ONCE, places=WAITING)

    async def sync(request: Request, params: dali.Params) -> Response:
        def made() -> Response:
            who, base = around.reader(request), dali.base(request, around.site.settings)
            (one,) = cutouts.wanted(params, single=True)
            history = [f"{one.ident} of {base}"]
            if ignored := params.unused(cutouts.PARAMS):
                history.append(f"not understood, and left out: {', '.join(ignored)}")
            found = cutouts.original(around, who, one.ident, params.one("TABLE"))
            # a file and what is asked of it make the same bytes, but for the base in its history
            kept = dali.caching(dali.etag(found.etag, repr(one), history), public=found.public)
            if dali.unchanged(request, kept["etag"]):
                return Response(status_code=304, headers=kept)
            product, piece = cutouts.opened(found, one, history)
            if piece is None:
                product.closing()
                return Response(status_code=204)
            return cutouts.sent(request, product, piece, f"{cutouts.stem(found.name)}_cut.fits", kept)

        async with in_turn(cutting):
            answer: Response = await computed(made, first=True)
        return answer

    async def capabilities(request: Request) -> Response:
        body = vosi.capabilities(capable(around, dali.base(request, around.site.settings), None))
        return dali.tagged(
            request,
            dali.caching(dali.etag(body), public=True, vary="accept-encoding, authorization, cookie, host"),
            vosi.MEDIA_TYPE,
            body,
        )

    return [
        asking("/soda/sync", sync, cutouts.FAULTS, LIMIT),
        route("/soda/capabilities", capabilities),
        *uws.routes("/soda/async", "soda", around.site, around.reader, limit=LIMIT),
    ]


def capable(around: Surroundings, base: str, schema: Schema | None) -> Sequence[vosi.Capability]:
    """List both services, which are the site's."""
    if schema is not None:
        return []
    here = f"{base}/soda"
    return [
        vosi.Capability(standard_id="ivo://ivoa.net/std/VOSI#capabilities", url=f"{here}/capabilities", role="std"),
        *(
            vosi.Capability(
                standard_id=standard, url=f"{here}/{name}", use="base", role="std", version="1.0", description=FACE.description,
                params=(*cutouts.PARAMS, *more), security=vosi.security(around.site.settings),
            )
            for name, standard, more in (("sync", SYNC, ()), ("async", ASYNC, (cutouts.PACKAGE,)))
        ),
    ]  # fmt: skip


def links(table: Table, around: Surroundings) -> Sequence[Link]:
    """Describe the service for each row, with the bounds of the row's file; of the first rows of a list, whose files are looked into."""

    def narrowed(service: Service, path: str | None, looked: dict[str, Mapping[str, Input]]) -> Service | None:
        if path is None or files is None:
            return None
        if path not in looked:
            if len(looked) >= NARROWED:
                return service
            place = filed.lying(around, files, path)
            if place is None:  # other servers are not asked for a list
                return None if rooted(path, files.table.roots)[0].scheme is None else service
            looked[path] = cutouts.fitted(bare, place, around.site.kept(cutouts.Fits))
        fit = looked[path]
        own = []
        for one in service.inputs:
            known = one if one.param is cutouts.PACKAGE else fit.get(one.param.name)
            if known is not None and one.value:
                same = known.param is one.param and not known.low and not known.high
                own.append(one if same else replace(one, param=known.param, low=known.low, high=known.high))
            elif known is not None:  # the same object for all lists: it is written once
                own.append(known)
        return replace(service, inputs=tuple(own)) if fit else None

    files = around.site.current().published.get(f"{table.schema}.files")
    key = table.identifier
    assert key is not None  # noqa: S101  (tables without one have no links)
    bare, inputs, several = _inputs(key.name, table.qualified)
    kind: Template = next((one.qualifier for one in table.own_files), ())  # a part is what the whole is
    return [
        Link(
            semantics="#cutout", local=(local,), address=(), description=(words,), type=("application/fits",), narrowed=narrowed, qualifier=kind,
            service=Service(address=(SITE, f"/soda/{path}"), inputs=taken, standard=standard),
        )
        for path, standard, local, words, taken in (
            ("sync", SYNC, "cut", "Cut-out", inputs),
            ("async", ASYNC, "cuts", "Cut-outs, many at once", several),
        )
    ]  # fmt: skip


@lru_cache(maxsize=256)
def _inputs(key: str, table: str) -> tuple[tuple[Input, ...], ...]:
    """Return the parameters of any file, those of a row of a table, and these for several cuts."""
    quoted = key.replace('"', '""')
    always: dict[str, Template] = {"ID": (Hole(f'target."{quoted}"'),), "TABLE": (table,)}
    inputs = tuple(Input(param=param, value=always.get(param.name, ())) for param in cutouts.PARAMS)
    return tuple(Input(param=param) for param in cutouts.PARAMS), inputs, (*inputs, Input(param=cutouts.PACKAGE))


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how a row's file is cut."""
    url, name = f"{base}/soda/sync", published.table.qualified
    python = f'import pyvo\n\nrow = pyvo.dal.TAPService("{base}/tap").search("SELECT TOP 1 * FROM {name}")[0]\nlinks = row.getdatalink()\ncut = links.get_first_proc().process(circle=(83.63, 22.01, 0.1))'
    return [
        Way(title="A cut-out", url=url, example=f"curl -o cut.fits '{url}?TABLE={name}&ID=..&CIRCLE=83.63+22.01+0.1'"),
        Way(title="Cut-outs in Python", url=url, language="python", example=python),
    ]


FACE = Face(
    name="soda",
    title="Cut-outs (SODA)",
    description="Parts of the files of rows: by a shape on the sky, wavelengths, times, polarizations, or pixels; as FITS.",
    standard_ids=(SYNC, ASYNC),
    params=cutouts.PARAMS,
    applies=lambda table: table.filed,
    lacking="files of its rows",
    path="/soda/sync",
    faults=cutouts.FAULTS,
    ways=_ways,
    routes=routes,
    links=links,
    capable=capable,
)
