"""Streams of das2: version 2.2 and das 3.0, binary and text; whole batches at a time. Both put the same bytes of a sample behind another tag."""

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
from hven.services._stamps import stamps

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

FILL = -1e31  # what das2 has for no value
US2000 = 946_684_800_000_000  # microseconds from 1970 to 2000; as UTC, days of 86,400 s
# characters of a number by its bytes, with a space behind it; das2C takes 9 to 24
WIDTHS = {4: 16, 8: 24}
_POINT = re.compile(r"(?<=[A-Za-z0-9)])\.(?=[A-Za-z(])")
_NO_IDENTIFIER = re.compile(r"[^A-Za-z0-9_]+")
_MANY = 99  # packet types of a stream
# how packets begin
_TAGS = {
    2: {"stream": "[00]{size:06d}", "packet": "[{number:02d}]{size:06d}", "exception": "[xx]{size:06d}", "data": ":{number:02d}:"},
    3: {"stream": "|Sx||{size}|", "packet": "|Hx|{number}|{size}|", "exception": "|Ex||{size}|", "data": "|Pd|{number}|{size}|"},
}  # fmt: skip
_TYPES = {"Datum": "real", "double": "real", "boolean": "bool", "DatumRange": "realRange", "TimeRange": "datetimeRange"}
# a mean is the center of its dimension: the schema knows "average" and not "mean", the libraries the reverse; `operation` says what it is
_USES = {"": "center", "BIN_AVG": "center", "BIN_MAX": "max", "BIN_MIN": "min"}


class Plane(NamedTuple):
    """What of a stream's packets is one variable.

    Attributes
    ----------
    name
        Of it.
    field, part
        Which of the values are its own, and which of their elements.
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
    field: str
    part: tuple[int, int]
    unit: str | None = None
    tags: tuple[float, ...] | None = None
    axis: str = ""
    tag_unit: str | None = None
    source: str = ""
    operation: str = ""
    label: str = ""
    summary: str = ""

    def of(self, values: Mapping[str, Numbers]) -> Numbers:
        """Take its values, shape (rows, elements)."""
        return values[self.field][:, slice(*self.part)]


# samples whose planes have the same tags: these, and times (microseconds since 1970, or datetime64[ns]) with a matrix for each field
Segment = tuple[Sequence[Plane], Iterable[tuple["npt.NDArray[Any]", Mapping[str, "Numbers"]]]]


class Form(NamedTuple):
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
    stamp
        Characters of a time, the space behind it as well: 27, with nanoseconds 30.
    """

    version: int = 2
    text: bool = False
    deflated: bool = False
    properties: Mapping[str, str] = {}
    stamp: int = 27

    @property
    def media_type(self) -> str:
        """Of the whole."""
        kind = "vnd.das2.das2stream" if self.version == 2 else "vnd.das.stream"
        return f"text/{kind}; charset=utf-8" if self.text else f"application/{kind}"

    @property
    def ending(self) -> str:
        """Of a file's name."""
        return f"d{self.version}{'t' if self.text else 's' if self.version == 2 else 'b'}"


def exception(kind: str, message: str, version: int = 2, word: str = "exception") -> bytes:
    """Write a packet that says what is wrong; nothing comes behind it. `word`: ``stream``, where it is all of it."""
    said = quoteattr(" ".join(message.split()))
    return _headed(word, f'<exception type="{kind}" message={said} />\n', version)


def properties(said: Mapping[str, str]) -> bytes:
    """Write a stream of nothing but properties, as data sources are described."""
    return _stream(Form(properties=said))


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
    known: dict[Any, int] = {}
    number = 0
    for planes, rows in segments:
        # das2C reads packets whose variables have the same axes: lines and lists of other tags have packets of their own
        order = [one.source for one in planes]
        groups: dict[Any, list[Plane]] = {}
        # a dataset of das 3.0 has the mean and the extremes of a variable together
        for one in planes if form.version == 2 else sorted(planes, key=lambda one: order.index(one.source)):
            groups.setdefault((one.tags, one.axis, one.tag_unit), []).append(one)
        for times, values in rows:
            piece = b""
            for group in groups.values():
                matrices = [one.of(values) for one in group]
                key = (*group, *(one.dtype for one in matrices))
                if key not in known:
                    known = {} if number == _MANY else known
                    known[key] = number = number % _MANY + 1
                    sizes = [one.dtype.itemsize for one in matrices]
                    body = (_packet if form.version == 2 else _dataset)(group, sizes, form, number)
                    piece += _headed("packet", body, form.version, number)
                piece += _rows(times, matrices, known[key], form)
            yield piece


def _rows(times: npt.NDArray[Any], matrices: list[Numbers], number: int, form: Form) -> bytes:
    """Write samples behind their tag: ``:01:`` or ``|Pd|1|24|``."""
    parts = [np.where(np.isnan(one), np.array(FILL, one.dtype), one) for one in matrices]
    nanos = None
    if times.dtype.kind == "M":
        times, nanos = np.divmod(times.astype(np.int64), 1000)
    if form.text:  # each with a space behind it
        stamped = stamps(times, form.stamp, nanos=nanos).view(np.uint8).reshape(len(times), -1)
        stamped[:, -1] = 32
        parts = [stamped, *map(_text, parts)]
    else:
        parts = [((times - US2000) + (0.0 if nanos is None else nanos / 1000))[:, None], *parts]
    kinds = [(f"p{at}", one.dtype.newbyteorder("<"), one.shape[1:]) for at, one in enumerate(parts)]
    tag = _TAGS[form.version]["data"].format(number=number, size=np.dtype(kinds).itemsize).encode()
    rows = np.empty(len(times), [("tag", f"S{len(tag)}"), *kinds])
    rows["tag"] = tag
    for (name, *_), part in zip(kinds, parts, strict=True):
        rows[name] = part
    if form.text:  # the last of all begins a new line
        last = rows[kinds[-1][0]][:, -1]
        last[last == 32] = 10  # a number of 24 characters leaves no room
    return rows.tobytes()


def _text(values: Numbers) -> Numbers:
    """Write numbers in as few digits as say the same number, right-aligned, a space behind each if there is room: bytes of shape (rows, characters)."""
    width = WIDTHS[values.dtype.itemsize]
    numbers = np.ascontiguousarray(values).ravel()
    texts = pa.array(numbers).cast(pa.string())
    long = np.asarray(pc.greater_equal(pc.binary_length(texts), width))
    if long.any():  # -0.0000048065704427339955: with an exponent none has more than 24 characters
        texts = pc.replace_with_mask(texts, pa.array(long), pa.array(numbers[long].astype("S32").astype(str)))
    texts = pc.utf8_rpad(pc.utf8_lpad(texts, width - 1), width)  # one of 24 characters has no space behind it
    return np.frombuffer(literal.characters(texts), np.uint8).reshape(len(values), -1)


def _headed(word: str, body: str, version: int, number: int = 0) -> bytes:
    """Write a packet of XML."""
    raw = body.encode()
    return _TAGS[version][word].format(number=number, size=len(raw)).encode() + raw


def _stream(form: Form) -> bytes:
    said = _said(form.properties, form.version)
    packed = ' compression="deflate"' if form.deflated else ""
    head = f'version="2.2"{packed}' if form.version == 2 else 'type="das-basic-stream" version="3.0"'
    return _headed("stream", f"<stream {head}>\n{said}</stream>\n", form.version)


def _said(said: Mapping[str, str], version: int) -> str:
    """Write properties: attributes with their type before the name in version 2, elements in das 3.0."""
    lines = []
    for name, text in said.items():
        kind, _, plain = name.rpartition(":")
        value = " ".join(text.split())
        if version == 2:
            lines.append(f"    {name}={quoteattr(value)}\n")
            continue
        value, _, unit = value.rpartition(" ") if kind[:5] == "Datum" else (value, "", "")
        typed = f' type="{_TYPES[kind if unit != "UTC" else "TimeRange"]}"' if kind else ""
        typed += f" units={quoteattr(unit)}" if unit else ""
        lines.append(f"    <p name={quoteattr(plain)}{typed}>{escape(value)}</p>\n")
    inside = "".join(line for line, text in zip(lines, said.values(), strict=True) if text)
    return f"  <properties\n{inside}  />\n" if version == 2 else f"  <properties>\n{inside}  </properties>\n"


def units(text: str | None) -> str:
    """Write units with spaces between them, as das2 has it: ``V**2 m**-2 Hz**-1``."""
    return _POINT.sub(" ", text or "")


def identifier(name: str) -> str:
    """Write a name as das2C takes it: at most 63 ASCII letters, digits and underscores, no digit at the beginning."""
    plain = _NO_IDENTIFIER.sub("_", name).strip("_") or "variable"
    return f"v{plain}"[:63] if plain[0].isdigit() else plain[:63]


def _tags(tags: Iterable[float], between: str) -> str:
    return between.join(f"{one:.9g}" for one in tags)


def _packet(planes: Sequence[Plane], sizes: Sequence[int], form: Form, _: int) -> str:
    """Describe a packet type of version 2."""
    text = form.text
    lines = [f'type="time{form.stamp}" units="UTC"' if text else 'type="little_endian_real8" units="us2000"']
    for one, size in zip(planes, sizes, strict=True):
        letter = "y" if one.tags is None else "z"
        said = _said({"double:fill": f"{FILL:g}", f"{letter}Label": one.label, f"{letter}Summary": one.summary, "source": one.source, "operation": one.operation}, 2)  # fmt: skip
        head = f'name={quoteattr(one.name)} type="{f"ascii{WIDTHS[size]}" if text else f"little_endian_real{size}"}"'
        unit, tag_unit = quoteattr(units(one.unit)), quoteattr(units(one.tag_unit))
        if one.tags is None:
            lines.append(f"  <y {head} units={unit}>\n{said}  </y>\n")
        else:
            more = f'nitems="{len(one.tags)}" zUnits={unit} yUnits={tag_unit} yTags="{_tags(one.tags, ", ")}"'
            lines.append(f"  <yscan {head} {more}>\n{said}  </yscan>\n")
    return f"<packet>\n  <x {lines[0]}></x>\n{''.join(lines[1:])}</packet>\n"


def _dataset(planes: Sequence[Plane], sizes: Sequence[int], form: Form, number: int) -> str:
    """Describe a dataset of das 3.0: time, the axis of the elements, and the variables; a reduced one has mean and extremes."""
    tags, axis = planes[0].tags, quoteattr(identifier(planes[0].axis))
    items = len(tags or (0,))
    many, time = ("", "*") if tags is None else (f";{items}", "*;-")
    text = form.text
    coding, stamp, unit = ("utf8", form.stamp, "UTC") if text else ("LEreal", 8, "us2000")
    lines = [
        f"""<dataset name="samples{number}" rank="{2 if many else 1}" index="*{many}">
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
{_said({"label": planes[0].axis}, 3)}    <scalar use="center" semantic="real" index="-{many}" units={quoteattr(units(planes[0].tag_unit))}>
      <values>{_tags(tags, " ")}</values>
    </scalar>
  </coord>
"""
        )
    for name, group in groupby(zip(planes, sizes, strict=True), lambda each: quoteattr(each[0].source or each[0].name)):
        for at, (one, size) in enumerate(group):
            if not at:
                said = _said({"label": one.label, "summary": one.summary, "operation": one.operation}, 3)
                lines.append(f"  <data physDim={name} name={name}>\n{said}")
            lines.append(
                f"""    <scalar use="{_USES[one.operation]}" semantic="real" index="*{many}" units={quoteattr(units(one.unit))}>
      <packet numItems="{items}" itemBytes="{WIDTHS[size] if text else size}" encoding="{coding}" fill="{FILL:g}" />
    </scalar>
"""
            )
        lines.append("  </data>\n")
    return "".join(lines) + "</dataset>\n"
