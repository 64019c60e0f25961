"""Streams of das2 2.2: headers, packets of binary or text, deflate; samples of one packet type as one array, without a line of Python for each."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from hven.model.errors import SourceError
from hven.model.sky import clocks
from hven.sources._reading.service import Broken
from hven.sources._reading.windows import micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TYPES = {"sun_real4": ">f4", "sun_real8": ">f8", "little_endian_real4": "<f4", "little_endian_real8": "<f8"}
_DAY = 86_400_000_000
EPOCHS = {  # microseconds of one, and where they begin, from 1970
    "us2000": (1.0, 946_684_800_000_000), "t2000": (1e6, 946_684_800_000_000), "us1980": (1.0, 315_532_800_000_000),
    "t1970": (1e6, 0), "mj1958": (_DAY, -4_383 * _DAY), "mjd": (_DAY, -40_587 * _DAY), "cdfepoch": (1e3, -719_528 * _DAY),
}  # fmt: skip
J2000 = 946_727_967_816_000  # noon of 2000-01-01 TT, of which TT2000 counts: microseconds of TAI since 1970
FILL = -1e31
_PREFIX = re.compile(
    r"(\s)(?!xmlns:)[A-Za-z]\w*:([A-Za-z_][\w.]*\s*=\s*[\"'])"
)  # double:yFill="0": a type, no namespace
_TEXT = re.compile(r"(?:ascii|time)(\d{1,3})")
Array = Any


class Failed(SourceError):
    """A packet of the stream says that something is wrong; `kind`: NoDataInInterval, IllegalArgument ..."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A variable of a packet type; `tags` are the values of its items, empty for a scalar."""

    name: str
    type: str
    units: str = ""
    items: int = 1
    tags: tuple[float, ...] = ()
    scan: bool = False
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def cell(self) -> np.dtype[Any]:
        """One item as it is sent."""
        found = _TEXT.fullmatch(self.type)
        if self.type not in TYPES and found is None:
            raise SourceError(f"the stream has values of the type {self.type!r:.40}", remedy="tell its owners")
        return np.dtype(TYPES.get(self.type) or f"S{found[1] if found else 0}")

    @property
    def fill(self) -> float:
        """What stands where there is no value."""
        return next((float(self.said[key]) for key in ("fill", "yFill", "zFill") if key in self.said), FILL)


@dataclass(frozen=True, slots=True)
class Segment:
    """All samples of one packet type: microseconds since 1970, shape (n,); and the values of each plane, shape (n, items)."""

    planes: tuple[Plane, ...]
    times: Array
    values: tuple[Array, ...]


@dataclass(slots=True)
class Stream:
    """What a stream says; `left`: variables that are no numbers."""

    properties: dict[str, str]
    segments: list[Segment]
    left: list[str] = field(default_factory=list)


def parse(raw: bytes) -> Stream:
    """Read a whole stream.

    Raises
    ------
    Broken
        It ends in the middle of a packet, or cannot be unpacked.
    Failed
        A packet says that something is wrong.
    SourceError
        It is none of das2 2.
    """
    if raw[:4] != b"[00]":
        raise SourceError(
            f"it is no stream of das2 2: it begins with {raw[:20]!r}", remedy="give the address that ends in /server"
        )
    root, at = _header(raw, 0)
    if root.tag != "stream":
        raise SourceError(f"the first packet is <{root.tag[:40]}>, not <stream>", remedy="tell its owners")
    if root.get("compression", "none") == "deflate":
        unpacker = zlib.decompressobj()
        try:
            raw, at = unpacker.decompress(raw[at:]), 0
        except zlib.error as error:
            raise Broken(f"it cannot be unpacked: {error}") from None
        if not unpacker.eof:
            raise Broken("it broke off")
    stream = Stream(_properties(root), [])
    known: dict[bytes, _Kind] = {}
    kinds: list[_Kind] = []
    whole = np.frombuffer(raw, np.uint8)
    while at < len(raw):
        mark, number = raw[at : at + 1], raw[at + 1 : at + 3]
        if mark == b"[":
            root, at = _header(raw, at)
            if root.tag == "packet":
                known[number] = _Kind(_planes(root, stream.properties))
                kinds.append(known[number])
        elif mark == b":" and raw[at + 3 : at + 4] == b":":
            if number not in known:
                message = f"the stream has samples of the packet {number!r}, which it does not describe"
                raise SourceError(message, remedy="tell its owners")
            kind = known[number]
            rows = run(whole[at:], raw[at : at + 4], kind.row.itemsize)
            if not rows:
                raise Broken(f"it breaks off in a sample: {len(raw) - at} of {kind.row.itemsize} bytes")
            kind.runs.append(np.frombuffer(raw, kind.row, rows, at))
            at += rows * kind.row.itemsize
        elif not raw[at:].strip():
            break
        else:
            message = f"at byte {at:,} of the stream stands {raw[at : at + 12]!r}, no packet: a length is wrong"
            raise SourceError(message, remedy="tell its owners")
    stream.segments += together([_segment(kind.planes, np.concatenate(kind.runs)) for kind in kinds if kind.runs])
    return stream


def together(segments: list[Segment]) -> list[Segment]:
    """Put variables under one time that come in packets of their own, because they have other axes.

    Parameters
    ----------
    segments
        In the order in which the stream describes them.

    Returns
    -------
    segments
        Variables that were sampled at the same times are in one segment; where the tags of one change, another segment begins.
    """
    tracks: dict[tuple[str, ...], list[Segment]] = {}  # of the same variables
    for one in segments:
        tracks.setdefault(tuple(plane.name for plane in one.planes[1:]), []).append(one)
    made: list[tuple[set[str], Array, list[Segment]]] = []
    for names, track in tracks.items():
        clock = np.concatenate([one.times for one in track])
        clock = clock if len(track) == 1 else np.sort(clock)
        for at, (known, other, joined) in enumerate(made):
            if known.isdisjoint(names) and np.array_equal(clock, other):
                if len(track) == len(joined) == 1:
                    made[at] = known.union(names), clock, [_joined(joined[0], track[0])]
                    break
                if (clock[1:] > clock[:-1]).all():
                    made[at] = known.union(names), clock, [*_crossed(joined, track)]
                    break
        else:
            made.append((set(names), clock, track))
    return [one for *_, track in made for one in track] if len(made) < len(tracks) else segments


def _crossed(some: list[Segment], others: list[Segment]) -> Iterator[Segment]:
    """Join the variables of two lists of segments wherever they have the same times."""
    for one in some:
        for other in others:
            common, mine, theirs = np.intersect1d(one.times, other.times, assume_unique=True, return_indices=True)
            if len(common):
                yield _joined(_rows_of(one, mine), _rows_of(other, theirs))


def _rows_of(segment: Segment, rows: Array) -> Segment:
    return Segment(segment.planes, segment.times[rows], tuple(one[rows] for one in segment.values))


def _joined(one: Segment, other: Segment) -> Segment:
    """Join variables of the same times."""
    return Segment((*one.planes, *other.planes[1:]), one.times, (*one.values, *other.values))


class _Kind:
    """A packet type, and its samples as they stand in the stream."""

    def __init__(self, planes: tuple[Plane, ...]) -> None:
        cells = [(f"p{number}", plane.cell, (plane.items,)) for number, plane in enumerate(planes)]
        self.planes, self.row, self.runs = planes, np.dtype([("mark", "S4"), *cells]), list[Array]()


def _header(raw: bytes, at: int) -> tuple[ET.Element, int]:
    head = raw[at : at + 10]
    if len(head) < 10 or not head[4:].strip().isdigit():
        raise Broken(f"it breaks off in a header, or says no length: {head!r}")
    end = at + 10 + int(head[4:])
    if end > len(raw):
        raise Broken("it breaks off in a header")
    return document(raw[at + 10 : end]), end


def document(text: bytes) -> ET.Element:
    """Read the XML of a header.

    Raises
    ------
    Failed
        It says that something is wrong.
    SourceError
        It is no XML, or declares entities.
    """
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise SourceError("a header of the stream declares entities", remedy="tell its owners")
    try:
        root = ET.fromstring(_PREFIX.sub(r"\1\2", text.decode("utf-8", "replace")))  # noqa: S314  (entities are refused)
    except ET.ParseError as error:
        raise SourceError(f"a header of the stream is no XML: {error}", remedy="tell its owners") from None
    for one in root.iter():  # <stream xmlns="das-basic-stream">
        one.tag = one.tag.rpartition("}")[2] if isinstance(one.tag, str) else one.tag
    if root.tag == "exception":
        said = root.get("message") or "".join(root.itertext()).strip()
        raise Failed(root.get("type", "ServerError")[:80], said[:400])
    return root


def _properties(root: ET.Element) -> dict[str, str]:
    """Read what a part says of itself."""
    return {key: value for each in root.findall("properties") for key, value in each.attrib.items()}


def _planes(root: ET.Element, above: Mapping[str, str]) -> tuple[Plane, ...]:
    found = []
    for one in root:
        if one.tag not in {"x", "y", "z", "yscan"}:
            continue
        scan = one.tag == "yscan"
        tags: tuple[float, ...] = ()
        try:
            items = int(one.get("nitems", "1")) if scan else 1
            if scan and one.get("yTags"):
                tags = tuple(float(tag) for tag in str(one.get("yTags")).split(","))
            elif scan:
                first, step = float(one.get("yTagMin", "0")), float(one.get("yTagInterval", "1"))
                tags = tuple(first + step * at for at in range(items))
        except ValueError as error:
            raise SourceError(
                f"a packet of the stream is described wrongly: {error}", remedy="tell its owners"
            ) from None
        if not 0 < items <= 1_000_000 or len(tags) not in {0, items}:
            raise SourceError(
                f"a packet of the stream has {items} items and {len(tags)} tags", remedy="tell its owners"
            )
        units = one.get("zUnits" if scan else "units", "")
        said = {**above, **_properties(one)}
        found.append(Plane(name=one.get("name") or one.get("group") or "", type=one.get("type", ""), units=units, items=items, tags=tags, scan=scan, said=said))  # fmt: skip
    if next((one.tag for one in root if one.tag != "properties"), "") != "x":
        raise SourceError("a packet of the stream has no x", remedy="tell its owners")
    return tuple(found)


def run(raw: Array, mark: bytes, size: int) -> int:
    """Count the samples of one kind that stand one behind the other: `size` bytes with the mark before them."""
    most = len(raw) // size
    marks = raw[: most * size].reshape(most, size)[:, : len(mark)]
    other = np.flatnonzero((marks != np.frombuffer(mark, np.uint8)).any(axis=1))
    return int(other[0]) if len(other) else most


def _segment(planes: tuple[Plane, ...], rows: Array) -> Segment:
    found = [numbers(plane, rows[f"p{at}"]) for at, plane in enumerate(planes[1:], 1)]
    return Segment(planes, times(planes[0], rows["p0"][:, 0]), tuple(found))


def times(x: Plane, cells: Array) -> Array:
    """Turn the cells of times into microseconds since 1970."""
    units = x.units.lower()
    if x.type.startswith("time"):
        try:
            return micros(np.ascontiguousarray(np.char.strip(cells)))
        except ValueError as error:
            raise SourceError(f"the stream has what is no time: {error}", remedy="tell its owners") from None
    if units == "tt2000":
        return clocks.utc_of_tai(_floats(cells, exact=True).astype(np.int64) // 1000 + J2000)
    if units not in EPOCHS:
        raise SourceError(
            f"the x of the stream is in {x.units!r:.40}, no time",
            remedy=f"times are in {', '.join(EPOCHS)}, tt2000, or texts",
        )
    scale, begins = EPOCHS[units]
    return np.rint(_floats(cells) * scale).astype(np.int64) + begins


def _floats(cells: Array, *, exact: bool = False) -> Array:
    if cells.dtype.kind == "f" or (exact and cells.dtype.kind == "i"):
        return cells.astype(cells.dtype.newbyteorder("="))
    try:
        return (np.char.strip(cells) if cells.dtype.kind == "S" else cells).astype(np.float64)
    except ValueError as error:
        raise SourceError(f"the stream has what is no number: {error}", remedy="tell its owners") from None


def numbers(plane: Plane, cells: Array) -> Array:
    """Turn the cells of a plane into numbers, shape (n, items); what is filled is NaN."""
    found = _floats(np.ascontiguousarray(cells))
    return np.where(np.isclose(found, plane.fill, rtol=1e-6, atol=0), np.array(np.nan, found.dtype), found)


__all__ = ["Array", "Failed", "Plane", "Segment", "Stream", "document", "numbers", "parse", "run", "times", "together"]
