"""Write streams of das2 2.2 and das 3.0, binary and text, a whole batch at a time.

Both versions have the same bytes of a sample after different packet tags.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import escape_xml, quote_attribute
from hven.model import literal
from hven.model.errors import HvenError
from hven.plugins.series.time_texts import write_times

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

FILL_VALUE = -1e31  # das2's value for a missing number
US2000_EPOCH_MICROSECONDS = 946_684_800_000_000  # microseconds from 1970 to 2000, as UTC: days of 86,400 s
# item bytes -> characters of a number, with the space after it; das2C accepts 9 to 24
NUMBER_CHARACTERS = {4: 16, 8: 24}
_UNIT_SEPARATOR_PATTERN = re.compile(r"(?<=[A-Za-z0-9)])\.(?=[A-Za-z(])")
_NON_IDENTIFIER_PATTERN = re.compile(r"[^A-Za-z0-9_]+")
_MAX_PACKET_TYPES = 99  # packet types of a stream
# tags at the begin of packets
_PACKET_TAGS = {
    2: {
        "stream": "[00]{size:06d}",
        "packet": "[{number:02d}]{size:06d}",
        "exception": "[xx]{size:06d}",
        "data": ":{number:02d}:",
    },
    3: {
        "stream": "|Sx||{size}|",
        "packet": "|Hx|{number}|{size}|",
        "exception": "|Ex||{size}|",
        "data": "|Pd|{number}|{size}|",
    },
}
_PROPERTY_TYPES = {
    "Datum": "real",
    "double": "real",
    "boolean": "bool",
    "DatumRange": "realRange",
    "TimeRange": "datetimeRange",
}
# a mean is the "center" of its dimension: the schema has "average" and no "mean", the libraries the reverse;
# `operation` tells what it is
_VALUE_USES = {"": "center", "BIN_AVG": "center", "BIN_MAX": "max", "BIN_MIN": "min"}


class Das2PacketPlane(NamedTuple):
    """A variable in the packets of a stream.

    Attributes
    ----------
    name
        Name of the variable.
    field, element_range
        Field of the samples with its values, and the range of its elements in the field.
    unit
        Unit of its values.
    axis_values
        Values on the axis of its elements; None for one element.
    axis_name, axis_unit
        Name and unit of the axis.
    source, operation
        For reduced variables: the variable from which it comes, and the operation.
    label
        Label of its axis in pictures.
    summary
        Description.
    scale_type, axis_scale_type
        ``linear`` or ``log``: the scales of its values, and of the axis of its elements, in plots; empty: not stated.
    """

    name: str
    field: str
    element_range: tuple[int, int]
    unit: str | None = None
    axis_values: tuple[float, ...] | None = None
    axis_name: str = ""
    axis_unit: str | None = None
    source: str = ""
    operation: str = ""
    label: str = ""
    summary: str = ""
    scale_type: str = ""
    axis_scale_type: str = ""

    @property
    def scale_properties(self) -> dict[str, str]:
        """Properties with the scales of its axes in plots."""
        if self.axis_values is None:
            return {"yScaleType": self.scale_type}
        return {"yScaleType": self.axis_scale_type, "zScaleType": self.scale_type}

    def select_values(self, values: Mapping[str, Numbers]) -> Numbers:
        """Return its values, shape (rows, elements)."""
        return values[self.field][:, slice(*self.element_range)]

    def reduce(self, letter: str, suffix: str, operation: str) -> Das2PacketPlane:
        """Return the plane of a statistic of its values, which has a letter in fields of bins."""
        return self._replace(
            name=self.name + suffix, field=f"{letter} {self.field}", source=self.name, operation=operation
        )


# planes, and samples with the same axis values: times (microseconds since 1970, or datetime64[ns]), and a matrix for
# each field
Segment = tuple[Sequence[Das2PacketPlane], Iterable[tuple["npt.NDArray[Any]", Mapping[str, "Numbers"]]]]


class Das2StreamEncoding(NamedTuple):
    """Format of a stream.

    Attributes
    ----------
    version
        2 or 3.
    is_text
        Whether numbers and times are written as text.
    is_compressed
        Whether everything after the first packet is compressed; only version 2 can be.
    properties
        Properties of the stream; the names have type prefixes, as in version 2.
    stamp
        Characters of a time with the space after it: 27, or 30 with nanoseconds.
    """

    version: int = 2
    is_text: bool = False
    is_compressed: bool = False
    properties: Mapping[str, str] = {}
    stamp: int = 27

    @property
    def media_type(self) -> str:
        """Media type of the stream."""
        kind = "vnd.das2.das2stream" if self.version == 2 else "vnd.das.stream"
        if self.is_text:
            return f"text/{kind}; charset=utf-8"
        return f"application/{kind}"

    @property
    def extension(self) -> str:
        """Extension of file names."""
        if self.is_text:
            return f"d{self.version}t"
        if self.version == 2:
            return "d2s"
        return f"d{self.version}b"


def write_das2_exception_packet(
    exception_type: str, message: str, version: int = 2, packet_kind: str = "exception"
) -> bytes:
    """Write a packet that reports an error; no packet follows it.

    `packet_kind` is ``stream`` where it is the whole stream.
    """
    quoted_message = quote_attribute(" ".join(message.split()))
    body = f'<exception type="{exception_type}" message={quoted_message} />\n'
    return _write_xml_packet(packet_kind, body, version)


def write_properties_stream(properties: Mapping[str, str]) -> bytes:
    """Write a stream that has only properties, with which data sources are described."""
    return _write_stream_header(Das2StreamEncoding(properties=properties))


def write_das2_stream(
    segments: Iterable[Segment],
    stream_format: Das2StreamEncoding,
    no_data_message: str,
    write_message: Callable[[HvenError], str],
) -> Iterator[bytes]:
    """Write a stream.

    Parameters
    ----------
    segments
        Samples in the order of time.
    stream_format
        Format of the stream.
    no_data_message
        Message for a stream without samples.
    write_message
        Writes the message for an error that ends the stream.

    Yields
    ------
    chunks
        One for each batch.
    """
    compressor = None
    if stream_format.is_compressed:
        compressor = zlib.compressobj()
    has_packets = False
    yield _write_stream_header(stream_format)

    def compress(chunk: bytes) -> bytes:
        if compressor is None:
            return chunk
        return compressor.compress(chunk)

    try:
        for chunk in _write_packets(segments, stream_format):
            has_packets = True
            yield compress(chunk)
        if not has_packets:
            yield compress(write_das2_exception_packet("NoDataInInterval", no_data_message, stream_format.version))
    except HvenError as error:
        if not has_packets:
            raise
        yield compress(write_das2_exception_packet("ServerError", write_message(error), stream_format.version))
    if compressor is not None:
        yield compressor.flush()


def _write_packets(segments: Iterable[Segment], stream_format: Das2StreamEncoding) -> Iterator[bytes]:
    packet_numbers: dict[Any, int] = {}
    number = 0
    for planes, rows in segments:
        groups = _group_planes(planes, stream_format.version)
        for times, values in rows:
            chunk = b""
            for group in groups:
                matrices = [plane.select_values(values) for plane in group]
                key = (*group, *(matrix.dtype for matrix in matrices))
                if key not in packet_numbers:
                    if number == _MAX_PACKET_TYPES:
                        packet_numbers = {}
                    number = number % _MAX_PACKET_TYPES + 1
                    packet_numbers[key] = number
                    item_sizes = [matrix.dtype.itemsize for matrix in matrices]
                    if stream_format.version == 2:
                        body = _write_packet_type_xml(group, item_sizes, stream_format)
                    else:
                        body = _write_dataset_xml(group, item_sizes, stream_format, number)
                    chunk += _write_xml_packet("packet", body, stream_format.version, number)
                chunk += _write_samples(times, matrices, packet_numbers[key], stream_format)
            yield chunk


def _group_planes(planes: Sequence[Das2PacketPlane], version: int) -> list[list[Das2PacketPlane]]:
    """Group planes by their axes: das2C reads packets whose variables have the same axes."""
    ordered_planes = list(planes)
    if version != 2:  # a dataset of das 3.0 has the mean and the extremes of a variable together
        sources = [plane.source for plane in planes]
        ordered_planes.sort(key=lambda plane: sources.index(plane.source))
    groups: dict[Any, list[Das2PacketPlane]] = {}
    for plane in ordered_planes:
        axis = (plane.axis_values, plane.axis_name, plane.axis_unit)
        groups.setdefault(axis, []).append(plane)
    return list(groups.values())


def _write_samples(
    times: npt.NDArray[Any], matrices: list[Numbers], number: int, stream_format: Das2StreamEncoding
) -> bytes:
    """Write samples after their tag: ``:01:`` or ``|Pd|1|24|``."""
    parts: list[Any] = []
    for matrix in matrices:
        fill_value = np.array(FILL_VALUE, matrix.dtype)
        parts.append(np.where(np.isnan(matrix), fill_value, matrix))
    nanoseconds = None
    if times.dtype.kind == "M":
        times, nanoseconds = np.divmod(times.astype(np.int64), 1000)
    if stream_format.is_text:  # each with a space after it
        time_texts = write_times(times, stream_format.stamp, extra_nanoseconds=nanoseconds)
        time_characters = time_texts.view(np.uint8).reshape(len(times), -1)
        time_characters[:, -1] = ord(" ")
        parts = [time_characters, *map(_format_numbers_in_fixed_width, parts)]
    else:
        fraction = 0.0 if nanoseconds is None else nanoseconds / 1000
        microseconds = (times - US2000_EPOCH_MICROSECONDS) + fraction
        parts.insert(0, microseconds[:, None])
    fields = []
    for index, part in enumerate(parts):
        fields.append((f"p{index}", part.dtype.newbyteorder("<"), part.shape[1:]))
    tag_template = _PACKET_TAGS[stream_format.version]["data"]
    record_bytes = np.dtype(fields).itemsize
    tag = tag_template.format(number=number, size=record_bytes).encode()
    records = np.empty(len(times), [("tag", f"S{len(tag)}"), *fields])
    records["tag"] = tag
    for (name, *_), part in zip(fields, parts, strict=True):
        records[name] = part
    if stream_format.is_text:  # the last space becomes a line feed
        last_characters = records[fields[-1][0]][:, -1]
        last_characters[last_characters == ord(" ")] = ord("\n")  # a number of 24 characters has no space
    return records.tobytes()


def _format_numbers_in_fixed_width(values: Numbers) -> Numbers:
    """Write numbers with the fewest digits that identify them, right-aligned, with a space after each if it fits.

    Returns
    -------
    characters
        Bytes of shape (rows, characters).
    """
    width = NUMBER_CHARACTERS[values.dtype.itemsize]
    numbers = np.ascontiguousarray(values).ravel()
    texts = pa.array(numbers).cast(pa.string())
    is_long = np.asarray(pc.greater_equal(pc.binary_length(texts), width))
    if is_long.any():  # -0.0000048065704427339955: with an exponent no number has more than 24 characters
        short_texts = numbers[is_long].astype("S32").astype(str)
        texts = pc.replace_with_mask(texts, pa.array(is_long), pa.array(short_texts))
    texts = pc.utf8_rpad(pc.utf8_lpad(texts, width - 1), width)  # a number of 24 characters has no space after it
    characters = np.frombuffer(literal.view_column_bytes(texts), np.uint8)
    return characters.reshape(len(values), -1)


def _write_xml_packet(packet_kind: str, body: str, version: int, number: int = 0) -> bytes:
    """Write a packet of XML."""
    body_bytes = body.encode()
    tag_template = _PACKET_TAGS[version][packet_kind]
    tag = tag_template.format(number=number, size=len(body_bytes))
    return tag.encode() + body_bytes


def _write_stream_header(stream_format: Das2StreamEncoding) -> bytes:
    properties_text = _write_properties(stream_format.properties, stream_format.version)
    attributes = 'type="das-basic-stream" version="3.0"'
    if stream_format.version == 2:
        attributes = 'version="2.2"'
        if stream_format.is_compressed:
            attributes += ' compression="deflate"'
    body = f"<stream {attributes}>\n{properties_text}</stream>\n"
    return _write_xml_packet("stream", body, stream_format.version)


def _write_properties(properties: Mapping[str, str], version: int) -> str:
    """Write properties: attributes with their type before the name in version 2, elements in das 3.0."""
    lines = []
    for name, text in properties.items():
        if not text:
            continue
        value = " ".join(text.split())
        if version == 2:
            lines.append(f"    {name}={quote_attribute(value)}\n")
        else:
            lines.append(_write_property_element(name, value))
    content = "".join(lines)
    if version == 2:
        return f"  <properties\n{content}  />\n"
    return f"  <properties>\n{content}  </properties>\n"


def _write_property_element(name: str, value: str) -> str:
    """Write a property of das 3.0; the unit of a datum becomes an attribute."""
    kind, _, plain_name = name.rpartition(":")
    unit = ""
    if kind.startswith("Datum"):
        value, _, unit = value.rpartition(" ")
    attributes = f"name={quote_attribute(plain_name)}"
    if kind:
        value_type = _PROPERTY_TYPES["TimeRange" if unit == "UTC" else kind]
        attributes += f' type="{value_type}"'
    if unit:
        attributes += f" units={quote_attribute(unit)}"
    return f"    <p {attributes}>{escape_xml(value)}</p>\n"


def format_units(text: str | None) -> str:
    """Write units separated by spaces, as das2 has them: ``V**2 m**-2 Hz**-1``."""
    return _UNIT_SEPARATOR_PATTERN.sub(" ", text or "")


def build_das2_identifier(name: str) -> str:
    """Convert a name to one that das2C accepts: at most 63 ASCII letters, digits and underscores, no digit first."""
    plain = _NON_IDENTIFIER_PATTERN.sub("_", name).strip("_") or "variable"
    if plain[0].isdigit():
        return f"v{plain}"[:63]
    return plain[:63]


def _format_axis_values(axis_values: Iterable[float], separator: str) -> str:
    return separator.join(f"{axis_value:.9g}" for axis_value in axis_values)


def _write_packet_type_xml(
    planes: Sequence[Das2PacketPlane], item_sizes: Sequence[int], stream_format: Das2StreamEncoding
) -> str:
    """Describe a packet type of version 2."""
    time_attributes = 'type="little_endian_real8" units="us2000"'
    if stream_format.is_text:
        time_attributes = f'type="time{stream_format.stamp}" units="UTC"'
    elements = []
    for plane, item_size in zip(planes, item_sizes, strict=True):
        letter = "y" if plane.axis_values is None else "z"
        properties = {
            "double:fill": f"{FILL_VALUE:g}",
            f"{letter}Label": plane.label,
            f"{letter}Summary": plane.summary,
            **plane.scale_properties,
            "source": plane.source,
            "operation": plane.operation,
        }
        properties_text = _write_properties(properties, 2)
        value_type = f"little_endian_real{item_size}"
        if stream_format.is_text:
            value_type = f"ascii{NUMBER_CHARACTERS[item_size]}"
        attributes = f'name={quote_attribute(plane.name)} type="{value_type}"'
        unit = quote_attribute(format_units(plane.unit))
        if plane.axis_values is None:
            elements.append(f"  <y {attributes} units={unit}>\n{properties_text}  </y>\n")
        else:
            axis_unit = quote_attribute(format_units(plane.axis_unit))
            attributes += (
                f' nitems="{len(plane.axis_values)}" zUnits={unit} yUnits={axis_unit} '
                f'yTags="{_format_axis_values(plane.axis_values, ", ")}"'
            )
            elements.append(f"  <yscan {attributes}>\n{properties_text}  </yscan>\n")
    return f"<packet>\n  <x {time_attributes}></x>\n{''.join(elements)}</packet>\n"


def _write_dataset_xml(
    planes: Sequence[Das2PacketPlane], item_sizes: Sequence[int], stream_format: Das2StreamEncoding, number: int
) -> str:
    """Describe a dataset of das 3.0: time, the axis of the elements, and the variables.

    A reduced variable has its mean and extremes.
    """
    axis_values = planes[0].axis_values
    rank = 1
    value_index = "*"
    time_index = "*"
    element_count = 1
    if axis_values is not None:
        rank = 2
        element_count = len(axis_values)
        value_index = f"*;{element_count}"
        time_index = "*;-"
    encoding, time_bytes, time_unit = ("LEreal", 8, "us2000")
    if stream_format.is_text:
        encoding, time_bytes, time_unit = ("utf8", stream_format.stamp, "UTC")
    elements = [
        f"""<dataset name="samples{number}" rank="{rank}" index="{value_index}">
  <coord physDim="time" name="time" axis="x">
    <scalar use="center" semantic="datetime" index="{time_index}" units="{time_unit}">
      <packet numItems="1" itemBytes="{time_bytes}" encoding="{encoding}" />
    </scalar>
  </coord>
"""
    ]
    if axis_values is not None:
        elements.append(_write_axis_xml(planes[0], axis_values))
    sized_planes = zip(planes, item_sizes, strict=True)
    for variable, group in groupby(sized_planes, lambda sized_plane: sized_plane[0].source or sized_plane[0].name):
        for index, (plane, item_size) in enumerate(group):
            if index == 0:
                quoted_name = quote_attribute(variable)
                properties = {
                    "label": plane.label,
                    "summary": plane.summary,
                    "scaleType": plane.scale_type,
                    "operation": plane.operation,
                }
                properties_text = _write_properties(properties, 3)
                elements.append(f"  <data physDim={quoted_name} name={quoted_name}>\n{properties_text}")
            use = _VALUE_USES[plane.operation]
            unit = quote_attribute(format_units(plane.unit))
            item_bytes = item_size
            if stream_format.is_text:
                item_bytes = NUMBER_CHARACTERS[item_size]
            elements.append(
                f"""    <scalar use="{use}" semantic="real" index="{value_index}" units={unit}>
      <packet numItems="{element_count}" itemBytes="{item_bytes}" encoding="{encoding}" fill="{FILL_VALUE:g}" />
    </scalar>
"""
            )
        elements.append("  </data>\n")
    return "".join(elements) + "</dataset>\n"


def _write_axis_xml(plane: Das2PacketPlane, axis_values: Sequence[float]) -> str:
    """Describe the axis of the elements of a dataset of das 3.0."""
    name = quote_attribute(build_das2_identifier(plane.axis_name))
    properties_text = _write_properties({"label": plane.axis_name, "scaleType": plane.axis_scale_type}, 3)
    unit = quote_attribute(format_units(plane.axis_unit))
    return f"""  <coord physDim={name} name={name} axis="y">
{properties_text}    <scalar use="center" semantic="real" index="-;{len(axis_values)}" units={unit}>
      <values>{_format_axis_values(axis_values, " ")}</values>
    </scalar>
  </coord>
"""
