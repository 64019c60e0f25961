"""Labels in PVL and ODL (PDS3, ISIS): keywords, objects and units, read in milliseconds; pvl takes a second for a label of an image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.formats.media._grids import BitPattern
from hven.formats.media._product import Card
from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.formats.media._distant import Place

LONGEST = 4 << 20  # bytes of a label
DEEPEST = 50  # objects in each other
_TOKEN = re.compile(r"""\s+|/\*.*?\*/|\#[^\n]*\n|"(?P<text>[^"]*)"|'(?P<symbol>[^']*)'|<(?P<unit>[^>]*)>|(?P<mark>[=(){},;])|(?P<word>[^\s=(){},;<>"']+)""", re.DOTALL)  # fmt: skip
_END = re.compile(r"^[ \t]*END[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_BASED = re.compile(r"([+-]?)(\d+)#([+-]?)([0-9A-Fa-f]+)#")


class Label(dict[str, Any]):
    """What is said between the begin and the end of an object; keywords in capitals, the first of several.

    Attributes
    ----------
    objects
        Those in it, in order, with their names.
    units
        Of values, where they are said.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: list[tuple[str, Label]] = []
        self.units: dict[str, str] = {}

    def named(self, *names: str) -> Iterator[tuple[str, Label]]:
        """Yield the objects whose names are these, or end so: ``IMAGE``, ``BROWSE_IMAGE``; of any depth."""
        for name, one in self.objects:
            if any(name == wanted or name.endswith(f"_{wanted}") for wanted in names):
                yield name, one
            else:
                yield from one.named(*names)

    def number(self, *keywords: str) -> float | None:
        """Return the first of these that is a number."""
        for keyword in keywords:
            value = self.get(keyword)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        return None

    def words(self, keyword: str) -> list[Any]:
        """Return a value as a list."""
        value = self.get(keyword, [])
        return value if isinstance(value, list) else [value]

    def cards(self, group: str = "") -> Iterator[Card]:
        """Yield all that it says as cards, of groups in it with their names before it."""
        for keyword, value in self.items():
            if isinstance(value, list) and len(value) > 40:  # a table of its own
                continue
            said = value if isinstance(value, str | int | float) else ", ".join(str(one) for one in value)
            yield Card(f"{group}{keyword.lstrip('^')}", said, self.units.get(keyword, ""))
        for name, one in self.objects:
            if name not in {"COLUMN", "FIELD", "CONTAINER", "HISTORY"}:
                yield from one.cards() if name in {"QUBE", "SPECTRAL_QUBE", "IMAGE", "BAND_BIN", "ISISCUBE"} else one.cards(f"{name} ")  # fmt: skip


def read(path: Place, begins: int = 0) -> Label:
    """Read the label that a file is, or begins with.

    Parameters
    ----------
    path
        Of a file.
    begins
        Byte at which it begins.

    Returns
    -------
    label
        Up to its END.

    Raises
    ------
    SourceError
        It has no end, or is no label.
    """
    with path.open("rb") as file:
        file.seek(begins)
        body = file.read(65_536)
        while _END.search(body.decode("latin-1")) is None and len(body) < LONGEST and (more := file.read(len(body))):
            body += more
    text = body.decode("latin-1")
    end = _END.search(text)
    if end is None and (b"\0" in body[: len(body) // 2] or len(body) >= LONGEST):
        raise SourceError(say("the label of {name} has no end", path.name))
    return parsed(text[: end.start()] if end else text.rstrip("\0"), path.name)


def parsed(text: str, name: str = "the label") -> Label:
    """Parse a label.

    Parameters
    ----------
    text
        Without its END.
    name
        For messages.

    Returns
    -------
    label
        Its keywords and objects.

    Raises
    ------
    SourceError
        It is none.
    """
    tokens = _Tokens(re.sub(r"-[ \t]*\r?\n[ \t]*", "", text), name)
    stack = [Label()]
    while (key := tokens.next()) is not None:
        kind, word = key
        if kind == "mark" and word == ";":
            continue
        if kind not in {"word", "symbol", "text"}:
            raise tokens.fault(word)
        upper = word.upper()
        if upper in {"END_OBJECT", "END_GROUP", "ENDOBJECT", "ENDGROUP"}:
            if tokens.peek() == ("mark", "="):
                tokens.next()
                tokens.next()
            if len(stack) > 1:
                stack.pop()
            continue
        if tokens.next() != ("mark", "="):
            raise tokens.fault(word)
        value, unit = tokens.value()
        if upper in {"OBJECT", "GROUP", "BEGIN_OBJECT", "BEGIN_GROUP"}:
            if len(stack) > DEEPEST:
                raise tokens.fault(word)
            inner = Label()
            stack[-1].objects.append((str(value).upper(), inner))
            stack.append(inner)
        else:
            stack[-1].setdefault(upper, value)
            if unit:
                stack[-1].units.setdefault(upper, unit)
    return stack[0]


class _Tokens:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name, self.at = text, name, 0
        self.kept: tuple[str, str] | None = None

    def fault(self, word: str) -> SourceError:
        line = self.text.count("\n", 0, self.at) + 1
        return SourceError(say("{name} is no label: line {line}, at {word!r}", self.name, line, word[:40]))

    def next(self) -> tuple[str, str] | None:
        if self.kept is not None:
            found, self.kept = self.kept, None
            return found
        while self.at < len(self.text):
            match = _TOKEN.match(self.text, self.at)
            if match is None:
                raise self.fault(self.text[self.at : self.at + 20])
            self.at = match.end()
            if match.lastgroup is not None:
                return match.lastgroup, match[match.lastgroup]
        return None

    def peek(self) -> tuple[str, str] | None:
        self.kept = self.next()
        return self.kept

    def value(self, depth: int = 0) -> tuple[Any, str]:
        kind, word = self.next() or ("", "")
        unit = ""
        found: Any
        if kind == "mark" and word in "({" and depth < DEEPEST:
            found = []
            while (ahead := self.peek()) is not None and ahead not in {("mark", ")"), ("mark", "}")}:
                if ahead == ("mark", ","):
                    self.next()
                    continue
                one, own = self.value(depth + 1)
                unit = unit or own
                found.append(one)
            self.next()
        elif kind == "text":
            found = " ".join(word.split())
        elif kind == "symbol":
            found = word
        elif kind == "word":
            found = _plain(word)
        else:
            raise self.fault(word)
        if (self.peek() or ("", ""))[0] == "unit":
            unit = (self.next() or ("", ""))[1].strip()
        return found, unit


def _plain(word: str) -> int | float | str:
    based = _BASED.fullmatch(word)
    try:
        if based:
            number = int(based[1] + based[3] + based[4], int(based[2]))
            return number if number < 0 else BitPattern(number)
        return (
            int(word) if re.fullmatch(r"[+-]?\d{1,18}", word) else float(word) if word[-1:] in "0123456789." else word
        )
    except ValueError:
        return word


__all__ = ["Label", "parsed", "read"]
