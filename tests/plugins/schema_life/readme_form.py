"""Check the form of a ReadMe of CDS by the Standards for Astronomical Catalogues 2.0; three of CDS's own pass.

https://vizier.cds.unistra.fr/doc/catstd.htx
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LINE_CHARACTERS, LABEL_CHARACTERS = 80, 16
RULE, DOUBLE_RULE = "-" * LINE_CHARACTERS, "=" * LINE_CHARACTERS
# sections that CDS writes, in their order; References, History and Acknowledgements stand in any order at the end
SECTIONS = ("ADC_Keywords", "Keywords", "Abstract", "Description", "File Summary", "See also")
LAST_SECTIONS = {"Acknowledgements", "History", "References"}
SECTION_PATTERN = re.compile(r"([A-Z][A-Za-z_ ]+):(?: .*)?")
FIRST_LINE_PATTERN = re.compile(r"(?:\S+ {2,})?\S.* \([^()]+ \d{4}\)")
FILE_PATTERN = re.compile(r" ?(\S+) +(\d+|\.) +(\d+|\.)(?: +\S.*)?")
COLUMN_PATTERN = re.compile(
    r" *(?:(\d+) *- *)?(\d+) +([AIFE]\d+(?:\.\d+)?) +(\S+) +(\S+) +"
    r"(?:[\[\]]([^\[\]]*)[\[\]])?(\?(?:=\S+)?)?(?: *(\S.*))?"
)
HEADING_PATTERN = re.compile(r" *Bytes +Format +Units +Label +Explanations")
NOTE_PATTERN = re.compile(r"Note \((\d+)\): *\S?.*")
END_PATTERN = re.compile(r"\(End\) +\S.*? +\d\d-[A-Z][a-z]{2}-\d{4}")


class ReadmeColumn(NamedTuple):
    """A column of a byte-by-byte description."""

    start: int
    end: int
    format: str
    unit: str
    label: str
    is_optional: bool
    explanation: str


class ReadmeForm:
    """What a ReadMe says, and what is wrong with its form.

    Parameters
    ----------
    text
        The ReadMe.

    Attributes
    ----------
    faults
        Sentences with the numbers of the lines.
    sections
        Names of the sections in their order.
    record_bytes, record_counts
        Numbers in the summary of the files.
    columns
        Columns of the files.
    """

    def __init__(self, text: str) -> None:
        self.faults: list[str] = []
        self.sections: list[str] = []
        self.record_bytes: dict[str, int] = {}
        self.record_counts: dict[str, int] = {}
        self.columns: dict[str, list[ReadmeColumn]] = {}
        self._lines = text.splitlines()
        for number, line in enumerate(self._lines, 1):
            if len(line) > LINE_CHARACTERS or not line.isascii():
                self.faults.append(f"{number}: longer than {LINE_CHARACTERS} characters, or not ASCII")
        self._check_head()
        self._check_sections()
        self._read_files()
        self._read_columns()
        self._check_expected(END_PATTERN, len(self._lines) - 1)

    def _check_expected(self, pattern: re.Pattern[str], index: int) -> None:
        if not pattern.fullmatch(self._lines[index].rstrip()):
            self.faults.append(f"{index + 1}: {self._lines[index]!r} is not {pattern.pattern}")

    def _check_head(self) -> None:
        """Check title, authors, reference and bibcode, between two double rules."""
        lines = self._lines
        self._check_expected(FIRST_LINE_PATTERN, 0)
        if lines[1] != DOUBLE_RULE or DOUBLE_RULE not in lines[2:]:
            self.faults.append("2: the head is not between double rules")
            return
        head = lines[2 : lines.index(DOUBLE_RULE, 2)]
        is_indented = [line.startswith("  ") for line in head]
        first_author = is_indented.index(True) if True in is_indented else len(head)
        if not first_author or not all(is_indented[first_author:]):
            self.faults.append("3: the authors do not follow the title with blanks before them")
        references = " ".join(line.strip() for line in head[first_author:])
        if not re.fullmatch(r"[^<>]+ <[^<>]+>(?: =\d{4}\S{15})*(?: doi:\S+)?", references):
            self.faults.append(f"3: {references!r} is not authors, reference in <>, and bibcode after =")

    def _check_sections(self) -> None:
        is_note = False
        for number, line in enumerate(self._lines, 1):
            is_note = line.startswith("Note") or (is_note and line.startswith(" "))
            match = SECTION_PATTERN.fullmatch(line)
            if match is not None and not is_note and not line.startswith("Byte-by-byte"):
                self.sections.append(match[1])
                if match[1] not in SECTIONS and match[1] not in LAST_SECTIONS:
                    self.faults.append(f"{number}: there is no section {match[1]}")
        known_places = [SECTIONS.index(name) for name in self.sections if name in SECTIONS]
        if known_places != sorted(set(known_places)) or not {"Abstract", "File Summary"} <= set(self.sections):
            self.faults.append(f"the sections are {self.sections}")
        if any(name in SECTIONS for name in self.sections[len(known_places) :]):
            self.faults.append(f"the last sections are {self.sections}")

    def _iterate_ruled_lines(self, start: int) -> Iterator[tuple[int, str]]:
        """Yield the lines between the second and the third rule after a line."""
        rules = [index for index in range(start, len(self._lines)) if self._lines[index] == RULE][:3]
        if len(rules) == 3:
            yield from ((index, self._lines[index]) for index in range(rules[1] + 1, rules[2]))
        else:
            self.faults.append(f"{start + 1}: three rules do not follow")

    def _read_files(self) -> None:
        start = self._lines.index("File Summary:")
        for index, line in self._iterate_ruled_lines(start):
            match = FILE_PATTERN.fullmatch(line.rstrip())
            if match is None and not line.startswith("      "):
                self.faults.append(f"{index + 1}: {line!r} is not a file")
            elif match is not None and "." not in match.groups():
                self.record_bytes[match[1]] = int(match[2])
                self.record_counts[match[1]] = int(match[3])
        if not any(re.fullmatch(r" ?ReadMe +80 +\. +This file", line) for line in self._lines):
            self.faults.append("the summary does not list the ReadMe")

    def _read_columns(self) -> None:
        for index, line in enumerate(self._lines):
            head, _, name = line.partition(" of file: ")
            if head == "Byte-by-byte Description":
                self._check_expected(HEADING_PATTERN, index + 2)
                self._read_columns_of_file(name, index)
        for name, record_bytes in self.record_bytes.items():
            if name.endswith(".dat") and (not self.columns.get(name) or self.columns[name][-1].end != record_bytes):
                self.faults.append(f"the columns of {name} do not end at byte {record_bytes}")

    def _read_columns_of_file(self, name: str, start: int) -> None:
        columns = self.columns[name] = []
        explanations = []
        last_index = start
        for index, line in self._iterate_ruled_lines(start):
            last_index = index
            match = COLUMN_PATTERN.fullmatch(line.rstrip())
            if match is None:
                if not line.startswith(" " * 20) or not columns:
                    self.faults.append(f"{index + 1}: {line!r} is not a column")
                else:
                    explanations[-1] += f" {line.strip()}"
                continue
            explanations.append(match[8] or "")
            end = int(match[2])
            column = ReadmeColumn(
                int(match[1] or end), end, match[3], match[4], match[5], match[7] is not None, match[8] or ""
            )
            width = int(re.match(r"[AIFE](\d+)", match[3])[1])  # type: ignore[index]  # the pattern has it
            if column.end - column.start + 1 != width or (columns and column.start <= columns[-1].end):
                self.faults.append(f"{index + 1}: the bytes of {column.label} do not fit")
            if len(column.label) > LABEL_CHARACTERS or column.label in {other.label for other in columns}:
                self.faults.append(f"{index + 1}: the label {column.label} is too long, or not the only one")
            columns.append(column)
        columns[:] = [column._replace(explanation=text) for column, text in zip(columns, explanations, strict=True)]
        wanted_notes = set(re.findall(r"\((\d+)\)", " ".join(explanations)))
        rest = self._lines[last_index + 2 :]
        end = next((number for number, line in enumerate(rest) if line == RULE or line.startswith("Byte-by")), 0)
        notes = [match[1] for line in rest[:end] if (match := NOTE_PATTERN.fullmatch(line.rstrip()))]
        if not wanted_notes <= set(notes) or notes != sorted(set(notes), key=int):
            self.faults.append(f"the columns of {name} refer to the notes {sorted(wanted_notes)}; there are {notes}")
