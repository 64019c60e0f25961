"""FITS: images and cubes of any HDU, tile-compressed ones too, read by sections; tables by blocks of rows. astropy reads what is no plain image (FITS 4.0)."""

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
    MOST,
    Array,
    Axis,
    Card,
    Medium,
    Product,
    Rows,
    times,
    wavelengths,
)
from hven.formats.media._cells import with_cells
from hven.formats.media._distant import Opened
from hven.formats.media._fits_heads import BLOCK, Head, Unusual, first_of, heads
from hven.formats.media._plain import in_order, read_plain
from hven.formats.media._product import Stored
from hven.formats.media._spectral import polarizations
from hven.model.errors import HvenError, SourceError, TooLarge, say
from hven.model.sky import footprints
from hven.model.table import Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import numpy.typing as npt

    from hven.formats.media import Part
    from hven.formats.media._distant import Place

    World = Callable[[], tuple[npt.NDArray[np.float64], str]]  # values along an axis, and their unit

_ROLES = {
    "error": re.compile(r"(?i).*(err|error|stat|variance|var|sigma|uncert\w*|noise)\d*$"),
    "flag": re.compile(r"(?i).*(dq|flags?|mask|quality|qual)\d*$"),
    "coverage": re.compile(r"(?i).*(coverage|weights?|exposure|exp|hits)\d*$"),
}
_KINDS = (
    ("longitude", re.compile(r"(RA|[GE]LON|..LN)(-|$)|SOLAR[-_]?X")),
    ("latitude", re.compile(r"(DEC|[GE]LAT|..LT)(-|$)|SOLAR[-_]?Y")),
    (
        "spectral",
        re.compile(r"(WAVE|AWAV|FREQ|ENER|WAVN|VRAD|VOPT|VELO|ZOPT|BETA|FELO|LAMBDA|WAVELENGTH|FREQUENCY)(-|$)"),
    ),
    ("time", re.compile(r"(TIME|UTC?|T[ACDT][IBTG]|TT|UT1|GPS|LOCAL)(-|\(|$)")),
    ("polarization", re.compile(r"STOKES$")),
)
_SPECTRAL_UNITS = frozenset(
    [
        "angstrom",
        "angstroms",
        "nm",
        "um",
        "micron",
        "microns",
        "hz",
        "khz",
        "mhz",
        "ghz",
        "ev",
        "kev",
        "mev",
        "cm-1",
        "1/cm",
    ]
)
_VOTABLE = {
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
_LETTERS = {"L": "boolean", "B": "unsignedByte", "I": "short", "J": "int", "K": "long", "E": "float", "C": "floatComplex", "M": "doubleComplex", "A": "char"}  # fmt: skip
_PACKED: dict[bytes, Callable[[BinaryIO], Any]] = {b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file), b"BZh": bz2.BZ2File, b"\xfd7z": lzma.LZMAFile}  # fmt: skip
LARGEST = 1 << 30  # bytes that a compressed file may unpack to


def open_fits(file: Place) -> Product:
    """Open a FITS file.

    Parameters
    ----------
    file
        One on another server is read by ranges, and unpacked here if it is compressed as a whole.

    Returns
    -------
    product
        Arrays and tables of its HDUs; those without data are left out. Headers are read as the HDUs are come to, at most `MOST`.

    Raises
    ------
    SourceError
        It is not FITS, or damaged.
    """
    name = file.name
    opened = ExitStack()
    with _told(name):
        try:
            spool = _unpacked(file, name)
            if spool is not None:
                opened.callback(spool.close)
            plain: Place = file if spool is None else Path(spool.name)
            stream = opened.enter_context(plain.open("rb"))
            size = plain.stat().st_size
            known, hdus = _heads(stream, size), cache(partial(_hdus, stream, opened))
            parts = tuple(_parts(known, hdus, size, stream))
            if not parts and size % BLOCK:
                raise SourceError(say("it ends after {size} bytes, within a header", size))  # noqa: TRY301  (what is open is closed)
            first = parts[0] if parts and parts[0].index == 0 else known[0] if known else None
            cards = _cards(hdus()[0].header) if first is None else first.cards
            return Product(medium="fits", parts=with_cells(parts, cards), cards=cards, closing=opened.close)
        except BaseException:
            opened.close()
            raise


def _unpacked(file: Place, name: str) -> Any:
    """Unpack a compressed file beside the temporary ones, so that windows of it need no second pass; None: it is plain."""
    with file.open("rb") as source:
        head = source.read(6)
        source.seek(0)
        unpack = next((unpack for begins, unpack in _PACKED.items() if head.startswith(begins)), None)
        if unpack is None:
            return None
        spool = tempfile.NamedTemporaryFile(suffix=".fits")  # noqa: SIM115  (closed with the product)
        try:
            with unpack(source) as stream:
                while chunk := stream.read(1 << 20):
                    spool.write(chunk)
                    if spool.tell() > LARGEST:
                        raise TooLarge(  # noqa: TRY301
                            say("{name} unpacks to more than {most} MB", name, LARGEST >> 20),
                            remedy=say("keep large files as they are, or compress their tiles (fpack)"),
                        )
            spool.flush()
        except BaseException:
            spool.close()
            raise
        return spool


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what astropy raises of bad files into a fault with their name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SourceError as fault:
            raise SourceError(say("{name} is damaged, or no FITS file: {reason}", name, str(fault))) from None
        except (HvenError, FileNotFoundError, PermissionError):
            raise
        except Exception as fault:  # noqa: BLE001  (astropy meets bad bytes with whatever comes up)
            why = " ".join(str(fault).split())[:200] or type(fault).__name__
            raise SourceError(say("{name} is damaged, or no FITS file: {reason}", name, why)) from None


def _heads(stream: BinaryIO, size: int) -> list[Head]:
    """Read the headers, where all are written plainly; none: astropy reads them."""
    try:
        return [*islice(heads(stream, size), MOST)] if size else []
    except Unusual:
        return []


def _hdus(stream: BinaryIO, opened: ExitStack) -> Any:
    """Have a file opened by astropy, until it is closed."""
    from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)

    stream.seek(0)
    # no memory map: a file that is cut short while it is read would end the process
    hdus = fits.open(stream, memmap=False, lazy_load_hdus=True, do_not_scale_image_data=True)
    opened.callback(hdus.close)
    return hdus


def _parts(known: Sequence[Head], hdus: Callable[[], Any], size: int, stream: BinaryIO) -> Iterator[Part]:
    index = 0
    while index < (len(known) or MOST):
        head = known[index] if known else None
        if head is not None and head.image:
            if min(head.sizes, default=0) > 0:
                yield _array(_Image.of(head, index), index, hdus, stream)
            end = head.end
        else:
            try:
                hdu = hdus()[index]
            except IndexError:
                return
            yield from _part(hdu, index, hdus, stream)
            told = hdu.fileinfo()
            end = told["datLoc"] + told["datSpan"]
        if 0 < size <= end - BLOCK:  # padding may be missing
            raise SourceError(say("it ends within HDU {number}: {size} bytes", index, size))
        if end == size:  # no further header need be looked for
            return
        index += 1


def _part(hdu: Any, index: int, hdus: Callable[[], Any], stream: BinaryIO) -> Iterator[Part]:
    """Make a part of an HDU that astropy has read."""
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not isinstance(hdu, fits.CompImageHDU):
        yield _rows(hdu, index, stream)
    elif hdu.shape and min(hdu.shape) > 0 and not isinstance(hdu, fits.GroupsHDU):
        sizes, name = tuple(int(size) for size in hdu.shape), str(hdu.name or "")
        data = None if isinstance(hdu, fits.CompImageHDU) else int(hdu.fileinfo()["datLoc"])
        cards = _cards(hdu.header)
        words = first_of(cards)
        yield _array(_Image(name, sizes, cards, words, data, lambda: hdu.header, hdu.section), index, hdus, stream)


class _Image(NamedTuple):
    """An image, whoever has read its header."""

    name: str
    sizes: tuple[int, ...]  # in the order of C
    cards: tuple[Card, ...]
    words: Mapping[str, Any]  # values by keyword
    data: int | None  # first byte; None: in compressed tiles
    header: Callable[[], Any]  # as astropy has it
    section: Any = None  # of what is compressed

    @classmethod
    def of(cls, head: Head, index: int) -> Self:
        """Take it from a header that was read here."""
        name = str(head.words.get("EXTNAME", "" if index else "PRIMARY"))
        return cls(name, head.sizes[::-1], head.cards, head.words, head.data, partial(_header, head.text))


def _header(text: str) -> Any:
    from astropy.io.fits import Header  # noqa: PLC0415  (a second to load, asked by few)

    return Header.fromstring(text)


def _cards(header: Any) -> tuple[Card, ...]:
    from astropy.io.fits import VerifyError  # noqa: PLC0415  (loaded already)

    def read(card: Any) -> Card:
        try:
            found = card.value
        except (VerifyError, ValueError):  # a card that does not keep the standard: as it stands
            value, _, comment = str(card.image)[10:].partition(" /")
            return Card(card.keyword, value.strip().strip("'") or None, comment.strip())
        plain = (
            found
            if isinstance(found, str | int | float | bool)
            else None
            if found is None or type(found).__name__ == "Undefined"
            else str(found)
        )
        return Card(card.keyword, plain, card.comment or "")

    return tuple(map(read, header.cards))


def _array(image: _Image, index: int, hdus: Callable[[], Any], stream: BinaryIO) -> Array:
    name, sizes, plain = image.name, image.sizes, image.words
    scale, zero = _real(plain.get("BSCALE", 1.0), 1.0), _real(plain.get("BZERO", 0.0), 0.0)
    blank, bits = plain.get("BLANK"), int(plain["BITPIX"] or 0)
    whole = bits > 0 and scale == 1.0 and zero == int(zero) and blank is None
    shifted = zero if whole else 0.0
    dtype = np.dtype(f"{'f' if bits < 0 else 'i'}{abs(bits) // 8}") if bits != 8 else np.dtype("u1")
    kind = dtype if bits < 0 and (scale, zero) == (1.0, 0.0) else np.dtype("f4") if abs(bits) <= 16 else np.dtype("f8")
    if whole:
        kind = np.result_type(dtype, np.min_scalar_type(int(zero))) if shifted else dtype

    flat = None
    if image.data is not None:
        kept = dtype.newbyteorder(">")
        flat = partial(read_plain, stream, image.data, in_order(sizes, kept), kept)

    def raw(window: Sequence[slice]) -> npt.NDArray[Any]:
        with _told(name or str(index)):
            if flat is not None:
                return flat(window)
            return np.asarray(image.section[tuple(window)])

    def meant(there: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if bits < 0 and (scale, zero) == (1.0, 0.0):
            return there.astype(kind, copy=False)
        if whole:
            return there.astype(kind) + kind.type(shifted) if shifted else there.astype(kind, copy=False)
        values = there.astype(kind) * kind.type(scale) + kind.type(zero)
        if blank is not None and bits > 0:
            values[there == blank] = np.nan
        return values

    axes = tuple(_axis(plain, image.header, number, sizes, hdus) for number in range(len(sizes), 0, -1))
    kinds = {axis.kind for axis in axes}
    return Array(
        index=index,
        name=name,
        axes=axes,
        dtype=kind,
        read=lambda window: meant(raw(window)),
        raw=raw,
        meant=meant,
        flat=flat is not None and not isinstance(stream, Opened),
        unit=str(plain.get("BUNIT") or "").strip() or None,
        cards=image.cards,
        places=partial(footprints.places, plain) if {"longitude", "latitude"} <= kinds else None,
        role=next((role for role, pattern in _ROLES.items() if index and pattern.match(name)), "data"),
    )


def _real(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else default


def _axis(
    plain: Mapping[str, Any], header: Callable[[], Any], number: int, sizes: tuple[int, ...], hdus: Callable[[], Any]
) -> Axis:
    word = str(plain.get(f"CTYPE{number}") or "").strip()
    unit = str(plain.get(f"CUNIT{number}") or "").strip() or None
    kind = next((kind for kind, pattern in _KINDS if pattern.match(word.upper())), "")
    if not kind and word.upper() in {"LINEAR", ""} and (unit or "").lower().replace(" ", "") in _SPECTRAL_UNITS:
        kind = "spectral"  # as MUSE and many spectra have it
    size = sizes[len(sizes) - number]
    values: Callable[[], npt.NDArray[Any]] | None = None
    world = partial(_world, plain, header, number, size, hdus)
    if kind not in {"longitude", "latitude"} and (word or plain.get(f"CRVAL{number}") is not None):
        values = partial(_values, plain, number, kind, world)
    own = partial(_own, world, unit) if values is not None and kind in {"spectral", "time"} else None
    return Axis(name=word, size=size, kind=kind, unit=unit, values=values, own=own)


def _own(world: World, unit: str | None) -> npt.NDArray[np.float64]:
    """Compute what the file says of the pixels of an axis, in the unit that it names: wcslib turns some into its own."""
    values, word = world()
    if unit is None or word == unit:
        return values
    from astropy.units import Unit  # noqa: PLC0415  (loaded already)

    try:
        return np.asarray(values * Unit(word).to(Unit(unit)), np.float64)
    except (ValueError, TypeError):
        return values


def _values(plain: Mapping[str, Any], number: int, kind: str, world: World) -> npt.NDArray[Any]:
    """Compute what the pixels of an axis stand for, those of the other axes at their reference."""
    own, word = world()
    if kind == "spectral":
        return wavelengths(own, str(plain.get(f"CTYPE{number}") or ""), word, plain)
    if kind == "time":
        return times(own, word, plain)
    if kind == "polarization":
        return polarizations(own)
    return own


def _world(
    plain: Mapping[str, Any], header: Callable[[], Any], number: int, size: int, hdus: Callable[[], Any]
) -> tuple[npt.NDArray[np.float64], str]:
    """Return values along an axis, and their unit: by wcslib, tables of coordinates (-TAB) and logarithms included."""
    pixels = np.arange(1, size + 1, dtype=np.float64)
    algorithm = str(plain.get(f"CTYPE{number}") or "")[4:]
    unit = str(plain.get(f"CUNIT{number}") or "").strip()
    if algorithm.startswith("-") and algorithm != "-":
        from astropy.wcs import WCS  # noqa: PLC0415  (a second to load, asked by few)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                wcs = WCS(header(), fobj=hdus() if "TAB" in algorithm else None)
                there = np.tile(np.asarray(wcs.wcs.crpix, np.float64), (size, 1))
                there[:, number - 1] = pixels
                return wcs.wcs_pix2world(there, 1)[:, number - 1], str(wcs.wcs.cunit[number - 1])
            except Exception as fault:  # noqa: BLE001  (wcslib has a class for each of its faults, of no common kind)
                raise SourceError(
                    say("the axis {axis} has no values: {reason}", number, " ".join(str(fault).split())[:200])
                ) from None
    step = _real(plain.get(f"CDELT{number}", plain.get(f"CD{number}_{number}", 1.0)), 1.0)
    if f"CDELT{number}" in plain:
        step *= _real(plain.get(f"PC{number}_{number}", 1.0), 1.0)
    elif f"CD{number}_{number}" in plain:
        step = _real(plain[f"CD{number}_{number}"], 1.0)
    return _real(plain.get(f"CRVAL{number}", 0.0), 0.0) + (
        pixels - _real(plain.get(f"CRPIX{number}", 0.0), 0.0)
    ) * step, unit


def _rows(hdu: Any, index: int, stream: BinaryIO, names: Collection[str] | None = None) -> Rows:
    header, name = hdu.header, str(hdu.name or "")
    chosen = [column for column in hdu.columns if names is None or column.name in names]
    made = [_column(column) for column in chosen]
    # of some columns alone no others are read: those that lie in the file as they are
    flat = {} if names is None else {column.name: found for column in chosen if (found := _lying(hdu, column, stream))}
    count = int(header.get("NAXIS2", 0))
    width = (
        sum(kind.itemsize for _, kind in flat.values()) if len(flat) == len(chosen) else int(header.get("NAXIS1", 1))
    )

    def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(65_536, (8 << 20) // max(1, width)))
        for first in range(start, min(count, start + most), step):
            last = min(count, start + most, first + step)
            with _told(name or str(index)):
                block = hdu.data[first:last] if len(flat) < len(chosen) else None
                arrays = [
                    _cells(flat[column.name][0](first, last), own)
                    if column.name in flat
                    else _arrow(block, column, own)
                    for column, own in zip(chosen, made, strict=True)
                ]
            yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema([column.arrow for column in made]))

    return Rows(
        index=index,
        name=name,
        columns=tuple(made),
        count=count,
        batches=batches,
        cards=_cards(header),
        stored=partial(_stored, hdu, name or str(index)),
        narrow=lambda names: _rows(hdu, index, stream, names),
    )


def _lying(
    hdu: Any, column: Any, stream: BinaryIO
) -> tuple[Callable[[int, int], npt.NDArray[Any]], np.dtype[Any]] | None:
    """Return what reads rows of a column of plain numbers, and their type; None: astropy must."""
    from astropy.io import fits  # noqa: PLC0415  (loaded already)

    kind, at = hdu.columns.dtype.fields[column.name][:2]
    base, shape = kind.subdtype or (kind, ())
    base = base.newbyteorder(">")
    scaled = (
        column.bscale not in {None, "", 1.0} or column.bzero not in {None, "", 0.0} or column.null not in {None, ""}
    )
    letter = str(column.format).lstrip("0123456789")[:1]
    if isinstance(hdu, fits.TableHDU) or scaled or letter not in "BIJKED" or base.kind not in "iuf":
        return None
    steps = (int(hdu.header["NAXIS1"]), *in_order(shape, base))

    def read(first: int, last: int) -> npt.NDArray[Any]:
        window = [slice(first, last), *(slice(0, size) for size in shape)]
        return read_plain(stream, int(hdu.fileinfo()["datLoc"]) + at, steps, base, window)

    return read, kind


def _cells(values: npt.NDArray[Any], own: Column) -> pa.Array:
    kind = own.arrow.type
    if pa.types.is_fixed_size_list(kind):
        flat = _items(np.ascontiguousarray(values).reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size).cast(kind)
    return _items(values.reshape(len(values)), kind)


def _stored(hdu: Any, name: str) -> Stored:
    """Take an HDU as it stands: its header, and its bytes from the file."""
    info, head = hdu.fileinfo(), hdu.header.tostring().encode("ascii")

    def chunks() -> Iterator[bytes]:
        yield head
        left, at = int(info["datSpan"]), int(info["datLoc"])
        while left > 0:
            with _told(name):
                info["file"].seek(at)
                chunk = info["file"].read(min(left, 4 << 20))
            if not chunk:
                raise SourceError(say("{name} is damaged, or no FITS file: {reason}", name, "it ends too early"))
            left, at = left - len(chunk), at + len(chunk)
            yield chunk

    return Stored(size=len(head) + int(info["datSpan"]), chunks=chunks)


def _column(column: Any) -> Column:
    kind = np.dtype(column.dtype).newbyteorder("=") if column.dtype is not None else np.dtype("S")
    base, shape = (kind.subdtype[0], kind.subdtype[1]) if kind.subdtype else (kind, ())
    if str(column.format).lstrip("0123456789")[:1] in {"P", "Q"}:
        letter = str(column.format).lstrip("0123456789")[1:2]
        code, size = (
            _LETTERS.get(letter, "double"),
            "*",
        )
    elif base.kind in "SU":
        code, size = "char", "*"
    else:
        scaled = column.bscale not in {None, "", 1.0} or column.bzero not in {None, "", 0.0}
        code = (
            ("doubleComplex" if base.kind == "c" else "double")
            if scaled
            else "boolean"
            if str(column.format).endswith("L")
            else _VOTABLE.get(base.str[1:], "double")
        )
        dims = re.findall(r"\d+", str(column.dim or ""))
        folded = len(shape) == 1 and math.prod(map(int, dims)) == shape[0]
        size = "x".join(dims) if folded and dims else "x".join(str(one) for one in reversed(shape)) if shape else ""
    return Column(name=str(column.name), type=Type(code, size or None), unit=str(column.unit or "") or None, ucd=None)


def _arrow(block: Any, column: Any, own: Column) -> pa.Array:
    values = block.field(column.name)
    kind = own.arrow.type
    if own.type.datatype == "char":
        return pa.array([str(value).rstrip() for value in values.tolist()], pa.string())
    if pa.types.is_fixed_size_list(kind) and own.type.arraysize is not None:
        return _cells(values, own)
    if np.asarray(values).ndim > 1:
        # one element an item, which FITS may say with TDIM or 1E and numpy with a further axis
        values = np.asarray(values).reshape(len(block), -1)
        if values.shape[1] == 1:
            values = values[:, 0]
    if pa.types.is_list(kind):
        each = [np.asarray(value).ravel() for value in values]
        flat = np.concatenate(each) if each else np.empty(0)
        ends = np.cumsum([0, *map(len, each)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), _items(flat, kind.value_type)).cast(kind)
    # one value a row may have dimensions of its own: TDIM (1, 1)
    return _items(np.asarray(values).reshape(len(values)), kind)


def _items(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Make numbers of a type, complex ones as pairs."""
    plain = _native(values)
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(plain, from_pandas=True).cast(kind)
    pairs = plain.astype("c8" if pa.types.is_float32(kind.value_type) else "c16", copy=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(pairs.view(pairs.real.dtype)), 2).cast(kind)


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


MEDIUM = Medium(
    name="fits",
    title="FITS",
    media_types=("application/fits", "image/fits", "image/x-fits"),
    endings=("fits", "fit", "fts", "fits.gz", "fit.gz", "fts.gz", "fits.fz", "fz", "fits.bz2"),
    begins=rb"SIMPLE  =|\x1f\x8b|BZh",
    open=open_fits,
)
