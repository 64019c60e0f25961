"""Parse streams of das2 2.2: headers, packets of binary or text, deflate.

The samples of one packet type become one array, without Python code for each sample.
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
from hven.plugins.series.time_texts import DAY_MICROSECONDS
from hven.plugins.series.time_windows import ServerFaultError, parse_instants
from hven.sources.api.services import BrokenAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NUMPY_TYPES = {"sun_real4": ">f4", "sun_real8": ">f8", "little_endian_real4": "<f4", "little_endian_real8": "<f8"}
_EPOCH_2000 = 946_684_800_000_000
TIME_UNITS = {  # microseconds of one unit, and its epoch in microseconds since 1970
    "us2000": (1.0, _EPOCH_2000),
    "t2000": (1e6, _EPOCH_2000),
    "us1980": (1.0, 315_532_800_000_000),
    "t1970": (1e6, 0),
    "mj1958": (DAY_MICROSECONDS, -4_383 * DAY_MICROSECONDS),
    "mjd": (DAY_MICROSECONDS, -40_587 * DAY_MICROSECONDS),
    "cdfepoch": (1e3, -719_528 * DAY_MICROSECONDS),
}
# noon of 2000-01-01 TT, the epoch of TT2000: microseconds of TAI since 1970
J2000_TAI_MICROSECONDS = 946_727_967_816_000
DEFAULT_FILL_VALUE = -1e31
# double:yFill="0": the prefix is a type, not a namespace
_ATTRIBUTE_PREFIX_PATTERN = re.compile(r"(\s)(?!xmlns:)[A-Za-z]\w*:([A-Za-z_][\w.]*\s*=\s*[\"'])")
_TEXT_TYPE_PATTERN = re.compile(r"(?:ascii|time)(\d{1,3})")
MAX_ITEMS = 1_000_000  # of a sample
Array = Any


class Das2StreamError(SourceError):
    """A packet of the stream reports an error; `exception_type`: NoDataInInterval, IllegalArgument ..."""

    def __init__(self, exception_type: str, message: str) -> None:
        super().__init__(f"{exception_type}: {message}")
        self.exception_type = exception_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Das2PacketVariable:
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
        """The numpy type of one item as it is sent."""
        if self.type in NUMPY_TYPES:
            return np.dtype(NUMPY_TYPES[self.type])
        match = _TEXT_TYPE_PATTERN.fullmatch(self.type)
        if match is None:
            raise ServerFaultError(f"the stream has values of the unknown type {self.type!r:.40}")
        return np.dtype(f"S{match[1]}")

    @property
    def fill_value(self) -> float:
        """The number that stands for a missing value."""
        for key in ("fill", "yFill", "zFill"):
            if key in self.properties:
                return float(self.properties[key])
        return DEFAULT_FILL_VALUE


@dataclass(frozen=True, slots=True)
class PacketSampleSegment:
    """All samples of one packet type.

    Attributes
    ----------
    times
        Microseconds since 1970, shape (n,).
    values
        The values of each plane, shape (n, items).
    """

    planes: tuple[Das2PacketVariable, ...]
    times: Array
    values: tuple[Array, ...]


@dataclass(slots=True)
class Das2Stream:
    """The content of a stream; `skipped_variables`: variables that are no numbers."""

    properties: dict[str, str]
    segments: list[PacketSampleSegment]
    skipped_variables: list[str] = field(default_factory=list)


def parse_das2_stream(stream_bytes: bytes) -> Das2Stream:
    """Parse a whole stream.

    Raises
    ------
    BrokenAnswerError
        The stream ends in the middle of a packet, or cannot be decompressed.
    Das2StreamError
        A packet reports an error.
    SourceError
        It is no stream of das2 2.
    """
    if stream_bytes[:4] != b"[00]":
        raise SourceError(
            f"the response is not a das2 stream of version 2; it begins with {stream_bytes[:20]!r}",
            remedy="give the address that ends in /server",
        )
    root, at = _read_packet_header(stream_bytes, 0)
    if root.tag != "stream":
        raise ServerFaultError(f"the first packet of the stream is <{root.tag[:40]}>, not <stream>")
    if root.get("compression", "none") == "deflate":
        stream_bytes = _decompress(stream_bytes[at:])
        at = 0
    stream = Das2Stream(_read_properties(root), [])
    reader = _PacketReader(stream_bytes, stream.properties)
    reader.read_packets(at)
    filled_types = [packet_type for packet_type in reader.packet_types if packet_type.runs]
    segments = [
        _decode_packet_samples(packet_type.planes, np.concatenate(packet_type.runs)) for packet_type in filled_types
    ]
    stream.segments += merge_segments_by_time(segments)
    return stream


def _decompress(packed_bytes: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        stream_bytes = decompressor.decompress(packed_bytes)
    except zlib.error as error:
        raise BrokenAnswerError(f"the stream cannot be decompressed: {error}") from None
    if not decompressor.eof:
        raise BrokenAnswerError("the stream is truncated")
    return stream_bytes


class _PacketReader:
    """Reads the packets of a stream: their descriptions, and their samples.

    Attributes
    ----------
    packet_types
        All packet types, in the order in which the stream describes them.
    """

    def __init__(self, stream_bytes: bytes, properties: Mapping[str, str]) -> None:
        self.stream_bytes = stream_bytes
        self.stream_array = np.frombuffer(stream_bytes, np.uint8)
        self.properties = properties
        self.packet_types: list[_PacketType] = []
        self._types_by_number: dict[bytes, _PacketType] = {}  # a number may be given again

    def read_packets(self, offset: int) -> None:
        """Read the packets from an offset on."""
        data = self.stream_bytes
        while offset < len(data):
            mark = data[offset : offset + 1]
            number = data[offset + 1 : offset + 3]
            if mark == b"[":
                root, offset = _read_packet_header(data, offset)
                if root.tag == "packet":
                    packet_type = _PacketType(_read_variables(root, self.properties))
                    self._types_by_number[number] = packet_type
                    self.packet_types.append(packet_type)
            elif mark == b":" and data[offset + 3 : offset + 4] == b":":
                offset = self._read_samples(number, offset)
            elif not data[offset:].strip():
                break
            else:
                packet_start = data[offset : offset + 12]
                message = (
                    f"the stream has {packet_start!r} instead of a packet at byte {offset:,}, so a "
                    "stated length is wrong"
                )
                raise ServerFaultError(message)

    def _read_samples(self, number: bytes, offset: int) -> int:
        """Read the samples of one packet type that stand one behind the other; return the offset behind them."""
        if number not in self._types_by_number:
            message = f"the stream has samples of the packet {number!r}, but no description of this packet"
            raise ServerFaultError(message)
        packet_type = self._types_by_number[number]
        sample_bytes = packet_type.row.itemsize
        mark = self.stream_bytes[offset : offset + 4]
        row_count = count_adjacent_samples(self.stream_array[offset:], mark, sample_bytes)
        if not row_count:
            remaining_count = len(self.stream_bytes) - offset
            raise BrokenAnswerError(
                f"the stream ends in the middle of a sample, after {remaining_count} of {sample_bytes} bytes"
            )
        packet_type.runs.append(np.frombuffer(self.stream_bytes, packet_type.row, row_count, offset))
        return offset + row_count * sample_bytes


def merge_segments_by_time(segments: list[PacketSampleSegment]) -> list[PacketSampleSegment]:
    """Put variables under one time that come in packets of their own because they have other axes.

    Parameters
    ----------
    segments
        Segments in the order in which the stream describes them.

    Returns
    -------
    segments
        Variables that were sampled at the same times are in one segment; where the tags of one change, another segment
        begins.
    """
    tracks: dict[tuple[str, ...], list[PacketSampleSegment]] = {}  # of the same variables
    for segment in segments:
        names = tuple(plane.name for plane in segment.planes[1:])
        tracks.setdefault(names, []).append(segment)
    merged: list[tuple[set[str], Array, list[PacketSampleSegment]]] = []
    for names, track in tracks.items():
        times_of_track = np.concatenate([segment.times for segment in track])
        if len(track) != 1:
            times_of_track = np.sort(times_of_track)
        for merged_index, (merged_names, other, joined) in enumerate(merged):
            if not merged_names.isdisjoint(names) or not np.array_equal(times_of_track, other):
                continue
            if len(track) == len(joined) == 1:
                joined_segments = [_join_variables(joined[0], track[0])]
            elif (times_of_track[1:] > times_of_track[:-1]).all():
                joined_segments = [*_join_at_common_times(joined, track)]
            else:
                continue
            merged[merged_index] = (merged_names.union(names), times_of_track, joined_segments)
            break
        else:
            merged.append((set(names), times_of_track, track))
    if len(merged) < len(tracks):
        return [segment for *_, track in merged for segment in track]
    return segments


def _join_at_common_times(
    first_segments: list[PacketSampleSegment], second_segments: list[PacketSampleSegment]
) -> Iterator[PacketSampleSegment]:
    """Join the variables of two lists of segments wherever they have the same times."""
    for first_segment in first_segments:
        for second_segment in second_segments:
            common, mine, theirs = np.intersect1d(
                first_segment.times, second_segment.times, assume_unique=True, return_indices=True
            )
            if len(common):
                samples = _select_samples(first_segment, mine)
                yield _join_variables(samples, _select_samples(second_segment, theirs))


def _select_samples(segment: PacketSampleSegment, indexes: Array) -> PacketSampleSegment:
    selected_values = tuple(values[indexes] for values in segment.values)
    return PacketSampleSegment(segment.planes, segment.times[indexes], selected_values)


def _join_variables(segment: PacketSampleSegment, other: PacketSampleSegment) -> PacketSampleSegment:
    """Join variables that have the same times."""
    planes = (*segment.planes, *other.planes[1:])
    return PacketSampleSegment(planes, segment.times, (*segment.values, *other.values))


class _PacketType:
    """A packet type, and its samples as they stand in the stream."""

    def __init__(self, planes: tuple[Das2PacketVariable, ...]) -> None:
        cells = [(f"p{number}", plane.item_dtype, (plane.item_count,)) for number, plane in enumerate(planes)]
        self.planes = planes
        self.row = np.dtype([("mark", "S4"), *cells])
        self.runs = list[Array]()


def _read_packet_header(stream_bytes: bytes, offset: int) -> tuple[ET.Element, int]:
    head = stream_bytes[offset : offset + 10]
    if len(head) < 10 or not head[4:].strip().isdigit():
        raise BrokenAnswerError(f"the stream ends in the middle of a header, or a header has no length: {head!r}")
    end = offset + 10 + int(head[4:])
    if end > len(stream_bytes):
        raise BrokenAnswerError("the stream ends in the middle of a header")
    return parse_header_unless_exception(stream_bytes[offset + 10 : end]), end


def parse_header_unless_exception(text: bytes) -> ET.Element:
    """Parse the XML of a header.

    Raises
    ------
    Das2StreamError
        The header reports an error.
    SourceError
        The header is no XML, or declares entities.
    """
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ServerFaultError("a header of the stream declares entities")
    xml_text = _ATTRIBUTE_PREFIX_PATTERN.sub(r"\1\2", text.decode("utf-8", "replace"))
    try:
        root = ET.fromstring(xml_text)  # noqa: S314  (entities are refused above)
    except ET.ParseError as error:
        raise ServerFaultError(f"a header of the stream is not XML: {error}") from None
    for element in root.iter():  # <stream xmlns="das-basic-stream">
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    if root.tag == "exception":
        text_content = "".join(root.itertext()).strip()
        message = root.get("message") or text_content
        raise Das2StreamError(root.get("type", "ServerError")[:80], message[:400])
    return root


def _read_properties(root: ET.Element) -> dict[str, str]:
    """Read the properties of a part."""
    properties: dict[str, str] = {}
    for element in root.findall("properties"):
        properties.update(element.attrib)
    return properties


def _read_variables(root: ET.Element, inherited_properties: Mapping[str, str]) -> tuple[Das2PacketVariable, ...]:
    if next((element.tag for element in root if element.tag != "properties"), "") != "x":
        raise ServerFaultError("a packet description in the stream does not begin with the element `x`")
    elements = [element for element in root if element.tag in {"x", "y", "z", "yscan"}]
    return tuple(_read_variable(element, inherited_properties) for element in elements)


def _read_variable(element: ET.Element, inherited_properties: Mapping[str, str]) -> Das2PacketVariable:
    is_scan = element.tag == "yscan"
    item_count = 1
    item_values: tuple[float, ...] = ()
    units = element.get("units", "")
    if is_scan:
        units = element.get("zUnits", "")
        try:
            item_count = int(element.get("nitems", "1"))
            item_values = _read_item_values(element, item_count)
        except ValueError as error:
            raise ServerFaultError(f"the description of a packet is wrong: {error}") from None
    if not 0 < item_count <= MAX_ITEMS or len(item_values) not in {0, item_count}:
        raise ServerFaultError(f"a packet of the stream has {item_count} items, but {len(item_values)} tags")
    return Das2PacketVariable(
        name=element.get("name") or element.get("group") or "",
        type=element.get("type", ""),
        units=units,
        item_count=item_count,
        item_values=item_values,
        is_scan=is_scan,
        properties={**inherited_properties, **_read_properties(element)},
    )


def _read_item_values(element: ET.Element, item_count: int) -> tuple[float, ...]:
    """Read the values of the items of a scan: listed ones, or the steps from a first one."""
    tags = element.get("yTags")
    if tags:
        return tuple(map(float, tags.split(",")))
    first = float(element.get("yTagMin", "0"))
    step = float(element.get("yTagInterval", "1"))
    if item_count > MAX_ITEMS:  # which the caller refuses
        return ()
    return tuple(first + step * index for index in range(item_count))


def count_adjacent_samples(remaining_bytes: Array, mark: bytes, sample_bytes: int) -> int:
    """Count the samples of one kind that stand one behind the other: `sample_bytes` bytes that begin with the mark."""
    max_count = len(remaining_bytes) // sample_bytes
    whole_samples = remaining_bytes[: max_count * sample_bytes].reshape(max_count, sample_bytes)
    is_other = whole_samples[:, : len(mark)] != np.frombuffer(mark, np.uint8)
    other_samples = np.flatnonzero(is_other.any(axis=1))
    if len(other_samples):
        return int(other_samples[0])
    return max_count


def _decode_packet_samples(planes: tuple[Das2PacketVariable, ...], samples: Array) -> PacketSampleSegment:
    times = to_instants(planes[0], samples["p0"][:, 0])
    values = [to_numbers(plane, samples[f"p{number}"]) for number, plane in enumerate(planes[1:], 1)]
    return PacketSampleSegment(planes, times, tuple(values))


def to_instants(time_variable: Das2PacketVariable, cells: Array) -> Array:
    """Convert the cells of times to microseconds since 1970."""
    units = time_variable.units.lower()
    if time_variable.type.startswith("time"):
        try:
            return parse_instants(np.ascontiguousarray(np.char.strip(cells)))
        except ValueError as error:
            raise ServerFaultError(f"the stream contains an invalid time: {error}") from None
    if units == "tt2000":
        nanoseconds = _to_floats(cells, keeps_integers=True).astype(np.int64)
        return time_scales.tai_to_utc(nanoseconds // 1000 + J2000_TAI_MICROSECONDS)
    if units not in TIME_UNITS:
        raise SourceError(
            f"the unit of x in the stream is {time_variable.units!r:.40}, not a unit of time",
            remedy="ask the operators of the server for times as text, or in one of these units: "
            f"{', '.join(TIME_UNITS)}, tt2000",
        )
    scale, begins = TIME_UNITS[units]
    return np.rint(_to_floats(cells) * scale).astype(np.int64) + begins


def _to_floats(cells: Array, *, keeps_integers: bool = False) -> Array:
    if cells.dtype.kind == "f" or (keeps_integers and cells.dtype.kind == "i"):
        return cells.astype(cells.dtype.newbyteorder("="))
    if cells.dtype.kind == "S":
        cells = np.char.strip(cells)
    try:
        return cells.astype(np.float64)
    except ValueError as error:
        raise ServerFaultError(f"the stream contains an invalid number: {error}") from None


def to_numbers(plane: Das2PacketVariable, cells: Array) -> Array:
    """Convert the cells of a plane to numbers, shape (n, items); the fill value becomes NaN."""
    values = _to_floats(np.ascontiguousarray(cells))
    is_missing = np.isclose(values, plane.fill_value, rtol=1e-6, atol=0)
    return np.where(is_missing, np.array(np.nan, values.dtype), values)
