"""The ReadMe of a catalogue as CDS writes it: byte-by-byte descriptions, title, abstract (Standards for Astronomical Catalogues 2.0)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

from hven.model import literal
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import Type

if TYPE_CHECKING:
    from pathlib import Path

_FIELD = re.compile(r"^\s{0,8}(?:(\d+)\s*-\s*)?(\d+)\s+([AIFED]\S*|\d+[AIFEDX]\S*)\s+(\S+)\s+(\S+)\s*(.*)$")
_HEAD = re.compile(r"^Byte-(?:by|per)-byte Description of file\s*:\s*(.*)$", re.IGNORECASE)
_NULL = re.compile(r"^(?:[\[\]][^\[\]]*[\[\]])?\s*\?(?:=(\S+))?\s*")
_RANGE = re.compile(r"^([\[\]])([^\[\]]*)[\[\]]\s*")
# initials: `E.`, `J.-P.`, `F. R.`; without dots one or two capitals
_INITIALS = r"(?:[^\W\d_]{1,2}\.[ -]?)+(?:,? ?(?:Jr|Sr)\.?)?|[A-Z]{1,2}(?:-[A-Z])?"
_SUFFIX = re.compile(r"(?:Jr|Sr)\.?|I{2,3}")
_NAME = re.compile(rf"(?P<family>\S.*?[^\W\d_]{{2}}.*?)\s+(?P<given>{_INITIALS})")
_KEY = re.compile(r"(Title|Authors?)\s*:\s*(.*)")
_RULE = re.compile(r"={4,}|-{4,}")
_NUMBER = re.compile(r"[+-]?\d*\.?\d+(?:[eE][+-]?\d+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteField:
    """One column: bytes `start` (from 0) to `end` (exclusive)."""

    start: int
    end: int
    null: str | None
    column: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMe:
    """What a ReadMe says.

    Attributes
    ----------
    title
        The long one, whole; else that of the first line.
    authors
        One name each, `Rossetti, E.`
    summaries, records
        Of each file: its explanation, and how many records it has.
    tables
        Of each file: its columns.
    """

    title: str | None = None
    authors: tuple[str, ...] = ()
    bibcode: str | None = None
    abstract: str | None = None
    summaries: dict[str, str] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    tables: dict[str, list[ByteField]] = field(default_factory=dict)


def read(path: Path) -> ReadMe:
    """Read a ReadMe.

    Raises
    ------
    SourceError
        The file is not there.
    """
    try:
        return parse(path.read_text("latin-1").splitlines())
    except OSError as error:
        raise SourceError(
            f"the ReadMe cannot be read: {error.strerror}",
            place=Place(file=path.name),
            remedy="its path starts at the descriptor's directory",
        ) from error


def is_description(line: str) -> bool:
    """Check whether a byte-by-byte description begins with a line."""
    return _HEAD.match(line) is not None


def parse(lines: list[str]) -> ReadMe:
    """Parse the lines of a ReadMe."""
    tables: dict[str, list[ByteField]] = {}
    at = 0
    while at < len(lines):
        match = _HEAD.match(lines[at])
        at += 1
        if not match:
            continue
        named = match.group(1)
        while at < len(lines) and not lines[at].startswith("---"):  # names may go on in the next line
            named += " " + lines[at].strip()
            at += 1
        fields, at = _fields(lines, at)
        for name in re.split(r"[\s,]+", named):
            if name:
                tables[name] = fields
    summaries, records = _summaries(lines)
    return ReadMe(
        title=_title(lines),
        authors=tuple(split_authors(_authors(lines))),
        bibcode=next(
            (
                match.group(1)
                for line in lines[:40]
                if (match := re.search(r"=\s*(\d{4}[A-Za-z&.]{1,6}[\w.&]{8,13}[A-Z])", line))
            ),
            None,
        ),
        abstract=_section(lines, ("Abstract:", "Description:")),
        summaries=summaries,
        records=records,
        tables=tables,
    )


def _is_called(name: str, known: str) -> bool:
    """Check whether a file is the one that a ReadMe names, perhaps with a pattern."""
    pattern = known.replace("*", "")
    return known == name or PurePath(name).match(known) or bool(pattern and PurePath(name).name.startswith(pattern))


def count_records(readme: ReadMe, name: str) -> int | None:
    """Return how many records a file has as the ReadMe says; None: it does not say."""
    return next((count for known, count in readme.records.items() if _is_called(name, known)), None)


def null_words(item: ByteField) -> tuple[str, ...]:
    """List the words that stand for no value in a column: a null word of one repeated sign (``---``) also means any other run of it that fits."""
    word = item.null
    if not word:
        return ()
    if word.strip(word[0]) or word[0].isalnum():
        return (word,)
    return tuple(word[0] * length for length in range(1, item.end - item.start + 1))


def table(readme: ReadMe, name: str, where: str) -> list[ByteField]:
    """Find the columns of a table; ``tyc2.dat`` also serves ``tyc2.dat.07`` and ``tyc2.dat.gz``.

    Raises
    ------
    SourceError
        The ReadMe doesn't describe it.
    """
    if not readme.tables:
        raise SourceError(
            "no byte-by-byte description is in it", place=Place(file=where), remedy="give the columns with `fields`"
        )
    for known, fields in readme.tables.items():
        if _is_called(name, known):
            return fields
    raise SourceError(
        f"no byte-by-byte description of {name!r}",
        place=Place(file=where),
        remedy=f"`table:` is one of {', '.join(readme.tables)}",
    )


def _fields(lines: list[str], at: int) -> tuple[list[ByteField], int]:
    """Read from the line above ``Bytes Format Units`` to the closing rule."""
    found: list[ByteField] = []
    texts: list[list[str]] = []
    rules = 0
    indent = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("---"):
            rules += 1
            if rules == 3:
                break
            continue
        if rules < 2:
            continue
        match = _FIELD.match(line)
        if match and (not found or int(match.group(1) or match.group(2)) > found[-1].start):
            start = int(match.group(1) or match.group(2)) - 1
            found.append(_byte_field(start, int(match.group(2)), match.group(3), match.group(4), match.group(5)))
            texts.append([match.group(6)])
            indent = match.start(6)
        elif texts and line[: max(indent - 4, 20)].strip() == "":
            texts[-1].append(line.strip())
    return [_explained(item, " ".join(text)) for item, text in zip(found, texts, strict=True)], at


def _byte_field(start: int, end: int, form: str, unit: str, label: str) -> ByteField:
    letter = form[0]
    width = end - start
    kind = (
        Type("char", f"{width}*")
        if letter not in "IFED"
        else Type("int" if width <= 9 else "long")
        if letter == "I"
        else Type("double")
    )
    return ByteField(
        start=start, end=end, null=None, column=Column(name=label, type=kind, unit=None if set(unit) <= {"-"} else unit)
    )


def _explained(item: ByteField, text: str) -> ByteField:
    """Split limits and null values off the front of an explanation."""
    text = text.strip()
    null = _NULL.match(text)
    limits = _RANGE.match(text)
    low = high = None
    if limits:
        parts = re.split(r"[,/]", limits.group(2))
        if len(parts) == 2 and item.column.type.is_numeric:
            low, high = (literal.number(part) if _NUMBER.match(part.strip()) else None for part in parts)
    rest = text[null.end() :] if null else text[limits.end() :] if limits else text
    rest = re.sub(r"^\+=\s*|^[+-]\s+", "", rest)  # "+=": values in increasing order
    rest = re.sub(r"\s*\((?:\d+|G\d+)\)\s*$", "", rest).strip()
    word = null.group(1) if null else None
    column = item.column.having(description=rest or None, minimum=low, maximum=high, null=word)
    return ByteField(start=item.start, end=item.end, null=word, column=column)


def _head(lines: list[str]) -> list[str]:
    """List the lines between the first two rules: title, authors, references."""
    if len(lines) < 3 or not _RULE.match(lines[1]):
        return []
    end = next((number for number, line in enumerate(lines[2:], 2) if _RULE.match(line)), len(lines))
    return lines[2 : min(end, 200)]


def _title(lines: list[str]) -> str | None:
    match = re.match(r"^(\S+)\s{2,}(.*?)\s*(?:\(([^()]*\d{4})\))?\s*$", lines[0]) if lines else None
    full: list[str] = []
    for line in _head(lines):
        if not line.strip() or line[0].isspace() or line.startswith(("(", "<", "=")):  # a remark, or the authors
            break
        full.append(line.strip())
    return " ".join(full) or _keyed(lines, "Title") or (match.group(2) if match else None)


def _authors(lines: list[str]) -> str:
    """Return the lines of authors: those that are indented, before the references."""
    found: list[str] = []
    for line in _head(lines):
        if line.strip().startswith(("<", "=")):
            break
        if line[:1].isspace() and line.strip():
            found.append(line.strip())
    return " ".join(found) or _keyed(lines, "Author")


def _keyed(lines: list[str], key: str) -> str:
    """Return what the head of a machine-readable table of the AAS journals says: `Title: ..`, `Authors: ..`, perhaps over several lines."""
    found: list[str] = []
    for line in lines[:200]:
        match = _KEY.match(line)
        if found and (match or not line.strip() or _RULE.match(line) or re.match(r"\w+\s*:", line)):
            break
        if found or (match is not None and match.group(1).startswith(key)):
            found.append(match.group(2).strip() if match is not None else line.strip())
    return " ".join(found)


def split_authors(text: str) -> list[str]:
    """Split a list of authors into names, one for each person.

    Parameters
    ----------
    text
        ``Rossetti E., Ferraro F.R.``, ``Rossetti, E., Ferraro, F. R.``, or names between ``;`` or ``and``.

    Returns
    -------
    names
        Family names first where the initials tell them: ``Rossetti, E.``
    """
    text = re.sub(r",?\s*\bet\s+al\b\.?", "", " ".join(text.split()))
    names: list[str] = []
    groups = re.split(r"\s*;\s*|,?\s+and\s+|,?\s+&\s+", text)
    for group in groups:
        parts = [part.strip(" ,") for part in re.split(r",(?![^()]*\))", group)]
        if len(parts) == 2 and not _NAME.fullmatch(parts[0]) and (len(groups) > 1 or " " not in parts[0]):
            names.append(", ".join(filter(None, parts)))  # Brahe, Tycho
            continue
        for part in parts:
            if names and (_SUFFIX.fullmatch(part) or ("," not in names[-1] and re.fullmatch(_INITIALS, part))):
                names[-1] += f", {part}"
            elif match := _NAME.fullmatch(part):
                names.append(f"{match['family']}, {match['given'].strip()}")
            elif part:
                names.append(part)
    return names


def _section(lines: list[str], heads: tuple[str, ...]) -> str | None:
    for at, line in enumerate(lines):
        if line.strip() in heads:
            text: list[str] = []
            for more in lines[at + 1 :]:
                if more.strip() and not more.startswith(" "):
                    break
                text.append(more.strip())
            paragraphs = " ".join(word or "\n" for word in text).split("\n")
            return "\n\n".join(" ".join(part.split()) for part in paragraphs if part.strip()) or None
    return None


def _summaries(lines: list[str]) -> tuple[dict[str, str], dict[str, int]]:
    """Read the file summary: name -> explanation, name -> number of records."""
    found: dict[str, str] = {}
    records: dict[str, int] = {}
    inside = 0
    for line in lines:
        if line.strip() == "File Summary:":
            inside = 1
        elif inside and line.startswith("---"):
            inside += 1
            if inside > 3:
                break
        elif inside == 3 and (match := re.match(r"^(\S+)\s+\d+\s+(\S+)\s+\*?(.*)$", line)):
            found[match.group(1)] = match.group(3).strip()
            if match.group(2).isdecimal():
                records[match.group(1)] = int(match.group(2))
    return found, records
