"""Read FITS: images and cubes of any HDU by sections, also tile-compressed ones; tables by blocks of rows.

Astropy reads everything but plain images (FITS 4.0).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import re
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from hven.formats.media import (
    MAX_PARTS,
    ArrayPart,
    Axis,
    HeaderCard,
    OpenProductFile,
    ProductFileFormat,
    TablePart,
    convert_axis_times_to_mjd,
    convert_to_wavelengths,
)
from hven.formats.media._cell_arrays import add_cell_array_parts
from hven.formats.media._fits_headers import (
    BLOCK_BYTES,
    FitsHeader,
    NonStandardHeaderError,
    map_card_values,
    read_fits_headers,
)
from hven.formats.media._number_types import format_arraysize
from hven.formats.media._product import StoredHdu
from hven.formats.media._remote_files import RemoteFileReader
from hven.formats.media._spectral_axes import convert_stokes_to_names
from hven.formats.media._stored_arrays import create_unpacked_size_error
from hven.formats.media._window_reads import compute_strides, read_window
from hven.model.errors import HvenError, SourceError, format_message
from hven.model.sky import footprints
from hven.model.table import Column
from hven.model.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import numpy.typing as npt

    from hven.formats.media import Part
    from hven.formats.media._remote_files import Place

    World = Callable[[], tuple[npt.NDArray[np.float64], str]]  # values along an axis, and their unit

_ROLE_PATTERNS = {
    "error": re.compile(r"(?i).*(err|error|stat|variance|var|sigma|uncert\w*|noise)\d*$"),
    "flag": re.compile(r"(?i).*(dq|flags?|mask|quality|qual)\d*$"),
    "coverage": re.compile(r"(?i).*(coverage|weights?|exposure|exp|hits)\d*$"),
}
_AXIS_KIND_PATTERNS = (
    ("longitude", re.compile(r"(RA|[GE]LON|..LN)(-|$)|SOLAR[-_]?X")),
    ("latitude", re.compile(r"(DEC|[GE]LAT|..LT)(-|$)|SOLAR[-_]?Y")),
    (
        "spectral",
        re.compile(r"(WAVE|AWAV|FREQ|ENER|WAVN|VRAD|VOPT|VELO|ZOPT|BETA|FELO|LAMBDA|WAVELENGTH|FREQUENCY)(-|$)"),
    ),
    ("time", re.compile(r"(TIME|UTC?|T[ACDT][IBTG]|TT|UT1|GPS|LOCAL)(-|\(|$)")),
    ("polarization", re.compile(r"STOKES$")),
)
_LENGTH_UNITS = {"angstrom", "angstroms", "nm", "um", "micron", "microns", "cm-1", "1/cm"}
_SPECTRAL_UNITS = _LENGTH_UNITS | {"hz", "khz", "mhz", "ghz", "ev", "kev", "mev"}
_VOTABLE_TYPES = {
    "?": "boolean",
    "i1": "short",
    "u1": "unsignedByte",
    "i2": "short",
    "i4": "int",
    "i8": "long",
    "f4": "float",
    "f8": "double",
    "c8": "floatComplex",
    "c16": "doubleComplex",
}
_TFORM_TYPES = {
    "L": "boolean",
    "B": "unsignedByte",
    "I": "short",
    "J": "int",
    "K": "long",
    "E": "float",
    "C": "floatComplex",
    "M": "doubleComplex",
    "A": "char",
}
_DECOMPRESSORS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7z": lzma.LZMAFile,
}
MAX_UNPACKED_BYTES = 1 << 30  # that a compressed file may unpack to


def open_fits(file: Place) -> OpenProductFile:
    """Open a FITS file.

    Parameters
    ----------
    file
        The file; one on another server is read by ranges, and unpacked here if it is compressed as a whole.

    Returns
    -------
    product
        Arrays and tables of its HDUs; those without data are left out. Headers are read as the HDUs are reached, at
        most `MAX_PARTS`.

    Raises
    ------
    SourceError
        The file is not FITS, or damaged.
    """
    name = file.name
    open_files = ExitStack()
    with _convert_astropy_errors(name):
        try:
            spool = _unpack_file_if_compressed(file, name)
            if spool is not None:
                open_files.callback(spool.close)
            plain_path: Place = Path(spool.name) if spool is not None else file
            stream = open_files.enter_context(plain_path.open("rb"))
            size = plain_path.stat().st_size
            headers = _read_standard_headers(stream, size)
            hdus = cache(partial(_open_hdus, stream, open_files))
            parts = tuple(_create_parts(headers, hdus, size, stream))
            if not parts and size % BLOCK_BYTES:
                # the handler below closes what is open
                message = format_message("the file ends in the middle of a header, after {size} bytes", size)
                raise SourceError(message)  # noqa: TRY301
            if parts and parts[0].index == 0:
                cards = parts[0].cards
            elif headers:
                cards = headers[0].cards
            else:
                cards = _list_cards(hdus()[0].header)
            all_parts = add_cell_array_parts(parts, cards)
            return OpenProductFile(medium="fits", parts=all_parts, cards=cards, close=open_files.close)
        except BaseException:
            open_files.close()
            raise


def _unpack_file_if_compressed(file: Place, name: str) -> Any:
    """Unpack a compressed file to a temporary one, so that windows of it need no second pass.

    Return None if the file is not compressed.
    """
    with file.open("rb") as source:
        head = source.read(6)
        source.seek(0)
        decompress = None
        for magic_bytes, decompressor in _DECOMPRESSORS.items():
            if head.startswith(magic_bytes):
                decompress = decompressor
                break
        if decompress is None:
            return None
        spool = tempfile.NamedTemporaryFile(suffix=".fits")  # noqa: SIM115  (closed with the product)
        try:
            with decompress(source) as stream:
                while chunk := stream.read(1 << 20):
                    spool.write(chunk)
                    if spool.tell() > MAX_UNPACKED_BYTES:
                        remedy = format_message("leave large files uncompressed, or compress their tiles (fpack)")
                        raise create_unpacked_size_error(name, MAX_UNPACKED_BYTES, remedy)  # noqa: TRY301
            spool.flush()
        except BaseException:
            spool.close()
            raise
        return spool


@contextmanager
def _convert_astropy_errors(name: str) -> Iterator[None]:
    """Convert what astropy raises for bad files to an error with their name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SourceError as fault:
            raise SourceError(
                format_message("{name} is damaged, or not a valid FITS file: {reason}", name, str(fault))
            ) from None
        except (HvenError, FileNotFoundError, PermissionError):
            raise
        except Exception as fault:  # noqa: BLE001  (astropy meets bad bytes with whatever comes up)
            words = str(fault).split()
            reason = " ".join(words)[:200] or type(fault).__name__
            raise SourceError(
                format_message("{name} is damaged, or not a valid FITS file: {reason}", name, reason)
            ) from None


def _read_standard_headers(stream: BinaryIO, size: int) -> list[FitsHeader]:
    """Read the headers if all of them are written plainly; return none if astropy must read them."""
    if not size:
        return []
    try:
        return [*islice(read_fits_headers(stream, size), MAX_PARTS)]
    except NonStandardHeaderError:
        return []


def _open_hdus(stream: BinaryIO, open_files: ExitStack) -> Any:
    """Open the file with astropy, until the product is closed."""
    from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)

    stream.seek(0)
    # no memory map: a file that is truncated while it is read would end the process
    hdus = fits.open(stream, memmap=False, lazy_load_hdus=True, do_not_scale_image_data=True)
    open_files.callback(hdus.close)
    return hdus


def _create_parts(
    headers: Sequence[FitsHeader], open_hdus: Callable[[], Any], size: int, stream: BinaryIO
) -> Iterator[Part]:
    index = 0
    while index < (len(headers) or MAX_PARTS):
        head = headers[index] if headers else None
        if head is not None and head.is_image:
            if min(head.sizes, default=0) > 0:
                image = _ImageHeader.from_header(head, index)
                yield _create_array(image, index, open_hdus, stream)
            end = head.end_offset
        else:
            try:
                hdu = open_hdus()[index]
            except IndexError:
                return
            yield from _create_part(hdu, index, open_hdus, stream)
            file_info = hdu.fileinfo()
            end = file_info["datLoc"] + file_info["datSpan"]
        if 0 < size <= end - BLOCK_BYTES:  # padding may be missing
            raise SourceError(
                format_message("the file ends in the middle of HDU {number}, after {size} bytes", index, size)
            )
        if end == size:  # there is no further header
            return
        index += 1


def _create_part(hdu: Any, index: int, open_hdus: Callable[[], Any], stream: BinaryIO) -> Iterator[Part]:
    """Create the part of an HDU that astropy has read."""
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not isinstance(hdu, fits.CompImageHDU):
        yield _create_table(hdu, index, stream)
    elif hdu.shape and min(hdu.shape) > 0 and not isinstance(hdu, fits.GroupsHDU):
        sizes = tuple(int(size) for size in hdu.shape)
        name = str(hdu.name or "")
        if isinstance(hdu, fits.CompImageHDU):
            data = None
        else:
            data = int(hdu.fileinfo()["datLoc"])
        cards = _list_cards(hdu.header)
        words = map_card_values(cards)
        image = _ImageHeader(name, sizes, cards, words, data, lambda: hdu.header, hdu.section)
        yield _create_array(image, index, open_hdus, stream)


class _ImageHeader(NamedTuple):
    """The header of an image, which this package or astropy has read."""

    name: str
    sizes: tuple[int, ...]  # the slowest axis first
    cards: tuple[HeaderCard, ...]
    values: Mapping[str, Any]  # by keyword
    data_offset: int | None  # of the first byte; None: compressed tiles
    read_header: Callable[[], Any]  # as an object of astropy
    section: Any = None  # astropy's access to compressed tiles

    @classmethod
    def from_header(cls, header: FitsHeader, index: int) -> Self:
        """Create it from a header that this package has read."""
        default_name = "" if index else "PRIMARY"
        name = str(header.values.get("EXTNAME", default_name))
        read_header = partial(_parse_header, header.text)
        return cls(name, header.sizes[::-1], header.cards, header.values, header.data_offset, read_header)


def _parse_header(text: str) -> Any:
    from astropy.io.fits import Header  # noqa: PLC0415  (a second to load, asked by few)

    return Header.fromstring(text)


def _list_cards(header: Any) -> tuple[HeaderCard, ...]:
    from astropy.io.fits import VerifyError  # noqa: PLC0415  (loaded already)

    def read_card(card: Any) -> HeaderCard:
        try:
            card_value = card.value
        except (VerifyError, ValueError):  # a card that violates the standard is taken as it is
            value, _, comment = str(card.image)[10:].partition(" /")
            text = value.strip().strip("'")
            return HeaderCard(card.keyword, text or None, comment.strip())
        if isinstance(card_value, str | int | float | bool):
            plain_value = card_value
        elif card_value is None or type(card_value).__name__ == "Undefined":
            plain_value = None
        else:
            plain_value = str(card_value)
        return HeaderCard(card.keyword, plain_value, card.comment or "")

    return tuple(map(read_card, header.cards))


class _PixelValueScale:
    """The conversion of stored values to physical values by BITPIX, BSCALE, BZERO and BLANK (FITS 4.0 section 5.3)."""

    def __init__(self, card_values: Mapping[str, Any]) -> None:
        self._scale = _to_number_or_default(card_values.get("BSCALE", 1.0), 1.0)
        self._zero = _to_number_or_default(card_values.get("BZERO", 0.0), 0.0)
        self._blank = card_values.get("BLANK")
        self._bits = int(card_values["BITPIX"] or 0)
        has_integers = self._bits > 0 and self._blank is None
        self._is_integer = has_integers and self._scale == 1.0 and self._zero == int(self._zero)
        self._is_plain_real = self._bits < 0 and (self._scale, self._zero) == (1.0, 0.0)
        self.stored_type = self._find_stored_type()
        self.value_type = self._choose_value_type()

    def _find_stored_type(self) -> np.dtype[Any]:
        if self._bits == 8:
            return np.dtype("u1")
        letter = "f" if self._bits < 0 else "i"
        return np.dtype(f"{letter}{abs(self._bits) // 8}")

    def _choose_value_type(self) -> np.dtype[Any]:
        if self._is_integer and self._zero:
            return np.result_type(self.stored_type, np.min_scalar_type(int(self._zero)))
        if self._is_integer or self._is_plain_real:
            return self.stored_type
        return np.dtype("f4" if abs(self._bits) <= 16 else "f8")

    def apply(self, stored_values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Convert stored values to physical values; blank ones become NaN."""
        if self._is_plain_real or (self._is_integer and not self._zero):
            return stored_values.astype(self.value_type, copy=False)
        values: npt.NDArray[Any] = stored_values.astype(self.value_type)
        if not self._is_integer:
            values = values * self.value_type.type(self._scale)
        values = values + self.value_type.type(self._zero)
        if not self._is_integer and self._blank is not None and self._bits > 0:
            values[stored_values == self._blank] = np.nan
        return values


def _create_array(image: _ImageHeader, index: int, open_hdus: Callable[[], Any], stream: BinaryIO) -> ArrayPart:
    sizes = image.sizes
    card_values = image.values
    pixel_scale = _PixelValueScale(card_values)
    read_uncompressed = None
    if image.data_offset is not None:
        stored_type = pixel_scale.stored_type.newbyteorder(">")
        strides = compute_strides(sizes, stored_type)
        read_uncompressed = partial(read_window, stream, image.data_offset, strides, stored_type)

    def read_raw(window: Sequence[slice]) -> npt.NDArray[Any]:
        with _convert_astropy_errors(image.name or str(index)):
            if read_uncompressed is not None:
                return read_uncompressed(window)
            return np.asarray(image.section[tuple(window)])

    axis_numbers = range(len(sizes), 0, -1)
    axes = [_create_axis(card_values, image.read_header, number, sizes, open_hdus) for number in axis_numbers]
    kinds = {axis.kind for axis in axes}
    is_local_uncompressed = read_uncompressed is not None and not isinstance(stream, RemoteFileReader)
    create_sky_mapping = None
    if {"longitude", "latitude"} <= kinds:
        create_sky_mapping = partial(footprints.build_image_wcs, card_values)
    return ArrayPart(
        index=index,
        name=image.name,
        axes=tuple(axes),
        dtype=pixel_scale.value_type,
        read=lambda window: pixel_scale.apply(read_raw(window)),
        read_raw=read_raw,
        apply_scaling=pixel_scale.apply,
        is_local_uncompressed=is_local_uncompressed,
        unit=str(card_values.get("BUNIT") or "").strip() or None,
        cards=image.cards,
        create_sky_mapping=create_sky_mapping,
        role=_find_hdu_role(image.name, index),
    )


def _find_hdu_role(name: str, index: int) -> str:
    """Find the role of an array by the name of its HDU."""
    if index:
        for role, pattern in _ROLE_PATTERNS.items():
            if pattern.match(name):
                return role
    return "data"


def _to_number_or_default(value: object, default: float) -> float:
    if isinstance(value, int | float) and np.isfinite(value):
        return float(value)
    return default


def _create_axis(
    card_values: Mapping[str, Any],
    read_header: Callable[[], Any],
    number: int,
    sizes: tuple[int, ...],
    open_hdus: Callable[[], Any],
) -> Axis:
    word = str(card_values.get(f"CTYPE{number}") or "").strip()
    unit = str(card_values.get(f"CUNIT{number}") or "").strip() or None
    kind = ""
    for axis_kind, pattern in _AXIS_KIND_PATTERNS:
        if pattern.match(word.upper()):
            kind = axis_kind
            break
    plain_unit = (unit or "").lower().replace(" ", "")
    if not kind and word.upper() in {"LINEAR", ""} and plain_unit in _SPECTRAL_UNITS:
        kind = "spectral"  # in MUSE cubes and many spectra
    size = sizes[len(sizes) - number]
    read_values: Callable[[], npt.NDArray[Any]] | None = None
    compute_coordinates = partial(_compute_axis_coordinates, card_values, read_header, number, size, open_hdus)
    if kind not in {"longitude", "latitude"} and (word or card_values.get(f"CRVAL{number}") is not None):
        read_values = partial(_compute_axis_values, card_values, number, kind, compute_coordinates)
    if read_values is not None and kind in {"spectral", "time"}:
        read_file_values = partial(_compute_values_in_file_unit, compute_coordinates, unit)
    else:
        read_file_values = None
    return Axis(name=word, size=size, kind=kind, unit=unit, read_values=read_values, read_file_values=read_file_values)


def _compute_values_in_file_unit(compute_coordinates: World, unit: str | None) -> npt.NDArray[np.float64]:
    """Compute the values that the file states for the pixels of an axis, in its own unit.

    Wcslib converts some values to units of its own.
    """
    values, unit_name = compute_coordinates()
    if unit is None or unit_name == unit:
        return values
    from astropy.units import Unit  # noqa: PLC0415  (loaded already)

    try:
        factor = Unit(unit_name).to(Unit(unit))
        return np.asarray(values * factor, np.float64)
    except (ValueError, TypeError):
        return values


def _compute_axis_values(
    card_values: Mapping[str, Any], number: int, axis_kind: str, compute_coordinates: World
) -> npt.NDArray[Any]:
    """Compute the values of the pixels of an axis, at the reference pixels of the other axes."""
    coordinates, unit_name = compute_coordinates()
    if axis_kind == "spectral":
        return convert_to_wavelengths(coordinates, str(card_values.get(f"CTYPE{number}") or ""), unit_name, card_values)
    if axis_kind == "time":
        return convert_axis_times_to_mjd(coordinates, unit_name, card_values)
    if axis_kind == "polarization":
        return convert_stokes_to_names(coordinates)
    return coordinates


def _compute_axis_coordinates(
    card_values: Mapping[str, Any], read_header: Callable[[], Any], number: int, size: int, open_hdus: Callable[[], Any]
) -> tuple[npt.NDArray[np.float64], str]:
    """Compute values along an axis, and their unit; wcslib computes tables of coordinates (-TAB) and logarithms."""
    pixels = np.arange(1, size + 1, dtype=np.float64)
    algorithm = str(card_values.get(f"CTYPE{number}") or "")[4:]
    unit = str(card_values.get(f"CUNIT{number}") or "").strip()
    if algorithm.startswith("-") and algorithm != "-":
        from astropy.wcs import WCS  # noqa: PLC0415  (takes a second to load, and few requests need it)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                wcs = WCS(read_header(), fobj=open_hdus() if "TAB" in algorithm else None)
                reference_pixels = np.asarray(wcs.wcs.crpix, np.float64)
                pixel_coordinates = np.tile(reference_pixels, (size, 1))
                pixel_coordinates[:, number - 1] = pixels
                values = wcs.wcs_pix2world(pixel_coordinates, 1)[:, number - 1]
                return values, str(wcs.wcs.cunit[number - 1])
            except Exception as fault:  # noqa: BLE001  (wcslib has a class for each of its errors, of no common kind)
                reason = " ".join(str(fault).split())[:200]
                message = format_message("the values of axis {axis} cannot be computed: {reason}", number, reason)
                raise SourceError(message) from None
    step = _to_number_or_default(card_values.get(f"CDELT{number}", card_values.get(f"CD{number}_{number}", 1.0)), 1.0)
    if f"CDELT{number}" in card_values:
        step *= _to_number_or_default(card_values.get(f"PC{number}_{number}", 1.0), 1.0)
    elif f"CD{number}_{number}" in card_values:
        step = _to_number_or_default(card_values[f"CD{number}_{number}"], 1.0)
    reference_value = _to_number_or_default(card_values.get(f"CRVAL{number}", 0.0), 0.0)
    reference_pixel = _to_number_or_default(card_values.get(f"CRPIX{number}", 0.0), 0.0)
    return reference_value + (pixels - reference_pixel) * step, unit


def _create_table(hdu: Any, index: int, stream: BinaryIO, names: Collection[str] | None = None) -> TablePart:
    header = hdu.header
    name = str(hdu.name or "")
    fits_columns = list(hdu.columns)
    direct_readers = {}
    if names is not None:
        # plain columns are read alone, without the others
        fits_columns = [column for column in fits_columns if column.name in names]
        for column in fits_columns:
            direct_reader = _create_direct_reader(hdu, column, stream)
            if direct_reader is not None:
                direct_readers[column.name] = direct_reader
    table_columns = [_create_column(column) for column in fits_columns]
    count = int(header.get("NAXIS2", 0))
    if len(direct_readers) == len(fits_columns):
        width = sum(kind.itemsize for _, kind in direct_readers.values())
    else:
        width = int(header.get("NAXIS1", 1))

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(65_536, (8 << 20) // max(1, width)))
        for first in range(start, min(count, start + row_limit), step):
            last = min(count, start + row_limit, first + step)
            with _convert_astropy_errors(name or str(index)):
                block = None
                if len(direct_readers) < len(fits_columns):
                    block = hdu.data[first:last]
                arrays = []
                for column, table_column in zip(fits_columns, table_columns, strict=True):
                    if column.name in direct_readers:
                        values = direct_readers[column.name][0](first, last)
                        arrays.append(_build_cells(values, table_column))
                    else:
                        arrays.append(_build_column_array(block, column, table_column))
            schema = pa.schema([column.arrow_field for column in table_columns])
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return TablePart(
        index=index,
        name=name,
        columns=tuple(table_columns),
        row_count=count,
        read_batches=read_batches,
        cards=_list_cards(header),
        copy_fits_hdu=partial(_create_stored_hdu, hdu, name or str(index)),
        select_columns=lambda names: _create_table(hdu, index, stream, names),
    )


def _create_direct_reader(
    hdu: Any, column: Any, stream: BinaryIO
) -> tuple[Callable[[int, int], npt.NDArray[Any]], np.dtype[Any]] | None:
    """Create the reader of a column of plain numbers, and return it with their type; None if astropy must read."""
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    kind, offset = hdu.columns.dtype.fields[column.name][:2]
    base, shape = kind.subdtype or (kind, ())
    base = base.newbyteorder(">")
    is_scaled = column.bscale not in {None, "", 1.0} or column.bzero not in {None, "", 0.0}
    has_null = column.null not in {None, ""}
    letter = str(column.format).lstrip("0123456789")[:1]
    if isinstance(hdu, fits.TableHDU) or is_scaled or has_null or letter not in "BIJKED" or base.kind not in "iuf":
        return None
    steps = (int(hdu.header["NAXIS1"]), *compute_strides(shape, base))

    def read_rows(first: int, last: int) -> npt.NDArray[Any]:
        window = [slice(first, last), *(slice(0, size) for size in shape)]
        data_offset = int(hdu.fileinfo()["datLoc"])
        return read_window(stream, data_offset + offset, steps, base, window)

    return read_rows, kind


def _build_cells(values: npt.NDArray[Any], table_column: Column) -> pa.Array:
    kind = table_column.arrow_field.type
    if pa.types.is_fixed_size_list(kind):
        flat = _build_items(np.ascontiguousarray(values).reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size).cast(kind)
    return _build_items(values.reshape(len(values)), kind)


def _create_stored_hdu(hdu: Any, name: str) -> StoredHdu:
    """Copy an HDU as it is: its header, and its bytes from the file."""
    info, header_bytes = hdu.fileinfo(), hdu.header.tostring().encode("ascii")

    def read_chunks() -> Iterator[bytes]:
        yield header_bytes
        remaining_bytes, at = int(info["datSpan"]), int(info["datLoc"])
        while remaining_bytes > 0:
            with _convert_astropy_errors(name):
                info["file"].seek(at)
                chunk = info["file"].read(min(remaining_bytes, 4 << 20))
            if not chunk:
                raise SourceError(
                    format_message(
                        "{name} is damaged, or not a valid FITS file: {reason}", name, "the file is truncated"
                    )
                )
            remaining_bytes, at = remaining_bytes - len(chunk), at + len(chunk)
            yield chunk

    size = len(header_bytes) + int(info["datSpan"])
    return StoredHdu(size=size, read_chunks=read_chunks)


def _create_column(column: Any) -> Column:
    kind = np.dtype("S")
    if column.dtype is not None:
        kind = np.dtype(column.dtype).newbyteorder("=")
    base, shape = kind.subdtype or (kind, ())
    tform = str(column.format).lstrip("0123456789")
    if tform[:1] in {"P", "Q"}:
        column_type = ColumnType(_TFORM_TYPES.get(tform[1:2], "double"), "*")
    elif base.kind in "SU":
        column_type = ColumnType("char", "*")
    else:
        column_type = ColumnType(_choose_number_type(column, base), _find_arraysize(column, shape))
    unit = str(column.unit or "") or None
    return Column(name=str(column.name), type=column_type, unit=unit, ucd=None)


def _choose_number_type(column: Any, base: np.dtype[Any]) -> str:
    """Choose the VOTable type of the numbers of a column."""
    is_scaled = column.bscale not in {None, "", 1.0} or column.bzero not in {None, "", 0.0}
    if is_scaled:
        if base.kind == "c":
            return "doubleComplex"
        return "double"
    if str(column.format).endswith("L"):
        return "boolean"
    return _VOTABLE_TYPES.get(base.str[1:], "double")


def _find_arraysize(column: Any, shape: tuple[int, ...]) -> str | None:
    """Return the arraysize of the cells of a column, from TDIM if it fits, else from the shape."""
    dims = re.findall(r"\d+", str(column.dim or ""))
    is_folded = len(shape) == 1 and math.prod(map(int, dims)) == shape[0]
    if is_folded and dims:
        return "x".join(dims)
    return format_arraysize(shape)


def _build_column_array(block: Any, column: Any, table_column: Column) -> pa.Array:
    values = block.field(column.name)
    kind = table_column.arrow_field.type
    if table_column.type.datatype == "char":
        texts = [str(value).rstrip() for value in values.tolist()]
        return pa.array(texts, pa.string())
    if pa.types.is_fixed_size_list(kind) and table_column.type.arraysize is not None:
        return _build_cells(values, table_column)
    if np.asarray(values).ndim > 1:
        # cells of one element, for which FITS may have TDIM or 1E, and numpy a further axis
        values = np.asarray(values).reshape(len(block), -1)
        if values.shape[1] == 1:
            values = values[:, 0]
    if pa.types.is_list(kind):
        row_values = [np.asarray(value).ravel() for value in values]
        if row_values:
            flat = np.concatenate(row_values)
        else:
            flat = np.empty(0)
        ends = np.cumsum([0, *map(len, row_values)]).astype(np.int32)
        items = _build_items(flat, kind.value_type)
        return pa.ListArray.from_arrays(pa.array(ends), items).cast(kind)
    # a single value may have dimensions of its own: TDIM (1, 1)
    return _build_items(np.asarray(values).reshape(len(values)), kind)


def _build_items(values: npt.NDArray[Any], arrow_type: pa.DataType) -> pa.Array:
    """Convert numbers to an Arrow type, complex ones to pairs."""
    native_values = _to_native_byte_order(values)
    if not pa.types.is_fixed_size_list(arrow_type):
        return pa.array(native_values, from_pandas=True).cast(arrow_type)
    complex_type = "c16"
    if pa.types.is_float32(arrow_type.value_type):
        complex_type = "c8"
    pairs = native_values.astype(complex_type, copy=False)
    parts = pa.array(pairs.view(pairs.real.dtype))
    return pa.FixedSizeListArray.from_arrays(parts, 2).cast(arrow_type)


def _to_native_byte_order(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


MEDIUM = ProductFileFormat(
    name="fits",
    title="FITS",
    media_types=("application/fits", "image/fits", "image/x-fits"),
    extensions=("fits", "fit", "fts", "fits.gz", "fit.gz", "fts.gz", "fits.fz", "fz", "fits.bz2"),
    signature_pattern=rb"SIMPLE  =|\x1f\x8b|BZh",
    open=open_fits,
)
