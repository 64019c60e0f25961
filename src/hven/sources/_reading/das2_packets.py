"""Streams of das2 2.2: headers, packets of binary or text, deflate.

Samples of one packet type as one array, without a line of Python for each.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from hven.model.errors import SourceError
from hven.model.sky import time_scales
from hven.sources._reading.service_client import BrokenAnswerError
from hven.sources._reading.time_windows import parse_instants

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NUMPY_TYPES = {"sun_real4": ">f4", "sun_real8": ">f8", "little_endian_real4": "<f4", "little_endian_real8": "<f8"}
_DAY_MICROSECONDS = 86_400_000_000
TIME_UNITS = {  # microseconds of one, and where they begin, from 1970
    "us2000": (1.0, 946_684_800_000_000),
    "t2000": (1e6, 946_684_800_000_000),
    "us1980": (1.0, 315_532_800_000_000),
    "t1970": (1e6, 0),
    "mj1958": (_DAY_MICROSECONDS, -4_383 * _DAY_MICROSECONDS),
    "mjd": (_DAY_MICROSECONDS, -40_587 * _DAY_MICROSECONDS),
    "cdfepoch": (1e3, -719_528 * _DAY_MICROSECONDS),
}
J2000_TAI_MICROSECONDS = (
    946_727_967_816_000  # noon of 2000-01-01 TT, of which TT2000 counts: microseconds of TAI since 1970
)
DEFAULT_FILL_VALUE = -1e31
_ATTRIBUTE_PREFIX_PATTERN = re.compile(
    r"(\s)(?!xmlns:)[A-Za-z]\w*:([A-Za-z_][\w.]*\s*=\s*[\"'])"
)  # double:yFill="0": a type, no namespace
_TEXT_TYPE_PATTERN = re.compile(r"(?:ascii|time)(\d{1,3})")
Array = Any


class StreamExceptionError(SourceError):
    """A packet of the stream says that something is wrong; `exception_type`: NoDataInInterval, IllegalArgument ..."""

    def __init__(self, exception_type: str, message: str) -> None:
        super().__init__(f"{exception_type}: {message}")
        self.exception_type = exception_type


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketVariable:
    """A variable of a packet type; `item_values` are the values of its items, empty for a scalar."""

    name: str
    type: str
    units: str = ""
    item_count: int = 1
    item_values: tuple[float, ...] = ()
    is_scan: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def item_dtype(self) -> np.dtype[Any]:
        """One item as it is sent."""
        match = _TEXT_TYPE_PATTERN.fullmatch(self.type)
        if self.type not in NUMPY_TYPES and match is None:
            raise SourceError(f"the stream has values of the type {self.type!r:.40}", remedy="tell its owners")
        return np.dtype(NUMPY_TYPES.get(self.type) or f"S{match[1] if match else 0}")

    @property
    def fill_value(self) -> float:
        """What stands where there is no value."""
        return next(
            (float(self.properties[key]) for key in ("fill", "yFill", "zFill") if key in self.properties),
            DEFAULT_FILL_VALUE,
        )


@dataclass(frozen=True, slots=True)
class SampleSegment:
    """All samples of one packet type: microseconds since 1970, shape (n,).

    And the values of each plane, shape (n, items).
    """

    planes: tuple[PacketVariable, ...]
    times: Array
    values: tuple[Array, ...]


@dataclass(slots=True)
class Das2Stream:
    """What a stream says; `skipped_variables`: variables that are no numbers."""

    properties: dict[str, str]
    segments: list[SampleSegment]
    skipped_variables: list[str] = field(default_factory=list)


def parse_stream(stream_bytes: bytes) -> Das2Stream:
    """Read a whole stream.

    Raises
    ------
    BrokenAnswerError
        It ends in the middle of a packet, or cannot be unpacked.
    StreamExceptionError
        A packet says that something is wrong.
    SourceError
        It is none of das2 2.
    """
    if stream_bytes[:4] != b"[00]":
        raise SourceError(
            f"it is no stream of das2 2: it begins with {stream_bytes[:20]!r}",
            remedy="give the address that ends in /server",
        )
    root, at = _read_header(stream_bytes, 0)
    if root.tag != "stream":
        raise SourceError(f"the first packet is <{root.tag[:40]}>, not <stream>", remedy="tell its owners")
    if root.get("compression", "none") == "deflate":
        unpacker = zlib.decompressobj()
        try:
            stream_bytes = unpacker.decompress(stream_bytes[at:])
            at = 0
        except zlib.error as error:
            raise BrokenAnswerError(f"it cannot be unpacked: {error}") from None
        if not unpacker.eof:
            raise BrokenAnswerError("it broke off")
    stream = Das2Stream(_read_properties(root), [])
    packet_types: dict[bytes, _PacketType] = {}
    kinds: list[_PacketType] = []
    stream_array = np.frombuffer(stream_bytes, np.uint8)
    while at < len(stream_bytes):
        mark = stream_bytes[at : at + 1]
        number = stream_bytes[at + 1 : at + 3]
        if mark == b"[":
            root, at = _read_header(stream_bytes, at)
            if root.tag == "packet":
                packet_types[number] = _PacketType(_read_variables(root, stream.properties))
                kinds.append(packet_types[number])
        elif mark == b":" and stream_bytes[at + 3 : at + 4] == b":":
            if number not in packet_types:
                message = f"the stream has samples of the packet {number!r}, which it does not describe"
                raise SourceError(message, remedy="tell its owners")
            kind = packet_types[number]
            rows = count_adjacent_samples(stream_array[at:], stream_bytes[at : at + 4], kind.row.itemsize)
            if not rows:
                raise BrokenAnswerError(
                    f"it breaks off in a sample: {len(stream_bytes) - at} of {kind.row.itemsize} bytes"
                )
            kind.runs.append(np.frombuffer(stream_bytes, kind.row, rows, at))
            at += rows * kind.row.itemsize
        elif not stream_bytes[at:].strip():
            break
        else:
            message = (
                f"at byte {at:,} of the stream stands {stream_bytes[at : at + 12]!r}, no packet: a length is wrong"
            )
            raise SourceError(message, remedy="tell its owners")
    stream.segments += merge_segments(
        [_build_segment(kind.planes, np.concatenate(kind.runs)) for kind in kinds if kind.runs]
    )
    return stream


def merge_segments(segments: list[SampleSegment]) -> list[SampleSegment]:
    """Put variables under one time that come in packets of their own, because they have other axes.

    Parameters
    ----------
    segments
        In the order in which the stream describes them.

    Returns
    -------
    segments
        Variables that were sampled at the same times are in one segment; where the tags of one change, another segment
        begins.
    """
    tracks: dict[tuple[str, ...], list[SampleSegment]] = {}  # of the same variables
    for segment in segments:
        tracks.setdefault(tuple(plane.name for plane in segment.planes[1:]), []).append(segment)
    merged: list[tuple[set[str], Array, list[SampleSegment]]] = []
    for names, track in tracks.items():
        times_of_track = np.concatenate([segment.times for segment in track])
        if len(track) != 1:
            times_of_track = np.sort(times_of_track)
        for merged_index, (merged_names, other, joined) in enumerate(merged):
            if merged_names.isdisjoint(names) and np.array_equal(times_of_track, other):
                if len(track) == len(joined) == 1:
                    merged[merged_index] = (
                        merged_names.union(names),
                        times_of_track,
                        [_join_variables(joined[0], track[0])],
                    )
                    break
                if (times_of_track[1:] > times_of_track[:-1]).all():
                    merged[merged_index] = (
                        merged_names.union(names),
                        times_of_track,
                        [*_join_at_common_times(joined, track)],
                    )
                    break
        else:
            merged.append((set(names), times_of_track, track))
    if len(merged) < len(tracks):
        return [segment for *_, track in merged for segment in track]
    return segments


def _join_at_common_times(
    first_segments: list[SampleSegment], second_segments: list[SampleSegment]
) -> Iterator[SampleSegment]:
    """Join the variables of two lists of segments wherever they have the same times."""
    for first_segment in first_segments:
        for second_segment in second_segments:
            common, mine, theirs = np.intersect1d(
                first_segment.times, second_segment.times, assume_unique=True, return_indices=True
            )
            if len(common):
                samples = _select_samples(first_segment, mine)
                yield _join_variables(samples, _select_samples(second_segment, theirs))


def _select_samples(segment: SampleSegment, indexes: Array) -> SampleSegment:
    return SampleSegment(segment.planes, segment.times[indexes], tuple(values[indexes] for values in segment.values))


def _join_variables(segment: SampleSegment, other: SampleSegment) -> SampleSegment:
    """Join variables of the same times."""
    return SampleSegment((*segment.planes, *other.planes[1:]), segment.times, (*segment.values, *other.values))


class _PacketType:
    """A packet type, and its samples as they stand in the stream."""

    def __init__(self, planes: tuple[PacketVariable, ...]) -> None:
        cells = [(f"p{number}", plane.item_dtype, (plane.item_count,)) for number, plane in enumerate(planes)]
        self.planes = planes
        self.row = np.dtype([("mark", "S4"), *cells])
        self.runs = list[Array]()


def _read_header(stream_bytes: bytes, offset: int) -> tuple[ET.Element, int]:
    head = stream_bytes[offset : offset + 10]
    if len(head) < 10 or not head[4:].strip().isdigit():
        raise BrokenAnswerError(f"it breaks off in a header, or says no length: {head!r}")
    end = offset + 10 + int(head[4:])
    if end > len(stream_bytes):
        raise BrokenAnswerError("it breaks off in a header")
    return parse_header_xml(stream_bytes[offset + 10 : end]), end


def parse_header_xml(text: bytes) -> ET.Element:
    """Read the XML of a header.

    Raises
    ------
    StreamExceptionError
        It says that something is wrong.
    SourceError
        It is no XML, or declares entities.
    """
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise SourceError("a header of the stream declares entities", remedy="tell its owners")
    try:
        # entities are refused
        root = ET.fromstring(_ATTRIBUTE_PREFIX_PATTERN.sub(r"\1\2", text.decode("utf-8", "replace")))  # noqa: S314
    except ET.ParseError as error:
        raise SourceError(f"a header of the stream is no XML: {error}", remedy="tell its owners") from None
    for element in root.iter():  # <stream xmlns="das-basic-stream">
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    if root.tag == "exception":
        message = root.get("message") or "".join(root.itertext()).strip()
        raise StreamExceptionError(root.get("type", "ServerError")[:80], message[:400])
    return root


def _read_properties(root: ET.Element) -> dict[str, str]:
    """Read what a part says of itself."""
    return {key: value for each in root.findall("properties") for key, value in each.attrib.items()}


def _read_variables(root: ET.Element, inherited_properties: Mapping[str, str]) -> tuple[PacketVariable, ...]:
    variables = []
    for element in root:
        if element.tag not in {"x", "y", "z", "yscan"}:
            continue
        scan = element.tag == "yscan"
        tags: tuple[float, ...] = ()
        try:
            if scan:
                items = int(element.get("nitems", "1"))
            else:
                items = 1
            if scan and element.get("yTags"):
                tags = tuple(float(tag) for tag in str(element.get("yTags")).split(","))
            elif scan:
                first = float(element.get("yTagMin", "0"))
                step = float(element.get("yTagInterval", "1"))
                tags = tuple(first + step * at for at in range(items))
        except ValueError as error:
            raise SourceError(
                f"a packet of the stream is described wrongly: {error}", remedy="tell its owners"
            ) from None
        if not 0 < items <= 1_000_000 or len(tags) not in {0, items}:
            raise SourceError(
                f"a packet of the stream has {items} items and {len(tags)} tags", remedy="tell its owners"
            )
        units = element.get("zUnits" if scan else "units", "")
        properties = {**inherited_properties, **_read_properties(element)}
        variables.append(
            PacketVariable(
                name=element.get("name") or element.get("group") or "",
                type=element.get("type", ""),
                units=units,
                item_count=items,
                item_values=tags,
                is_scan=scan,
                properties=properties,
            )
        )
    if next((element.tag for element in root if element.tag != "properties"), "") != "x":
        raise SourceError("a packet of the stream has no x", remedy="tell its owners")
    return tuple(variables)


def count_adjacent_samples(remaining_bytes: Array, mark: bytes, sample_bytes: int) -> int:
    """Count the samples of one kind that stand one behind the other: `sample_bytes` bytes with the mark before them."""
    max_count = len(remaining_bytes) // sample_bytes
    marks = remaining_bytes[: max_count * sample_bytes].reshape(max_count, sample_bytes)[:, : len(mark)]
    other = np.flatnonzero((marks != np.frombuffer(mark, np.uint8)).any(axis=1))
    if len(other):
        return int(other[0])
    return max_count


def _build_segment(planes: tuple[PacketVariable, ...], samples: Array) -> SampleSegment:
    values = [to_numbers(plane, samples[f"p{at}"]) for at, plane in enumerate(planes[1:], 1)]
    return SampleSegment(planes, to_instants(planes[0], samples["p0"][:, 0]), tuple(values))


def to_instants(x: PacketVariable, cells: Array) -> Array:
    """Turn the cells of times into microseconds since 1970."""
    units = x.units.lower()
    if x.type.startswith("time"):
        try:
            return parse_instants(np.ascontiguousarray(np.char.strip(cells)))
        except ValueError as error:
            raise SourceError(f"the stream has what is no time: {error}", remedy="tell its owners") from None
    if units == "tt2000":
        return time_scales.tai_to_utc(_to_floats(cells, exact=True).astype(np.int64) // 1000 + J2000_TAI_MICROSECONDS)
    if units not in TIME_UNITS:
        raise SourceError(
            f"the x of the stream is in {x.units!r:.40}, no time",
            remedy=f"times are in {', '.join(TIME_UNITS)}, tt2000, or texts",
        )
    scale, begins = TIME_UNITS[units]
    return np.rint(_to_floats(cells) * scale).astype(np.int64) + begins


def _to_floats(cells: Array, *, exact: bool = False) -> Array:
    if cells.dtype.kind == "f" or (exact and cells.dtype.kind == "i"):
        return cells.astype(cells.dtype.newbyteorder("="))
    try:
        return (np.char.strip(cells) if cells.dtype.kind == "S" else cells).astype(np.float64)
    except ValueError as error:
        raise SourceError(f"the stream has what is no number: {error}", remedy="tell its owners") from None


def to_numbers(plane: PacketVariable, cells: Array) -> Array:
    """Turn the cells of a plane into numbers, shape (n, items); what is filled is NaN."""
    values = _to_floats(np.ascontiguousarray(cells))
    return np.where(np.isclose(values, plane.fill_value, rtol=1e-6, atol=0), np.array(np.nan, values.dtype), values)


__all__ = [
    "Array",
    "Das2Stream",
    "PacketVariable",
    "SampleSegment",
    "StreamExceptionError",
    "count_adjacent_samples",
    "merge_segments",
    "parse_header_xml",
    "parse_stream",
    "to_instants",
    "to_numbers",
]
