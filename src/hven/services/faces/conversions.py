"""Products in formats that every program opens: ``/collections/<name>/as/fits/<path>`` and ``../as/votable/..``, whole or one part of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven import __version__
from hven import services as dali
from hven.formats.media import as_fits, as_votable, media, open_product
from hven.model.errors import NotFound, say
from hven.model.params import Param
from hven.model.table import SITE, Hole, Link
from hven.services import cutouts, filed
from hven.services.errors import PLAIN
from hven.services.face import Face, Surroundings, Way, asking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.formats.media import Cut, Product
    from hven.model.table import Table, Template
    from hven.site import Published

PART = Param(
    name="PART",
    ucd="meta.id.part",
    description="index or name of a part of the file: an HDU, a variable; all of them without it",
)
LIMIT = 64 * 1024  # bytes of parameters
AT_ONCE = 4  # files that are opened at a time
ENDINGS = {"fits": "fits", "votable": "vot"}  # of what is written: the forms
READ = ("fits",)  # media that need no other form
KINDS = {
    "oifits": "#visibility",
    "qub": "#spectral-cube",
    "img": "#image",
    "vic": "#image",
}  # what files are, by their names


def routes(around: Surroundings) -> Sequence[BaseRoute]:
    """Route ``/collections/<name>/as/<form>/<path>``."""
    few = anyio.CapacityLimiter(AT_ONCE)

    async def one(request: Request, params: dali.Params) -> Response:
        name, form, path = (request.path_params[key] for key in ("name", "form", "path"))
        if form not in ENDINGS:
            raise NotFound(
                say("files are not written as {form!r}", form[:40]), remedy=say("known: {known}", ", ".join(ENDINGS))
            )
        part, who, base = params.one("PART"), around.reader(request), dali.base(request, around.site.settings)
        found = await anyio.to_thread.run_sync(filed.taken, around, who, name, path)
        headers = dali.caching(dali.etag(__version__, found.etag, form, part, base), public=found.public)
        if dali.unchanged(request, headers["etag"]):
            return Response(status_code=304, headers=headers)

        def made() -> tuple[Product, Cut]:
            product = open_product(found.path, found.name)
            try:
                history = (f"{path} of {base}/collections/{quote(name)}",)
                return product, as_votable(product, part) if form == "votable" else as_fits(
                    product, part, history=history, most=cutouts.LARGEST
                )
            except BaseException:
                product.closing()
                raise

        product, piece = await anyio.to_thread.run_sync(made, limiter=few)
        return cutouts.sent(request, product, piece, f"{cutouts.stem(found.name)}.{ENDINGS[form]}", headers)

    return [asking("/collections/{name}/as/{form}/{path:path}", one, PLAIN, LIMIT)]


def links(table: Table, around: Surroundings) -> Sequence[Link]:  # noqa: ARG001
    """List rows' own files as FITS, where they are of another kind that can be read: the same data in another format."""
    made = []
    endings = sorted({ending for one in media().values() if one.name not in READ for ending in one.endings})
    for link in table.own_files:
        path, about, last = link.address, link.description, link.address[-1]
        fitting = [one for one in endings if not isinstance(last, str) or last.lower().endswith(f".{one}")]
        if fitting:
            address = (SITE, f"/collections/{quote(table.schema)}/as/fits/", *path)
            words = (*about, " (as FITS)") if about else ("As FITS",)
            made.append(Link(semantics="#this", address=address, description=words, local=("fits",), endings=tuple((one, "application/fits") for one in fitting), qualifier=_kind(link)))  # fmt: skip
    return made


def _kind(link: Link) -> Template:
    """Say what kind of product a file is: what its link or its row says, else its name, where all of that name are of one kind."""
    last, said = link.address[-1], link.qualifier
    if isinstance(last, str):
        return said or tuple(kind for ending, kind in KINDS.items() if last.lower().endswith(f".{ending}"))[:1]
    cases = " ".join(f"WHEN LOWER({last.text}) LIKE '%.{ending}' THEN '{kind}'" for ending, kind in KINDS.items())
    named = f"CASE {cases} END"
    whole = [part.text for part in said if not isinstance(part, str) and len(said) == 1]
    return (Hole(f"COALESCE({whole[0]}, {named})"),) if whole else said or (Hole(named),)


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how a file is taken in another format."""
    url = f"{base}/collections/{quote(published.table.schema)}/as/fits/"
    return [Way(title=FACE.title, url=url, example=f"curl -OJ '{url}PATH'")]


FACE = Face(
    name="conversions",
    title="Files as FITS",
    description="Files of other kinds as FITS or VOTable, and parts of files.",
    applies=lambda table: bool(table.own_files),
    lacking="files of its rows",
    links=links,
    ways=_ways,
    routes=routes,
)
