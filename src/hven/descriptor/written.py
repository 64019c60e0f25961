"""YAML as a person wrote it: text, lists and maps that know their place, and nothing retyped behind the writer's back.

The YAML library only cuts the file into events; values are built here, as the text that stands in the file. What a
plain scalar would silently become elsewhere (``no``, ``010``, ``1:30``) is known to :func:`trap`, and the types
decide where that matters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]  # the stubs do not export it

from hven.model.errors import Fault, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST = 4 * 1024**2  # bytes of one file
DEEPEST = 60
MOST = 200_000  # values of one file, aliases counted as often as they are used
_ENDLESS = re.compile(r"[0-9_]{400,}")  # no number, wherever it stands; Python reads no more than 4,300 digits
BINARY_OR_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


@dataclass(slots=True)
class Page:
    """A text file being read: its name as people know it, and its text."""

    name: str
    text: str
    _lines: list[int] = field(default_factory=list)

    def place(self, index: int) -> Place:
        """Convert an index into the text to line and column.

        Parameters
        ----------
        index
            In characters.

        Returns
        -------
        place
            In this file.
        """
        if not self._lines:
            self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._lines, index)
        return Place(file=self.name, line=line, column=index - self._lines[line - 1] + 1)


class Written(str):
    """A scalar as written. `plain` is True if it stands without quotes.

    Attributes
    ----------
    page
        The file that it stands in.
    start, end
        Offsets in the page, in characters.
    style
        The quote or block sign; ``made`` if a program made it.
    """

    __slots__ = ("end", "page", "plain", "start", "style")

    page: Page
    start: int
    end: int
    style: str
    plain: bool

    def __new__(cls, value: str, page: Page, start: int, end: int, style: str = "") -> Self:
        """Make the text with its place."""
        self = super().__new__(cls, value)
        self.page, self.start, self.end, self.style = page, start, end, style
        self.plain = style == ""
        return self

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.page.place(self.start)

    def at(self, offset: int) -> Place:
        """Locate a character of the value in the file, through quotes, escapes and folded lines.

        Parameters
        ----------
        offset
            In characters of the value.

        Returns
        -------
        place
            In the file.
        """
        if self.style == "made":
            return self.place
        raw = self.page.text[self.start : self.end]
        position = 0
        if self.style in {"'", '"'}:
            position = 1
        elif self.style in {"|", ">"}:
            position = raw.find("\n") + 1
        for character in self[:offset]:
            position = _next(raw, position, character, self.style) + 1
        return self.page.place(
            self.start + min(_next(raw, position, self[offset : offset + 1], self.style), max(len(raw) - 1, 0))
        )

    @property
    def is_null(self) -> bool:
        """True for nothing at all, ``null`` and ``~``, unquoted."""
        return self.plain and str(self) in {"", "~", "null", "Null", "NULL"}

    def replaced(self, value: str) -> Written:
        """Return another value in the place of this one (loops).

        Parameters
        ----------
        value
            The other one.
        """
        if value == self:
            return self
        return Written(value, self.page, self.start, self.end, "made-plain" if self.plain else "made")


def _next(raw: str, position: int, character: str, style: str) -> int:
    """Find `character` in the raw text at or after `position`, over escapes, doubled quotes and folds."""
    if style == '"':
        while raw[position : position + 2] == "\\\n":  # the value goes on in the next line
            position += 2
            while raw[position : position + 1] in {" ", "\t"}:
                position += 1
        if raw[position : position + 1] == "\\":
            return _after_escape(raw, position)
    if position >= len(raw) or not character:
        return position
    if character.isspace():
        return position
    while position < len(raw) and raw[position].isspace():
        position += 1
    if style == '"' and raw[position : position + 1] == "\\":
        return _next(raw, position, character, style)
    if style == "'" and character == "'" and raw[position : position + 2] == "''":
        return position + 1
    return position


def _after_escape(raw: str, position: int) -> int:
    """Find the last character of the escape that begins here."""
    return position + 1 + {"x": 2, "u": 4, "U": 8}.get(raw[position + 1 : position + 2], 0)


class Items(list[Any]):
    """A list with its place."""

    __slots__ = ("flow", "place")

    def __init__(self, values: list[Any], place: Place, *, flow: bool = False) -> None:
        super().__init__(values)
        self.place, self.flow = place, flow


class Entries(dict[Written, Any]):
    """A map with its place; its keys are `Written` and know theirs."""

    __slots__ = ("flow", "place")

    def __init__(self, values: dict[Written, Any], place: Place, *, flow: bool = False) -> None:
        super().__init__(values)
        self.place, self.flow = place, flow

    def key(self, name: str) -> Written:
        """Return the key as written.

        Parameters
        ----------
        name
            One of its keys.
        """
        return next(key for key in self if key == name)


Value = Written | Items | Entries

_BOOLEAN = re.compile(r"(?:yes|no|on|off|true|false)", re.IGNORECASE)
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}(?:(?:[Tt]|[ \t]+)\d{1,2}:\d\d:\d\d(?:\.\d*)?\s*(?:Z|[-+]\d\d?(?::?\d\d)?)?)?"
)
_NUMBER = re.compile(
    r"[-+]?(?:0x[0-9a-fA-F]+|0b[01]+|0o[0-7]+|(?:[0-9][0-9_]*)(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|nan))",
    re.IGNORECASE,
)
WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
DECIMAL = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def trap(value: Written) -> str | None:
    """Detect what YAML readers would make of an unquoted scalar other than text.

    Parameters
    ----------
    value
        As written.

    Returns
    -------
    words
        None if it stays text.

    Examples
    --------
    ``no`` -> "the boolean false"; ``010`` -> "the octal number 8"; ``1:30`` -> "the number 90 (base 60)".
    """
    text = str(value)
    if not value.plain:
        return None
    if _BOOLEAN.fullmatch(text):
        return f"the boolean {'true' if text.lower() in {'yes', 'on', 'true'} else 'false'}"
    if _OCTAL.fullmatch(text):
        return f"the octal number {int(text.replace('_', ''), 8)}"
    if _SEXAGESIMAL.fullmatch(text):
        total = 0.0
        for part in text.lstrip("+-").replace("_", "").split(":"):
            total = total * 60 + float(part or 0)
        return f"the number {'-' if text.startswith('-') else ''}{total:g} (base 60)"
    if _DATE.fullmatch(text):
        return "a date"
    if _NUMBER.fullmatch(text):
        return "a number"
    return None


def retyped(value: Written) -> str | None:
    """Detect what YAML readers would make of a scalar that is not what was written: octal, base 60, yes and no, dates.

    Parameters
    ----------
    value
        As written.

    Returns
    -------
    words
        As of `trap`; None if it reads as it is written.
    """
    found = trap(value)
    if found is None or found == "a number" or str(value) in {"true", "false"}:
        return None
    return found


def read_page(path: Path, name: str, faults: list[Fault]) -> Page | None:
    """Read a file as UTF-8 text.

    Parameters
    ----------
    path
        Of the file.
    name
        What it is called in places.
    faults
        Where faults go.

    Returns
    -------
    page
        None after a fault.
    """
    try:
        if path.is_dir():
            faults.append(Fault(message=f"{name} is a directory, not a file", place=Place(file=name)))
            return None
        size = path.stat().st_size
        if size > LARGEST:
            faults.append(
                Fault(
                    message=f"the file has {size:,} bytes; a descriptor may have {LARGEST:,}",
                    place=Place(file=name),
                    remedy="put data into a file of its own",
                )
            )
            return None
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        faults.append(Fault(message=f"cannot read the file: {reason}", place=Place(file=name)))
        return None
    return page_of(data, name, faults)


def page_of(data: bytes, name: str, faults: list[Fault]) -> Page | None:
    """Decode the bytes of a file.

    Parameters
    ----------
    data
        Its bytes.
    name
        What it is called in places.
    faults
        Where faults go.

    Returns
    -------
    page
        None after a fault.
    """
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        faults.append(
            Fault(message="the file is UTF-16", place=Place(file=name, line=1, column=1), remedy="save it as UTF-8")
        )
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        faults.append(
            Fault(
                message=f"the byte 0x{data[error.start]:02x} is not UTF-8",
                place=Place(file=name, line=line, column=column),
                remedy="save the file as UTF-8 (it looks like Latin-1)",
            )
        )
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    page = Page(name, text)
    bad = BINARY_OR_CONTROL.search(text)
    if bad is not None:
        what = "a NUL byte" if bad.group() == "\0" else f"the control character 0x{ord(bad.group()):02x}"
        faults.append(Fault(message=f"{what} stands in the text", place=page.place(bad.start()), remedy="remove it"))
        return None
    return page


def parse(page: Page, faults: list[Fault]) -> Value | None:
    """Parse the YAML of a page; syntax errors stop it, other faults are collected.

    Parameters
    ----------
    page
        The text.
    faults
        Where faults go: bad syntax, tags, duplicate keys, too deep, too many values.

    Returns
    -------
    value
        None after a syntax error, or of an empty page.
    """
    try:
        return _Builder(page, faults).document()
    except yaml.YAMLError as error:
        faults.append(_syntax(page, error))
    except _Stop as stop:
        faults.append(stop.fault)
    return None


class _Stop(Exception):
    def __init__(self, message: str, place: Place, remedy: str = "") -> None:
        super().__init__(message)
        self.fault = Fault(message=message, place=place, remedy=remedy)


class _Builder:
    """Events -> values, without recursion deeper than `DEEPEST`."""

    def __init__(self, page: Page, faults: list[Fault]) -> None:
        self.page, self.faults = page, faults
        self.events = _events(page.text)
        self.anchors: dict[str, tuple[Value, int] | None] = {}
        self.count = 0

    def document(self) -> Value | None:
        value: Value | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if value is not None:
                    raise _Stop(
                        "a second YAML document begins here",
                        self.page.place(_index(event)),
                        "one file, one document: remove '---'",
                    )
                value = self.value(next(self.events), 0)
        return value

    def value(self, event: Any, depth: int) -> Value:
        start = _index(event)
        if depth > DEEPEST:
            raise _Stop(f"nested more than {DEEPEST} deep", self.page.place(start))
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event.anchor, start)
        before = self.count
        self.add(1, start)
        if event.anchor:
            self.anchors[event.anchor] = None
        tag = event.tag
        if tag not in {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.faults.append(
                Fault(
                    message=f"the YAML tag {shown} has no meaning here",
                    place=self.page.place(start),
                    remedy="remove it",
                )
            )
        value: Value
        if isinstance(event, yaml.ScalarEvent):
            style = event.style or ""
            if _ENDLESS.search(event.value):
                raise _Stop(
                    "a number of more than 400 digits",
                    self.page.place(start),
                    "no value is so large; is something missing between?",
                )
            if tag in {"!", "tag:yaml.org,2002:str"} and style == "":
                style = "!"
            value = Written(event.value, self.page, start, int(event.end_mark.index), style)  # type: ignore[union-attr]  # the C parser marks every event
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self.items(event, depth)
        else:
            value = self.entries(event, depth)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.count - before)
        return value

    def alias(self, anchor: Any, start: int) -> Value:
        if anchor not in self.anchors:
            raise _Stop(f"no anchor &{anchor} stands above", self.page.place(start))
        known = self.anchors[anchor]
        if known is None:
            raise _Stop(f"*{anchor} contains itself", self.page.place(start))
        self.add(known[1], start)
        return known[0]

    def add(self, number: int, start: int) -> None:
        self.count += number
        if self.count > MOST:
            raise _Stop(
                f"more than {MOST:,} values (aliases counted as often as they are used)", self.page.place(start)
            )

    def items(self, event: Any, depth: int) -> Items:
        values = []
        while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
            values.append(self.value(inner, depth + 1))
        return Items(values, self.page.place(_index(event)), flow=bool(event.flow_style))

    def entries(self, event: Any, depth: int) -> Entries:
        found: dict[Written, Any] = {}
        merged: list[Entries] = []
        while not isinstance(inner := next(self.events), yaml.MappingEndEvent):
            key = self.value(inner, depth + 1)
            value = self.value(next(self.events), depth + 1)
            if not isinstance(key, Written):
                place = key.place
                self.faults.append(
                    Fault(
                        message="a key must be one word or text",
                        place=place,
                        remedy="is a template or a list missing its quotes?",
                    )
                )
            elif key == "<<" and key.plain:
                merged.extend(
                    part for part in (value if isinstance(value, Items) else [value]) if isinstance(part, Entries)
                )
            elif key in found:
                first = next(old for old in found if old == key)
                self.faults.append(
                    Fault(
                        message=f"the key {str(key)!r} stands twice in one map",
                        place=key.place,
                        remedy=f"the first one is in line {first.place.line}",
                    )
                )
            else:
                found[key] = value
        for part in merged:
            for key, value in part.items():
                found.setdefault(key, value)
        return Entries(found, self.page.place(_index(event)), flow=bool(event.flow_style))


def _index(event: Any) -> int:
    return int(event.start_mark.index)


def _events(text: str) -> Iterator[Any]:
    parser = CParser(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    finally:
        parser.dispose()


def _syntax(page: Page, error: yaml.YAMLError) -> Fault:
    said = error if isinstance(error, yaml.MarkedYAMLError) else yaml.MarkedYAMLError()
    mark = said.problem_mark or said.context_mark
    problem = said.problem or str(error)
    if mark is None:
        return Fault(message=f"not YAML: {problem}", place=Place(file=page.name))
    index = min(mark.index, len(page.text))
    line_start = page.text.rfind("\n", 0, index) + 1
    line = page.text[line_start:].partition("\n")[0]
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return Fault(
            message="a tab stands in the indentation",
            place=page.place(line_start + indent.index("\t")),
            remedy="indent with spaces",
        )
    place = page.place(index)
    if page.text[index : index + 1] in {"@", "`", "%"}:
        return Fault(
            message=f"a value cannot begin with {page.text[index]!r} in YAML",
            place=place,
            remedy="put the value in quotes",
        )
    if "mapping values are not allowed" in problem:
        return Fault(
            message="a second ': ' stands in an unquoted value, or the line is indented wrongly",
            place=place,
            remedy="put the value in quotes",
        )
    if "could not find expected ':'" in problem:
        return Fault(message="this line is no 'key: value'", place=place)
    context, opened = said.context, said.context_mark
    if context == "while scanning a quoted scalar" and opened is not None:
        remedy = "close it; a quote inside single quotes is doubled: ''"
        return Fault(message="the quote that opens here is not closed", place=page.place(opened.index), remedy=remedy)
    if context and "flow" in context and opened is not None:
        comment = re.compile(r"[ \t]#").search(page.text, opened.index, page.text.rfind("\n", 0, index) + 1 or index)
        if comment is not None:
            return Fault(
                message="the ' #' begins a comment here, and the rest of the line is lost",
                place=page.place(comment.start() + 1),
                remedy="put the whole value in double quotes",
            )
    since = (
        f" ({context}, line {opened.line + 1})" if context and opened is not None and opened.line != mark.line else ""
    )
    return Fault(
        message=f"not YAML: {problem}{since}",
        place=place,
        remedy="quotes around values with ': ', ' #', a comma within { }, or a leading [ { * & ! | > ' \" % @ are the usual cure",
    )
