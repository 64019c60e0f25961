"""Cut-outs of rows' own files.

What SODA's parameters ask for (SODA 1.0, section 3), of which file, and what of a file may be asked for.

Common
------
context
    The site.
principal
    The reader.
path, name, table_name
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

from hven.formats.media import ArrayPart, Selection, cut_product, cutout_params, find_window, open_product
from hven.model import Cache
from hven.model.errors import (
    ForbiddenError,
    HvenError,
    NotFoundError,
    OverloadedError,
    ParamError,
    TooLargeError,
    UnauthenticatedError,
    format_message,
)
from hven.model.params import Param
from hven.model.sky import shape_text
from hven.services import collection_files, datalinks, rotations
from hven.services._byte_ranges import PieceStreamResponse, stream_pieces
from hven.services.addresses import find_table
from hven.services.archives import ARCHIVE_KINDS
from hven.services.errors import ErrorResponder, find_http_status
from hven.services.params import parse_values

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from hven.formats.media import Axis, Place, Product, StreamedFile, TablePart
    from hven.model.params import RequestParams
    from hven.model.sky import Shape
    from hven.model.table import ServiceParameter, Table
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

MAX_CUTOUTS = 1000  # cuts of one request
MAX_CUTOUT_BYTES = 4 << 30  # bytes of a cut
MAX_BUFFERED_BYTES = 1 << 20  # bytes of a cut that is made whole before it leaves
MAX_CONCURRENT_SENDS = 64  # larger ones that leave a process at once: each holds an open file and a piece of it
# a band beyond the file's by more than such a factor, and longer than a wave that is likely (m), is said to be in
# another unit
WRONG_UNIT_FACTOR, MAX_WAVELENGTH_METRES = 1e2, 0.1
MAX_LISTED_PARTS = 50  # of a file, of which each is told

CUTOUT_PARAMS = (cutout_params.ID_PARAM, cutout_params.TABLE_PARAM, *cutout_params.CUTOUT_PARAMS)
PACKAGE_PARAM = Param(
    name="PACKAGE", allowed=tuple(ARCHIVE_KINDS), description="all cuts in one archive, too: zip or tar"
)


class MultipleValuesError(ParamError):
    """Several values where one answer can be given (SODA 1.0 section 5.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoutRequest:
    """One cut: of a row's file, what and which part.

    Attributes
    ----------
    row_identifier
        Of the row.
    selection
        Of the file.
    part
        Index or name; None: the main one.
    """

    row_identifier: str
    selection: Selection
    part: str | None


def parse_cutout_requests(params: RequestParams, *, single_only: bool = False) -> list[CutoutRequest]:
    """Read what is asked for: each combination of values is a cut of its own (SODA 1.0 section 3.2.1).

    Parameters
    ----------
    params
        Of the request.
    single_only
        One cut can be given.

    Returns
    -------
    cuts
        In the order of the identifiers.

    Raises
    ------
    ParamError
        A value is wrong, or ID is missing.
    MultipleValuesError
        There are several cuts where one can be made.
    TooLargeError
        There are more than `MAX_CUTOUTS`.
    """
    parsed_values = parse_values(params, CUTOUT_PARAMS)
    shapes = [_parse_shape(name, text) for name in ("POS", "CIRCLE", "POLYGON") for text in parsed_values[name]]
    polarizations = tuple(dict.fromkeys(text.strip() for text in parsed_values["POL"]))
    alone = Selection(
        polarizations=polarizations,
        longitude=parsed_values["LONGITUDE"],
        latitude=parsed_values["LATITUDE"],
        pixels={
            number: parsed_values[f"PIXELS_{number}"]
            for number in range(1, cutout_params.MAX_PIXEL_AXES + 1)
            if parsed_values[f"PIXELS_{number}"] is not None
        },
    )
    ids = [ident for ident in dict.fromkeys(parsed_values["ID"]) if ident]
    if not ids:
        raise ParamError(
            format_message("ID is missing"),
            name="ID",
            remedy=format_message("give the identifier of a row, as results have it"),
        )
    several: list[list[Any]] = [
        ids,
        list(shapes) or [None],
        list(parsed_values["BAND"]) or [None],
        list(parsed_values["TIME"]) or [None],
    ]
    count = math.prod(map(len, several))
    if single_only and count > 1:
        name = next(
            name for name, values in zip(("ID", "POS", "BAND", "TIME"), several, strict=True) if len(values) > 1
        )
        raise MultipleValuesError(
            format_message("{name} was given several times, and one cut is made at once", name),
            name=name,
            remedy=format_message("ask for each by itself, or for all by /soda/async"),
        )
    if count > MAX_CUTOUTS:
        raise TooLargeError(
            format_message("{count} cuts were asked for, and {most} are made at most", count, MAX_CUTOUTS),
            remedy=format_message("ask for fewer of them at a time"),
        )
    return [
        CutoutRequest(
            row_identifier=ident,
            selection=replace(alone, shape=shape, band=band, time=time),
            part=parsed_values["PART"],
        )
        for ident, shape, band, time in itertools.product(*several)
    ]


def _parse_shape(name: str, text: str) -> Shape:
    try:
        return shape_text.parse_shape(name.lower(), text)
    except ValueError as error:
        form = {
            "POS": "CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 ..",
            "CIRCLE": "lon lat radius",
            "POLYGON": "lon1 lat1 lon2 lat2 lon3 lat3 ..",
        }[name]
        raise ParamError(
            f"{name}={text!r:.60}: {error}", name=name, remedy=format_message("{form}, in degrees (ICRS)", form)
        ) from None


def find_original_file(
    context: ServiceContext, principal: Principal, row_identifier: str, table_name: str | None
) -> collection_files.OriginalFile:
    """Find the file of a row, as its reader may take it; that it is cut is on record as that it is taken.

    Parameters
    ----------
    row_identifier
        Value of the table's identifier, or ``ivo://authority/schema?value``.
    table_name
        Of the table, ``schema.table``; None: the identifier says its schema.

    Returns
    -------
    file
        As it was published.

    Raises
    ------
    ParamError
        The identifier does not say of which table it is.
    NotFoundError
        There is no such row, or it has no file here.
    ForbiddenError, UnauthenticatedError, StorageUnavailableError, GoneError
        As of the file itself.
    """
    published_state = context.site.get_published_state()
    catalogue = published_state.get_catalogue(principal, context.policies)
    if table_name is not None:
        tables = [find_table(table_name, catalogue)]
    else:
        if row_identifier.startswith("ivo://") and "?" in row_identifier:
            schema = row_identifier.partition("?")[0].rpartition("/")[2]
        else:
            schema = ""
        tables = [table for table in catalogue.iterate_tables() if table.schema == schema and table.has_row_files]
        if not tables:
            raise ParamError(
                format_message("ID={ident} does not say of which table it is", row_identifier[:100]),
                name="ID",
                remedy=format_message("say TABLE=schema.table, too"),
            )
    fault: HvenError = NotFoundError(format_message("no row has the identifier {ident}", row_identifier[:100]))
    for table in tables:
        bare = NotFoundError(
            format_message("rows of {table} have no files that could be cut", table.qualified_name),
            remedy=format_message("links: {semantics: this, file: ..} in its descriptor"),
        )
        if not (table.has_row_files or table.is_observation_view):
            raise bare
        for row in list_row_links(context, principal, table, [row_identifier]):
            if row["file"] is not None:
                return collection_files.take_file(context, principal, *row["file"])
            if row["error_message"]:
                fault = NotFoundError(row["error_message"].partition(": ")[2])
            elif table.is_observation_view:
                fault = bare
    raise fault


def list_row_links(
    context: ServiceContext, principal: Principal, table: Table, row_identifiers: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Ask what rows lead to.

    Parameters
    ----------
    table
        Whose rows they are.
    row_identifiers
        As of `find_original_file`.

    Yields
    ------
    row
        Of DataLink; ``file`` besides: of a row's own file the collection and the path, else None.
    """
    published_state = context.site.get_published_state()
    start = "/collections/"
    link_rows = datalinks.list_row_links(
        table,
        row_identifiers,
        principal=principal,
        site=context.site,
        policies=context.policies,
        published_state=published_state,
        base_url="",
    )
    if table.is_observation_view:  # whose files are those of the rows that they are
        catalogue = published_state.get_catalogue(principal, context.policies)
        for name, linked_identifiers in datalinks.find_link_lists(link_rows, context.site.settings.site_url).items():
            yield from list_row_links(context, principal, find_table(name, catalogue), [*linked_identifiers])
    files = published_state.tables_by_name.get(f"{table.schema}.files")
    direct = {
        table_root.address: table_root.path_prefix
        for table_root in (() if files is None else files.table.roots)
        if table_root.redirects_clients
    }
    for row in link_rows.to_pylist():
        address = row["access_url"] or ""
        # readers are led to some servers, whose addresses stand in place of ours
        root = next((table_root for table_root in direct if address.startswith(f"{table_root}/")), None)
        if root is not None:
            below = f"{direct[root]}/{address.removeprefix(f'{root}/')}".removeprefix("/")
            address = f"{start}{quote(table.schema)}/files/{below}"
        is_own_file = row["semantics"] == datalinks.THIS_SEMANTICS and address.startswith(start)
        collection, _, path = (unquote(part) for part in address.removeprefix(start).partition("/files/"))
        yield {**row, "file": (collection, path) if is_own_file else None}


def name_soda_error(error: Exception) -> str:
    """Return SODA's word for an error (section 5.2).

    Parameters
    ----------
    error
        Any.
    """
    if isinstance(error, MultipleValuesError):
        return "MultiValuedParamNotSupported"
    kinds = {UnauthenticatedError: "AuthenticationError", ForbiddenError: "AuthorizationError"}
    named = next((word for kind, word in kinds.items() if isinstance(error, kind)), None)
    status = find_http_status(error)
    return named or ("ServiceUnavailable" if status == 503 else "UsageError" if status < 500 else "Error")


ERROR_RESPONDER = ErrorResponder(label_error=name_soda_error)


def open_cutout(
    original_file: collection_files.OriginalFile, cutout_request: CutoutRequest, history: Sequence[str]
) -> tuple[Product, StreamedFile | None]:
    """Open a file and find what is to be cut of it.

    Parameters
    ----------
    original_file
        The file.
    cutout_request
        What of it.
    history
        Lines for its header.

    Returns
    -------
    product, cut
        The open file, which is the caller's to close; None: it has nothing of that.
    """
    product = rotations.open_rotated(original_file)
    try:
        cutout = cut_product(
            product, cutout_request.selection, part=cutout_request.part, history=history, byte_limit=MAX_CUTOUT_BYTES
        )
        main = product.find_part(cutout_request.part)
        if cutout is None and isinstance(main, ArrayPart):
            _check_band_unit(main, cutout_request.selection.band)
    except BaseException:
        product.close()
        raise
    return product, cutout


def describe_image_cutout(path: Place, name: str, selection: Selection) -> dict[str, Any] | None:
    """Tell of the image that would be cut what SIA 1.0 tells of images.

    Its centre, pixels, bytes, and how its header places them.

    Parameters
    ----------
    selection
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
        main = product.find_part()
        if isinstance(main, ArrayPart) and main.create_sky_mapping is not None:
            places = main.create_sky_mapping()
        else:
            places = None
        if not isinstance(main, ArrayPart) or places is None or places.image_axes.kind != "sky":
            return None
        pixel_window = find_window(main, selection)
        piece = cut_product(product, selection)
        if pixel_window is None or piece is None:
            return None
        heads = (Header.fromstring(chunk.decode("ascii", "replace")) for chunk in piece.read_chunks())
        header = next(head for head in heads if head.get("NAXIS"))
        pairs = zip(reversed(main.axes), reversed(pixel_window), strict=True)
        sides = [part for axis, part in pairs if axis.kind in {"longitude", "latitude"}]
        ((ra, dec),) = places(np.array([[(side.start + side.stop + 1) / 2 for side in sides]]))
        wcs = WCS(header).celestial

        sizes = [part.stop - part.start for part in reversed(pixel_window)]
        return {
            "ra": float(ra),
            "dec": float(dec),
            "naxes": len(sizes),
            "naxis": sizes,
            "scale": [places.scale] * 2,
            "bytes": piece.size,
            "frame": {"GALACTIC": "GAL", "ECLIPTIC": "ECL"}.get(places.image_axes.frame, places.image_axes.frame),
            "projection": wcs.wcs.ctype[0][5:8],
            "crpix": wcs.wcs.crpix.tolist(),
            "crval": wcs.wcs.crval.tolist(),
            "cd": wcs.pixel_scale_matrix.ravel().tolist(),
        }


def send_cutout(
    request: Request, product: Product, cutout: StreamedFile, name: str, cache_headers: Mapping[str, str]
) -> Response:
    """Send a file that is made while it is read, a small one made here; the product is closed with it.

    Parameters
    ----------
    request
        Of the reader.
    product
        An open file.
    cutout
        What is made of it.
    name
        Of the file that is sent.
    cache_headers
        Headers on who may keep it.

    Raises
    ------
    OverloadedError
        As many leave as may at once.
    """
    headers = {
        **cache_headers,
        "content-disposition": f'attachment; filename="{name}"',
        "x-content-type-options": "nosniff",
    }
    headers["content-type"] = cutout.media_type
    if cutout.size is not None:
        headers["content-length"] = str(cutout.size)
    small = cutout.size is not None and cutout.size <= MAX_BUFFERED_BYTES
    if small or request.method == "HEAD" or len(_active_responses) >= MAX_CONCURRENT_SENDS:
        with product:
            if request.method == "HEAD":
                return Response(None, headers=headers)
            if small:
                return Response(b"".join(cutout.read_chunks()), headers=headers)
        raise OverloadedError(
            format_message("too many cuts leave at the moment"), remedy=format_message("try again in a few seconds")
        )
    response = PieceStreamResponse(request, 200, headers, stream_pieces(_stream_cutout(product, cutout)))
    _active_responses.add(response)
    return response


def _stream_cutout(product: Product, cutout: StreamedFile) -> Generator[collection_files.FilePiece]:
    with product:
        chunks = cutout.read_chunks()
        yield None
        for chunk in chunks:
            for start in range(0, len(chunk), collection_files.PIECE_BYTES):
                yield chunk[start : start + collection_files.PIECE_BYTES]
            yield None


_active_responses: weakref.WeakSet[PieceStreamResponse] = weakref.WeakSet()


def make_file_stem(name: str) -> str:
    """Return a file's name without its endings, in letters that headers of HTTP may have.

    Parameters
    ----------
    name
        Of the file.
    """
    safe_letters = (
        sign if sign.isascii() and (sign.isalnum() or sign in "-_") else "_" for sign in name.partition(".")[0]
    )
    return "".join(safe_letters)[:100] or "file"


def _check_band_unit(array: ArrayPart, band: tuple[float, float] | None) -> None:
    """Refuse wavelengths that are not in a file and look like those of another unit."""
    axis = next((axis for axis in array.axes if axis.kind == "spectral"), None)
    if band is None or axis is None or axis.read_values is None:
        return
    low, high = _find_axis_bounds(axis)
    if np.isfinite([*band, low, high]).all() and band[0] > max(high * WRONG_UNIT_FACTOR, MAX_WAVELENGTH_METRES):
        why = format_message("BAND is in metres, and the file has {low} to {high} m", f"{low:.4g}", f"{high:.4g}")
        raise ParamError(why, name="BAND", remedy=format_message("500 nm are 5e-7"))


def _find_axis_bounds(axis: Axis) -> tuple[float, float]:
    values = np.asarray(axis.read_values() if axis.read_values is not None else [], np.float64)
    return float(np.nanmin(values)), float(np.nanmax(values))


class CutoutParameterCache(Cache[Mapping[str, "ServiceParameter"]]):
    """What is known of files that were looked into: their parameters with bounds, by the state of the file."""

    def __init__(self) -> None:
        super().__init__(20_000)


def fit_parameters(
    parameters: Sequence[ServiceParameter], path: Path, parameter_cache: CutoutParameterCache
) -> Mapping[str, ServiceParameter]:
    """Fit the parameters of the service to a file.

    What it has no axis for goes, and the others get their bounds (SODA 1.0 section 4).

    Parameters
    ----------
    parameters
        All parameters.
    path
        Of the file.
    parameter_cache
        What was found before.

    Returns
    -------
    inputs
        By name; none: it holds nothing that can be cut.
    """
    try:
        file_stat = path.stat()
        key = str(path), file_stat.st_mtime_ns, file_stat.st_size
        fitted_inputs = parameter_cache.find(key)
        if fitted_inputs is not None:
            return fitted_inputs
        with open_product(path) as product:
            main = product.find_part()
            # whether the reader may take what is beside it as well is not asked of a list: nothing is told of these
            if isinstance(main, ArrayPart):
                fit = (
                    parameters
                    if product.companion_files
                    else _add_part_choices(_fit_array_parameters(parameters, main), product)
                )
            else:
                fit = _add_part_choices(_fit_table_parameters(parameters, main, product), product)
            fitted_inputs = {fitted_input.param.name: fitted_input for fitted_input in fit}
    except (HvenError, OSError):
        return {}
    parameter_cache.store(key, fitted_inputs)
    return fitted_inputs


def _add_part_choices(parameters: Iterable[ServiceParameter], product: Product) -> Iterator[ServiceParameter]:
    """Say which parts can be cut, where there are several: by their names, else by their numbers."""
    names: tuple[str, ...] = ()
    if len(product.parts) <= MAX_LISTED_PARTS:
        parts = [
            item
            for item in product.parts
            if isinstance(item, ArrayPart) or cutout_params.list_cut_params(item, product.cards)
        ]
        name_counts = Counter(item.name.casefold() for item in product.parts)
        alone = (item.name and name_counts[item.name.casefold()] == 1 and not item.name.isdecimal() for item in parts)
        names = tuple(item.name if named else str(item.index) for item, named in zip(parts, alone, strict=True))
    for item in parameters:
        part = item.param.name == "PART" and len(names) > 1
        yield replace(item, param=replace(item.param, allowed=names)) if part else item


def _fit_table_parameters(
    parameters: Sequence[ServiceParameter], table: TablePart, product: Product
) -> Iterator[ServiceParameter]:
    """Fit the parameters to a table: to BAND and TIME, as far as it has such columns."""
    bounds_by_name = cutout_params.find_bounds(table, product.cards)
    for table_input in parameters if bounds_by_name else ():
        name = table_input.param.name
        column_bounds = bounds_by_name.get(name)
        if column_bounds is not None:
            yield replace(table_input, low=(repr(column_bounds[0]),), high=(repr(column_bounds[1]),))
        elif name in bounds_by_name or name in {"ID", "TABLE", "PART"}:
            yield table_input


def _fit_array_parameters(parameters: Sequence[ServiceParameter], array: ArrayPart) -> Iterator[ServiceParameter]:
    kinds = {axis.kind: axis for axis in array.axes}
    if array.create_sky_mapping is not None:
        places = array.create_sky_mapping()
    else:
        places = None
    sky = places is not None and places.image_axes.kind == "sky"
    if sky and places is not None:
        ring = _compute_footprint(array, places)
    else:
        ring = None
    for array_input in parameters:
        name = array_input.param.name
        if name in {"ID", "TABLE", "PART"}:
            yield array_input
        elif name in {"POS", "CIRCLE", "POLYGON"} and places is not None and sky:
            if name == "POS" or ring is None:
                yield array_input
            elif name == "POLYGON":
                yield replace(array_input, high=(" ".join(f"{number:.8g}" for number in ring.ravel()),))
            else:
                yield replace(array_input, high=(_write_bounding_circle(ring),))
        elif name in {"LONGITUDE", "LATITUDE"} and places is not None and not sky:
            yield array_input
        elif (
            name in {"BAND", "TIME"}
            and (axis := kinds.get({"BAND": "spectral", "TIME": "time"}[name])) is not None
            and axis.read_values is not None
        ):
            try:
                low, high = _find_axis_bounds(axis)
            except HvenError:
                continue
            yield replace(array_input, low=(repr(low),), high=(repr(high),))
        elif name == "POL" and (axis := kinds.get("polarization")) is not None and axis.read_values is not None:
            param = replace(array_input.param, allowed=tuple(word for word in axis.read_values().tolist() if word))
            yield replace(
                array_input,
                param=param,
            )
        elif name.startswith("PIXELS_") and (number := int(name[7:])) <= len(array.axes):
            yield replace(array_input, low=("1",), high=(str(array.axes[-number].size),))


def _compute_footprint(array: ArrayPart, image_wcs: Callable[[Any], Any]) -> np.ndarray[Any, Any] | None:
    """Return the corners of an image on the sky, shape (4, 2)."""
    sizes = [axis.size for axis in reversed(array.axes) if axis.kind in {"longitude", "latitude"}]
    if len(sizes) != 2:
        return None
    x = sizes[0] + 0.5
    y = sizes[1] + 0.5
    corners = image_wcs(np.array([[0.5, 0.5], [x, 0.5], [x, y], [0.5, y]]))
    return corners if np.isfinite(corners).all() else None


def _write_bounding_circle(corners: np.ndarray[Any, Any]) -> str:
    """Write the circle around corners."""
    lon, lat = np.radians(corners).T
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    middle = xyz.sum(0) / np.linalg.norm(xyz.sum(0))
    radius = np.degrees(np.arccos(np.clip(xyz @ middle, -1.0, 1.0))).max()
    return (
        f"{np.degrees(np.arctan2(middle[1], middle[0])) % 360.0:.8g} {np.degrees(np.arcsin(middle[2])):.8g} "
        f"{radius:.8g}"
    )


__all__ = [
    "CUTOUT_PARAMS",
    "ERROR_RESPONDER",
    "MAX_CUTOUTS",
    "PACKAGE_PARAM",
    "CutoutParameterCache",
    "CutoutRequest",
    "MultipleValuesError",
    "describe_image_cutout",
    "find_original_file",
    "fit_parameters",
    "list_row_links",
    "make_file_stem",
    "name_soda_error",
    "open_cutout",
    "parse_cutout_requests",
    "send_cutout",
]
