"""Describe files byte by byte, as CDS and AAS do, and write the ReadMe of CDS and the head of AAS's tables."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.plugins.schema_life.delivery.cds_units import NO_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.model.resource import CollectionSpec
    from hven.plugins.schema_life.delivery.delivered_tables import DeliveredColumn, DeliveredTable
    from hven.site.store import Release

LINE_CHARACTERS = 80
MIN_EXPLANATION_CHARACTERS = 24
LIMIT_DIGITS = 4  # significant digits of the limits of floating-point numbers
RULE, DOUBLE_RULE = "-" * LINE_CHARACTERS, "=" * LINE_CHARACTERS
PREFIX_CHARACTERS = 2  # of a label such as e_V; CDS indents the others, so that names stand below each other
_PREFIX_PATTERN = re.compile(r"[A-Za-z]_.")
_INITIALS_PATTERN = re.compile(r" (?:[A-Z][a-z]?\.[ -]?)+$")
_LIMIT_SIGNS = "?[]"  # an explanation that begins with them would be read as limits


def to_ascii(text: str | None) -> str:
    """Write a text in printable ASCII: accents go, and other characters become question marks.

    Parameters
    ----------
    text
        A text of any number of lines; None: empty.
    """
    decomposed_text = unicodedata.normalize("NFKD", str(text or ""))
    letters = "".join(character for character in decomposed_text if not unicodedata.combining(character))
    return re.sub(r"[^\x20-\x7e\n]", "?", letters.replace("\t", " ").replace("\r", ""))


def strip_markdown(text: str | None) -> str:
    """Write a text with Markdown as plain text; the addresses of links follow their words.

    Parameters
    ----------
    text
        A text of any number of lines; None: empty.
    """
    plain_text = re.sub(r"!?\[([^\]\n]*)\]\(([^)\s]+)[^)\n]*\)", _write_plain_link, str(text or ""))
    plain_text = re.sub(r"(\*\*|__|``?)(?=\S)(.+?)(?<=\S)\1", r"\2", plain_text)
    plain_text = re.sub(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])", r"\1", plain_text)
    plain_text = re.sub(r"(?<!\w)_(?=\S)([^_\n]+?)(?<=\S)_(?!\w)", r"\1", plain_text)
    return re.sub(r"^ {0,3}(?:#{1,6}|>) +", "", plain_text, flags=re.MULTILINE)


def _write_plain_link(match: re.Match[str]) -> str:
    words, address = match[1], match[2]
    if address in {words, f"mailto:{words}"}:
        return words
    return f"{words} ({address})".lstrip()


def write_cds_author(name: str) -> str:
    """Write a name as CDS does: ``Delfosse, Xavier Jean`` becomes ``Delfosse X.J.``; without a comma, it stays.

    Parameters
    ----------
    name
        Name of a person or of an institution.
    """
    family, _, given_names = to_ascii(name).partition(",")
    initials = re.sub(r"(\w)[\w']*\.?", r"\1.", given_names).replace(" ", "")
    return f"{family} {initials}".strip()


def _write_authors_and_year(resource: CollectionSpec) -> str:
    """Write the end of the first line: ``(Bourges+, 2017)``, without a plus for a single author."""
    authors = [_INITIALS_PATTERN.sub("", write_cds_author(person.name)) for person in resource.creators]
    year = find_publication_year(resource)
    if not authors:
        return f"({year})"
    plus = ""
    if len(authors) > 1:
        plus = "+"
    return f"({authors[0]}{plus}, {year})"


def find_publication_year(resource: CollectionSpec) -> int:
    """Return the year of the paper, or else of the first publication of the collection, or else the present one.

    Parameters
    ----------
    resource
        The collection.
    """
    for text in (resource.bibcode, resource.created):
        if text and re.match(r"(?:19|20)\d\d", text):
            return int(text[:4])
    return datetime.now(UTC).year


@dataclass(slots=True)
class _NoteList:
    """Notes of a file, with their numbers."""

    notes: list[list[str]] = field(default_factory=list)

    def add_note(self, lines: list[str]) -> str:
        """Add a note, unless there is an equal one; return the reference to it."""
        if lines not in self.notes:
            self.notes.append(lines)
        return f"({self.notes.index(lines) + 1})"

    def write_lines(self) -> Iterator[str]:
        for number, note in enumerate(self.notes, 1):
            head = f"Note ({number}): "
            yield from _wrap_words(note[0], head, " " * len(head))
            for line in note[1:]:
                yield from _wrap_words(line, " " * len(head), " " * (len(head) + 2))
        if self.notes:
            yield RULE


def write_byte_description(delivered_table: DeliveredTable, file_name: str) -> Iterator[str]:
    """Yield the lines of the description of a file, with the rule at its end and the notes.

    Parameters
    ----------
    delivered_table
        The table in the file.
    file_name
        Name of the file.
    """
    columns = delivered_table.columns
    unit_width = max(5, *(len(column.unit or NO_UNIT) for column in columns))
    has_prefixes = any(_PREFIX_PATTERN.match(column.label) for column in columns)
    labels = [
        " " * PREFIX_CHARACTERS + column.label
        if has_prefixes and not _PREFIX_PATTERN.match(column.label)
        else column.label
        for column in columns
    ]
    label_width = max(5, *map(len, labels))
    format_width = max(6, *(len(column.cells.format_text) for column in columns))
    yield f"Byte-by-byte Description of file: {file_name}"
    yield RULE
    yield (f"   Bytes  {'Format':{format_width}} {'Units':{unit_width}} {'Label':{label_width}} Explanations")
    yield RULE
    notes = _NoteList()
    for column, label, (start, end) in zip(columns, labels, delivered_table.list_byte_ranges(), strict=True):
        byte_range = f"{start:4d}-{end:4d}" if end > start else f"     {end:4d}"
        cells = column.cells
        head = (
            f"{byte_range} {cells.format_text:{format_width}} {column.unit or NO_UNIT:{unit_width}} "
            f"{label:{label_width}} "
        )
        yield from _wrap_words(_write_explanation(column, delivered_table, notes), head, " " * len(head))
    yield RULE
    yield from notes.write_lines()


def _write_explanation(column: DeliveredColumn, delivered_table: DeliveredTable, notes: _NoteList) -> str:
    """Write limits, whether values are missing, the description, and references to notes."""
    description = " ".join(to_ascii(column.column.description or column.column.label).split()).lstrip(_LIMIT_SIGNS)
    words = [description or "No description"]
    if column.part_title:
        words.insert(0, f"{column.part_title} of")
    if column.unit is None:
        words.append(f"(unit {to_ascii(column.column.unit)})")
    if column.label != column.column.name and not column.part_title:
        words.append(notes.add_note([f"{column.label} is the column {to_ascii(column.column.name)} of the service."]))
    labels_by_code = delivered_table.table.enums.get(column.column.enum or "", {})
    if labels_by_code:
        choices = [f"{to_ascii(code)} = {to_ascii(str(label))}" for code, label in labels_by_code.items()]
        words.append(notes.add_note([f"The values of {column.label} are:", *choices]))
    meanings_by_bit = delivered_table.flag_bits.get(column.column.name, {})
    if meanings_by_bit:
        bits = [f"{1 << bit} = {to_ascii(meaning)}" for bit, meaning in meanings_by_bit.items()]
        words.append(notes.add_note([f"{column.label} is the sum of these flags:", *bits]))
    if column.column.type.is_boolean:
        words.append(notes.add_note(["Truth values are", "0 = no", "1 = yes"]))
    limits = _write_value_range(column)
    if column.cells.has_nulls:
        limits += "?"
    return " ".join(filter(None, [limits, *words]))


def _write_value_range(column: DeliveredColumn) -> str:
    """Write the limits of numbers as ``[min/max]``, rounded outwards; empty if there are none."""
    low = column.cells.minimum
    high = column.cells.maximum
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    if isinstance(low, int):
        return f"[{low}/{high}]"
    return f"[{_format_rounded_outwards(low, math.floor)}/{_format_rounded_outwards(high, math.ceil)}]"


def _format_rounded_outwards(value: float, round_scaled: Callable[[float], int]) -> str:
    if value == 0:
        return "0"
    decimals = LIMIT_DIGITS - 1 - math.floor(math.log10(abs(value)))
    if abs(decimals) > 300:
        return repr(value)
    scaled_value = round_scaled(value * 10.0**decimals)
    return f"{scaled_value / 10.0**decimals:.{LIMIT_DIGITS}g}"


def _wrap_words(text: str, first_indent: str, next_indent: str) -> Iterator[str]:
    """Wrap a text into lines; a next line never begins with a digit, which readers would take for a byte."""
    width = max(LINE_CHARACTERS, len(next_indent) + MIN_EXPLANATION_CHARACTERS)
    line = first_indent
    for word in re.findall(r"\S+(?: [\d-]\S*)*", text):
        if len(line) + len(word) > width and line.strip() and line not in {first_indent, next_indent}:
            yield line.rstrip()
            line = next_indent
        line += f"{word} "
    yield line.rstrip()


def write_cds_readme(
    resource: CollectionSpec,
    delivered_tables: Sequence[DeliveredTable],
    file_names: Sequence[str],
    releases: Sequence[Release] = (),
) -> str:
    """Write the ReadMe of a catalogue.

    Parameters
    ----------
    resource
        The collection.
    delivered_tables, file_names
        Tables and names of their files.
    releases
        Releases of the collection, for the history.

    Returns
    -------
    text
        The ReadMe, in ASCII.
    """
    authors = ", ".join(write_cds_author(person.name) for person in resource.creators)
    lines = [_write_readme_first_line(resource, _write_authors_and_year(resource)), DOUBLE_RULE]
    lines += _wrap_words(to_ascii(resource.title), "", "")
    lines += _wrap_words(authors or "(authors)", "    ", "    ")
    reference = to_ascii(resource.citation).strip("<>") or "reference"
    lines += _wrap_words(f"<{reference}>", "    ", "    ")
    if resource.bibcode:
        lines.append(f"    ={to_ascii(resource.bibcode)}")
    if resource.doi:
        lines.append(f"    doi:{to_ascii(resource.doi)}")
    lines.append(DOUBLE_RULE)
    subjects = [to_ascii(subject) for subject in resource.subjects]
    lines += _wrap_words(" ; ".join(subjects), "ADC_Keywords: ", "              ")
    lines += _wrap_words(" - ".join(subject.lower() for subject in subjects), "Keywords: ", "          ")
    lines += ["", "Abstract:", *_write_paragraphs(strip_markdown(resource.description)), "", "File Summary:", RULE]
    lines += _write_file_summary(delivered_tables, file_names)
    if resource.works:
        lines += ["", "See also:"]
    for work in resource.works:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", work.relation).lower()  # IsDerivedFrom
        lines += _wrap_words(f"{to_ascii(work.id)} : {words}", "    ", "      ")
    for delivered_table, file_name in zip(delivered_tables, file_names, strict=True):
        lines += ["", *write_byte_description(delivered_table, file_name)]
    contact = ""
    if resource.contact is not None:
        contact = to_ascii(resource.contact.name)
    contact_line = contact
    if resource.contact is not None and resource.contact.email:
        contact_line = f"{contact}, {to_ascii(resource.contact.email.replace('@', '(at)'))}"
    if resource.acknowledgement or contact_line:
        paragraphs = filter(None, (strip_markdown(resource.acknowledgement), contact_line))
        lines += ["", "Acknowledgements:", *_write_paragraphs("\n\n".join(paragraphs))]
    today = f"{datetime.now(UTC):%d-%b-%Y}"
    lines += ["", "History:"]
    if resource.created:
        lines.append(f"    * {to_ascii(resource.created)}: first published")
    for release in sorted(releases, key=lambda release: release.created):
        words = f"* {datetime.fromisoformat(release.created):%d-%b-%Y}: release {release.label}"
        if release.description:
            words = f"{words}: {to_ascii(strip_markdown(release.description))}"
        lines += _wrap_words(words, "    ", "      ")
    lines += [f"    * {today}: written by Hven", DOUBLE_RULE]
    lines.append(f"(End)  {contact[:60]:60}  {today}")
    return "\n".join(lines) + "\n"


def _write_readme_first_line(resource: CollectionSpec, authors_and_year: str) -> str:
    title = to_ascii(resource.short_name or resource.title).replace("\n", " ")
    title_width = LINE_CHARACTERS - len(authors_and_year) - 1
    return f"{title[:title_width]:{title_width}} {authors_and_year}"


def _write_paragraphs(text: str | None) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", to_ascii(text).strip()):
        yield from textwrap.wrap(paragraph, LINE_CHARACTERS, initial_indent="  ", subsequent_indent="  ")


def _write_file_summary(delivered_tables: Sequence[DeliveredTable], file_names: Sequence[str]) -> Iterator[str]:
    name_width = max([8, *map(len, file_names)])
    yield f" {'FileName':{name_width}}  Lrecl   Records  Explanations"
    yield RULE
    yield f" {'ReadMe':{name_width}}     80         .  This file"
    for delivered_table, name in zip(delivered_tables, file_names, strict=True):
        table = delivered_table.table
        head = f" {name:{name_width}} {delivered_table.record_bytes:6d} {delivered_table.row_count:9d}  "
        yield from _wrap_words(to_ascii(str(table.title or table.name)), head, " " * len(head))
    yield RULE


def write_aas_table_header(resource: CollectionSpec, delivered_table: DeliveredTable, file_name: str) -> str:
    """Write what stands before the rows of a machine-readable table of AAS.

    Parameters
    ----------
    resource
        The collection.
    delivered_table
        The table.
    file_name
        Name of the file.
    """
    authors = ", ".join(write_cds_author(person.name) for person in resource.creators)
    table_title = delivered_table.table.title or delivered_table.table.name
    lines = [
        *_wrap_words(to_ascii(resource.title), "Title: ", "       "),
        *_wrap_words(to_ascii(authors), "Authors: ", "         "),
        *_wrap_words(to_ascii(str(table_title)), "Table: ", "       "),
        DOUBLE_RULE,
        *write_byte_description(delivered_table, file_name),
    ]
    return "\n".join(lines) + "\n"
