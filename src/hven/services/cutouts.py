"""Cut-outs of rows' own files: what SODA's parameters ask for (SODA 1.0, section 3), of which file, and what of a file may be asked for.

Common
------
around
    The site.
who
    The reader.
path, name
    Of the file; the name by which readers know it.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np
from starlette.responses import Response

from hven.formats.media import Array, Selection, cut, open_product, selecting, window
from hven.model import Cache
from hven.model.errors import Forbidden, HvenError, NotFound, Overloaded, ParamError, TooLarge, Unauthenticated, say
from hven.model.params import Param
from hven.model.sky import shape_text
from hven.services import datalinks, filed, rotations
from hven.services._ranges import Flow, flowing
from hven.services.address import table_named
from hven.services.archives import KINDS
from hven.services.errors import Faults, status_of
from hven.services.params import values

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from hven.formats.media import Axis, Cut, Place, Product, Rows
    from hven.model.params import Params
    from hven.model.sky import Shape
    from hven.model.table import Input, Table
    from hven.services.face import Surroundings
    from hven.site.auth import Reader

MOST = 1000  # cuts of one request
LARGEST = 4 << 30  # bytes of a cut
SMALL = 1 << 20  # bytes of a cut that is made whole before it leaves
SENDING = 64  # larger ones that leave a process at once: each holds an open file and a piece of it
# a band beyond the file's by more than such a factor, and longer than a wave that is likely (m), is said to be in another unit
WRONG, LONG = 1e2, 0.1
PARTS = 50  # of a file, of which each is told

PARAMS = (selecting.ID, selecting.TABLE, *selecting.PARAMS)
PACKAGE = Param(name="PACKAGE", allowed=tuple(KINDS), description="all cuts in one archive, too: zip or tar")


class Single(ParamError):
    """Several values where one answer can be given (SODA 1.0 section 5.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One cut: of a row's file, what and which part.

    Attributes
    ----------
    ident
        Of the row.
    selection
        Of the file.
    part
        Index or name; None: the main one.
    """

    ident: str
    selection: Selection
    part: str | None


def wanted(params: Params, *, single: bool = False) -> list[Wanted]:
    """Read what is asked for: each combination of values is a cut of its own (SODA 1.0 section 3.2.1).

    Parameters
    ----------
    params
        Of the request.
    single
        One cut can be given.

    Returns
    -------
    cuts
        In the order of the identifiers.

    Raises
    ------
    ParamError
        A value is wrong, or ID is missing.
    Single
        There are several cuts where one can be made.
    TooLarge
        There are more than `MOST`.
    """
    given = values(params, PARAMS)
    shapes = [_shape(name, text) for name in ("POS", "CIRCLE", "POLYGON") for text in given[name]]
    alone = Selection(
        polarizations=tuple(dict.fromkeys(text.strip() for text in given["POL"])),
        longitude=given["LONGITUDE"], latitude=given["LATITUDE"],
        pixels={number: given[f"PIXELS_{number}"] for number in range(1, selecting.PIXELS + 1) if given[f"PIXELS_{number}"] is not None},
    )  # fmt: skip
    ids = [ident for ident in dict.fromkeys(given["ID"]) if ident]
    if not ids:
        raise ParamError(
            say("ID is missing"), name="ID", remedy=say("give the identifier of a row, as results have it")
        )
    several: list[list[Any]] = [
        ids,
        list(shapes) or [None],
        list(given["BAND"]) or [None],
        list(given["TIME"]) or [None],
    ]
    count = math.prod(map(len, several))
    if single and count > 1:
        name = next(
            name for name, values in zip(("ID", "POS", "BAND", "TIME"), several, strict=True) if len(values) > 1
        )
        raise Single(
            say("{name} was given several times, and one cut is made at once", name),
            name=name,
            remedy=say("ask for each by itself, or for all by /soda/async"),
        )
    if count > MOST:
        raise TooLarge(
            say("{count} cuts were asked for, and {most} are made at most", count, MOST),
            remedy=say("ask for fewer of them at a time"),
        )
    return [
        Wanted(ident=ident, selection=replace(alone, shape=shape, band=band, time=time), part=given["PART"])
        for ident, shape, band, time in itertools.product(*several)
    ]


def _shape(name: str, text: str) -> Shape:
    try:
        return shape_text.parse(name.lower(), text)
    except ValueError as error:
        form = {
            "POS": "CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 ..",
            "CIRCLE": "lon lat radius",
            "POLYGON": "lon1 lat1 lon2 lat2 lon3 lat3 ..",
        }[name]
        raise ParamError(
            f"{name}={text!r:.60}: {error}", name=name, remedy=say("{form}, in degrees (ICRS)", form)
        ) from None


def original(around: Surroundings, who: Reader, ident: str, name: str | None) -> filed.Original:
    """Find the file of a row, as its reader may take it; that it is cut is on record as that it is taken.

    Parameters
    ----------
    ident
        Value of the table's identifier, or ``ivo://authority/schema?value``.
    name
        Of the table, ``schema.table``; None: the identifier says its schema.

    Returns
    -------
    file
        As it was published.

    Raises
    ------
    ParamError
        The identifier does not say of which table it is.
    NotFound
        There is no such row, or it has no file here.
    Forbidden, Unauthenticated, Unavailable, Gone
        As of the file itself.
    """
    holdings = around.site.current()
    catalogue = holdings.catalogue(who, around.policies)
    if name is not None:
        tables = [table_named(name, catalogue)]
    else:
        schema = ident.partition("?")[0].rpartition("/")[2] if ident.startswith("ivo://") and "?" in ident else ""
        tables = [table for table in catalogue.tables() if table.schema == schema and table.filed]
        if not tables:
            raise ParamError(
                say("ID={ident} does not say of which table it is", ident[:100]),
                name="ID",
                remedy=say("say TABLE=schema.table, too"),
            )
    fault: HvenError = NotFound(say("no row has the identifier {ident}", ident[:100]))
    for table in tables:
        bare = NotFound(
            say("rows of {table} have no files that could be cut", table.qualified),
            remedy=say("links: {semantics: this, file: ..} in its descriptor"),
        )
        if not (table.filed or table.observations):
            raise bare
        for row in led(around, who, table, [ident]):
            if row["file"] is not None:
                return filed.taken(around, who, *row["file"])
            if row["error_message"]:
                fault = NotFound(row["error_message"].partition(": ")[2])
            elif table.observations:
                fault = bare
    raise fault


def led(around: Surroundings, who: Reader, table: Table, idents: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Ask what rows lead to.

    Parameters
    ----------
    table
        Whose rows they are.
    idents
        As of `original`.

    Yields
    ------
    row
        Of DataLink; ``file`` besides: of a row's own file the collection and the path, else None.
    """
    holdings, start = around.site.current(), "/collections/"
    found = datalinks.rows(
        table, idents, who=who, site=around.site, policies=around.policies, holdings=holdings, base=""
    )
    if table.observations:  # whose files are those of the rows that they are
        known = holdings.catalogue(who, around.policies)
        for name, some in datalinks.lists(found, around.site.settings.url).items():
            yield from led(around, who, table_named(name, known), [*some])
    files = holdings.published.get(f"{table.schema}.files")
    direct = {one.address: one.at for one in (() if files is None else files.table.roots) if one.direct}
    for row in found.to_pylist():
        address = row["access_url"] or ""
        # readers are led to some servers, whose addresses stand in place of ours
        root = next((one for one in direct if address.startswith(f"{one}/")), None)
        if root is not None:
            below = f"{direct[root]}/{address.removeprefix(f'{root}/')}".removeprefix("/")
            address = f"{start}{quote(table.schema)}/files/{below}"
        own = row["semantics"] == datalinks.THIS and address.startswith(start)
        collection, _, path = (unquote(part) for part in address.removeprefix(start).partition("/files/"))
        yield {**row, "file": (collection, path) if own else None}


def word(error: Exception) -> str:
    """Return SODA's word for an error (section 5.2).

    Parameters
    ----------
    error
        Any.
    """
    if isinstance(error, Single):
        return "MultiValuedParamNotSupported"
    kinds = {Unauthenticated: "AuthenticationError", Forbidden: "AuthorizationError"}
    named = next((word for kind, word in kinds.items() if isinstance(error, kind)), None)
    status = status_of(error)
    return named or ("ServiceUnavailable" if status == 503 else "UsageError" if status < 500 else "Error")


FAULTS = Faults(label=word)


def opened(found: filed.Original, one: Wanted, history: Sequence[str]) -> tuple[Product, Cut | None]:
    """Open a file and find what is to be cut of it.

    Parameters
    ----------
    found
        The file.
    one
        What of it.
    history
        Lines for its header.

    Returns
    -------
    product, cut
        The open file, which is the caller's to close; None: it has nothing of that.
    """
    product = rotations.opened(found)
    try:
        made = cut(product, one.selection, part=one.part, history=history, most=LARGEST)
        main = product.part(one.part)
        if made is None and isinstance(main, Array):
            _near(main, one.selection.band)
    except BaseException:
        product.closing()
        raise
    return product, made


def described(path: Place, name: str, wanted: Selection) -> dict[str, Any] | None:
    """Tell of the image that would be cut what SIA 1.0 tells of images: its centre, pixels, bytes, and how its header places them.

    Parameters
    ----------
    wanted
        What of it.

    Returns
    -------
    facts
        By the names of the face's columns; None: it is no image of the sky, or has nothing of that.

    Raises
    ------
    HvenError
        The file cannot be read.
    """
    from astropy.io.fits import Header  # noqa: PLC0415  (a second to load)
    from astropy.wcs import WCS  # noqa: PLC0415

    with open_product(path, name) as product:
        main = product.part()
        places = main.places() if isinstance(main, Array) and main.places is not None else None
        if not isinstance(main, Array) or places is None or places.of.kind != "sky":
            return None
        found, piece = window(main, wanted), cut(product, wanted)
        if found is None or piece is None:
            return None
        heads = (Header.fromstring(chunk.decode("ascii", "replace")) for chunk in piece.chunks())
        header = next(head for head in heads if head.get("NAXIS"))
        pairs = zip(reversed(main.axes), reversed(found), strict=True)
        sides = [part for axis, part in pairs if axis.kind in {"longitude", "latitude"}]
        ((ra, dec),) = places(np.array([[(side.start + side.stop + 1) / 2 for side in sides]]))
        wcs = WCS(header).celestial

        sizes = [part.stop - part.start for part in reversed(found)]
        return {
            "ra": float(ra), "dec": float(dec), "naxes": len(sizes), "naxis": sizes, "scale": [places.scale] * 2,
            "bytes": piece.size, "frame": {"GALACTIC": "GAL", "ECLIPTIC": "ECL"}.get(places.of.frame, places.of.frame), "projection": wcs.wcs.ctype[0][5:8], "crpix": wcs.wcs.crpix.tolist(), "crval": wcs.wcs.crval.tolist(),
            "cd": wcs.pixel_scale_matrix.ravel().tolist(),
        }  # fmt: skip


def sent(request: Request, product: Product, piece: Cut, name: str, kept: Mapping[str, str]) -> Response:
    """Send a file that is made while it is read, a small one made here; the product is closed with it.

    Parameters
    ----------
    request
        Of the reader.
    product
        An open file.
    piece
        What is made of it.
    name
        Of the file that is sent.
    kept
        Headers on who may keep it.

    Raises
    ------
    Overloaded
        As many leave as may at once.
    """
    headers = {**kept, "content-disposition": f'attachment; filename="{name}"', "x-content-type-options": "nosniff"}
    headers["content-type"] = piece.media_type
    if piece.size is not None:
        headers["content-length"] = str(piece.size)
    small = piece.size is not None and piece.size <= SMALL
    if small or request.method == "HEAD" or len(_leaving) >= SENDING:
        with product:
            if request.method == "HEAD":
                return Response(None, headers=headers)
            if small:
                return Response(b"".join(piece.chunks()), headers=headers)
        raise Overloaded(say("too many cuts leave at the moment"), remedy=say("try again in a few seconds"))
    made = Flow(request, 200, headers, flowing(_pieces(product, piece)))
    _leaving.add(made)
    return made


def _pieces(product: Product, piece: Cut) -> Generator[filed.Piece]:
    with product:
        chunks = piece.chunks()
        yield None
        for chunk in chunks:
            for start in range(0, len(chunk), filed.PIECE):
                yield chunk[start : start + filed.PIECE]
            yield None


_leaving: weakref.WeakSet[Flow] = weakref.WeakSet()


def stem(name: str) -> str:
    """Return a file's name without its endings, in letters that headers of HTTP may have.

    Parameters
    ----------
    name
        Of the file.
    """
    kept = (sign if sign.isascii() and (sign.isalnum() or sign in "-_") else "_" for sign in name.partition(".")[0])
    return "".join(kept)[:100] or "file"


def _near(array: Array, band: tuple[float, float] | None) -> None:
    """Refuse wavelengths that are not in a file and look like those of another unit."""
    axis = next((axis for axis in array.axes if axis.kind == "spectral"), None)
    if band is None or axis is None or axis.values is None:
        return
    low, high = _bounds(axis)
    if np.isfinite([*band, low, high]).all() and band[0] > max(high * WRONG, LONG):
        why = say("BAND is in metres, and the file has {low} to {high} m", f"{low:.4g}", f"{high:.4g}")
        raise ParamError(why, name="BAND", remedy=say("500 nm are 5e-7"))


def _bounds(axis: Axis) -> tuple[float, float]:
    values = np.asarray(axis.values() if axis.values is not None else [], np.float64)
    return float(np.nanmin(values)), float(np.nanmax(values))


class Fits(Cache[Mapping[str, "Input"]]):
    """What is known of files that were looked into: their parameters with bounds, by the state of the file."""

    def __init__(self) -> None:
        super().__init__(20_000)


def fitted(inputs: Sequence[Input], path: Path, known: Fits) -> Mapping[str, Input]:
    """Fit the parameters of the service to a file: what it has no axis for goes, and the others get their bounds (SODA 1.0 section 4).

    Parameters
    ----------
    inputs
        All parameters.
    path
        Of the file.
    known
        What was found before.

    Returns
    -------
    inputs
        By name; none: it holds nothing that can be cut.
    """
    try:
        seen = path.stat()
        key = str(path), seen.st_mtime_ns, seen.st_size
        found = known.find(key)
        if found is not None:
            return found
        with open_product(path) as product:
            main = product.part()
            # whether the reader may take what is beside it as well is not asked of a list: nothing is told of these
            if isinstance(main, Array):
                fit = inputs if product.beside else _with_parts(_fitted(inputs, main), product)
            else:
                fit = _with_parts(_cut_by(inputs, main, product), product)
            found = {one.param.name: one for one in fit}
    except (HvenError, OSError):
        return {}
    known.keep(key, found)
    return found


def _with_parts(inputs: Iterable[Input], product: Product) -> Iterator[Input]:
    """Say which parts can be cut, where there are several: by their names, else by their numbers."""
    names: tuple[str, ...] = ()
    if len(product.parts) <= PARTS:
        parts = [one for one in product.parts if isinstance(one, Array) or selecting.ways(one, product.cards)]
        known = Counter(one.name.casefold() for one in product.parts)
        alone = (one.name and known[one.name.casefold()] == 1 and not one.name.isdecimal() for one in parts)
        names = tuple(one.name if named else str(one.index) for one, named in zip(parts, alone, strict=True))
    for one in inputs:
        part = one.param.name == "PART" and len(names) > 1
        yield replace(one, param=replace(one.param, allowed=names)) if part else one


def _cut_by(inputs: Sequence[Input], table: Rows, product: Product) -> Iterator[Input]:
    """Fit the parameters to a table: to BAND and TIME, as far as it has such columns."""
    found = selecting.bounds(table, product.cards)
    for one in inputs if found else ():
        name = one.param.name
        if (known := found.get(name)) is not None:
            yield replace(one, low=(repr(known[0]),), high=(repr(known[1]),))
        elif name in found or name in {"ID", "TABLE", "PART"}:
            yield one


def _fitted(inputs: Sequence[Input], main: Array) -> Iterator[Input]:
    kinds = {axis.kind: axis for axis in main.axes}
    places = main.places() if main.places is not None else None
    sky = places is not None and places.of.kind == "sky"
    ring = _footprint(main, places) if sky and places is not None else None
    for one in inputs:
        name = one.param.name
        if name in {"ID", "TABLE", "PART"}:
            yield one
        elif name in {"POS", "CIRCLE", "POLYGON"} and places is not None and sky:
            if name == "POS" or ring is None:
                yield one
            elif name == "POLYGON":
                yield replace(one, high=(" ".join(f"{number:.8g}" for number in ring.ravel()),))
            else:
                yield replace(one, high=(_around(ring),))
        elif name in {"LONGITUDE", "LATITUDE"} and places is not None and not sky:
            yield one
        elif (
            name in {"BAND", "TIME"}
            and (axis := kinds.get({"BAND": "spectral", "TIME": "time"}[name])) is not None
            and axis.values is not None
        ):
            try:
                low, high = _bounds(axis)
            except HvenError:
                continue
            yield replace(one, low=(repr(low),), high=(repr(high),))
        elif name == "POL" and (axis := kinds.get("polarization")) is not None and axis.values is not None:
            yield replace(one, param=replace(one.param, allowed=tuple(word for word in axis.values().tolist() if word)))
        elif name.startswith("PIXELS_") and (number := int(name[7:])) <= len(main.axes):
            yield replace(one, low=("1",), high=(str(main.axes[-number].size),))


def _footprint(main: Array, places: Callable[[Any], Any]) -> np.ndarray[Any, Any] | None:
    """Return the corners of an image on the sky, shape (4, 2)."""
    sizes = [axis.size for axis in reversed(main.axes) if axis.kind in {"longitude", "latitude"}]
    if len(sizes) != 2:
        return None
    x, y = sizes[0] + 0.5, sizes[1] + 0.5
    corners = places(np.array([[0.5, 0.5], [x, 0.5], [x, y], [0.5, y]]))
    return corners if np.isfinite(corners).all() else None


def _around(ring: np.ndarray[Any, Any]) -> str:
    """Write the circle around corners."""
    lon, lat = np.radians(ring).T
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    middle = xyz.sum(0) / np.linalg.norm(xyz.sum(0))
    radius = np.degrees(np.arccos(np.clip(xyz @ middle, -1.0, 1.0))).max()
    return f"{np.degrees(np.arctan2(middle[1], middle[0])) % 360.0:.8g} {np.degrees(np.arcsin(middle[2])):.8g} {radius:.8g}"


__all__ = [
    "FAULTS",
    "MOST",
    "PACKAGE",
    "PARAMS",
    "Fits",
    "Single",
    "Wanted",
    "described",
    "fitted",
    "led",
    "opened",
    "original",
    "sent",
    "stem",
    "wanted",
    "word",
]
