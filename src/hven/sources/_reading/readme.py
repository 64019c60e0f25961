"""Read the ReadMe of a catalogue as CDS writes it.

It has byte-by-byte descriptions, title and abstract (Standards for Astronomical Catalogues 2.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from hven.model import literal
from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import ColumnType

if TYPE_CHECKING:
    from pathlib import Path

_FIELD_LINE_PATTERN = re.compile(
    r"^\s{0,8}(?:(\d+)\s*-\s*)?(\d+)\s+([AIFED]\S*|\d+[AIFEDX]\S*)\s+(\S+)\s+(\S+)\s*(.*)$"
)
_DESCRIPTION_HEADING_PATTERN = re.compile(r"^Byte-(?:by|per)-byte Description of file\s*:\s*(.*)$", re.IGNORECASE)
_NULL_VALUE_PATTERN = re.compile(r"^(?:[\[\]][^\[\]]*[\[\]])?\s*\?(?:=(\S+))?\s*")
_LIMITS_PATTERN = re.compile(r"^([\[\]])([^\[\]]*)[\[\]]\s*")
# initials: `E.`, `J.-P.`, `F. R.`; without dots one or two capitals
_INITIALS_PATTERN = r"(?:[^\W\d_]{1,2}\.[ -]?)+(?:,? ?(?:Jr|Sr)\.?)?|[A-Z]{1,2}(?:-[A-Z])?"
_NAME_SUFFIX_PATTERN = re.compile(r"(?:Jr|Sr)\.?|I{2,3}")
_PERSON_NAME_PATTERN = re.compile(rf"(?P<family>\S.*?[^\W\d_]{{2}}.*?)\s+(?P<given>{_INITIALS_PATTERN})")
_MRT_KEY_PATTERN = re.compile(r"(Title|Authors?)\s*:\s*(.*)")
_RULE_PATTERN = re.compile(r"={4,}|-{4,}")
_NUMBER_PATTERN = re.compile(r"[+-]?\d*\.?\d+(?:[eE][+-]?\d+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRangeField:
    """One column: bytes `start` (from 0) to `end` (exclusive)."""

    start: int
    end: int
    null: str | None
    column: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueReadMe:
    """The content of a ReadMe.

    Attributes
    ----------
    title
        The long title, whole; else that of the first line.
    authors
        One name each, `Rossetti, E.`
    summaries_by_file, record_counts
        Explanation of each file, and its number of records.
    fields_by_table
        Columns of each file.
    """

    title: str | None = None
    authors: tuple[str, ...] = ()
    bibcode: str | None = None
    abstract: str | None = None
    summaries_by_file: dict[str, str] = field(default_factory=dict)
    record_counts: dict[str, int] = field(default_factory=dict)
    fields_by_table: dict[str, list[ByteRangeField]] = field(default_factory=dict)


def read_readme(path: Path) -> CatalogueReadMe:
    """Read a ReadMe.

    Raises
    ------
    SourceError
        The file is not there.
    """
    try:
        return parse_readme(path.read_text("latin-1").splitlines())
    except OSError as error:
        raise SourceError(
            f"the ReadMe cannot be read: {error.strerror}",
            place=TextPlace(file=path.name),
            remedy="give the file's path relative to the descriptor's directory",
        ) from error


def is_byte_description_start(line: str) -> bool:
    """Check whether a byte-by-byte description begins with a line."""
    return _DESCRIPTION_HEADING_PATTERN.match(line) is not None


def parse_readme(lines: list[str]) -> CatalogueReadMe:
    """Parse the lines of a ReadMe."""
    tables: dict[str, list[ByteRangeField]] = {}
    at = 0
    while at < len(lines):
        match = _DESCRIPTION_HEADING_PATTERN.match(lines[at])
        at += 1
        if not match:
            continue
        file_names_text = match.group(1)
        while at < len(lines) and not lines[at].startswith("---"):  # names may go on in the next line
            file_names_text += " " + lines[at].strip()
            at += 1
        fields, at = _parse_fields(lines, at)
        for name in re.split(r"[\s,]+", file_names_text):
            if name:
                tables[name] = fields
    summaries, records = _parse_file_summary(lines)
    return CatalogueReadMe(
        title=_find_title(lines),
        authors=tuple(split_authors(_find_author_lines(lines))),
        bibcode=_find_bibcode(lines),
        abstract=_find_section(lines, ("Abstract:", "Description:")),
        summaries_by_file=summaries,
        record_counts=records,
        fields_by_table=tables,
    )


def _find_bibcode(lines: list[str]) -> str | None:
    for line in lines[:40]:
        match = re.search(r"=\s*(\d{4}[A-Za-z&.]{1,6}[\w.&]{8,13}[A-Z])", line)
        if match is not None:
            return match.group(1)
    return None


def _is_file_named_in_readme(name: str, stated_name: str) -> bool:
    """Check whether a file is the one that a ReadMe names, perhaps with a pattern."""
    if stated_name == name or PurePath(name).match(stated_name):
        return True
    prefix = stated_name.replace("*", "")
    return bool(prefix) and PurePath(name).name.startswith(prefix)


def find_record_count(readme: CatalogueReadMe, name: str) -> int | None:
    """Return the number of records that the ReadMe states for a file; None: it states none."""
    for file_pattern, count in readme.record_counts.items():
        if _is_file_named_in_readme(name, file_pattern):
            return count
    return None


def list_null_words(byte_field: ByteRangeField) -> tuple[str, ...]:
    """List the words that stand for a missing value in a column.

    A null word of one repeated sign (``---``) also means any other run of it that fits.
    """
    word = byte_field.null
    if not word:
        return ()
    if word.strip(word[0]) or word[0].isalnum():
        return (word,)
    width = byte_field.end - byte_field.start
    return tuple(word[0] * length for length in range(1, width + 1))


def find_table_fields(readme: CatalogueReadMe, name: str, readme_name: str) -> list[ByteRangeField]:
    """Find the columns of a table; ``tyc2.dat`` also serves ``tyc2.dat.07`` and ``tyc2.dat.gz``.

    Raises
    ------
    SourceError
        The ReadMe doesn't describe it.
    """
    if not readme.fields_by_table:
        raise SourceError(
            "the file contains no byte-by-byte description",
            place=TextPlace(file=readme_name),
            remedy="describe the columns with `fields`",
        )
    for table_name, fields in readme.fields_by_table.items():
        if _is_file_named_in_readme(name, table_name):
            return fields
    raise SourceError(
        f"the file contains no byte-by-byte description of {name!r}",
        place=TextPlace(file=readme_name),
        remedy=f"set `table:` to one of {', '.join(readme.fields_by_table)}",
    )


def _parse_fields(lines: list[str], line_index: int) -> tuple[list[ByteRangeField], int]:
    """Parse the fields from the line above ``Bytes Format Units`` to the closing rule."""
    fields: list[ByteRangeField] = []
    texts: list[list[str]] = []
    rules = 0
    indent = 0
    while line_index < len(lines):
        line = lines[line_index]
        line_index += 1
        if line.startswith("---"):
            rules += 1
            if rules == 3:
                break
            continue
        if rules < 2:
            continue
        match = _FIELD_LINE_PATTERN.match(line)
        if match and (not fields or int(match.group(1) or match.group(2)) > fields[-1].start):
            fields.append(_build_byte_field(match))
            texts.append([match.group(6)])
            indent = match.start(6)
        elif texts and line[: max(indent - 4, 20)].strip() == "":
            texts[-1].append(line.strip())
    explained_fields = [_parse_explanation(item, " ".join(text)) for item, text in zip(fields, texts, strict=True)]
    return explained_fields, line_index


def _build_byte_field(match: re.Match[str]) -> ByteRangeField:
    """Build a field from its line: first and last byte, format, unit, label."""
    first_byte, last_byte, format_text, unit, label, _ = match.groups()
    end = int(last_byte)
    start = int(first_byte or last_byte) - 1
    width = end - start
    letter = format_text[0]
    if letter not in "IFED":
        kind = ColumnType("char", f"{width}*")
    elif letter != "I":
        kind = ColumnType("double")
    elif width <= 9:
        kind = ColumnType("int")
    else:
        kind = ColumnType("long")
    stated_unit: str | None = unit
    if set(unit) <= {"-"}:
        stated_unit = None
    column = Column(name=label, type=kind, unit=stated_unit)
    return ByteRangeField(start=start, end=end, null=None, column=column)


def _parse_explanation(byte_field: ByteRangeField, text: str) -> ByteRangeField:
    """Split limits and null values from the front of an explanation."""
    text = text.strip()
    null = _NULL_VALUE_PATTERN.match(text)
    limits = _LIMITS_PATTERN.match(text)
    low = None
    high = None
    if limits:
        parts = re.split(r"[,/]", limits.group(2))
        if len(parts) == 2 and byte_field.column.type.is_numeric:
            low, high = map(_parse_limit, parts)
    word = None
    description = text
    if null:
        word = null.group(1)
        description = text[null.end() :]
    elif limits:
        description = text[limits.end() :]
    description = re.sub(r"^\+=\s*|^[+-]\s+", "", description)  # "+=": values in increasing order
    description = re.sub(r"\s*\((?:\d+|G\d+)\)\s*$", "", description).strip()
    column = byte_field.column.copy_with(description=description or None, minimum=low, maximum=high, null=word)
    return replace(byte_field, null=word, column=column)


def _parse_limit(text: str) -> int | float | None:
    if _NUMBER_PATTERN.match(text.strip()):
        return literal.parse_number(text)
    return None


def _list_head_lines(lines: list[str]) -> list[str]:
    """List the lines between the first two rules: title, authors, references."""
    if len(lines) < 3 or not _RULE_PATTERN.match(lines[1]):
        return []
    for number, line in enumerate(lines[2:200], 2):
        if _RULE_PATTERN.match(line):
            return lines[2:number]
    return lines[2:200]


def _find_title(lines: list[str]) -> str | None:
    title_lines: list[str] = []
    for line in _list_head_lines(lines):
        if not line.strip() or line[0].isspace() or line.startswith(("(", "<", "=")):  # a remark, or the authors
            break
        title_lines.append(line.strip())
    title = " ".join(title_lines) or _find_mrt_value(lines, "Title")
    if title or not lines:
        return title or None
    match = re.match(r"^(\S+)\s{2,}(.*?)\s*(?:\(([^()]*\d{4})\))?\s*$", lines[0])
    if match is None:
        return None
    return match.group(2)


def _find_author_lines(lines: list[str]) -> str:
    """Return the lines of authors: those that are indented, before the references."""
    author_lines: list[str] = []
    for line in _list_head_lines(lines):
        if line.strip().startswith(("<", "=")):
            break
        if line[:1].isspace() and line.strip():
            author_lines.append(line.strip())
    return " ".join(author_lines) or _find_mrt_value(lines, "Author")


def _find_mrt_value(lines: list[str], key: str) -> str:
    """Return a value in the head of a machine-readable table of the AAS journals.

    Such values are `Title: ..` and `Authors: ..`, perhaps over several lines.
    """
    value_lines: list[str] = []
    for line in lines[:200]:
        match = _MRT_KEY_PATTERN.match(line)
        if value_lines and (match or not line.strip() or _RULE_PATTERN.match(line) or re.match(r"\w+\s*:", line)):
            break
        if match is not None and match.group(1).startswith(key):
            value_lines.append(match.group(2).strip())
        elif value_lines:
            value_lines.append(line.strip())
    return " ".join(value_lines)


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
        is_reversed_name = len(parts) == 2 and not _PERSON_NAME_PATTERN.fullmatch(parts[0])
        if is_reversed_name and (len(groups) > 1 or " " not in parts[0]):
            names.append(", ".join(filter(None, parts)))  # Brahe, Tycho
            continue
        for part in parts:
            if names and _is_name_continuation(names[-1], part):
                names[-1] += f", {part}"
            elif match := _PERSON_NAME_PATTERN.fullmatch(part):
                names.append(f"{match['family']}, {match['given'].strip()}")
            elif part:
                names.append(part)
    return names


def _is_name_continuation(name: str, part: str) -> bool:
    """Check whether a part behind a comma belongs to the name before it: a suffix, or its initials."""
    if _NAME_SUFFIX_PATTERN.fullmatch(part):
        return True
    return "," not in name and re.fullmatch(_INITIALS_PATTERN, part) is not None


def _find_section(lines: list[str], heads: tuple[str, ...]) -> str | None:
    for at, line in enumerate(lines):
        if line.strip() in heads:
            text: list[str] = []
            for following_line in lines[at + 1 :]:
                if following_line.strip() and not following_line.startswith(" "):
                    break
                text.append(following_line.strip())
            paragraphs = " ".join(word or "\n" for word in text).split("\n")
            filled_paragraphs = [" ".join(part.split()) for part in paragraphs if part.strip()]
            return "\n\n".join(filled_paragraphs) or None
    return None


def _parse_file_summary(lines: list[str]) -> tuple[dict[str, str], dict[str, int]]:
    """Read the file summary: name -> explanation, name -> number of records."""
    summaries: dict[str, str] = {}
    records: dict[str, int] = {}
    inside = 0
    for line in lines:
        if line.strip() == "File Summary:":
            inside = 1
        elif inside and line.startswith("---"):
            inside += 1
            if inside > 3:
                break
        elif inside == 3 and (match := re.match(r"^(\S+)\s+[\d.]+\s+(\S+)\s+\*?(.*)$", line)):
            summaries[match.group(1)] = match.group(3).strip()
            if match.group(2).isdecimal():
                records[match.group(1)] = int(match.group(2))
    return summaries, records
