"""Recognise files that are no table of text.

Their beginning, bytes that are no text, or lines that nothing cuts tell it.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import SourceError, TextPlace

if TYPE_CHECKING:
    from collections.abc import Sequence

_OTHER_KINDS_REMEDY = (
    "read it with your own function (`kind: python`), or publish it unchanged with `files:` of the collection"
)
_DELIMITER_REMEDY = "; if it is a table nevertheless, give its `delimiter:`"
# an opening tag: with attributes, at a line's end, or with something but a delimiter behind it (`<TICKER>,<DATE>` are
# names of columns)
_OPENING_TAG_PATTERN = r"<(?:[?!]|[A-Za-z_][\w:.-]*(?:\s+[\w:.-]+\s*=|\s*$|\s*/?>(?!\s*[,;|\t])))"
_DACHS_DESCRIPTOR = (
    "a DaCHS resource descriptor (q.rd)",
    "convert it with `hven new NAME --from FILE`: docs/howto/from-dachs.md",
)
_CONVERSION_REMEDY = (
    "convert it with astropy, and publish table.ecsv: `Table.read('FILE', format='ascii.{format}').write('table.ecsv')`"
)
_TEXT_FORMATS = (
    (r"<resource\b[^>]*\sschema\s*=", *_DACHS_DESCRIPTOR),
    (
        r"<HEADER>|<DATA>",
        "HEASARC's TDAT format",
        _CONVERSION_REMEDY.format(format="tdat"),
    ),
    (
        r"\\(?:begin|documentclass|tablehead)\b",
        "LaTeX",
        _CONVERSION_REMEDY.format(format="latex") + " (AASTeX's deluxetable: `ascii.aastex`)",
    ),
    (r"READ [TS]ERR\b", "a QDP file", _CONVERSION_REMEDY.format(format="qdp")),
    (
        _OPENING_TAG_PATTERN,
        "XML or HTML",
        f"write `kind: votable` for a VOTable and `kind: xml` for other XML, or {_OTHER_KINDS_REMEDY}",
    ),
    (r"\{\s*[\"}]|\[\s*[\[{]", "JSON", "write `kind: json`"),
    (r"\|[A-Z][a-z]?\|\d*\|\d*\||\[[0-9xX]{2}\]\d{6}", "a das2 or das3 stream", _OTHER_KINDS_REMEDY),
)
_OLD_OFFICE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BINARY_MAGIC = (
    (b"\x89HDF\r\n", "an HDF5 or netCDF 4 file"),
    (b"CDF\x01", "a netCDF file"),
    (b"CDF\x02", "a netCDF file"),
    (b"\xcd\xf3\x00", "a CDF file"),
    (b"\xcd\xf2\x60", "a CDF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"ARROW1\0", "an Arrow (Feather) file, which `pyarrow` converts to Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream, which `pyarrow` converts to Parquet"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (_OLD_OFFICE_MAGIC, "an old office document"),
    (b"%PDF-", "a PDF document"),
)
_SPREADSHEET_MARKS = (  # what stands in the first bytes of an archive, or where its list of members does
    (b"xl/", "an Excel workbook (.xlsx)"),
    (b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "an OpenDocument spreadsheet (.ods)"),
)
_SPREADSHEET_REMEDY = (
    'save the sheet as CSV UTF-8 in the program that made it, or run `python -c "import pandas; '
    "pandas.read_excel('{file}', sheet_name=0).to_csv('{stem}.csv', index=False)\"`, and check that dates and long "
    "numbers are the same as in the sheet"
)
_CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b\x1a\x1e")
_KEY_VALUE_LINE_PATTERN = re.compile(r"\s*(?:[\w:.^-]+\s*=(?:\s|$).*|(?i:end(?:_object|_group)?)\s*)")


def recognize_binary_format(first_bytes: bytes) -> str | None:
    """Recognise a file of another format by its beginning.

    Parameters
    ----------
    first_bytes
        Its first bytes; 262 tell a tar archive.

    Returns
    -------
    what
        In words with an article; None: it begins as none of them.
    """
    if first_bytes[257:262] == b"ustar":
        return "a tar archive"
    return next((format_name for magic, format_name in _BINARY_MAGIC if first_bytes.startswith(magic)), None)


def recognize_spreadsheet(first_bytes: bytes, file: str) -> str | None:
    """Recognise a workbook of a spreadsheet program by the beginning of its archive; None: it is none.

    Parameters
    ----------
    first_bytes
        Its first bytes.
    file
        Its name, whose ending decides where the bytes do not.
    """
    if first_bytes.startswith(_OLD_OFFICE_MAGIC):
        if file.lower().endswith((".xls", ".xlt")):
            return "an old Excel workbook (.xls)"
        return None
    if not first_bytes.startswith(b"PK\x03\x04"):
        return None
    format_name = next((mark_name for mark, mark_name in _SPREADSHEET_MARKS if mark in first_bytes[:4096]), None)
    names_by_suffix = {
        ".xlsx": "an Excel workbook (.xlsx)",
        ".xlsm": "an Excel workbook (.xlsm)",
        ".ods": "an OpenDocument spreadsheet (.ods)",
    }
    return format_name or names_by_suffix.get(PurePath(file.lower()).suffix)


def refuse_binary_file(first_bytes: bytes, file: str) -> None:
    """Refuse a file that is no text.

    Raises
    ------
    SourceError
        With what it is, if it begins as a known format does.
    """
    sheet = recognize_spreadsheet(first_bytes, file)
    if sheet:
        name = PurePath(file).name
        remedy = _SPREADSHEET_REMEDY.format(file=name, stem=PurePath(file).stem)
        raise SourceError(f"{file} is {sheet}, not a text table", remedy=remedy)
    format_name = recognize_binary_format(first_bytes)
    if format_name:
        raise SourceError(f"{file} is {format_name}, not a text table", remedy=_OTHER_KINDS_REMEDY)
    if b"\0" in first_bytes[:4096]:
        line = first_bytes.count(b"\n", 0, first_bytes.find(b"\0")) + 1
        place = TextPlace(file=file, line=line)
        if first_bytes[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            remedy = "write `encoding: utf-16`"
        elif re.match(rb"(?:[^\0]\0){8}", first_bytes):
            remedy = "write `encoding: utf-16-le`"
        elif re.match(rb"(?:\0[^\0]){8}", first_bytes):
            remedy = "write `encoding: utf-16-be`"
        else:
            remedy = (
                "write the right kind, such as fits, parquet or votable (`--kind` of `hven new`), or "
                f"{_OTHER_KINDS_REMEDY}"
            )
        raise SourceError("the text file contains NUL bytes", place=place, remedy=remedy)
    if len(first_bytes.translate(None, delete=_CONTROL_BYTES)) < 0.99 * len(first_bytes):
        raise SourceError(
            f"{file} is a binary file: more than 1 % of its first {len(first_bytes):,} bytes are control characters",
            remedy=_OTHER_KINDS_REMEDY,
        )


def refuse_other_text_format(line: str, place: TextPlace) -> None:
    """Refuse text of another kind by its first line that is not blank.

    Raises
    ------
    SourceError
        With what it looks like, and which kind reads it.
    """
    # a file of DaCHS may begin with an XML declaration or a comment
    texts = [*_TEXT_FORMATS, *_list_package_text_formats()]
    if (place.file or "").endswith(".rd"):
        texts.insert(0, (_OPENING_TAG_PATTERN, *_DACHS_DESCRIPTOR))
    for pattern, format_name, remedy in texts:
        if re.match(pattern, line.lstrip(), re.IGNORECASE if format_name.startswith("XML") else 0):
            raise SourceError(
                f"the file looks like {format_name}, not like delimited text",
                place=place,
                remedy=remedy + _DELIMITER_REMEDY,
            )


def _list_package_text_formats() -> list[tuple[str, str, str]]:
    """List the texts that other kinds read because of plug-in packages, as in `_TEXT_FORMATS`."""
    formats = []
    for signature in plugins.list_file_signatures():
        remedy = f"write `kind: {signature.kind}`, or {_OTHER_KINDS_REMEDY}"
        if signature.first_line_pattern:
            formats.append((signature.first_line_pattern, signature.text_title, remedy))
    return formats


def refuse_prose_lines(lines: Sequence[str], uneven_line_count: int, place: TextPlace) -> None:
    """Refuse lines of prose, markup or settings that would become a table of one column.

    Parameters
    ----------
    lines
        Lines of a sample in which no delimiter was found.
    uneven_line_count
        How many of them hold a comma, and would be refused.

    Raises
    ------
    SourceError
        With what they look like.
    """
    for content, count in (
        ("markup", sum(line.lstrip().startswith("<") for line in lines)),
        ("lines of `key = value`", sum(_KEY_VALUE_LINE_PATTERN.fullmatch(line) is not None for line in lines)),
        ("running text or a program", 10 * uneven_line_count),
    ):
        if len(lines) > 3 and 2 * count > len(lines):
            raise SourceError(
                f"no delimiter splits the lines; the file looks like {content}, not like a table",
                place=place,
                remedy="if the file is a table with one column, write `names: [word]`, or set `delimiter:`; if not, "
                f"{_OTHER_KINDS_REMEDY}",
            )
