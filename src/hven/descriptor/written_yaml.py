"""YAML as a person wrote it: text, lists and maps that know their place, and nothing retyped behind the writer's back.

The YAML library only cuts the file into events; values are built here, as the text that stands in the file. What a
plain scalar would silently become elsewhere (``no``, ``010``, ``1:30``) is known to :func:`detect_yaml_retyping`, and
the types decide where that matters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]  # the stubs do not export it

from hven.model.errors import Fault, TextPlace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FILE_BYTES = 4 * 1024**2  # bytes of one file
MAX_NESTING_DEPTH = 60
MAX_VALUES = 200_000  # values of one file, aliases counted as often as they are used
_TOO_LONG_NUMBER_PATTERN = re.compile(
    r"[0-9_]{400,}"
)  # no number, wherever it stands; Python reads no more than 4,300 digits
CONTROL_CHARACTER_PATTERN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


@dataclass(slots=True)
class YamlFileText:
    """A text file being read: its name as people know it, and its text."""

    name: str
    text: str
    _lines: list[int] = field(default_factory=list)

    @property
    def format_name(self) -> str:
        """The format, for messages: ``[defaults]`` of a site are TOML."""
        return "TOML" if self.name.endswith(".toml") else "YAML"

    def locate_index(self, index: int) -> TextPlace:
        """Convert an index into the text to line and column.

        Parameters
        ----------
        index
            In characters.

        Returns
        -------
        place
            Place in this file.
        """
        if not self._lines:
            self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._lines, index)
        return TextPlace(file=self.name, line=line, column=index - self._lines[line - 1] + 1)


class LocatedYamlScalar(str):
    """A scalar as written. `is_plain` is True if it stands without quotes.

    Attributes
    ----------
    page
        The file that it stands in.
    start, end
        Offsets in the page, in characters.
    style
        The quote or block sign; ``made`` if a program made it.
    """

    __slots__ = ("end", "is_plain", "page", "start", "style")

    page: YamlFileText
    start: int
    end: int
    style: str
    is_plain: bool

    def __new__(cls, value: str, page: YamlFileText, start: int, end: int, style: str = "") -> Self:
        """Make the text with its place."""
        self = super().__new__(cls, value)
        self.page = page
        self.start = start
        self.end = end
        self.style = style
        self.is_plain = style == ""
        return self

    @property
    def place(self) -> TextPlace:
        """Where it begins."""
        return self.page.locate_index(self.start)

    def locate_character(self, character_offset: int) -> TextPlace:
        """Locate a character of the value in the file, through quotes, escapes and folded lines.

        Parameters
        ----------
        character_offset
            In characters of the value.

        Returns
        -------
        place
            Place in the file.
        """
        if self.style == "made":
            return self.place
        raw = self.page.text[self.start : self.end]
        position = 0
        if self.style in {"'", '"'}:
            position = 1
        elif self.style in {"|", ">"}:
            position = raw.find("\n") + 1
        for character in self[:character_offset]:
            position = _find_raw_character(raw, position, character, self.style) + 1
        return self.page.locate_index(
            self.start
            + min(
                _find_raw_character(raw, position, self[character_offset : character_offset + 1], self.style),
                max(len(raw) - 1, 0),
            )
        )

    @property
    def is_null(self) -> bool:
        """True for nothing at all, ``null`` and ``~``, unquoted."""
        return self.is_plain and str(self) in {"", "~", "null", "Null", "NULL"}

    def copy_with_text(self, value: str) -> LocatedYamlScalar:
        """Return another value in the place of this one (loops).

        Parameters
        ----------
        value
            The other one.
        """
        if value == self:
            return self
        return LocatedYamlScalar(value, self.page, self.start, self.end, "made-plain" if self.is_plain else "made")


def _find_raw_character(raw: str, position: int, character: str, style: str) -> int:
    """Find `character` in the raw text at or after `position`, over escapes, doubled quotes and folds."""
    if style == '"':
        while raw[position : position + 2] == "\\\n":  # the value goes on in the next line
            position += 2
            while raw[position : position + 1] in {" ", "\t"}:
                position += 1
        if raw[position : position + 1] == "\\":
            return _find_escape_end(raw, position)
    if position >= len(raw) or not character:
        return position
    if character.isspace():
        return position
    while position < len(raw) and raw[position].isspace():
        position += 1
    if style == '"' and raw[position : position + 1] == "\\":
        return _find_raw_character(raw, position, character, style)
    if style == "'" and character == "'" and raw[position : position + 2] == "''":
        return position + 1
    return position


def _find_escape_end(raw: str, position: int) -> int:
    """Find the last character of the escape that begins here."""
    return position + 1 + {"x": 2, "u": 4, "U": 8}.get(raw[position + 1 : position + 2], 0)


class LocatedYamlList(list[Any]):
    """A list with its place."""

    __slots__ = ("is_flow", "place")

    def __init__(self, values: list[Any], place: TextPlace, *, is_flow: bool = False) -> None:
        super().__init__(values)
        self.place = place
        self.is_flow = is_flow


class LocatedYamlMap(dict[LocatedYamlScalar, Any]):
    """A map with its place; its keys are `LocatedYamlScalar` and know theirs."""

    __slots__ = ("is_flow", "place")

    def __init__(self, values: dict[LocatedYamlScalar, Any], place: TextPlace, *, is_flow: bool = False) -> None:
        super().__init__(values)
        self.place = place
        self.is_flow = is_flow

    def find_key(self, name: str) -> LocatedYamlScalar:
        """Return the key as written.

        Parameters
        ----------
        name
            One of its keys.
        """
        return next(key for key in self if key == name)


Value = LocatedYamlScalar | LocatedYamlList | LocatedYamlMap

_BOOLEAN_PATTERN = re.compile(r"(?:yes|no|on|off|true|false)", re.IGNORECASE)
_OCTAL_PATTERN = re.compile(r"[-+]?0[0-7_]+")
_SEXAGESIMAL_PATTERN = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE_PATTERN = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}(?:(?:[Tt]|[ \t]+)\d{1,2}:\d\d:\d\d(?:\.\d*)?\s*(?:Z|[-+]\d\d?(?::?\d\d)?)?)?"
)
_NUMBER_PATTERN = re.compile(
    r"[-+]?(?:0x[0-9a-fA-F]+|0b[01]+|0o[0-7]+|(?:[0-9][0-9_]*)(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?"
    r"|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|nan))",
    re.IGNORECASE,
)
INTEGER_PATTERN = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
DECIMAL_PATTERN = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def detect_yaml_retyping(value: LocatedYamlScalar) -> str | None:
    """Detect what YAML readers would make of an unquoted scalar other than text.

    Parameters
    ----------
    value
        Scalar as written.

    Returns
    -------
    words
        Description of the other value; None if the scalar stays text.

    Examples
    --------
    ``no`` -> "the boolean false"; ``010`` -> "the octal number 8"; ``1:30`` -> "the number 90 (base 60)".
    """
    if not value.is_plain:
        return None
    text = str(value)
    description = None
    if _BOOLEAN_PATTERN.fullmatch(text):
        truth_word = "false"
        if text.lower() in {"yes", "on", "true"}:
            truth_word = "true"
        description = f"the boolean {truth_word}"
    elif _OCTAL_PATTERN.fullmatch(text):
        description = f"the octal number {int(text.replace('_', ''), 8)}"
    elif _SEXAGESIMAL_PATTERN.fullmatch(text):
        total = 0.0
        for part in text.lstrip("+-").replace("_", "").split(":"):
            total = total * 60 + float(part or 0)
        sign = ""
        if text.startswith("-"):
            sign = "-"
        description = f"the number {sign}{total:g} (base 60)"
    elif _DATE_PATTERN.fullmatch(text):
        description = "a date"
    elif _NUMBER_PATTERN.fullmatch(text):
        description = "a number"
    return description


def detect_misleading_retyping(value: LocatedYamlScalar) -> str | None:
    """Detect what YAML readers would make of a scalar if this is not what was written: octal, base 60, yes, no, dates.

    Parameters
    ----------
    value
        Scalar as written.

    Returns
    -------
    words
        As in `detect_yaml_retyping`; None if the scalar reads as it is written.
    """
    yaml_reading = detect_yaml_retyping(value)
    if yaml_reading is None or yaml_reading == "a number" or str(value) in {"true", "false"}:
        return None
    return yaml_reading


def read_yaml_file(path: Path, name: str, faults: list[Fault]) -> YamlFileText | None:
    """Read a file as UTF-8 text.

    Parameters
    ----------
    path
        Path of the file.
    name
        What it is called in places.
    faults
        Collects the faults.

    Returns
    -------
    page
        None after a fault.
    """
    try:
        if path.is_dir():
            place = TextPlace(file=name)
            faults.append(Fault(message=f"{name} is a directory, not a file", place=place))
            return None
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            faults.append(
                Fault(
                    message=f"the file has {size:,} bytes; a descriptor may have at most {MAX_FILE_BYTES:,}",
                    place=TextPlace(file=name),
                    remedy="put data into a separate file",
                )
            )
            return None
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        faults.append(Fault(message=f"the file cannot be read: {reason}", place=TextPlace(file=name)))
        return None
    return decode_yaml_file(data, name, faults)


def decode_yaml_file(data: bytes, name: str, faults: list[Fault]) -> YamlFileText | None:
    """Decode the bytes of a file.

    Parameters
    ----------
    data
        Its bytes.
    name
        What it is called in places.
    faults
        Collects the faults.

    Returns
    -------
    page
        None after a fault.
    """
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        place = TextPlace(file=name, line=1, column=1)
        faults.append(Fault(message="the file is UTF-16", place=place, remedy="save it as UTF-8"))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        faults.append(
            Fault(
                message=f"the byte 0x{data[error.start]:02x} is not UTF-8",
                place=TextPlace(file=name, line=line, column=column),
                remedy="save the file as UTF-8 (it looks like Latin-1)",
            )
        )
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    page = YamlFileText(name, text)
    invalid_character = CONTROL_CHARACTER_PATTERN.search(text)
    if invalid_character is not None:
        if invalid_character.group() == "\0":
            character_label = "a NUL byte"
        else:
            character_label = f"the control character 0x{ord(invalid_character.group()):02x}"
        faults.append(
            Fault(
                message=f"the text contains {character_label}",
                place=page.locate_index(invalid_character.start()),
                remedy="remove it",
            )
        )
        return None
    return page


def parse_yaml_file(page: YamlFileText, faults: list[Fault]) -> Value | None:
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
        return _YamlTreeBuilder(page, faults).build_document()
    except yaml.YAMLError as error:
        faults.append(_build_syntax_fault(page, error))
    except _ParseStoppedError as stop:
        faults.append(stop.fault)
    return None


class _ParseStoppedError(Exception):
    def __init__(self, message: str, place: TextPlace, remedy: str = "") -> None:
        super().__init__(message)
        self.fault = Fault(message=message, place=place, remedy=remedy)


class _YamlTreeBuilder:
    """Events -> values, without recursion deeper than `MAX_NESTING_DEPTH`."""

    def __init__(self, page: YamlFileText, faults: list[Fault]) -> None:
        self.page = page
        self.faults = faults
        self.events = _iterate_events(page.text)
        self.anchors: dict[str, tuple[Value, int] | None] = {}
        self.value_count = 0

    def build_document(self) -> Value | None:
        value: Value | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if value is not None:
                    raise _ParseStoppedError(
                        "a second YAML document begins here",
                        self.page.locate_index(_find_start_index(event)),
                        "remove '---'; a file may contain only one document",
                    )
                value = self.build_value(next(self.events), 0)
        return value

    def build_value(self, event: Any, depth: int) -> Value:
        start = _find_start_index(event)
        if depth > MAX_NESTING_DEPTH:
            raise _ParseStoppedError(
                f"values are nested more than {MAX_NESTING_DEPTH} levels deep", self.page.locate_index(start)
            )
        if isinstance(event, yaml.AliasEvent):
            return self.resolve_alias(event.anchor, start)
        count_before = self.value_count
        self.count_and_limit_values(1, start)
        if event.anchor:
            self.anchors[event.anchor] = None
        tag = event.tag
        if tag not in {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            tag_text = tag.replace("tag:yaml.org,2002:", "!!")
            self.faults.append(
                Fault(
                    message=f"the YAML tag {tag_text} has no meaning here",
                    place=self.page.locate_index(start),
                    remedy="remove the tag",
                )
            )
        value: Value
        if isinstance(event, yaml.ScalarEvent):
            style = event.style or ""
            if _TOO_LONG_NUMBER_PATTERN.search(event.value):
                raise _ParseStoppedError(
                    "the number has more than 400 digits",
                    self.page.locate_index(start),
                    "check whether a separator is missing; no value is this large",
                )
            if tag in {"!", "tag:yaml.org,2002:str"} and style == "":
                style = "!"
            end = int(event.end_mark.index)  # type: ignore[union-attr]  # the C parser marks every event
            value = LocatedYamlScalar(event.value, self.page, start, end, style)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self.build_list(event, depth)
        else:
            value = self.build_map(event, depth)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.value_count - count_before)
        return value

    def resolve_alias(self, anchor: Any, start: int) -> Value:
        if anchor not in self.anchors:
            raise _ParseStoppedError(f"there is no anchor &{anchor} above", self.page.locate_index(start))
        anchored_value = self.anchors[anchor]
        if anchored_value is None:
            raise _ParseStoppedError(f"*{anchor} contains itself", self.page.locate_index(start))
        self.count_and_limit_values(anchored_value[1], start)
        return anchored_value[0]

    def count_and_limit_values(self, number: int, start: int) -> None:
        self.value_count += number
        if self.value_count > MAX_VALUES:
            raise _ParseStoppedError(
                f"the file has more than {MAX_VALUES:,} values (each use of an alias counts)",
                self.page.locate_index(start),
            )

    def build_list(self, event: Any, depth: int) -> LocatedYamlList:
        values = []
        while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
            values.append(self.build_value(inner, depth + 1))
        return LocatedYamlList(values, self.page.locate_index(_find_start_index(event)), is_flow=bool(event.flow_style))

    def build_map(self, event: Any, depth: int) -> LocatedYamlMap:
        entries_by_key: dict[LocatedYamlScalar, Any] = {}
        merged_maps: list[LocatedYamlMap] = []
        while not isinstance(inner := next(self.events), yaml.MappingEndEvent):
            key = self.build_value(inner, depth + 1)
            value = self.build_value(next(self.events), depth + 1)
            if not isinstance(key, LocatedYamlScalar):
                place = key.place
                self.faults.append(
                    Fault(
                        message="a key must be text, not a list or a map",
                        place=place,
                        remedy="put the key in quotes",
                    )
                )
            elif key == "<<" and key.is_plain:
                merged_maps.extend(
                    part
                    for part in (value if isinstance(value, LocatedYamlList) else [value])
                    if isinstance(part, LocatedYamlMap)
                )
            elif key in entries_by_key:
                first_key = next(old for old in entries_by_key if old == key)
                self.faults.append(
                    Fault(
                        message=f"the key {str(key)!r} occurs twice in one map",
                        place=key.place,
                        remedy=f"remove one of them; the first one is on line {first_key.place.line}",
                    )
                )
            else:
                entries_by_key[key] = value
        for part in merged_maps:
            for key, value in part.items():
                entries_by_key.setdefault(key, value)
        return LocatedYamlMap(
            entries_by_key, self.page.locate_index(_find_start_index(event)), is_flow=bool(event.flow_style)
        )


def _find_start_index(event: Any) -> int:
    return int(event.start_mark.index)


def _iterate_events(text: str) -> Iterator[Any]:
    parser = CParser(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    finally:
        parser.dispose()


def _build_syntax_fault(page: YamlFileText, error: yaml.YAMLError) -> Fault:
    marked_error = yaml.MarkedYAMLError()
    if isinstance(error, yaml.MarkedYAMLError):
        marked_error = error
    mark = marked_error.problem_mark or marked_error.context_mark
    problem = marked_error.problem or str(error)
    if mark is None:
        return Fault(message=f"the text is not valid YAML: {problem}", place=TextPlace(file=page.name))
    index = min(mark.index, len(page.text))
    likely_cause = _find_syntax_error_cause(page, marked_error, problem, index)
    if likely_cause is not None:
        return likely_cause
    context_text = ""
    opening_mark = marked_error.context_mark
    if marked_error.context and opening_mark is not None and opening_mark.line != mark.line:
        context_text = f" ({marked_error.context}, line {opening_mark.line + 1})"
    return Fault(
        message=f"the text is not valid YAML: {problem}{context_text}",
        place=page.locate_index(index),
        remedy="put quotes around each value that contains ': ' or ' #', contains a comma within { }, or begins with "
        "one of the characters [ { * & ! | > ' \" % @",
    )


def _find_syntax_error_cause(page: YamlFileText, error: yaml.MarkedYAMLError, problem: str, index: int) -> Fault | None:
    """Find the usual cause of an error of the parser: a tab, a missing quote, a comment within a value."""
    place = page.locate_index(index)
    message, remedy = "", "put the value in quotes"
    line_start = page.text.rfind("\n", 0, index) + 1
    line = page.text[line_start:].partition("\n")[0]
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        message = "the indentation contains a tab"
        place = page.locate_index(line_start + indent.index("\t"))
        remedy = "indent with spaces"
    elif page.text[index : index + 1] in {"@", "`", "%"}:
        message = f"a value cannot begin with {page.text[index]!r} in YAML"
    elif "mapping values are not allowed" in problem:
        message = "an unquoted value contains a second ': ', or the indentation is wrong"
    elif "could not find expected ':'" in problem:
        message, remedy = "this line is not a 'key: value'", ""
    elif error.context_mark is not None and error.context == "while scanning a quoted scalar":
        message = "the quote that opens here is not closed"
        place = page.locate_index(error.context_mark.index)
        remedy = "close it; inside single quotes, write each single quote twice: ''"
    elif error.context_mark is not None and error.context and "flow" in error.context:
        search_end = page.text.rfind("\n", 0, index) + 1 or index
        comment = re.compile(r"[ \t]#").search(page.text, error.context_mark.index, search_end)
        if comment is not None:
            message = "the ' #' begins a comment here, and the rest of the line is lost"
            place = page.locate_index(comment.start() + 1)
            remedy = "put the whole value in double quotes"
    if not message:
        return None
    return Fault(message=message, place=place, remedy=remedy)
