"""Read labels in PVL and ODL (PDS3, ISIS): keywords, objects and units.

The parser takes milliseconds for the label of an image, for which the package pvl takes a second.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.formats.media import HeaderCard
from hven.model.errors import SourceError, format_message
from hven.plugins.planetary_media.label_values import RadixInteger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.formats.media import Place

MAX_LABEL_BYTES = 4 << 20  # of a label
MAX_NESTING_DEPTH = 50  # of objects
_TOKEN_PATTERN = re.compile(
    r"""\s+|/\*.*?\*/|\#[^\n]*\n|"(?P<text>[^"]*)"|'(?P<symbol>[^']*)'|<(?P<unit>[^>]*)>"""
    r"""|(?P<mark>[=(){},;])|(?P<word>[^\s=(){},;<>"']+)""",
    re.DOTALL,
)
_END_PATTERN = re.compile(r"^[ \t]*END[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_BASED_INTEGER_PATTERN = re.compile(r"([+-]?)(\d+)#([+-]?)([0-9A-Fa-f]+)#")


class PvlLabel(dict[str, Any]):
    """The keywords of an object, in capitals; the first value of several counts.

    Attributes
    ----------
    objects
        Objects in it, in order, with their names.
    units
        Units of values that have one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: list[tuple[str, PvlLabel]] = []
        self.units: dict[str, str] = {}

    def find_objects(self, *names: str) -> Iterator[tuple[str, PvlLabel]]:
        """Yield the objects, of any depth, whose names are or end in these: ``IMAGE``, ``BROWSE_IMAGE``."""
        for name, inner_object in self.objects:
            if any(name == searched_name or name.endswith(f"_{searched_name}") for searched_name in names):
                yield name, inner_object
            else:
                yield from inner_object.find_objects(*names)

    def find_number(self, *keywords: str) -> float | None:
        """Return the value of the first of these keywords that is a number."""
        for keyword in keywords:
            value = self.get(keyword)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        return None

    def list_values(self, keyword: str) -> list[Any]:
        """Return a value as a list."""
        value = self.get(keyword, [])
        if isinstance(value, list):
            return value
        return [value]

    def list_cards(self, group: str = "") -> Iterator[HeaderCard]:
        """Yield all keywords as cards, those of groups with the names of the groups before them."""
        for keyword, value in self.items():
            if isinstance(value, list) and len(value) > 40:  # a table of its own
                continue
            if isinstance(value, str | int | float):
                value_text = value
            else:
                value_text = ", ".join(str(item_or_object) for item_or_object in value)
            yield HeaderCard(f"{group}{keyword.lstrip('^')}", value_text, self.units.get(keyword, ""))
        for name, item_or_object in self.objects:
            if name not in {"COLUMN", "FIELD", "CONTAINER", "HISTORY"}:
                prefix = f"{name} "
                if name in {"QUBE", "SPECTRAL_QUBE", "IMAGE", "BAND_BIN", "ISISCUBE"}:
                    prefix = ""
                yield from item_or_object.list_cards(prefix)


def read_pvl_label(path: Place, start_byte: int = 0) -> PvlLabel:
    """Read the label that a file is or begins with.

    Parameters
    ----------
    path
        Path of the file.
    start_byte
        Byte at which the label begins.

    Returns
    -------
    label
        The label, up to its END.

    Raises
    ------
    SourceError
        The file has no label, or the label has no end.
    """
    with path.open("rb") as file:
        file.seek(start_byte)
        body = file.read(65_536)
        while (
            _END_PATTERN.search(body.decode("latin-1")) is None
            and len(body) < MAX_LABEL_BYTES
            and (next_bytes := file.read(len(body)))
        ):
            body += next_bytes
    text = body.decode("latin-1")
    end = _END_PATTERN.search(text)
    if end is None and (b"\0" in body[: len(body) // 2] or len(body) >= MAX_LABEL_BYTES):
        raise SourceError(format_message("the label of {name} is incomplete: its end is missing", path.name))
    if end:
        label_text = text[: end.start()]
    else:
        label_text = text.rstrip("\0")
    return parse_pvl_label(label_text, path.name)


def parse_pvl_label(text: str, name: str = "the label") -> PvlLabel:
    """Parse a label.

    Parameters
    ----------
    text
        Text of the label, without its END.
    name
        Name of the file in messages.

    Returns
    -------
    label
        Its keywords and objects.

    Raises
    ------
    SourceError
        The text is no label.
    """
    tokens = _TokenReader(re.sub(r"-[ \t]*\r?\n[ \t]*", "", text), name)
    stack = [PvlLabel()]
    while (key := tokens.read_token()) is not None:
        kind, word = key
        if kind == "mark" and word == ";":
            continue
        if kind not in {"word", "symbol", "text"}:
            raise tokens.create_error(word)
        upper = word.upper()
        if upper in {"END_OBJECT", "END_GROUP", "ENDOBJECT", "ENDGROUP"}:
            if tokens.peek_token() == ("mark", "="):
                tokens.read_token()
                tokens.read_token()
            if len(stack) > 1:
                stack.pop()
            continue
        if tokens.read_token() != ("mark", "="):
            raise tokens.create_error(word)
        value, unit = tokens.read_value()
        if upper in {"OBJECT", "GROUP", "BEGIN_OBJECT", "BEGIN_GROUP"}:
            if len(stack) > MAX_NESTING_DEPTH:
                raise tokens.create_error(word)
            inner = PvlLabel()
            object_name = str(value).upper()
            stack[-1].objects.append((object_name, inner))
            stack.append(inner)
        else:
            stack[-1].setdefault(upper, value)
            if unit:
                stack[-1].units.setdefault(upper, unit)
    return stack[0]


class _TokenReader:
    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.position = 0
        self.peeked_token: tuple[str, str] | None = None

    def create_error(self, word: str) -> SourceError:
        line = self.text.count("\n", 0, self.position) + 1
        return SourceError(
            format_message("{name} is not a label: line {line} is invalid at {word!r}", self.name, line, word[:40])
        )

    def read_token(self) -> tuple[str, str] | None:
        if self.peeked_token is not None:
            token = self.peeked_token
            self.peeked_token = None
            return token
        while self.position < len(self.text):
            match = _TOKEN_PATTERN.match(self.text, self.position)
            if match is None:
                raise self.create_error(self.text[self.position : self.position + 20])
            self.position = match.end()
            if match.lastgroup is not None:
                return match.lastgroup, match[match.lastgroup]
        return None

    def peek_token(self) -> tuple[str, str] | None:
        self.peeked_token = self.read_token()
        return self.peeked_token

    def read_value(self, depth: int = 0) -> tuple[Any, str]:
        kind, word = self.read_token() or ("", "")
        unit = ""
        parsed_value: Any
        if kind == "mark" and word in "({" and depth < MAX_NESTING_DEPTH:
            parsed_value = []
            while (next_token := self.peek_token()) is not None and next_token not in {("mark", ")"), ("mark", "}")}:
                if next_token == ("mark", ","):
                    self.read_token()
                    continue
                item, item_unit = self.read_value(depth + 1)
                unit = unit or item_unit
                parsed_value.append(item)
            self.read_token()
        elif kind == "text":
            parsed_value = " ".join(word.split())
        elif kind == "symbol":
            parsed_value = word
        elif kind == "word":
            parsed_value = _parse_pvl_word(word)
        else:
            raise self.create_error(word)
        if (self.peek_token() or ("", ""))[0] == "unit":
            unit = (self.read_token() or ("", ""))[1].strip()
        return parsed_value, unit


def _parse_pvl_word(word: str) -> int | float | str:
    radix_match = _BASED_INTEGER_PATTERN.fullmatch(word)
    try:
        if radix_match:
            digits = radix_match[1] + radix_match[3] + radix_match[4]
            number = int(digits, int(radix_match[2]))
            if number < 0:
                return number
            return RadixInteger(number)
        if re.fullmatch(r"[+-]?\d{1,18}", word):
            return int(word)
        if word[-1:] in "0123456789.":
            return float(word)
    except ValueError:
        pass
    return word
