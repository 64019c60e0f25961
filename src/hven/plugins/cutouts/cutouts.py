"""Cut-outs of the files of rows: parse the parameters of SODA (1.0, section 3), find the file, and cut it.

Common
------
context
    Service context of the site.
principal
    Reader for whom the answer is built.
path, name, table_name
    Path of the file; its name for readers; name of the table.
"""

from __future__ import annotations

import itertools
import math
import re
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np
from starlette.responses import Response

from hven.formats.media import ArrayPart, open_product
from hven.model import LruCache
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
from hven.plugins.cutouts import cutout_params, rotations
from hven.plugins.cutouts.pixel_windows import CutoutSelection, find_window
from hven.plugins.cutouts.product_cutting import cut_product
from hven.plugins.cutouts.table_selection import find_cut_bounds, list_cut_params
from hven.services import collection_files, datalinks, remote_files
from hven.services.addresses import find_table
from hven.services.api.files import PieceStreamResponse, stream_file_pieces
from hven.services.errors import ErrorResponder, find_http_status
from hven.services.params import parse_values

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from hven.formats.media import Axis, OpenProductFile, Place, TablePart
    from hven.model.params import RequestParams
    from hven.model.sky import Shape
    from hven.model.table import ServiceParameter, Table
    from hven.plugins.cutouts.product_cutting import StreamedFile
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

MAX_CUTOUTS = 1000  # cuts of one request
MAX_CUTOUT_BYTES = 4 << 30  # bytes of a cut
MAX_BUFFERED_BYTES = 1 << 20  # bytes of a cut that is computed before the response begins
MAX_CONCURRENT_SENDS = 64  # larger cuts that a process sends at once: each has an open file and a piece of it
# a band is taken for one in another unit, if it is this many times longer than the file's, and than a likely wave
WRONG_UNIT_FACTOR = 1e2
MAX_WAVELENGTH_METRES = 0.1
MAX_LISTED_PARTS = 50  # parts of a file that are listed as values of PART

_AXIS_KIND_BY_PARAMETER = {"BAND": "spectral", "TIME": "time", "POL": "polarization"}
CUTOUT_PARAMS = (cutout_params.ID_PARAM, cutout_params.TABLE_PARAM, *cutout_params.CUTOUT_PARAMS)
PACKAGE_MEDIA_TYPES = {"zip": "application/zip", "tar": "application/x-tar"}
PACKAGE_PARAM = Param(
    name="PACKAGE",
    allowed=tuple(PACKAGE_MEDIA_TYPES),
    description="format of an additional archive with all cut-outs: zip or tar",
)


class MultipleValuesError(ParamError):
    """Several values of a parameter where only one cut can be returned (SODA 1.0, section 5.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoutRequest:
    """One cut of a row's file.

    Attributes
    ----------
    row_identifier
        Identifier of the row.
    selection
        What is cut of the file.
    part
        Index or name of the part; None for the main part.
    """

    row_identifier: str
    selection: CutoutSelection
    part: str | None


def parse_cutout_requests(params: RequestParams, *, is_single_only: bool = False) -> list[CutoutRequest]:
    """Parse the parameters of a request: each combination of their values is a cut (SODA 1.0, section 3.2.1).

    Parameters
    ----------
    params
        Parameters of the request.
    is_single_only
        Whether only one cut can be returned.

    Returns
    -------
    cuts
        Cuts in the order of the identifiers.

    Raises
    ------
    ParamError
        A value is invalid, or ID is missing.
    MultipleValuesError
        There are several cuts where only one can be returned.
    TooLargeError
        There are more than `MAX_CUTOUTS`.
    """
    parsed_values = parse_values(params, CUTOUT_PARAMS)
    shapes = []
    for name in ("POS", "CIRCLE", "POLYGON"):
        shapes += [_parse_shape(name, text) for text in parsed_values[name]]
    pixels = {}
    for number in range(1, cutout_params.MAX_PIXEL_AXES + 1):
        pixel_range = parsed_values[f"PIXELS_{number}"]
        if pixel_range is not None:
            pixels[number] = pixel_range
    polarizations = dict.fromkeys(text.strip() for text in parsed_values["POL"])
    common_selection = CutoutSelection(
        polarizations=tuple(polarizations),
        longitude=parsed_values["LONGITUDE"],
        latitude=parsed_values["LATITUDE"],
        pixels=pixels,
    )
    row_identifiers = [identifier for identifier in dict.fromkeys(parsed_values["ID"]) if identifier]
    if not row_identifiers:
        raise ParamError(
            format_message("ID is missing"),
            name="ID",
            remedy=format_message("send the identifier of a row from a query result"),
        )
    values_by_name: dict[str, list[Any]] = {
        "ID": row_identifiers,
        "POS": shapes or [None],
        "BAND": list(parsed_values["BAND"]) or [None],
        "TIME": list(parsed_values["TIME"]) or [None],
    }
    count = math.prod(map(len, values_by_name.values()))
    if is_single_only and count > 1:
        repeated_names = [name for name, values in values_by_name.items() if len(values) > 1]
        repeated_name = repeated_names[0]
        message = format_message(
            "{name} is given several times, but a request can create only one cut-out", repeated_name
        )
        remedy = format_message("request each cut-out separately, or use /soda/async to request all of them at once")
        raise MultipleValuesError(message, name=repeated_name, remedy=remedy)
    if count > MAX_CUTOUTS:
        message = format_message("{count} cut-outs are requested; the limit is {most}", count, MAX_CUTOUTS)
        raise TooLargeError(message, remedy=format_message("request fewer cut-outs at a time"))
    part = parsed_values["PART"]
    cutout_requests = []
    for row_identifier, shape, band, time in itertools.product(*values_by_name.values()):
        selection = replace(common_selection, shape=shape, band=band, time=time)
        cutout_requests.append(CutoutRequest(row_identifier=row_identifier, selection=selection, part=part))
    return cutout_requests


def _parse_shape(name: str, text: str) -> Shape:
    try:
        return shape_text.parse_dali_shape(name.lower(), text)
    except ValueError as error:
        syntax_by_name = {
            "POS": "CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 ..",
            "CIRCLE": "lon lat radius",
            "POLYGON": "lon1 lat1 lon2 lat2 lon3 lat3 ..",
        }
        remedy = format_message("write {form}, in degrees (ICRS)", syntax_by_name[name])
        raise ParamError(f"{name}={text!r:.60}: {error}", name=name, remedy=remedy) from None


def find_original_file_and_log_access(
    context: ServiceContext, principal: Principal, row_identifier: str, table_name: str | None
) -> collection_files.OriginalFile:
    """Find the file of a row, with the rights of the reader; the access is logged as that of the file itself.

    Parameters
    ----------
    row_identifier
        Value of the table's identifier, or ``ivo://authority/schema?value``.
    table_name
        Name of the table, ``schema.table``; None if the identifier names its schema.

    Returns
    -------
    file
        The file, as it was published.

    Raises
    ------
    ParamError
        The identifier does not tell its table.
    NotFoundError
        There is no such row, or it has no file here.
    ForbiddenError, UnauthenticatedError, StorageUnavailableError, GoneError
        As for the file itself.
    """
    error: HvenError = NotFoundError(
        format_message("the row {ident} has no file from which parts can be cut out", row_identifier[:100])
    )
    for table in _find_row_tables(context, principal, row_identifier, table_name):
        no_file_error = NotFoundError(
            format_message("the rows of {table} have no files from which parts can be cut out", table.qualified_name),
            remedy=format_message("add `links: {semantics: this, file: ..}` to the table's descriptor"),
        )
        if not (table.has_row_files or table.is_observation_view):
            raise no_file_error
        for row in list_row_links(context, principal, table, [row_identifier]):
            if row["file"] is not None:
                return collection_files.find_file_and_log_access(context, principal, *row["file"])
            if row["error_message"]:
                error = NotFoundError(row["error_message"].partition(": ")[2])
            elif table.is_observation_view:
                error = no_file_error
    raise error


def _find_row_tables(
    context: ServiceContext, principal: Principal, row_identifier: str, table_name: str | None
) -> Sequence[Table]:
    """Find the tables that may have a row."""
    catalogue = context.site.get_published_state().get_catalogue(principal, context.policies)
    if table_name is not None:
        return [find_table(table_name, catalogue)]
    schema = ""
    if row_identifier.startswith("ivo://") and "?" in row_identifier:
        schema = row_identifier.partition("?")[0].rpartition("/")[2]
    schema_tables = [table for table in catalogue.iterate_tables() if table.schema == schema]
    tables = [table for table in schema_tables if table.has_row_files]
    if not tables:
        raise ParamError(
            format_message("ID={ident} does not contain the name of a table", row_identifier[:100]),
            name="ID",
            remedy=format_message("add TABLE=schema.table"),
        )
    return tables


def list_row_links(
    context: ServiceContext, principal: Principal, table: Table, row_identifiers: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """List the links of rows.

    Parameters
    ----------
    table
        Table of the rows.
    row_identifiers
        As in `find_original_file_and_log_access`.

    Yields
    ------
    row
        A row of DataLink; also ``file``, the collection and the path of a row's own file, else None.
    """
    published_state = context.site.get_published_state()
    link_rows = datalinks.list_row_links(
        table,
        row_identifiers,
        principal=principal,
        site=context.site,
        policies=context.policies,
        published_state=published_state,
        base_url="",
    )
    if table.is_observation_view:  # its files are those of the tables from which its rows come
        catalogue = published_state.get_catalogue(principal, context.policies)
        lists = datalinks.find_link_list_rows(link_rows, context.site.settings.site_url)
        for name, linked_identifiers in lists.items():
            yield from list_row_links(context, principal, find_table(name, catalogue), [*linked_identifiers])
    file_table = published_state.tables_by_name.get(f"{table.schema}.files")
    # prefix of the files' paths for each address of a server to which clients are redirected
    redirecting_roots = {}
    if file_table is not None:
        for root in file_table.table.roots:
            if root.redirects_clients:
                redirecting_roots[root.address] = root.path_prefix
    prefix = "/collections/"
    for row in link_rows.to_pylist():
        address = row["access_url"] or ""
        root_address = next((root for root in redirecting_roots if address.startswith(f"{root}/")), None)
        if root_address is not None:
            path_below = address.removeprefix(f"{root_address}/")
            file_path = f"{redirecting_roots[root_address]}/{path_below}".removeprefix("/")
            address = f"{prefix}{quote(table.schema)}/files/{file_path}"
        own_file = None
        if row["semantics"] == datalinks.THIS_SEMANTICS and address.startswith(prefix):
            collection, _, path = address.removeprefix(prefix).partition("/files/")
            own_file = (unquote(collection), unquote(path))
        yield {**row, "file": own_file}


def get_soda_error_label(error: Exception) -> str:
    """Return SODA's label of an error (section 5.2).

    Parameters
    ----------
    error
        Any error.
    """
    if isinstance(error, MultipleValuesError):
        return "MultiValuedParamNotSupported"
    if isinstance(error, UnauthenticatedError):
        return "AuthenticationError"
    if isinstance(error, ForbiddenError):
        return "AuthorizationError"
    status = find_http_status(error)
    if status == 503:
        return "ServiceUnavailable"
    if status < 500:
        return "UsageError"
    return "Error"


ERROR_RESPONDER = ErrorResponder(label_error=get_soda_error_label)


def open_cutout(
    original_file: collection_files.OriginalFile, cutout_request: CutoutRequest, history: Sequence[str]
) -> tuple[OpenProductFile, StreamedFile | None]:
    """Open a file and prepare its cut.

    Parameters
    ----------
    original_file
        Original file of the cut-out.
    cutout_request
        What is cut.
    history
        Lines for the header of the cut.

    Returns
    -------
    product, cut
        Open file, which the caller must close, and the cut; None if the selection is empty in this file.
    """
    product = rotations.open_product_with_transposed_copies(original_file)
    try:
        cutout = cut_product(
            product,
            cutout_request.selection,
            part_name=cutout_request.part,
            history=history,
            byte_limit=MAX_CUTOUT_BYTES,
        )
        main = product.find_part(cutout_request.part)
        if cutout is None and isinstance(main, ArrayPart):
            _check_band_unit(main, cutout_request.selection.band)
    except BaseException:
        product.close()
        raise
    return product, cutout


def describe_image_cutout(path: Place, file_name: str, selection: CutoutSelection) -> dict[str, Any] | None:
    """Describe the image that would be cut, with the facts that SIA 1.0 requires.

    These are its centre, pixels, bytes, and the projection in its header.

    Parameters
    ----------
    selection
        What is cut of it.

    Returns
    -------
    facts
        Values by column of the face; None if the file is no image of the sky, or the selection is empty in it.

    Raises
    ------
    HvenError
        The file cannot be read.
    """
    from astropy.io.fits import Header  # noqa: PLC0415  (a second to load)
    from astropy.wcs import WCS  # noqa: PLC0415

    with open_product(path, file_name) as product:
        main = product.find_part()
        if not isinstance(main, ArrayPart) or main.create_sky_mapping is None:
            return None
        sky_mapping = main.create_sky_mapping()
        if sky_mapping is None or sky_mapping.image_axes.kind != "sky":
            return None
        pixel_window = find_window(main, selection)
        cutout = cut_product(product, selection)
        if pixel_window is None or cutout is None:
            return None
        header_texts = (chunk.decode("ascii", "replace") for chunk in cutout.read_chunks())
        headers = map(Header.fromstring, header_texts)
        header = next(header for header in headers if header.get("NAXIS"))
        wcs = WCS(header).celestial
        axis_windows = list(zip(reversed(main.axes), reversed(pixel_window), strict=True))
        sky_windows = [window for axis, window in axis_windows if axis.kind in {"longitude", "latitude"}]
        centre_pixel = [(window.start + window.stop + 1) / 2 for window in sky_windows]
        ((ra, dec),) = sky_mapping(np.array([centre_pixel]))
        sizes = [window.stop - window.start for _, window in axis_windows]
        frame = sky_mapping.image_axes.frame
        return {
            "ra": float(ra),
            "dec": float(dec),
            "naxes": len(sizes),
            "naxis": sizes,
            "scale": [sky_mapping.scale] * 2,
            "bytes": cutout.size,
            "frame": {"GALACTIC": "GAL", "ECLIPTIC": "ECL"}.get(frame, frame),
            "projection": wcs.wcs.ctype[0][5:8],
            "crpix": wcs.wcs.crpix.tolist(),
            "crval": wcs.wcs.crval.tolist(),
            "cd": wcs.pixel_scale_matrix.ravel().tolist(),
        }


def list_image_cutouts(
    context: ServiceContext,
    principal: Principal,
    table: Table,
    row_identifiers: Sequence[str],
    region: str | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the cut-outs of the images of rows, for `hven.services.face.ServiceFace.list_image_cutouts`.

    Images that the reader may not access, or that have nothing in the region, are left out.

    Parameters
    ----------
    table
        Table of the rows.
    row_identifiers
        As in `find_original_file_and_log_access`.
    region
        Region as POS has it; None: the whole images.

    Yields
    ------
    identifier, facts
        Identifier of the row; the facts of `describe_image_cutout`, and the path of the cut-out as ``url``.
    """
    files_by_collection: dict[str, list[tuple[str, str]]] = {}
    for link in list_row_links(context, principal, table, row_identifiers):
        if link["file"] is not None and link["link_authorized"] is not False:
            collection, path = link["file"]
            files_by_collection.setdefault(collection, []).append((link["ID"], path))
    shape = None
    soda_url = f"/soda/sync?TABLE={quote(table.qualified_name)}"
    position_query = ""
    if region is not None:
        shape = shape_text.parse_dali_shape("pos", region)
        position_query = f"&POS={quote(region)}"
    for collection, files in files_by_collection.items():
        paths = [path for _, path in files]
        describe_cutout = partial(
            _describe_accessible_cutout,
            context,
            principal,
            collection_files.find_files(context, principal, collection, paths),
            CutoutSelection(shape=shape),
        )
        cutout_descriptions = remote_files.call_concurrently(describe_cutout, paths)
        for (identifier, _), facts in zip(files, cutout_descriptions, strict=True):
            if facts is not None:
                url = f"{soda_url}&ID={quote(identifier, safe='')}{position_query}"
                yield identifier, {**facts, "url": url}


def _describe_accessible_cutout(
    context: ServiceContext,
    principal: Principal,
    found_files: collection_files.FoundFiles,
    selection: CutoutSelection,
    path: str,
) -> dict[str, Any] | None:
    try:
        file = collection_files.locate_original_file(context, principal, found_files, path)
        return describe_image_cutout(file.path, file.name, selection)
    except HvenError as error:  # not accessible, not there any more, or no image of the sky
        if remote_files.is_temporary_failure(error):
            raise
        return None


def send_cutout(
    request: Request, product: OpenProductFile, cutout: StreamedFile, file_name: str, cache_headers: Mapping[str, str]
) -> Response:
    """Send a cut: a small one as a whole, a larger one while it is computed; the product is closed at the end.

    Parameters
    ----------
    request
        Request of the client.
    product
        Open file; it is closed after the answer.
    cutout
        Cut-out of the file.
    file_name
        Name of the file that is sent.
    cache_headers
        Headers for caches.

    Raises
    ------
    OverloadedError
        The process already sends as many cuts as it may at once.
    """
    headers = {
        **cache_headers,
        "content-disposition": f'attachment; filename="{file_name}"',
        "x-content-type-options": "nosniff",
    }
    headers["content-type"] = cutout.media_type
    if cutout.size is not None:
        headers["content-length"] = str(cutout.size)
    is_small = cutout.size is not None and cutout.size <= MAX_BUFFERED_BYTES
    if is_small or request.method == "HEAD" or len(_active_responses) >= MAX_CONCURRENT_SENDS:
        with product:
            if request.method == "HEAD":
                return Response(None, headers=headers)
            if is_small:
                return Response(b"".join(cutout.read_chunks()), headers=headers)
        raise OverloadedError(
            format_message("too many cut-outs are being sent at the moment"),
            remedy=format_message("try again in a few seconds"),
        )
    response = PieceStreamResponse(request, 200, headers, stream_file_pieces(_stream_cutout(product, cutout)))
    _active_responses.add(response)
    return response


def _stream_cutout(product: OpenProductFile, cutout: StreamedFile) -> Generator[collection_files.FilePiece]:
    with product:
        chunks = cutout.read_chunks()
        yield None
        for chunk in chunks:
            for start in range(0, len(chunk), collection_files.PIECE_BYTES):
                yield chunk[start : start + collection_files.PIECE_BYTES]
            yield None


_active_responses: weakref.WeakSet[PieceStreamResponse] = weakref.WeakSet()


def make_file_stem(name: str) -> str:
    """Return a file's name without its extensions, in characters that HTTP headers may have.

    Parameters
    ----------
    name
        Name of the file.
    """
    stem = name.partition(".")[0]
    safe_stem = re.sub(r"[^A-Za-z0-9_-]", "_", stem)
    return safe_stem[:100] or "file"


def _check_band_unit(array: ArrayPart, band: tuple[float, float] | None) -> None:
    """Refuse wavelengths outside of a file that look like those of another unit."""
    axis = next((axis for axis in array.axes if axis.kind == "spectral"), None)
    if band is None or axis is None or axis.read_values is None:
        return
    low, high = _find_axis_bounds(axis)
    longest_wavelength = max(high * WRONG_UNIT_FACTOR, MAX_WAVELENGTH_METRES)
    if np.isfinite([*band, low, high]).all() and band[0] > longest_wavelength:
        message = format_message(
            "BAND must be in metres; the file covers {low} to {high} m", f"{low:.4g}", f"{high:.4g}"
        )
        raise ParamError(message, name="BAND", remedy=format_message("write, for example, 5e-7 for 500 nm"))


def _find_axis_bounds(axis: Axis) -> tuple[float, float]:
    values = np.empty(0)
    if axis.read_values is not None:
        values = np.asarray(axis.read_values(), np.float64)
    return float(np.nanmin(values)), float(np.nanmax(values))


class CutoutParameterCache(LruCache[Mapping[str, "ServiceParameter"]]):
    """Parameters with bounds of files that were read before, by the state of the file."""

    def __init__(self) -> None:
        super().__init__(20_000)


def fit_cutout_params_to_file(
    parameters: Sequence[ServiceParameter], path: Path, parameter_cache: CutoutParameterCache
) -> Mapping[str, ServiceParameter]:
    """Fit the parameters of the service to a file: drop those without an axis, add bounds (SODA 1.0, section 4).

    Parameters
    ----------
    parameters
        All parameters.
    path
        Path of the file.
    parameter_cache
        Cache of earlier results.

    Returns
    -------
    inputs
        Parameters by name; none: the file has nothing that can be cut.
    """
    try:
        file_stat = path.stat()
        key = str(path), file_stat.st_mtime_ns, file_stat.st_size
        fitted_inputs = parameter_cache.find(key)
        if fitted_inputs is not None:
            return fitted_inputs
        with open_product(path) as product:
            main = product.find_part()
            inputs: Iterable[ServiceParameter]
            if not isinstance(main, ArrayPart):
                inputs = _with_part_choices(_fit_params_to_table(parameters, main, product), product)
            elif product.companion_files:
                # a list does not check access to companion files, so it must not reveal their contents
                inputs = parameters
            else:
                inputs = _with_part_choices(_fit_params_to_array(parameters, main), product)
            fitted_inputs = {fitted_input.param.name: fitted_input for fitted_input in inputs}
    except (HvenError, OSError):
        return {}
    parameter_cache.store(key, fitted_inputs)
    return fitted_inputs


def _with_part_choices(parameters: Iterable[ServiceParameter], product: OpenProductFile) -> Iterator[ServiceParameter]:
    """List the parts that can be cut, where there are several: by unique names, else by their indexes."""
    choices: list[str] = []
    if len(product.parts) <= MAX_LISTED_PARTS:
        name_counts = Counter(part.name.casefold() for part in product.parts)
        for part in product.parts:
            if not isinstance(part, ArrayPart) and not list_cut_params(part, product.cards):
                continue
            has_unique_name = bool(part.name) and name_counts[part.name.casefold()] == 1
            is_named = has_unique_name and not part.name.isdecimal()
            choices.append(part.name if is_named else str(part.index))
    for parameter in parameters:
        if parameter.param.name == "PART" and len(choices) > 1:
            yield replace(parameter, param=replace(parameter.param, allowed=tuple(choices)))
        else:
            yield parameter


def _fit_params_to_table(
    parameters: Sequence[ServiceParameter], table: TablePart, product: OpenProductFile
) -> Iterator[ServiceParameter]:
    """Fit the parameters to a table: BAND and TIME, if it has such columns."""
    bounds_by_name = find_cut_bounds(table, product.cards)
    if not bounds_by_name:
        return
    for parameter in parameters:
        name = parameter.param.name
        column_bounds = bounds_by_name.get(name)
        if column_bounds is not None:
            low, high = column_bounds
            yield replace(parameter, low=(repr(low),), high=(repr(high),))
        elif name in bounds_by_name or name in {"ID", "TABLE", "PART"}:
            yield parameter


def _fit_params_to_array(parameters: Sequence[ServiceParameter], array: ArrayPart) -> Iterator[ServiceParameter]:
    """Fit the parameters to an array: to its axes."""
    axes_by_kind = {axis.kind: axis for axis in array.axes}
    sky_mapping = None
    if array.create_sky_mapping is not None:
        sky_mapping = array.create_sky_mapping()
    sky_names: set[str] = set()
    corners = None
    if sky_mapping is not None:
        sky_names = {"LONGITUDE", "LATITUDE"}
        if sky_mapping.image_axes.kind == "sky":
            sky_names = {"POS", "CIRCLE", "POLYGON"}
            corners = _compute_sky_corners(array, sky_mapping)
    for parameter in parameters:
        name = parameter.param.name
        fitted_parameter: ServiceParameter | None = None
        if name in {"ID", "TABLE", "PART"}:
            fitted_parameter = parameter
        elif name in sky_names:
            fitted_parameter = _fit_sky_parameter(parameter, corners)
        elif name in _AXIS_KIND_BY_PARAMETER:
            axis = axes_by_kind.get(_AXIS_KIND_BY_PARAMETER[name])
            fitted_parameter = _fit_axis_parameter(parameter, axis)
        elif name.startswith("PIXELS_"):
            number = int(name.removeprefix("PIXELS_"))
            if number <= len(array.axes):
                axis_size = array.axes[-number].size
                fitted_parameter = replace(parameter, low=("1",), high=(str(axis_size),))
        if fitted_parameter is not None:
            yield fitted_parameter


def _fit_sky_parameter(parameter: ServiceParameter, corners: np.ndarray[Any, Any] | None) -> ServiceParameter:
    """Fit a parameter of positions to the corners of an image."""
    if corners is None:
        return parameter
    if parameter.param.name == "POLYGON":
        numbers = [f"{number:.8g}" for number in corners.ravel()]
        return replace(parameter, high=(" ".join(numbers),))
    if parameter.param.name == "CIRCLE":
        return replace(parameter, high=(_write_bounding_circle(corners),))
    return parameter


def _fit_axis_parameter(parameter: ServiceParameter, axis: Axis | None) -> ServiceParameter | None:
    """Fit a parameter to the values of an axis; return None if there is no such axis or its values cannot be read."""
    if axis is None or axis.read_values is None:
        return None
    if parameter.param.name == "POL":
        states = tuple(state for state in axis.read_values().tolist() if state)
        return replace(parameter, param=replace(parameter.param, allowed=states))
    try:
        low, high = _find_axis_bounds(axis)
    except HvenError:
        return None
    return replace(parameter, low=(repr(low),), high=(repr(high),))


def _compute_sky_corners(array: ArrayPart, image_wcs: Callable[[Any], Any]) -> np.ndarray[Any, Any] | None:
    """Return the corners of an image on the sky, shape (4, 2); None if a corner is not on the sky."""
    sky_axes = [axis for axis in reversed(array.axes) if axis.kind in {"longitude", "latitude"}]
    if len(sky_axes) != 2:
        return None
    x, y = (axis.size + 0.5 for axis in sky_axes)
    corner_pixels = np.array([[0.5, 0.5], [x, 0.5], [x, y], [0.5, y]])
    corners: np.ndarray[Any, Any] = image_wcs(corner_pixels)
    if not np.isfinite(corners).all():
        return None
    return corners


def _write_bounding_circle(corners: np.ndarray[Any, Any]) -> str:
    """Write the circle around corners."""
    lon, lat = np.radians(corners).T
    x = np.cos(lat) * np.cos(lon)
    y = np.cos(lat) * np.sin(lon)
    vectors = np.stack([x, y, np.sin(lat)], 1)
    vector_sum = vectors.sum(0)
    centre = vector_sum / np.linalg.norm(vector_sum)
    cosines = np.clip(vectors @ centre, -1.0, 1.0)
    radius = np.degrees(np.arccos(cosines)).max()
    centre_radians = np.arctan2(centre[1], centre[0])
    centre_lon = np.degrees(centre_radians) % 360.0
    centre_lat = np.degrees(np.arcsin(centre[2]))
    return f"{centre_lon:.8g} {centre_lat:.8g} {radius:.8g}"
