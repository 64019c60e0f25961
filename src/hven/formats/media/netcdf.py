"""netCDF by CF's conventions: variables over times as a table, grids as arrays; groups, scales, fills. h5netcdf reads version 4, scipy the classic one."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import MOST, Array, Axis, Card, Medium, Product, Rows, wavelengths
from hven.formats.media import _compounds as compounds
from hven.formats.media import _istp as istp
from hven.formats.media import _maps as maps
from hven.formats.media._grids import Layout, guarded, on_disk, spans
from hven.formats.media._product import MISSING, Variable
from hven.formats.media._records import NAMES, UINT64_DIGITS, exceed_int64, text_deviation
from hven.model import plugins
from hven.model.errors import SourceError, say
from hven.model.sky import footprints
from hven.model.table import MJD, AxisFacts, Column, SampleFacts
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import Part

    Window = Sequence[slice]
    from hven.formats.media._distant import Place
    from hven.formats.media._product import Instants
    from hven.model import Deviation

WIDEST = 1 << 16  # bytes of a cell of a table
FILLS = ("_FillValue", "missing_value", "FILLVAL")
DEEPEST = 20  # groups in each other
_SINCE = re.compile(r"(\w+)\s+since\s+(\d{1,4})-(\d{1,2})-(\d{1,2})(?:[T ]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?)?\s*(Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?", re.IGNORECASE)  # fmt: skip
_UNITS = {"d": 1.0, "day": 1.0, "h": 24.0, "hr": 24.0, "hour": 24.0, "min": 1440.0, "minute": 1440.0, "s": 86_400.0, "sec": 86_400.0, "second": 86_400.0, "ms": 86_400e3, "msec": 86_400e3, "millisecond": 86_400e3, "us": 86_400e6, "microsecond": 86_400e6}  # fmt: skip


_COMPLEX: dict[str, Callable[[Any], Any]] = {"_real": np.real, "_imag": np.imag}


@dataclass(frozen=True, kw_only=True)
class _Variable:
    """A variable of either version.

    Attributes
    ----------
    name
        With its groups before it.
    window
        Reads a part as it is stored.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    said: Mapping[str, Any]
    window: Callable[[Window], npt.NDArray[Any]]
    unlimited: frozenset[str] = field(default_factory=frozenset)

    def word(self, name: str) -> str:
        value = self.said.get(name)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value)

    def number(self, name: str) -> Any:
        value = np.asarray(self.said.get(name)).ravel()
        return value[0] if value.dtype.kind in "iuf" and len(value) else None

    @property
    def text(self) -> bool:
        return self.dtype.kind in "SUO"

    @property
    def zero(self) -> tuple[float, float] | None:
        """MJD at which its times are 0, and how many of its unit a day has; None: it is no time."""
        match = _SINCE.fullmatch(self.word("units").strip())
        calendar = self.word("calendar").lower() or "standard"
        per = _UNITS.get(match[1].lower(), _UNITS.get(match[1].lower().rstrip("s"))) if match else None
        if match is None or per is None or calendar not in {"standard", "gregorian", "proleptic_gregorian"}:
            return None
        try:
            day = np.datetime64(f"{int(match[2]):04d}-{int(match[3]):02d}-{int(match[4]):02d}")
        except ValueError:
            return None
        hour = float(match[5] or 0) + float(match[6] or 0) / 60.0 + float(match[7] or 0) / 3600.0
        zone = re.fullmatch(r"([+-]\d{1,2}):?(\d{2})?", match[8] or "")
        off = int(zone[1]) + math.copysign(int(zone[2] or 0) / 60.0, int(zone[1])) if zone else 0.0
        return float(day.astype(np.int64)) + 40_587.0 + (hour - off) / 24.0, per

    def missing(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        gone = np.zeros(stored.shape, np.bool_)
        for name in FILLS:
            fill = np.asarray(self.said.get(name)).ravel()
            if fill.dtype.kind in "iuf" and stored.dtype.kind in "iuf":
                gone |= np.isin(stored, fill.astype(stored.dtype))
        return gone

    @property
    def scaled(self) -> tuple[float, float] | None:
        factor, zero = self.number("scale_factor"), self.number("add_offset")
        return None if factor is None and zero is None else (float(1.0 if factor is None else factor), float(zero or 0.0))  # fmt: skip

    @property
    def meant(self) -> np.dtype[Any]:
        """The type of `values`, as CF has it: that of the scale, else one with room for NaN."""
        if self.zero is not None:
            return np.dtype("f8")
        for name in ("scale_factor", "add_offset"):
            if self.number(name) is not None:
                return np.dtype("f4" if self.number(name).dtype == np.float32 and self.dtype.itemsize <= 2 else "f8")
        own = self.dtype.newbyteorder("=")
        filled = any(np.asarray(self.said.get(name)).dtype.kind in "iuf" for name in FILLS)
        return own if own.kind == "f" or not filled else np.dtype("f4" if own.itemsize <= 2 else "f8")

    def values(self, window: Window) -> npt.NDArray[Any]:
        """Read a part as it is meant: scaled, times as MJD, what is filled as NaN."""
        stored = self.window(window)
        gone, meant = self.missing(stored), self.meant
        found = stored.astype(meant)
        zero, scaled = self.zero, self.scaled
        if scaled is not None:
            found = found * meant.type(scaled[0]) + meant.type(scaled[1])
        if zero is not None:
            found = found / zero[1] + zero[0]
        if gone.any():
            found[gone] = np.nan
        return found

    def moments(self, start: int, stop: int) -> Instants:
        """Read times as microseconds since 1970, and nanoseconds: whole numbers without a detour by those with fractions."""
        zero = self.zero
        assert zero is not None  # noqa: S101  (asked of times alone)
        stored = self.window((slice(start, stop), *(slice(0, size) for size in self.shape[1:])))
        since, step = round((zero[0] - 40_587.0) * 86_400e6), 86_400e6 / zero[1]
        if stored.dtype.kind in "iu" and step >= 1.0 and self.scaled is None:
            found = stored.astype(np.int64) * round(step) + since
            return np.where(self.missing(stored), MISSING, found), None
        if stored.dtype.kind in "iu" and step == 1e-3 and self.scaled is None:
            micros, nanos = np.divmod(stored.astype(np.int64), 1000)
            return np.where(self.missing(stored), MISSING, micros + since), nanos
        values = stored.astype(np.float64)
        if (scaled := self.scaled) is not None:
            values = values * scaled[0] + scaled[1]
        gone = self.missing(stored) | ~np.isfinite(values)
        return np.where(gone, MISSING, np.round(np.where(gone, 0.0, values) * step).astype(np.int64) + since), None

    @cached_property
    def beyond(self) -> bool:
        """Whether it holds unsigned integers that int64 cannot hold."""
        if self.dtype.str[1:] != "u8" or self.zero is not None or self.scaled is not None or not self.shape:
            return False

        def read(first: int, stop: int) -> npt.NDArray[np.uint64]:
            stored = self.window((slice(first, stop), *(slice(0, size) for size in self.shape[1:])))
            return np.where(self.missing(stored), 0, stored).astype(np.uint64)

        return exceed_int64(read, self.shape[0], max(1, WIDEST * 16 // max(1, math.prod(self.shape[1:]))))

    def column(self) -> Column:
        name = self.name.rsplit("/", 1)[-1]
        told = self.word("long_name") or self.word("standard_name") or istp.read_text(self.said, "CATDESC")
        size = "x".join(str(one) for one in reversed(self.shape[1:])) or None
        if self.zero is not None:
            return Column(name=name, type=Type("double", size), unit="d", ucd="time.epoch", description=f"MJD: {told}".rstrip(": "), epoch=None if size else MJD)  # fmt: skip
        if self.beyond:
            size = "x".join(str(one) for one in (UINT64_DIGITS, *reversed(self.shape[1:])))
            return Column(name=name, type=Type("char", size if len(self.shape) > 1 else f"{UINT64_DIGITS}*"), unit=self.word("units").strip() or None, description=told or None)  # fmt: skip
        kind = "char" if self.text else NAMES[self.meant.str[1:] if self.scaled else self.dtype.str[1:]]
        return Column(
            name=name,
            type=Type(kind, "*" if kind == "char" else size),
            unit=self.unit,
            description=told or None,
            label=istp.read_label(self.said, name),
        )

    @property
    def unit(self) -> str | None:
        """The unit; of variables with ISTP's attributes without markup and words for none."""
        if istp.read_text(self.said, "VAR_TYPE"):
            return istp.read_unit(istp.read_text(self.said, "UNITS"))
        return self.word("units").strip() or None

    def arrow(self, start: int, stop: int, kind: pa.DataType) -> pa.Array:
        """Read records as cells, nulls where they are filled."""
        window = (slice(start, stop), *(slice(0, size) for size in self.shape[1:]))
        if self.text:
            cells = self.window(window)
            if cells.ndim == 2:  # characters
                cells = np.ascontiguousarray(cells).view(f"S{cells.shape[1]}").ravel()
            return pa.array([one.decode("utf-8", "replace").rstrip("\0 ") if isinstance(one, bytes) else str(one) for one in cells], pa.string())  # fmt: skip
        exact = self.zero is None and self.scaled is None
        found = self.window(window) if exact else self.values(window)
        flat = np.ascontiguousarray(found).ravel()
        flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
        cells = pa.array(flat, mask=self.missing(flat) if exact else None, from_pandas=True)
        if len(self.shape) == 1:
            return cells.cast(kind)
        if self.beyond:
            ends = np.arange(0, len(cells) + 1, math.prod(self.shape[1:]), dtype=np.int32)
            return pa.ListArray.from_arrays(pa.array(ends), cells.cast(pa.string()))
        return pa.FixedSizeListArray.from_arrays(cells.cast(kind.value_type), kind.list_size).cast(kind)


def open_netcdf(file: Place) -> Product:
    """Open a file.

    Parameters
    ----------
    file
        One on another server is read by ranges, and copied if it is of the classic version.

    Returns
    -------
    product
        A table for each axis of times or records, arrays of what has further axes.

    Raises
    ------
    SourceError
        It is no netCDF, damaged, names other files, or what reads it is not installed.
    """
    name = file.name
    with guarded(name, "netCDF"):
        with file.open("rb") as source:
            head = source.read(4)
        if head[:3] == b"CDF" and head[3:] not in {b"\x01", b"\x02"}:
            raise SourceError(say("{name} is netCDF of a version that is not read: {version}", name, "CDF-5"), remedy=say("write it as netCDF-4 (nccopy -k nc4)"))  # fmt: skip
        deviations: list[Deviation] = []
        tables: list[Rows] = []
        if head[:3] == b"CDF":
            known, said, closing = _classic(file, name)
        else:
            known, said, closing, tables = _version4(file, name, deviations)
        try:
            deviations += [text_deviation(one.name.rsplit("/", 1)[-1], name) for one in known[:MOST] if one.beyond]
            parts = (*tables, *_parts({one.name: one for one in known[:MOST]}, len(tables)))
        except BaseException:
            closing()
            raise

    def variables() -> Iterator[Variable]:
        for one in known:
            yield Variable(name=one.name, type=one.dtype.name, sizes=one.shape, cards=tuple(_attributes(one.said)))

    return Product(
        medium="netcdf",
        parts=parts,
        cards=tuple(_attributes(said)),
        closing=closing,
        variables=variables,
        deviations=deviations,
    )


def head(file: Place) -> Iterator[Card]:
    """Read global attributes alone.

    Parameters
    ----------
    file
        One on another server is read by ranges, and copied if it is of the classic version.

    Yields
    ------
    cards
        In the order of the file.

    Raises
    ------
    SourceError
        As `open_netcdf`.
    """
    with file.open("rb") as source:
        classic = source.read(3) == b"CDF"
    if classic:
        with open_netcdf(file) as product:
            yield from product.cards
        return
    plugins.need("a netCDF file", "h5py", error=SourceError)
    import h5py  # noqa: PLC0415  (asked by few)

    with guarded(file.name, "netCDF"), h5py.File(file if isinstance(file, Path) else file.open("rb"), "r") as raw:
        said = {word: value for word, value in _plain(raw.attrs).items() if not isinstance(value, h5py.Empty)}
        cards = [*_attributes({word: value.ravel()[0] if isinstance(value, np.ndarray) and value.size == 1 else value for word, value in said.items()})]  # fmt: skip
    yield from cards


def _version4(
    file: Place, name: str, deviations: list[Deviation]
) -> tuple[list[_Variable], Mapping[str, Any], Callable[[], None], list[Rows]]:
    plugins.need("a netCDF file", "h5py", "h5netcdf", error=SourceError)
    import h5netcdf  # noqa: PLC0415  (asked by few)
    import h5py  # noqa: PLC0415  (asked by few)

    raw = h5py.File(file if isinstance(file, Path) else file.open("rb"), "r")
    try:
        _inside(raw, raw, h5py, name, 0)
        tables: list[Rows] = []
        for path, dataset in compounds.find_tables(raw, h5py, MOST):
            rows, left = compounds.make_rows(path, dataset, len(tables), name)
            tables += [] if rows is None else [rows]
            deviations += left
        whole = h5netcdf.File(raw, "r", phony_dims="sort")
        found: list[_Variable] = []

        def walk(group: Any, before: str, depth: int) -> None:
            for title, one in group.variables.items():
                if title.endswith(compounds.META) and title.removesuffix(compounds.META) in group.variables:
                    continue
                if one.dtype.kind in "iufcSO" and len(found) < MOST:
                    unlimited = frozenset(dim for dim in one.dimensions if group.dimensions.get(dim) is not None and group.dimensions[dim].isunlimited())  # fmt: skip
                    # complex numbers are taken apart
                    for after, part in _COMPLEX.items() if one.dtype.kind == "c" else (("", np.asarray),):
                        kind = np.dtype(f"f{one.dtype.itemsize // 2}") if after else one.dtype
                        found.append(_Variable(name=before + title + after, dims=tuple(one.dimensions), shape=tuple(int(size) for size in one.shape), dtype=kind, said=_plain(one.attrs), window=partial(_section, one, name, part), unlimited=unlimited))  # fmt: skip
            for title, one in group.groups.items():
                if depth < DEEPEST:
                    walk(one, f"{before}{title}/", depth + 1)

        walk(whole, "", 0)

        def closing() -> None:
            whole.close()  # its variables know it by weak references: it is kept until here
            raw.close()

        return found, _plain(whole.attrs), closing, tables
    except BaseException:
        raw.close()
        raise


def _inside(group: Any, root: Any, h5py: Any, name: str, depth: int) -> None:
    """Refuse what has its values in other files: HDF5 would open them, wherever they are."""
    for title in list(group)[: 10 * MOST]:
        link = group.get(title, getlink=True)
        outside = isinstance(link, h5py.ExternalLink)
        one = None if outside or isinstance(link, h5py.SoftLink) else group.get(title)
        if isinstance(one, h5py.Dataset):
            outside = bool(one.external) or one.is_virtual
        elif isinstance(one, h5py.Group) and depth < DEEPEST:
            _inside(one, root, h5py, name, depth + 1)
        if outside:
            raise SourceError(say("{name} has values in other files, which are not read", name))


def _plain(said: Any) -> dict[str, Any]:
    found = {}
    for word in said:
        if word not in {"DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}:  # fmt: skip
            try:
                found[word] = said[word]
            except (OSError, TypeError, ValueError, KeyError):  # an attribute of a kind that nobody reads
                continue
    return found


def _section(one: Any, name: str, part: Callable[[Any], Any], window: Window) -> npt.NDArray[Any]:
    with guarded(name, "netCDF"):
        return np.asarray(part(one[tuple(window)]))


def _classic(file: Place, _name: str) -> tuple[list[_Variable], Mapping[str, Any], Callable[[], None]]:
    plugins.need("a netCDF file", "scipy", error=SourceError)
    from scipy.io import netcdf_file  # noqa: PLC0415  (asked by few)

    path, closing = on_disk(file)
    # the map is never looked into: it says where values lie, and spans of the file are read
    whole = netcdf_file(str(path), "r", mmap=True)
    base = whole._mm_buf.ctypes.data if whole._mm_buf is not None else 0  # noqa: SLF001
    records = frozenset(dim for dim, size in whole.dimensions.items() if size is None)
    found = []
    for title, one in whole.variables.items():
        data = one.data
        layout = Layout(data.ctypes.data - base, data.dtype, tuple(data.shape), tuple(data.strides))
        read = partial(spans, path, layout)
        found.append(_Variable(name=title, dims=tuple(one.dimensions), shape=tuple(data.shape), dtype=data.dtype, said=dict(one._attributes), window=read, unlimited=records))  # noqa: SLF001  # fmt: skip
    said = dict(whole._attributes)  # noqa: SLF001
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that arrays may still look into its map
        whole.close()
    return found, said, closing


def _attributes(said: Mapping[str, Any]) -> Iterator[Card]:
    for word, value in said.items():
        plain = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        text = plain if isinstance(plain, str) else " ".join(str(one) for one in np.asarray(plain).ravel()[:50])
        if text.strip():
            single = isinstance(plain, int | float | np.integer | np.floating)
            yield Card(word, plain.item() if isinstance(plain, np.generic) and single else text[:2000])


def _coordinate(dim: str, near: str, known: Mapping[str, _Variable]) -> _Variable | None:
    """Find the variable of an axis: of its own group, or of those around it."""
    group = near.rpartition("/")[0]
    while True:
        found = known.get(f"{group}/{dim}".lstrip("/"))
        if found is not None and found.dims == (dim,) and not found.text:
            return found
        if not group:
            return None
        group = group.rpartition("/")[0]


def _parts(known: Mapping[str, _Variable], index: int) -> Iterator[Part]:
    tables: set[str] = set()
    groups: dict[tuple[str, str, int], list[_Variable]] = {}
    for one in known.values():
        if one.dims:
            clock = _coordinate(one.dims[0], one.name, known)
            record = one.dims[0] in one.unlimited or (clock is not None and clock.zero is not None)
            characters = one.dtype.kind == "S" and one.dtype.itemsize == 1 and len(one.dims) == 2
            small = math.prod(one.shape[1:]) * one.dtype.itemsize <= WIDEST
            if len(one.dims) == 1 or (characters and small) or (record and small and not one.text and min(one.shape[1:]) > 0):  # fmt: skip
                groups.setdefault((one.name.rpartition("/")[0], one.dims[0], one.shape[0]), []).append(one)
    for (group, dim, count), members in groups.items():
        # what is nothing but values along an axis of a grid stands with the grid
        used = any(dim in one.dims and len(one.dims) > 1 for one in known.values())
        if used and all(len(one.dims) == 1 and one.name.rsplit("/", 1)[-1] == dim for one in members):
            continue
        members.sort(key=lambda one: one.zero is None)
        tables.update(one.name for one in members)
        yield _rows(members, index, f"{group}/{dim}".lstrip("/"), count, partial(_samples, members, known))
        index += 1
    for one in known.values():
        if one.text or min(one.shape, default=0) < 1 or (len(one.shape) < 2 and one.name in tables):
            continue
        axes = [_axis(dim, size, one, known) for dim, size in zip(one.dims, one.shape, strict=True)]
        if len(one.shape) == 1 or (one.name in tables and not any(axis.values for axis in axes[1:])):
            continue
        cards = _map(axes, one, known)
        if cards:
            axes[-1] = Axis(name=axes[-1].name, size=axes[-1].size, kind="longitude", unit="deg")
            axes[-2] = Axis(name=axes[-2].name, size=axes[-2].size, kind="latitude", unit="deg")
        places = partial(footprints.places, {card.keyword: card.value for card in cards}) if cards else None
        yield Array(index=index, name=one.name, axes=tuple(axes), dtype=one.meant, read=one.values, unit=one.word("units").strip() or None, cards=(*cards, *_attributes(one.said)), places=places)  # fmt: skip
        index += 1


def _samples(members: Sequence[_Variable], known: Mapping[str, _Variable]) -> SampleFacts | None:
    """Collect what variables with ISTP's attributes say of samples; None: there are no times, or none says that it is data."""
    clock = members[0]
    data = [one for one in members if one is not clock and istp.is_data(one.said)]
    if clock.zero is None or len(clock.shape) != 1 or not data:
        return None
    names = {one.name: one.name.rsplit("/", 1)[-1] for one in members}
    axes = {names[one.name]: found for one in members if len(one.shape) > 1 and (found := _facts_of_axes(one, known, names))}  # fmt: skip
    ranges = {names[one.name]: limits for one in members if len(one.shape) == 1 and one.zero is None and (limits := istp.read_valid_range(one.said)) is not None}  # fmt: skip
    systems = {names[one.name]: system for one in data if one.shape[1:] == (3,) and (system := istp.read_text(one.said, "COORDINATE_SYSTEM"))}  # fmt: skip
    return SampleFacts(
        time=names[clock.name], data=tuple(names[one.name] for one in data), axes=axes, valid=ranges, systems=systems
    )


def _facts_of_axes(one: _Variable, known: Mapping[str, _Variable], names: Mapping[str, str]) -> tuple[AxisFacts, ...]:
    """Tell what the elements of each dimension stand for, by DEPEND_1 .. or the variable of the dimension; empty: not of all of them is it known."""
    found = []
    for number, (dim, size) in enumerate(zip(one.dims[1:], one.shape[1:], strict=True), 1):
        other = known.get(istp.read_text(one.said, f"DEPEND_{number}")) or _coordinate(dim, one.name, known)
        if other is None or other.text or other.zero is not None or other.shape not in {(size,), (one.shape[0], size)}:
            return ()
        if istp.read_text(other.said, "VAR_TYPE").lower() == "metadata":  # numbers of components
            return ()
        centers: tuple[float, ...] | str = names.get(other.name, "")
        if other.shape == (size,):
            values = np.asarray(other.values((slice(0, size),)), np.float64)
            if size > istp.MOST_CENTERS or not np.isfinite(values).all():
                return ()
            centers = tuple(float(f"{value:.9g}") for value in values)
        if not centers:
            return ()
        column = other.column()
        found.append(AxisFacts(name=column.name, unit=column.unit, label=column.label or column.description, centers=centers))  # fmt: skip
    return tuple(found)


def _rows(
    members: Sequence[_Variable],
    index: int,
    name: str,
    count: int,
    samples: Callable[[], SampleFacts | None] | None = None,
) -> Rows:
    columns = tuple(one.column() for one in members)
    schema = pa.schema([column.arrow for column in columns])
    width = sum(math.prod(one.shape[1:]) * max(8, one.dtype.itemsize) for one in members)

    def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(65_536, (8 << 20) // width))
        for first in range(start, min(count, start + most), step):
            stop = min(count, start + most, first + step)
            arrays = [one.arrow(first, stop, kind) for one, kind in zip(members, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    named = {column.name: one for column, one in zip(columns, members, strict=True)}
    return Rows(
        index=index,
        name=name,
        columns=columns,
        count=count,
        batches=batches,
        narrow=lambda names: _rows([one for known, one in named.items() if known in names], index, name, count),
        moments=lambda known, start, stop: named[known].moments(start, stop),
        support=frozenset(known for known, one in named.items() if istp.is_support(one.said)),
        samples=samples,
    )


def _axis(dim: str, size: int, one: _Variable, known: Mapping[str, _Variable]) -> Axis:
    found = _coordinate(dim, one.name, known)
    if found is None or found.shape != (size,) or size > 1 << 24:
        return Axis(name=dim, size=size)
    values = cache(partial(found.values, (slice(0, size),)))
    unit, named = found.word("units").strip(), f"{dim} {found.word('standard_name')}".lower()
    if found.zero is not None:
        return Axis(name=dim, size=size, kind="time", unit="d", values=values)
    if re.search(r"wavelength|wavenumber|radiation_frequency|^freq|^lambda\b|^wave", named) and unit:
        return Axis(
            name=dim, size=size, kind="spectral", unit=unit, values=lambda: wavelengths(values(), "", unit), own=values
        )
    return Axis(name=dim, size=size, unit=unit or None, values=values)


def _map(axes: Sequence[Axis], one: _Variable, known: Mapping[str, _Variable]) -> list[Card]:
    """Write a regular grid of latitudes and longitudes as WCS; empty: it is none."""
    if len(axes) < 2:
        return []
    ends = [_coordinate(dim, one.name, known) for dim in one.dims[-2:]]
    for found, north in zip(ends, (True, False), strict=True):
        unit = "" if found is None else found.word("units").lower().replace("_", "")
        if not re.fullmatch(r"degrees?(n|north)" if north else r"degrees?(e|east)", unit):
            return []
    lat, lon = (np.asarray(axis.values(), np.float64) if axis.values else np.zeros(0) for axis in axes[-2:])
    steps = [float(each[-1] - each[0]) / (len(each) - 1) if len(each) > 1 else 0.0 for each in (lat, lon)]
    if not all(steps) or any(np.abs(each - each[0] - step * np.arange(len(each))).max() > 1e-3 * abs(step) for each, step in zip((lat, lon), steps, strict=True)):  # fmt: skip
        return []
    mapping = known.get(one.word("grid_mapping"))
    radius = None if mapping is None else mapping.number("semi_major_axis")
    radius = radius if radius is not None or mapping is None else mapping.number("earth_radius")
    body = maps.word(one.word("target_name") or ("Earth" if radius is not None and 6.3e6 < radius < 6.4e6 else ""))
    said: list[tuple[str, str | float]] = [("CTYPE1", f"{body}LN-CAR"), ("CTYPE2", f"{body}LT-CAR"), ("CUNIT1", "deg"), ("CUNIT2", "deg")]  # fmt: skip
    # the middle of the map is its reference, so that what wcslib knows of longitudes (180 to either side) has all of it
    middle = len(lon) // 2
    said += [("CRPIX1", middle + 1.0), ("CRVAL1", float(lon[middle])), ("CDELT1", steps[1])]
    said += [("CRPIX2", 1.0 - float(lat[0]) / steps[0]), ("CRVAL2", 0.0), ("CDELT2", steps[0])]
    return [Card(*pair) for pair in said]


MEDIUM = Medium(
    name="netcdf",
    title="netCDF",
    media_types=("application/x-netcdf", "application/netcdf"),
    endings=("nc", "nc4", "h5", "hdf5"),
    begins=rb"\x89HDF\r\n\x1a\n|CDF[\x01\x02\x05]",
    open=open_netcdf,
    head=head,
)
