"""Streams of das2: version 2.2 and das 3.0, binary and text; whole batches at a time. Both put the same bytes of a sample behind another tag."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import HvenError
from hven.services._stamps import stamps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[Any]
    Rows = tuple[npt.NDArray[np.int64], list[Numbers]]

FILL = -1e31  # what das2 has for no value
US2000 = 946_684_800_000_000  # microseconds from 1970 to 2000; as UTC, days of 86,400 s
STAMP = 27  # characters of a time, the space behind it as well
WIDTHS = {4: 16, 8: 25}  # characters of a number, likewise
_POINT = re.compile(r"(?<=[A-Za-z0-9)])\.(?=[A-Za-z(])")
_MANY = 99  # packet types of a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """What of a stream's packets is one variable.

    Attributes
    ----------
    name
        Of it.
    unit
        Of its values.
    tags
        What its elements stand for; None: it has one.
    axis, tag_unit
        The quantity and unit of the tags.
    source, operation
        Of reduced ones: what of which variable it is.
    label
        For axes.
    summary
        What it is.
    """

    name: str
    unit: str | None = None
    tags: tuple[float, ...] | None = None
    axis: str = ""
    tag_unit: str | None = None
    source: str = ""
    operation: str = ""
    label: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples whose planes have the same tags.

    Attributes
    ----------
    planes
        Of each sample.
    rows
        Their times, microseconds since 1970, and a matrix for each plane; read once.
    """

    planes: Sequence[Plane]
    rows: Iterator[Rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a stream is written.

    Attributes
    ----------
    version
        2 or 3.
    text
        Numbers and times as text.
    deflated
        Packed behind the first packet, which version 2 alone can be.
    properties
        Of the stream; names with their types before them, as version 2 has it.
    """

    version: int = 2
    text: bool = False
    deflated: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        """Of the whole."""
        kind = "vnd.das2.das2stream" if self.version == 2 else "vnd.das.stream"
        return f"text/{kind}; charset=utf-8" if self.text else f"application/{kind}"

    @property
    def ending(self) -> str:
        """Of a file's name."""
        return f"d{self.version}{'t' if self.text else 's' if self.version == 2 else 'b'}"


def exception(kind: str, message: str, version: int = 2, *, alone: bool = False) -> bytes:
    """Write a packet that says what is wrong; nothing comes behind it.

    Parameters
    ----------
    kind
        ``NoDataInInterval``, ``IllegalArgument``, ``NoSuchDataSource``, ``ServerError``.
    message
        For the reader.
    version
        Of the stream.
    alone
        It is all of the stream.
    """
    said = " ".join(message.split())
    return _headed(
        "Ex" if version == 3 else "00" if alone else "xx",
        0,
        f"<exception type={quoteattr(kind)} message={quoteattr(said)} />\n",
        version,
    )


def properties(said: Mapping[str, str]) -> bytes:
    """Write a stream of nothing but properties, as data sources are described.

    Parameters
    ----------
    said
        By name.
    """
    return _headed("00", 0, f'<stream version="2.2">\n{_attributes(said, "  ")}</stream>\n', 2)


def written(segments: Iterable[Segment], form: Form, nothing: str, told: Callable[[HvenError], str]) -> Iterator[bytes]:
    """Write a stream.

    Parameters
    ----------
    segments
        In the order of time.
    form
        How.
    nothing
        What is said where there is no sample.
    told
        Words for an error that breaks off what has begun.

    Yields
    ------
    pieces
        One for each batch.
    """
    packer = zlib.compressobj() if form.deflated else None
    found = False
    yield _stream(form)

    def packed(piece: bytes) -> bytes:
        return piece if packer is None else packer.compress(piece)

    try:
        for piece in _packets(segments, form):
            found = True
            yield packed(piece)
        if not found:
            yield packed(exception("NoDataInInterval", nothing, form.version))
    except HvenError as error:
        if not found:
            raise
        yield packed(exception("ServerError", told(error), form.version))
    if packer is not None:
        yield packer.flush()


def _packets(segments: Iterable[Segment], form: Form) -> Iterator[bytes]:
    known: dict[tuple[Any, ...], int] = {}
    number = 0
    for segment in segments:
        heads = b""
        groups: list[tuple[int, list[int]]] = []
        for times, matrices in segment.rows:
            if not groups:  # types of numbers are known with the first of them
                reals = [min(one.dtype.itemsize, 8) for one in matrices]
                for which in _groups(segment.planes, form.version):
                    key = (*(segment.planes[at] for at in which), *(reals[at] for at in which))
                    if key not in known:
                        known = {} if number == _MANY else known
                        number = number % _MANY + 1
                        known[key] = number
                        heads += _described(
                            [segment.planes[at] for at in which], [reals[at] for at in which], number, form
                        )
                    groups.append((known[key], which))
            yield heads + b"".join(_rows(times, [matrices[at] for at in which], one, form) for one, which in groups)
            heads = b""


def _groups(planes: Sequence[Plane], version: int) -> list[list[int]]:
    """Group planes that stand in one packet: in das 3.0 all of a dataset have the same axes."""
    if version == 2:
        return [list(range(len(planes)))]
    found: dict[Any, list[int]] = {}
    for at, one in enumerate(planes):
        found.setdefault((one.tags, one.axis, one.tag_unit), []).append(at)
    return list(found.values())


def _rows(times: npt.NDArray[np.int64], matrices: list[Numbers], number: int, form: Form) -> bytes:
    """Write samples behind their tag: ``:01:`` or ``|Pd|1|24|``."""
    filled = [np.where(np.isnan(one), np.array(FILL, one.dtype), one) for one in matrices]
    kinds: list[tuple[str, Any]] | list[Any] = []
    if form.text:
        # the last character of each is a space: the last of all begins a new line
        stamped = stamps(times, STAMP)
        parts = [np.char.replace(stamped, b"Z", b" ").astype(f"S{STAMP}"), *map(_text, filled)]
        kinds = [("time", f"S{STAMP}"), *((f"p{at}", f"S{one.shape[1]}") for at, one in enumerate(parts[1:]))]
        parts = [parts[0], *(np.ascontiguousarray(one).view(f"S{one.shape[1]}").ravel() for one in parts[1:])]
    else:
        parts = [(times - US2000).astype("<f8"), *filled]
        kinds = [
            ("time", "<f8"),
            *((f"p{at}", one.dtype.newbyteorder("<"), (one.shape[1],)) for at, one in enumerate(filled)),
        ]
    size = np.dtype(kinds).itemsize
    tag = f":{number:02d}:" if form.version == 2 else f"|Pd|{number}|{size}|"
    rows = np.empty(len(times), np.dtype([("tag", f"S{len(tag)}"), *kinds]))
    rows["tag"] = tag.encode()
    for (name, *_), values in zip(kinds, parts, strict=True):
        rows[name] = values
    if form.text:
        raw = rows.view(np.uint8).reshape(len(rows), -1)
        raw[raw == 0] = 32
        raw[:, -1] = 10
    return rows.tobytes()


def _text(values: Numbers) -> Numbers:
    """Write numbers in as few digits as say the same number, right-aligned, a space behind each: bytes of shape (rows, characters)."""
    width = WIDTHS[min(values.dtype.itemsize, 8)]
    texts = pc.utf8_lpad(pa.array(values.ravel()).cast(pa.string()), width - 1)
    texts = pc.binary_join_element_wise(texts, "", " ")
    data = texts.buffers()[2]
    first = np.frombuffer(texts.buffers()[1], np.int32, 1, texts.offset * 4)[0]
    raw = np.frombuffer(data, np.uint8, values.size * width, first)
    return raw.reshape(len(values), -1)


def _headed(kind: str, number: int, body: str, version: int) -> bytes:
    """Write a packet of XML; `kind` is ``00``, ``xx`` or a number in version 2, ``Sx``, ``Hx``, ``Ex`` in version 3."""
    raw = body.encode()
    if version == 2:
        return f"[{kind}]{len(raw):06d}".encode() + raw
    return f"|{kind}|{number or ''}|{len(raw)}|".encode() + raw


def _attributes(said: Mapping[str, str], indent: str) -> str:
    """Write properties as version 2 has them: attributes, their type before the name."""
    if not said:
        return ""
    each = "".join(f"\n{indent}  {name}={quoteattr(' '.join(text.split()))}" for name, text in said.items())
    return f"{indent}<properties{each}\n{indent}/>\n"


_TYPES = {"Datum": "real", "double": "real", "boolean": "bool", "DatumRange": "realRange", "TimeRange": "datetimeRange"}


def _elements(said: Mapping[str, str], indent: str) -> str:
    """Write properties as das 3.0 has them: elements."""
    if not said:
        return ""
    lines = []
    for name, text in said.items():
        kind, _, plain = name.rpartition(":")
        unit = ""
        if kind in {"Datum", "DatumRange"}:
            text, _, unit = text.rpartition(" ")  # noqa: PLW2901
            kind = "TimeRange" if unit == "UTC" else kind
        typed = f" type={quoteattr(_TYPES[kind])}" if kind in _TYPES else ""
        typed += f" units={quoteattr(unit)}" if unit else ""
        shown = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
        lines.append(f"{indent}  <p name={quoteattr(plain)}{typed}>{shown}</p>\n")
    return f"{indent}<properties>\n{''.join(lines)}{indent}</properties>\n"


def _stream(form: Form) -> bytes:
    if form.version == 2:
        packed = ' compression="deflate"' if form.deflated else ""
        return _headed("00", 0, f'<stream version="2.2"{packed}>\n{_attributes(form.properties, "  ")}</stream>\n', 2)
    inside = _elements(form.properties, "  ")
    return _headed("Sx", 0, f'<stream type="das-basic-stream" version="3.0">\n{inside}</stream>\n', 3)


def units(text: str | None) -> str:
    """Write units with spaces between them, as das2 has it: ``V**2 m**-2 Hz**-1``.

    Parameters
    ----------
    text
        VOUnits.
    """
    return _POINT.sub(" ", text or "")


def _number(value: float) -> str:
    return f"{value:.9g}"


def _described(planes: Sequence[Plane], reals: Sequence[int], number: int, form: Form) -> bytes:
    """Describe a packet type."""
    if form.version == 3:
        return _headed("Hx", number, _dataset(planes, reals, form.text, number), 3)
    time = (
        f'<x type="time{STAMP}" units="UTC"></x>' if form.text else '<x type="little_endian_real8" units="us2000"></x>'
    )
    lines = [f"<packet>\n  {time}\n"]
    for one, size in zip(planes, reals, strict=True):
        kind = f"ascii{WIDTHS[size]}" if form.text else f"little_endian_real{size}"
        letter = "y" if one.tags is None else "z"
        said = {"double:fill": f"{FILL:g}", f"{letter}Label": one.label, f"{letter}Summary": one.summary}
        said |= {"source": one.source, "operation": one.operation}
        inside = _attributes({name: text for name, text in said.items() if text}, "    ")
        unit = quoteattr(units(one.unit))
        if one.tags is None:
            lines.append(f"  <y name={quoteattr(one.name)} type={quoteattr(kind)} units={unit}>\n{inside}  </y>\n")
        else:
            tags = ", ".join(map(_number, one.tags))
            lines.append(
                f'  <yscan name={quoteattr(one.name)} type={quoteattr(kind)} nitems="{len(one.tags)}" zUnits={unit}'
                f" yUnits={quoteattr(units(one.tag_unit))}\n         yTags={quoteattr(tags)}>\n{inside}  </yscan>\n"
            )
    return _headed(f"{number:02d}", 0, "".join(lines) + "</packet>\n", 2)


_USES = {"": "center", "BIN_AVG": "mean", "BIN_MAX": "max", "BIN_MIN": "min"}


def _dataset(planes: Sequence[Plane], reals: Sequence[int], text: bool, number: int) -> str:
    """Describe a dataset of das 3.0: time, the axis of the elements, and the variables; a reduced one has mean and extremes."""
    tags = planes[0].tags
    whole, times = ("*", "*") if tags is None else (f"*;{len(tags)}", "*;-")
    stored = f'itemBytes="{STAMP}" encoding="utf8"' if text else 'itemBytes="8" encoding="LEreal"'
    unit = "UTC" if text else "us2000"
    head = (
        f'<dataset name="samples{number}" rank="{1 if tags is None else 2}" index="{whole}">\n  <coord physDim="time" name="time" axis="x">\n'
        f'    <scalar use="center" semantic="datetime" index="{times}" units="{unit}">\n      <packet numItems="1" {stored} />\n'
        "    </scalar>\n  </coord>\n"
    )
    lines = [head]
    if tags is not None:
        name = quoteattr(planes[0].axis or "index")
        lines.append(
            f'  <coord physDim={name} name={name} axis="y">\n    <scalar use="center" semantic="real" index="-;{len(tags)}"'
            f" units={quoteattr(units(planes[0].tag_unit))}>\n      <values>{';'.join(map(_number, tags))}</values>\n    </scalar>\n  </coord>\n"
        )
    named: dict[str, list[int]] = {}
    for at, one in enumerate(planes):
        named.setdefault(one.source or one.name, []).append(at)
    for name, which in named.items():
        first = planes[which[0]]
        said = {key: said for key, said in (("label", first.label), ("summary", first.summary)) if said}
        lines.append(f"  <data physDim={quoteattr(name)} name={quoteattr(name)}>\n{_elements(said, '    ')}")
        for at in which:
            size = WIDTHS[reals[at]] if text else reals[at]
            lines.append(
                f'    <scalar use="{_USES[planes[at].operation]}" semantic="real" index="{whole}" units={quoteattr(units(planes[at].unit))}>\n'
                f'      <packet numItems="{len(tags or (0,))}" itemBytes="{size}" encoding="{"utf8" if text else "LEreal"}" fill="{FILL:g}" />\n'
                "    </scalar>\n"
            )
        lines.append("  </data>\n")
    return "".join(lines) + "</dataset>\n"
