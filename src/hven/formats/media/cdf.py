"""CDF by ISTP's conventions: variables over one epoch as a table, those over an epoch and further axes as arrays, too. cdflib reads."""

from __future__ import annotations

import math
import threading
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import MOST, Array, Axis, Card, Medium, Product, Rows
from hven.formats.media import _istp as istp
from hven.formats.media._grids import LARGEST, guarded, on_disk
from hven.formats.media._packed_cdf import PLAIN, unpack
from hven.formats.media._product import MISSING, Variable
from hven.model import plugins
from hven.model.errors import SourceError, TooLarge, say
from hven.model.table import MJD, AxisFacts, Column, SampleFacts
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import numpy.typing as npt

    from hven.formats.media import Part
    from hven.formats.media._distant import Place
    from hven.formats.media._product import Instants

WIDEST = 1 << 16  # bytes of a cell of a table; what has more is an array alone
LONGEST = 1 << 17  # records of a batch
DIMENSIONS = 100
READS = 2_000_000  # a second or two
KEPT = 64 << 20  # bytes of unpacked blocks
RATIO = 1100  # how much zlib can pack
NOON = 43_200_000_000_000 - 32_184_000_000  # ns of TAI at TT2000's beginning, since 2000-01-01T00:00:00
LEAPING = -883_655_957_816_000_000  # TT2000 of 1972-01-01T00:00:00: leap seconds are whole ones from then on
_DAY_0 = np.datetime64("2000-01-01")
# when UTC was steered by its rate: from which day, ns that it was behind TAI at an MJD, that MJD, ns more a day (IERS, as in SOFA's dat)
_DRIFTS = (
    ("1960-01-01", 1_417_818_000, 37_300, 1_296_000), ("1961-01-01", 1_422_818_000, 37_300, 1_296_000), ("1961-08-01", 1_372_818_000, 37_300, 1_296_000),
    ("1962-01-01", 1_845_858_000, 37_665, 1_123_200), ("1963-11-01", 1_945_858_000, 37_665, 1_123_200), ("1964-01-01", 3_240_130_000, 38_761, 1_296_000),
    ("1964-04-01", 3_340_130_000, 38_761, 1_296_000), ("1964-09-01", 3_440_130_000, 38_761, 1_296_000), ("1965-01-01", 3_540_130_000, 38_761, 1_296_000),
    ("1965-03-01", 3_640_130_000, 38_761, 1_296_000), ("1965-07-01", 3_740_130_000, 38_761, 1_296_000), ("1965-09-01", 3_840_130_000, 38_761, 1_296_000),
    ("1966-01-01", 4_313_170_000, 39_126, 2_592_000), ("1968-02-01", 4_213_170_000, 39_126, 2_592_000),
)  # fmt: skip
YEAR_0 = -678_941.0  # MJD of 0000-01-01
EPOCH, EPOCH16, TT2000, TEXTS = 31, 32, 33, (51, 52)
_NAMES = {1: "short", 41: "short", 2: "short", 4: "int", 8: "long", 11: "unsignedByte", 12: "int", 14: "long", 21: "float", 44: "float", 22: "double", 45: "double"}  # fmt: skip
_NUMBERS = {*_NAMES, EPOCH, TT2000}
_KINDS = {1: "CDF_INT1", 2: "CDF_INT2", 4: "CDF_INT4", 8: "CDF_INT8", 11: "CDF_UINT1", 12: "CDF_UINT2", 14: "CDF_UINT4", 21: "CDF_REAL4", 22: "CDF_REAL8", 31: "CDF_EPOCH",
          32: "CDF_EPOCH16", 33: "CDF_TIME_TT2000", 41: "CDF_BYTE", 44: "CDF_FLOAT", 45: "CDF_DOUBLE", 51: "CDF_CHAR", 52: "CDF_UCHAR"}  # fmt: skip


class _Counted:
    """A file of which no more is read at once than a file has: records that point in a circle end so."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, READS
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise SourceError(say("its records lead in a circle"))
        return self.file.read(size)


class _Variable:
    """A variable: what is known of it, and its records."""

    def __init__(self, file: Any, lock: threading.Lock, name: str, there: int, title: str) -> None:
        said = file.varinq(name)
        self.file, self.lock, self.name, self.title = file, lock, name, title
        self.said: dict[str, Any] = file.varattsget(name)
        self.kind, self.count = int(said.Data_Type), int(said.Last_Rec) + 1
        vary = list(said.Dim_Vary) or [True] * len(said.Dim_Sizes)
        self.shape = tuple(int(size) for size, varies in zip(said.Dim_Sizes, vary, strict=False) if varies and int(varies))  # fmt: skip
        self.varies = bool(said.Rec_Vary)
        self.time = self.kind in {EPOCH, EPOCH16, TT2000}
        self.cut = False  # times that were read had digits below a nanosecond
        self.width = 8 if self.time or self.kind in TEXTS else np.dtype(_dtype(self.kind)).itemsize
        if min(self.shape, default=1) < 1 or math.prod(self.shape) * self.width * max(1, self.count) > max(RATIO * there, 1 << 20):  # fmt: skip
            raise SourceError(say("{name} has {there} bytes, and its label promises {end}", title, there, math.prod(self.shape) * self.width * self.count))  # fmt: skip

    @property
    def unit(self) -> str | None:
        return istp.read_unit(str(self.said.get("UNITS") or ""))

    @property
    def supports(self) -> bool:
        """Whether it describes data, by its VAR_TYPE (ISTP Metadata Guidelines, variable attributes)."""
        return istp.is_support(self.said)

    def records(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records as they are stored."""
        if stop <= start or self.count < 1:
            return np.empty((0, *self.shape), _dtype(self.kind) if self.kind not in TEXTS else "U1")
        with self.lock, guarded(self.title, "CDF"):
            self.file.counted.left = READS
            found = self.file.varget(self.name, startrec=start, endrec=stop - 1)
        if isinstance(found, str):  # texts without dimensions come joined
            size = max(1, len(found) // (stop - start))
            found = [found[at : at + size] for at in range(0, len(found), size)][: stop - start]
        values = np.asarray(found)
        return values.reshape((stop - start, *self.shape)) if self.varies else np.broadcast_to(values.reshape(self.shape), (stop - start, *self.shape))  # fmt: skip

    def missing(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        fill = self.said.get("FILLVAL")
        if fill is None or isinstance(fill, str) or np.size(fill) != 1 or values.dtype.kind not in "iuf":
            return np.zeros(values.shape, np.bool_)
        return np.asarray(values == np.asarray(fill).ravel()[0].astype(values.dtype))

    def values(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records as they are meant: times as MJD, what is filled as NaN."""
        stored = self.records(start, stop)
        if self.time:
            return mjd(stored, self.kind)
        gone = self.missing(stored)
        if not gone.any() and stored.dtype.kind != "f":
            return stored.astype(self.meant, copy=False) if self.kind not in TEXTS else stored
        found = stored.astype(self.meant)
        found[gone] = np.nan
        return found

    def moments(self, start: int, stop: int) -> Instants:
        stored = self.records(start, stop)
        self.cut = self.cut or (self.kind == EPOCH16 and bool((_pairs(stored)[1] % 1000.0).any()))
        return instants(stored, self.kind)

    @property
    def meant(self) -> np.dtype[Any]:
        """The type of `values`: the same for each window."""
        own = np.dtype("f8" if self.time else _dtype(self.kind)).newbyteorder("=")
        if own.kind == "f" or self.said.get("FILLVAL") is None:
            return own
        return np.dtype("f4" if own.itemsize <= 2 else "f8")

    def column(self) -> Column:
        size = "x".join(str(one) for one in reversed(self.shape)) or None
        kind = "double" if self.time else "char" if self.kind in TEXTS else _NAMES.get(self.kind, "double")
        said = str(self.said.get("CATDESC") or self.said.get("FIELDNAM") or "").strip()
        if self.time:
            return Column(name=self.name, type=Type("double", size), unit="d", ucd="time.epoch", description="MJD, UTC", epoch=None if size else MJD)  # fmt: skip
        return Column(
            name=self.name,
            type=Type(kind, "*" if kind == "char" else size),
            unit=self.unit,
            description=said or None,
            label=istp.read_label(self.said, self.name),
        )

    def arrow(self, start: int, stop: int, kind: pa.DataType) -> pa.Array:
        """Read records as cells, nulls where they are filled."""
        stored = self.records(start, stop)
        if self.kind in TEXTS:
            return pa.array([str(one).rstrip(" \0") for one in stored.ravel()], pa.string())
        values = mjd(stored, self.kind) if self.time else stored
        flat = np.ascontiguousarray(values).ravel()
        mask = self.missing(flat) if not self.time and self.said.get("FILLVAL") is not None else None
        mask = mask if mask is not None and mask.any() else None
        odd = flat.dtype.kind != "f" or (flat.size > 0 and bool(np.isnan(flat.min())))  # else nothing is copied
        cells = pa.array(flat.astype(flat.dtype.newbyteorder("="), copy=False), mask=mask, from_pandas=odd)
        if not self.shape:
            return cells.cast(kind)
        return pa.FixedSizeListArray.from_arrays(cells.cast(kind.value_type), kind.list_size).cast(kind)


def _dtype(kind: int) -> str:
    return {1: "i1", 41: "i1", 2: "i2", 4: "i4", 8: "i8", 33: "i8", 11: "u1", 12: "u2", 14: "u4", 21: "f4", 44: "f4", 32: "c16"}.get(kind, "f8")  # fmt: skip


@cache
def _leaps() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """List from when, in ns of TAI since 2000-01-01T00:00:00, how many ns UTC is behind it; by the table that astropy keeps.

    From 1960 to 1971 the seconds of UTC were longer than those of TAI. There is an entry for each day then: the library of CDF keeps the difference at noon for the whole day, which is
    up to 1.3 ms from that of the moment, and none before 1960.
    """
    import erfa  # noqa: PLC0415  (with astropy)

    table = erfa.leap_seconds.get()
    table = table[table["year"] >= 1972]
    days = np.array([np.datetime64(f"{row['year']}-{row['month']:02d}-01") for row in table]) - _DAY_0
    behind = np.round(table["tai_utc"] * 1e9).astype(np.int64)
    begins = np.array([np.datetime64(begin) for begin, *_ in _DRIFTS])
    early = np.arange(begins[0], np.datetime64("1972-01-01"))
    _, base, reference, rate = np.array(_DRIFTS, object)[np.searchsorted(begins, early, "right") - 1].T
    noons = (early - np.datetime64("1858-11-17")).astype(np.int64) + 0.5
    drifted = (base + (noons - reference) * rate).astype(np.int64)
    days = np.concatenate([early - _DAY_0, days]).astype("timedelta64[ns]").astype(np.int64)
    behind = np.concatenate([[0], drifted, behind])
    return np.concatenate([[np.iinfo(np.int64).min], days + behind[1:]]), behind


def mjd(stored: npt.NDArray[Any], kind: int) -> npt.NDArray[np.float64]:
    """Turn epochs into MJD of UTC.

    Parameters
    ----------
    stored
        Milliseconds or (seconds, picoseconds) since year 0, or nanoseconds of TT since J2000; of any shape.
    kind
        CDF's number of their type: 31 (EPOCH), 32 (EPOCH16), 33 (TIME_TT2000).

    Returns
    -------
    days
        NaN where they are filled; of the same shape. A leap second counts as the first of the day behind it.
    """
    if kind == EPOCH16:
        seconds, pico = _pairs(stored)
        whole, rest = np.divmod(seconds, 86_400.0)
        return np.where(seconds < 0.0, np.nan, whole + YEAR_0 + (rest + pico * 1e-12) / 86_400.0)
    if kind == EPOCH:
        whole, rest = np.divmod(stored, 86_400e3)
        return np.where((stored < 0.0) | (stored >= 3.15569519999999e14), np.nan, whole + YEAR_0 + rest / 86_400e3)
    utc, _, fill = _utc(stored)
    days, rest = np.divmod(utc, 86_400_000_000_000)
    return np.where(fill, np.nan, 51_544.0 + days + rest / 86_400e9)


def _utc(stored: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Turn TT2000 into ns since 2000-01-01 (UTC), the ns to the next leap second's end (of others more), and which are none."""
    count = np.asarray(stored, np.int64)
    since, behind = _leaps()
    ends = np.array([count.min(), count.max()]) if count.size else np.zeros(2, np.int64)
    if ends[0] > -(2**62) and ends[1] < 2**62:  # most often all are between the same two leap seconds
        first, last = np.searchsorted(since, ends + NOON, "right")
        ahead = np.append(since, np.iinfo(np.int64).max)[last] - ends[1] - NOON
        if first == last and ahead > 1_001_000_000:
            return count + (NOON - behind[max(first - 1, 0)]), ahead, np.zeros((), np.bool_)
    fill = count <= np.iinfo(np.int64).min + 3
    tai = np.where(fill, 0, count) + NOON
    at = np.searchsorted(since, tai, "right")
    ahead = np.append(since, np.iinfo(np.int64).max)[at] - tai
    return tai - behind[np.clip(at - 1, 0, None)], ahead, fill


def _pairs(stored: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Take EPOCH16 apart: seconds since year 0, picoseconds behind them; none where it is filled."""
    pairs = stored.view(np.float64).reshape(*stored.shape, 2) if stored.dtype.kind == "c" else stored
    return pairs[..., 0], np.where(pairs[..., 0] >= 0.0, pairs[..., 1], 0.0)


def instants(stored: npt.NDArray[Any], kind: int) -> Instants:
    """Turn epochs into microseconds since 1970, of days that have 86,400 s, and nanoseconds behind them; what is finer is cut off.

    A leap second has no such number: the last millisecond before it and the second itself share that millisecond, in their order.

    Parameters
    ----------
    stored, kind
        As of `mjd`.

    Returns
    -------
    micros
        `MISSING` where they are filled; of the same shape.
    nanos
        0 to 999; None of EPOCH, whose further digits are what a double leaves.
    """
    if kind == TT2000:
        utc, ahead, fill = _utc(stored)
        if ahead.ndim:
            leap = (ahead <= 1_001_000_000) & (np.asarray(stored) > LEAPING)
            utc = np.where(leap, utc + ahead - 1_000_000_000 + -ahead // 1001, utc)
        whole = utc // 1000
        utc -= whole * 1000
        whole += 946_684_800_000_000
        return (np.where(fill, MISSING, whole), np.where(fill, 0, utc)) if fill.any() else (whole, utc)
    if kind == EPOCH16:
        seconds, pico = _pairs(stored)
        good = (seconds >= 0.0) & (seconds < 3.15569519999e11)
        found = (np.where(good, seconds, 0.0) - 62_167_219_200.0).astype(np.int64) * 1_000_000
        nanos = np.where(good, pico // 1e3, 0.0).astype(np.int64)
        return np.where(good, found + nanos // 1000, MISSING), nanos % 1000
    good = (stored >= 0.0) & (stored < 3.15569519999999e14)
    whole = np.round((np.where(good, stored, 0.0) - 62_167_219_200e3) * 1e3).astype(np.int64)
    return np.where(good, whole, MISSING), None


def open_cdf(file: Place) -> Product:
    """Open a file.

    Parameters
    ----------
    file
        One on another server is read by ranges, and copied if it is compressed as a whole.

    Returns
    -------
    product
        A table for each epoch; arrays of what has further axes (DEPEND_1 ..).

    Raises
    ------
    SourceError
        It is no CDF, damaged, or cdflib is not installed.
    """
    plugins.need("a CDF file", "cdflib", error=SourceError)
    name = file.name
    with file.open("rb") as head:
        plain = head.read(8)[4:] == PLAIN
    path, closing = (file, _nothing) if plain else _unpacked(file)
    try:
        with guarded(name, "CDF"):
            source = _reader()(path)
            said = source.cdf_info()
            lock, there = threading.Lock(), path.stat().st_size
            if source.end > there:
                raise SourceError(say("{name} has {there} bytes, and its label promises {end}", name, there, source.end), remedy=say("it was cut off"))  # fmt: skip  # noqa: TRY301
            names = [*said.zVariables, *said.rVariables][:MOST]
            known = {one: _Variable(source, lock, one, there, name) for one in names}
            cards = tuple(Card(word, value) for word, value in _attributes(source.globalattsget()))
            parts = tuple(_parts(known))

            def variables() -> Iterator[Variable]:
                for name, one in known.items():
                    sizes = (one.count, *one.shape) if one.varies else one.shape
                    yield Variable(name=name, type=_KINDS.get(one.kind, str(one.kind)), sizes=sizes, cards=tuple(Card(*pair) for pair in _attributes(one.said)))  # fmt: skip

            def closed() -> None:
                source._f.close()  # noqa: SLF001  (it has no other way)
                closing()

            return Product(medium="cdf", parts=parts, cards=cards, closing=closed, variables=variables)
    except BaseException:
        closing()
        raise


def head(file: Place) -> Iterator[Card]:
    """Read global attributes alone.

    Parameters
    ----------
    file
        As of `open_cdf`.

    Yields
    ------
    cards
        In the order of the file.

    Raises
    ------
    SourceError
        As `open_cdf`.
    """
    plugins.need("a CDF file", "cdflib", error=SourceError)
    with file.open("rb") as begin:
        plain = begin.read(8)[4:] == PLAIN
    if not plain:
        with open_cdf(file) as product:
            yield from product.cards
        return
    with guarded(file.name, "CDF"):
        source = _reader()(file)
        try:
            cards = [Card(word, value) for word, value in _attributes(source.globalattsget())]
        finally:
            source._f.close()  # noqa: SLF001  (it has no other way)
    yield from cards


def _unpacked(file: Place) -> tuple[Path, Callable[[], None]]:
    """Unpack a file that is compressed as a whole; return where it is, and what removes it."""
    packed, closing = on_disk(file)
    try:
        with guarded(file.name, "CDF"):
            path = unpack(packed, file.name)
    finally:
        closing()
    return path, partial(path.unlink, missing_ok=True)


def _nothing() -> None:
    """Remove no copy."""


@cache
def _reader() -> Any:
    """Return cdflib's class, which unpacks no more than a bound."""
    import zlib  # noqa: PLC0415  (beside cdflib)

    import cdflib.cdfread as library  # noqa: PLC0415  (loaded where a CDF is)

    def inflated(data: bytes) -> bytes:
        unpacker = zlib.decompressobj(31)
        found = unpacker.decompress(data, LARGEST // 4)
        if unpacker.unconsumed_tail:
            raise TooLarge(say("{name} unpacks to more than {most} MB", "a block of the file", LARGEST // 4 >> 20))
        return found

    library.gzip_inflate = inflated

    class Reader(library.CDF):  # type: ignore[misc]
        def __init__(self, place: Place) -> None:
            self.place = place
            self.places: dict[str, tuple[int, bool]] = {}
            self.known: dict[int, Any] = {}
            self.spans: dict[int, Any] = {}
            self.blocks: dict[int, tuple[int, bytes]] = {}
            self.attributes: dict[int, Any] = {}
            self.said: dict[tuple[int, bool], dict[str, Any]] | None = None
            super().__init__(place if isinstance(place, Path) else "https://")

        def _placed(self, variable: str) -> tuple[Any, bool]:
            """Find the record of a variable, and whether it is a z variable; cdflib goes through all of them each time."""
            if not self.places:
                for z, place, count in (
                    (True, self._first_zvariable, self._num_zvariable),
                    (False, self._first_rvariable, self._num_rvariable),
                ):
                    for _ in range(count):
                        name, following = self._read_vdr_fast(place)
                        self.places.setdefault(name.strip().lower(), (place, z))
                        place = following  # noqa: PLW2901
            place, z = self.places[variable.strip().lower()]
            if place not in self.known:
                self.known[place] = self._read_vdr(place)
            return self.known[place], z

        def _read_adr(self, position: int) -> Any:
            if position not in self.attributes:
                self.attributes[position] = super()._read_adr(position)
            return self.attributes[position]

        def vdr_info(self, variable: str) -> Any:
            return self._placed(variable)[0]

        def varattsget(self, variable: str) -> dict[str, Any]:
            found, z = self._placed(variable)
            return self._read_varatts(found.variable_number, z)

        def _read_varatts(self, number: int, z_variable: bool) -> dict[str, Any]:
            """Read the attributes of all variables in one pass; cdflib makes one for each variable."""
            if self.said is None:
                self.said = {}
                at = self._first_adr
                for _ in range(self._num_att):
                    adr = self._read_adr(at)
                    at = adr.next_adr_loc
                    if adr.scope == 1:
                        continue
                    for z, place, count in ((True, adr.first_z_entry, adr.num_z_entry), (False, adr.first_gr_entry, adr.num_gr_entry)):  # fmt: skip
                        for _ in range(count):
                            entry = self._read_aedr(place)
                            value = entry.entry[0] if isinstance(entry.entry, np.ndarray) and len(entry.entry) == 1 else entry.entry  # fmt: skip
                            self.said.setdefault((entry.entry_num, z), {}).setdefault(adr.name, value)
                            place = entry.next_aedr  # noqa: PLW2901
            return self.said.get((number, z_variable), {})

        def _read_vardata(self, vdr_info: Any, startrec: int = 0, endrec: int | None = None, **more: Any) -> Any:
            """Read the bytes of the records that are asked for; cdflib reads all of the blocks that these lie in, each time."""
            last = vdr_info.max_rec if endrec is None else endrec
            if vdr_info.sparse or not vdr_info.record_vary or not 0 <= startrec <= last <= vdr_info.max_rec:
                return super()._read_vardata(vdr_info, startrec=startrec, endrec=endrec, **more)
            key = vdr_info.head_vxr
            if key not in self.spans:
                self.spans[key] = (self._read_vxrs if self.cdfversion == 3 else self._read_vxrs2)(key, [], [], [])
            sizes = [size for size, vary in zip(vdr_info.dim_sizes, vdr_info.dim_vary, strict=False) if vary]
            size = self._type_size(vdr_info.data_type, vdr_info.num_elements) * math.prod(sizes)
            parts = []
            for offset, first, end in zip(*self.spans[key], strict=True):
                if first <= last and end >= startrec:
                    low, high = max(startrec, first) - first, min(last, end) + 1 - first
                    parts.append(self._block(key, offset, low * size, high * size))
            lot = parts[0] if len(parts) == 1 else b"".join(parts)
            if len(lot) != (last + 1 - startrec) * size:
                raise SourceError(say("{name} ends where its values should be", self.place.name))
            if not sizes and vdr_info.num_elements == 1 and vdr_info.data_type in _NUMBERS:
                return np.frombuffer(lot, np.dtype(_dtype(vdr_info.data_type)).newbyteorder(self._convert_option()))
            return self._read_data(lot, vdr_info.data_type, last + 1 - startrec, vdr_info.num_elements, sizes)

        def _block(self, key: int, offset: int, begin: int, end: int) -> bytes:
            """Read a part of a block; one that is packed is kept until the next one of its variable."""
            wide = 8 if self.cdfversion == 3 else 4
            self._f.seek(offset + wide)
            if self._f.read(4) == b"\0\0\0\x07":
                self._f.seek(offset + wide + 4 + begin)
                return bytes(self._f.read(end - begin))
            if self.blocks.get(key, (0, b""))[0] != offset:
                self.blocks.pop(key, None)
                if sum(len(data) for _, data in self.blocks.values()) > KEPT:
                    self.blocks.clear()
                self.blocks[key] = (offset, (self._read_vvr_block if wide == 8 else self._read_vvr_block2)(offset))
            return self.blocks[key][1][begin:end]

        def _file_or_url_or_s3_handler(self, name: str, kind: str, method: int) -> Any:
            """Open it, and ask nobody else for it."""
            if isinstance(self.place, Path):
                return super()._file_or_url_or_s3_handler(name, kind, method)
            return self.place.open("rb")

        @property
        def _f(self) -> Any:
            return self.counted

        @_f.setter
        def _f(self, file: Any) -> None:
            self.counted = _Counted(file)

        def _uncompress_rle(self, data: bytes) -> Any:
            if len(data) + 255 * bytes(data).count(0) > LARGEST // 4:
                raise TooLarge(say("{name} unpacks to more than {most} MB", "a block of the file", LARGEST // 4 >> 20))
            return super()._uncompress_rle(data)

        def _dimensions(self, at: int) -> None:
            """Refuse numbers of dimensions that it would count to."""
            self._f.seek(at)
            if int.from_bytes(self._f.read(4), "big") > DIMENSIONS:
                raise SourceError(say("it has variables of more than {most} dimensions", DIMENSIONS))

        def _read_gdr(self, byte_loc: int) -> Any:
            self._dimensions(byte_loc + 56)
            found = super()._read_gdr(byte_loc)
            self.end = int(found.eof)
            return found

        def _read_gdr2(self, byte_loc: int) -> Any:
            self._dimensions(byte_loc + 36)
            found = super()._read_gdr2(byte_loc)
            self.end = int(found.eof)
            return found

        def _read_vdr3(self, byte_loc: int) -> Any:
            self._f.seek(byte_loc + 8)
            if self._f.read(4) == b"\0\0\0\x08":
                self._dimensions(byte_loc + 340)
            return super()._read_vdr3(byte_loc)

        def _read_vdr2(self, byte_loc: int) -> Any:
            self._f.seek(byte_loc + 4)
            if self._f.read(4) == b"\0\0\0\x08":
                self._dimensions(byte_loc + (128 if self._post25 else 256))
            return super()._read_vdr2(byte_loc)

    return Reader


def _attributes(said: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for word, value in said.items():
        values = value if isinstance(value, list) else [value]
        text = " ".join(str(one) for one in values if one is not None).strip()
        if text:
            yield word, text[:2000]


def _parts(known: dict[str, _Variable]) -> Iterator[Part]:
    groups: dict[str, list[_Variable]] = {}
    for one in known.values():
        over = str(one.said.get("DEPEND_0") or "").strip()
        if one.varies and (over in known or one.time or one.count > 1):
            clock = one.name if one.time and not over else over if over in known else f"{one.count} records"
            groups.setdefault(clock, []).append(one)
    index = 0
    for clock, members in groups.items():
        members.sort(key=lambda one: one.name != clock)
        count = max(one.count for one in members if one.name == clock or clock not in known)
        kept = [one for one in members if one.count == count and math.prod(one.shape) * one.width <= WIDEST and not (one.kind in TEXTS and one.shape)]  # fmt: skip
        if kept:
            yield _rows(kept, index, clock, count, partial(_samples, kept, known))
            index += 1
    for one in known.values():
        axes = _axes(one, known) if one.varies and one.shape and one.kind not in TEXTS and not one.time and one.count > 0 else ()  # fmt: skip
        if axes:
            yield Array(index=index, name=one.name, axes=axes, dtype=one.meant, read=_windows(one), unit=one.unit, cards=tuple(Card(*pair) for pair in _attributes(one.said)), role="support" if one.supports else "data")  # fmt: skip
            index += 1


def _samples(kept: Sequence[_Variable], known: Mapping[str, _Variable]) -> SampleFacts | None:
    """Collect what is said of samples, for those who draft a data set of them; None: they have no times, or no variable says that it is data."""
    clock = kept[0]
    data = [one for one in kept if one is not clock and istp.is_data(one.said)]
    if not clock.time or clock.shape or not data:
        return None
    names = {one.name for one in kept}
    axes = {one.name: found for one in kept if one.shape and (found := _facts_of_axes(one, known, names))}
    ranges = {one.name: limits for one in kept if not one.shape and not one.time and (limits := istp.read_valid_range(one.said)) is not None}  # fmt: skip
    systems = {one.name: system for one in data if one.shape == (3,) and (system := istp.read_text(one.said, "COORDINATE_SYSTEM"))}  # fmt: skip
    return SampleFacts(time=clock.name, data=tuple(one.name for one in data), axes=axes, valid=ranges, systems=systems)


def _facts_of_axes(one: _Variable, known: Mapping[str, _Variable], names: Collection[str]) -> tuple[AxisFacts, ...]:
    """Tell what the elements of each dimension stand for (DEPEND_1 ..); empty: not of all of them is it known."""
    found = []
    for number, size in enumerate(one.shape, 1):
        other = known.get(str(one.said.get(f"DEPEND_{number}") or "").strip())
        if other is None or other.kind in TEXTS or other.time or other.shape not in {(size,), ()}:
            return ()
        if istp.read_text(other.said, "VAR_TYPE").lower() == "metadata":  # numbers of components
            return ()
        if other.varies and other.shape == (size,) and other.name in names and other.count > 1:
            centers: tuple[float, ...] | str = other.name
        else:
            values = np.asarray(_once(other)(), np.float64).ravel()
            if values.size != size or size > istp.MOST_CENTERS or not np.isfinite(values).all():
                return ()
            centers = tuple(float(f"{value:.9g}") for value in values)
        about = str(other.said.get("CATDESC") or other.said.get("FIELDNAM") or "").strip()
        found.append(AxisFacts(name=other.name, unit=other.unit, label=istp.read_label(other.said, other.name) or about or None, centers=centers))  # fmt: skip
    return tuple(found)


def _rows(
    kept: Sequence[_Variable],
    index: int,
    clock: str,
    count: int,
    samples: Callable[[], SampleFacts | None] | None = None,
) -> Rows:
    columns = tuple(one.column() for one in kept)
    schema = pa.schema([column.arrow for column in columns])
    width = sum(math.prod(one.shape) * one.width for one in kept)

    def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(LONGEST, (8 << 20) // width))
        for first in range(start, min(count, start + most), step):
            stop = min(count, start + most, first + step)
            arrays = [one.arrow(first, stop, kind) for one, kind in zip(kept, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    cards = (Card("TIMESYS", "UTC"),) if kept[0].time else ()
    named = {one.name: one for one in kept}
    return Rows(
        index=index,
        name=clock,
        columns=columns,
        count=count,
        batches=batches,
        cards=cards,
        narrow=lambda names: _rows([one for one in kept if one.name in names], index, clock, count),
        moments=lambda name, start, stop: named[name].moments(start, stop),
        cut=lambda name: named[name].cut,
        support=frozenset(one.name for one in kept if one.supports),
        samples=samples,
    )


def _windows(one: _Variable) -> Callable[[Sequence[slice]], npt.NDArray[Any]]:
    def read(window: Sequence[slice]) -> npt.NDArray[Any]:
        first, *rest = window
        return one.values(first.start, first.stop)[(slice(None), *rest)]

    return read


def _axes(one: _Variable, known: dict[str, _Variable]) -> tuple[Axis, ...]:
    """Name the axes of a variable by what they depend on; empty: nothing is said of any but its records."""
    clock = known.get(str(one.said.get("DEPEND_0") or ""))
    found = [Axis(name="record" if clock is None else clock.name, size=one.count)]
    if clock is not None and clock.time and clock.count == one.count and not clock.shape:
        found = [Axis(name=clock.name, size=one.count, kind="time", unit="d", values=_once(clock))]
    told = False
    for number, size in enumerate(one.shape, 1):
        other = known.get(str(one.said.get(f"DEPEND_{number}") or ""))
        numeric = other is not None and other.kind not in TEXTS and not other.time
        if other is None or not numeric or other.shape not in {(size,), ()} or other.count < 1:
            found.append(Axis(name=f"axis{number}", size=size))
            continue
        told = told or str(other.said.get("VAR_TYPE")) != "metadata"
        found.append(Axis(name=other.name, size=size, unit=other.unit, values=_once(other)))
    return tuple(found) if told else ()


def _once(other: _Variable) -> Callable[[], npt.NDArray[Any]]:
    """Give the values along an axis; where each record has its own, those of the first one that has some."""

    @cache
    def values() -> npt.NDArray[Any]:
        if not other.shape:
            return other.values(0, other.count)
        for start in range(min(other.count, 100)):
            found = other.values(start, start + 1)[0]
            if np.isfinite(found.astype(np.float64)).any():
                return np.asarray(found)
        return np.asarray(other.values(0, 1)[0])

    return values


MEDIUM = Medium(
    name="cdf",
    title="CDF",
    media_types=("application/x-cdf",),
    endings=("cdf",),
    begins=rb"\xcd\xf3\x00\x01|\xcd\xf2\x60\x02|\x00\x00\xff\xff\x00\x00\xff\xff",
    open=open_cdf,
    head=head,
)
