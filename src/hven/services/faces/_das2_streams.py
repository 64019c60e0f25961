"""Streams of das2: version 2.2 and das 3.0, binary and text; whole batches at a time.

Both put the same bytes of a sample behind another tag.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.model.errors import HvenError
from hven.services._time_texts import write_times

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

FILL_VALUE = -1e31  # what das2 has for no value
US2000_EPOCH_MICROSECONDS = 946_684_800_000_000  # microseconds from 1970 to 2000; as UTC, days of 86,400 s
# characters of a number by its bytes, with a space behind it; das2C takes 9 to 24
NUMBER_CHARACTERS = {4: 16, 8: 24}
_UNIT_SEPARATOR_PATTERN = re.compile(r"(?<=[A-Za-z0-9)])\.(?=[A-Za-z(])")
_NON_IDENTIFIER_PATTERN = re.compile(r"[^A-Za-z0-9_]+")
_MAX_PACKET_TYPES = 99  # packet types of a stream
# how packets begin
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
# a mean is the center of its dimension: the schema knows "average" and not "mean", the libraries the reverse;
# `operation` says what it is
_VALUE_USES = {"": "center", "BIN_AVG": "center", "BIN_MAX": "max", "BIN_MIN": "min"}


class PacketPlane(NamedTuple):
    """What of a stream's packets is one variable.

    Attributes
    ----------
    name
        Of it.
    field, element_range
        Which of the values are its own, and which of their elements.
    unit
        Of its values.
    axis_values
        What its elements stand for; None: it has one.
    axis_name, axis_unit
        The quantity and unit of the tags.
    source, operation
        Of reduced ones: what of which variable it is.
    label
        For axes.
    summary
        What it is.
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

    def select_values(self, values: Mapping[str, Numbers]) -> Numbers:
        """Take its values, shape (rows, elements)."""
        return values[self.field][:, slice(*self.element_range)]


# samples whose planes have the same tags: these, and times (microseconds since 1970, or datetime64[ns]) with a matrix
# for each field
Segment = tuple[Sequence[PacketPlane], Iterable[tuple["npt.NDArray[Any]", Mapping[str, "Numbers"]]]]


class StreamFormat(NamedTuple):
    """How a stream is written.

    Attributes
    ----------
    version
        2 or 3.
    is_text
        Numbers and times as text.
    is_compressed
        Packed behind the first packet, which version 2 alone can be.
    properties
        Of the stream; names with their types before them, as version 2 has it.
    stamp
        Characters of a time, the space behind it as well: 27, with nanoseconds 30.
    """

    version: int = 2
    is_text: bool = False
    is_compressed: bool = False
    properties: Mapping[str, str] = {}
    stamp: int = 27

    @property
    def media_type(self) -> str:
        """Of the whole."""
        kind = "vnd.das2.das2stream" if self.version == 2 else "vnd.das.stream"
        if self.is_text:
            return f"text/{kind}; charset=utf-8"
        return f"application/{kind}"

    @property
    def extension(self) -> str:
        """Of a file's name."""
        return f"d{self.version}{'t' if self.is_text else 's' if self.version == 2 else 'b'}"


def write_exception(exception_type: str, message: str, version: int = 2, packet_kind: str = "exception") -> bytes:
    """Write a packet that says what is wrong; nothing comes behind it. `packet_kind`.

    ``stream``, where it is all of it.
    """
    quoted_message = quoteattr(" ".join(message.split()))
    return _write_xml_packet(packet_kind, f'<exception type="{exception_type}" message={quoted_message} />\n', version)


def write_properties_stream(properties: Mapping[str, str]) -> bytes:
    """Write a stream of nothing but properties, as data sources are described."""
    return _write_stream_header(StreamFormat(properties=properties))


def write_stream(
    segments: Iterable[Segment],
    stream_format: StreamFormat,
    no_data_message: str,
    write_message: Callable[[HvenError], str],
) -> Iterator[bytes]:
    """Write a stream.

    Parameters
    ----------
    segments
        In the order of time.
    stream_format
        How.
    no_data_message
        What is said where there is no sample.
    write_message
        Words for an error that breaks off what has begun.

    Yields
    ------
    pieces
        One for each batch.
    """
    if stream_format.is_compressed:
        packer = zlib.compressobj()
    else:
        packer = None
    has_packets = False
    yield _write_stream_header(stream_format)

    def compress(piece: bytes) -> bytes:
        if packer is None:
            return piece
        return packer.compress(piece)

    try:
        for piece in _write_packets(segments, stream_format):
            has_packets = True
            yield compress(piece)
        if not has_packets:
            yield compress(write_exception("NoDataInInterval", no_data_message, stream_format.version))
    except HvenError as error:
        if not has_packets:
            raise
        yield compress(write_exception("ServerError", write_message(error), stream_format.version))
    if packer is not None:
        yield packer.flush()


def _write_packets(segments: Iterable[Segment], stream_format: StreamFormat) -> Iterator[bytes]:
    packet_numbers: dict[Any, int] = {}
    number = 0
    for planes, rows in segments:
        # das2C reads packets whose variables have the same axes: lines and lists of other tags have packets of their
        # own
        order = [item.source for item in planes]
        groups: dict[Any, list[PacketPlane]] = {}
        # a dataset of das 3.0 has the mean and the extremes of a variable together
        for item in planes if stream_format.version == 2 else sorted(planes, key=lambda item: order.index(item.source)):
            groups.setdefault((item.axis_values, item.axis_name, item.axis_unit), []).append(item)
        for times, values in rows:
            piece = b""
            for group in groups.values():
                matrices = [item.select_values(values) for item in group]
                key = (*group, *(item.dtype for item in matrices))
                if key not in packet_numbers:
                    packet_numbers = {} if number == _MAX_PACKET_TYPES else packet_numbers
                    packet_numbers[key] = number = number % _MAX_PACKET_TYPES + 1
                    sizes = [item.dtype.itemsize for item in matrices]
                    body = (_describe_packet if stream_format.version == 2 else _describe_dataset)(
                        group, sizes, stream_format, number
                    )
                    piece += _write_xml_packet("packet", body, stream_format.version, number)
                piece += _write_samples(times, matrices, packet_numbers[key], stream_format)
            yield piece


def _write_samples(times: npt.NDArray[Any], matrices: list[Numbers], number: int, stream_format: StreamFormat) -> bytes:
    """Write samples behind their tag: ``:01:`` or ``|Pd|1|24|``."""
    parts = [
        np.where(np.isnan(part_matrix), np.array(FILL_VALUE, part_matrix.dtype), part_matrix)
        for part_matrix in matrices
    ]
    nanos = None
    if times.dtype.kind == "M":
        times, nanos = np.divmod(times.astype(np.int64), 1000)
    if stream_format.is_text:  # each with a space behind it
        stamped = (
            write_times(times, stream_format.stamp, extra_nanoseconds=nanos).view(np.uint8).reshape(len(times), -1)
        )
        stamped[:, -1] = 32
        parts = [stamped, *map(_write_numbers, parts)]
    else:
        parts = [((times - US2000_EPOCH_MICROSECONDS) + (0.0 if nanos is None else nanos / 1000))[:, None], *parts]
    kinds = [
        (f"p{at}", part_matrix.dtype.newbyteorder("<"), part_matrix.shape[1:]) for at, part_matrix in enumerate(parts)
    ]
    tag = _PACKET_TAGS[stream_format.version]["data"].format(number=number, size=np.dtype(kinds).itemsize).encode()
    rows = np.empty(len(times), [("tag", f"S{len(tag)}"), *kinds])
    rows["tag"] = tag
    for (name, *_), part in zip(kinds, parts, strict=True):
        rows[name] = part
    if stream_format.is_text:  # the last of all begins a new line
        last = rows[kinds[-1][0]][:, -1]
        last[last == 32] = 10  # a number of 24 characters leaves no room
    return rows.tobytes()


def _write_numbers(values: Numbers) -> Numbers:
    """Write numbers in as few digits as say the same number, right-aligned, a space behind each if there is room.

    Bytes of shape (rows, characters).
    """
    width = NUMBER_CHARACTERS[values.dtype.itemsize]
    numbers = np.ascontiguousarray(values).ravel()
    texts = pa.array(numbers).cast(pa.string())
    long = np.asarray(pc.greater_equal(pc.binary_length(texts), width))
    if long.any():  # -0.0000048065704427339955: with an exponent none has more than 24 characters
        texts = pc.replace_with_mask(texts, pa.array(long), pa.array(numbers[long].astype("S32").astype(str)))
    texts = pc.utf8_rpad(pc.utf8_lpad(texts, width - 1), width)  # one of 24 characters has no space behind it
    return np.frombuffer(literal.view_bytes(texts), np.uint8).reshape(len(values), -1)


def _write_xml_packet(packet_kind: str, body: str, version: int, number: int = 0) -> bytes:
    """Write a packet of XML."""
    raw = body.encode()
    return _PACKET_TAGS[version][packet_kind].format(number=number, size=len(raw)).encode() + raw


def _write_stream_header(stream_format: StreamFormat) -> bytes:
    properties_text = _write_properties(stream_format.properties, stream_format.version)
    packed = ' compression="deflate"' if stream_format.is_compressed else ""
    if stream_format.version == 2:
        head = f'version="2.2"{packed}'
    else:
        head = 'type="das-basic-stream" version="3.0"'
    return _write_xml_packet("stream", f"<stream {head}>\n{properties_text}</stream>\n", stream_format.version)


def _write_properties(properties: Mapping[str, str], version: int) -> str:
    """Write properties: attributes with their type before the name in version 2, elements in das 3.0."""
    lines = []
    for name, text in properties.items():
        kind, _, plain = name.rpartition(":")
        value = " ".join(text.split())
        if version == 2:
            lines.append(f"    {name}={quoteattr(value)}\n")
            continue
        if kind[:5] == "Datum":
            value, _, unit = value.rpartition(" ")
        else:
            value, _, unit = (value, "", "")
        if kind:
            typed = f' type="{_PROPERTY_TYPES[kind if unit != "UTC" else "TimeRange"]}"'
        else:
            typed = ""
        typed += f" units={quoteattr(unit)}" if unit else ""
        lines.append(f"    <p name={quoteattr(plain)}{typed}>{escape(value)}</p>\n")
    inside = "".join(line for line, text in zip(lines, properties.values(), strict=True) if text)
    if version == 2:
        return f"  <properties\n{inside}  />\n"
    return f"  <properties>\n{inside}  </properties>\n"


def format_units(text: str | None) -> str:
    """Write units with spaces between them, as das2 has it: ``V**2 m**-2 Hz**-1``."""
    return _UNIT_SEPARATOR_PATTERN.sub(" ", text or "")


def make_identifier(name: str) -> str:
    """Write a name as das2C takes it: at most 63 ASCII letters, digits and underscores, no digit at the beginning."""
    plain = _NON_IDENTIFIER_PATTERN.sub("_", name).strip("_") or "variable"
    if plain[0].isdigit():
        return f"v{plain}"[:63]
    return plain[:63]


def _format_axis_values(axis_values: Iterable[float], separator: str) -> str:
    return separator.join(f"{axis_value:.9g}" for axis_value in axis_values)


def _describe_packet(
    planes: Sequence[PacketPlane], item_sizes: Sequence[int], stream_format: StreamFormat, _: int
) -> str:
    """Describe a packet type of version 2."""
    text = stream_format.is_text
    lines = [f'type="time{stream_format.stamp}" units="UTC"' if text else 'type="little_endian_real8" units="us2000"']
    for plane, size in zip(planes, item_sizes, strict=True):
        letter = "y" if plane.axis_values is None else "z"
        properties_text = _write_properties(
            {
                "double:fill": f"{FILL_VALUE:g}",
                f"{letter}Label": plane.label,
                f"{letter}Summary": plane.summary,
                "source": plane.source,
                "operation": plane.operation,
            },
            2,
        )
        head = (
            f"name={quoteattr(plane.name)} "
            f'type="{f"ascii{NUMBER_CHARACTERS[size]}" if text else f"little_endian_real{size}"}"'
        )
        unit = quoteattr(format_units(plane.unit))
        tag_unit = quoteattr(format_units(plane.axis_unit))
        if plane.axis_values is None:
            lines.append(f"  <y {head} units={unit}>\n{properties_text}  </y>\n")
        else:
            scan_attributes = (
                f'nitems="{len(plane.axis_values)}" zUnits={unit} yUnits={tag_unit} '
                f'yTags="{_format_axis_values(plane.axis_values, ", ")}"'
            )
            lines.append(f"  <yscan {head} {scan_attributes}>\n{properties_text}  </yscan>\n")
    return f"<packet>\n  <x {lines[0]}></x>\n{''.join(lines[1:])}</packet>\n"


def _describe_dataset(
    planes: Sequence[PacketPlane], item_sizes: Sequence[int], stream_format: StreamFormat, number: int
) -> str:
    """Describe a dataset of das 3.0: time, the axis of the elements, and the variables.

    A reduced one has mean and extremes.
    """
    tags = planes[0].axis_values
    axis = quoteattr(make_identifier(planes[0].axis_name))
    items = len(tags or (0,))
    if tags is None:
        index_suffix, time = ("", "*")
    else:
        index_suffix, time = (f";{items}", "*;-")
    text = stream_format.is_text
    if text:
        coding, stamp, unit = ("utf8", stream_format.stamp, "UTC")
    else:
        coding, stamp, unit = ("LEreal", 8, "us2000")
    lines = [
        f"""<dataset name="samples{number}" rank="{2 if index_suffix else 1}" index="*{index_suffix}">
  <coord physDim="time" name="time" axis="x">
    <scalar use="center" semantic="datetime" index="{time}" units="{unit}">
      <packet numItems="1" itemBytes="{stamp}" encoding="{coding}" />
    </scalar>
  </coord>
"""
    ]
    if tags is not None:
        lines.append(
            f"""  <coord physDim={axis} name={axis} axis="y">
{_write_properties({"label": planes[0].axis_name}, 3)}    <scalar use="center" semantic="real" index="-{index_suffix}" units={quoteattr(format_units(planes[0].axis_unit))}>
      <values>{_format_axis_values(tags, " ")}</values>
    </scalar>
  </coord>
"""
        )
    for name, group in groupby(
        zip(planes, item_sizes, strict=True), lambda each: quoteattr(each[0].source or each[0].name)
    ):
        for at, (plane, size) in enumerate(group):
            if not at:
                properties_text = _write_properties(
                    {"label": plane.label, "summary": plane.summary, "operation": plane.operation}, 3
                )
                lines.append(f"  <data physDim={name} name={name}>\n{properties_text}")
            lines.append(
                f"""    <scalar use="{_VALUE_USES[plane.operation]}" semantic="real" index="*{index_suffix}" units={quoteattr(format_units(plane.unit))}>
      <packet numItems="{items}" itemBytes="{NUMBER_CHARACTERS[size] if text else size}" encoding="{coding}" fill="{FILL_VALUE:g}" />
    </scalar>
"""
            )
        lines.append("  </data>\n")
    return "".join(lines) + "</dataset>\n"
