"""Files that are no table of text: known by how they begin, by bytes that are no text, or by lines that nothing cuts."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from hven.model.errors import Place, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ANYTHING = "`kind: python` reads anything, and `files:` of a collection publishes files as they are"
_DELIMITER = "; if it is a table all the same, say its `delimiter:`"
# an opening tag: with attributes, at a line's end, or with something but a delimiter behind it (`<TICKER>,<DATE>` are names of columns)
_TAG = r"<(?:[?!]|[A-Za-z_][\w:.-]*(?:\s+[\w:.-]+\s*=|\s*$|\s*/?>(?!\s*[,;|\t])))"
_DACHS_FILE = (
    "a resource descriptor of DaCHS (q.rd)",
    "give `hven new` the data that its grammar reads, or the address of the service's TAP with `--table`: docs/howto/from-dachs.md",
)
_CONVERT = "astropy reads it: `Table.read('FILE', format='ascii.{format}').write('table.ecsv')`, and publish that file"
_TEXTS = (
    (r"<resource\b[^>]*\sschema\s*=", *_DACHS_FILE),
    (
        r"<HEADER>|<DATA>",
        "HEASARC's TDAT format",
        _CONVERT.format(format="tdat"),
    ),
    (
        r"\\(?:begin|documentclass|tablehead)\b",
        "LaTeX",
        _CONVERT.format(format="latex") + " (AASTeX's deluxetable: `ascii.aastex`)",
    ),
    (r"READ [TS]ERR\b", "a QDP file", _CONVERT.format(format="qdp")),
    (_TAG, "XML or HTML", f"a VOTable is of `kind: votable`, other XML of `kind: xml`; {_ANYTHING}"),
    (r"\{\s*[\"}]|\[\s*[\[{]", "JSON", "it is of `kind: json`"),
    (r"\|[A-Z][a-z]?\|\d*\|\d*\||\[[0-9xX]{2}\]\d{6}", "a das2 or das3 stream", _ANYTHING),
    (
        r"(?:Object|Group|ODL_VERSION_ID|PDS_VERSION_ID)\s*=|CCSD3ZF",
        "an ISIS or PDS3 product with its label",
        f"it is of `kind: product`; {_ANYTHING}",
    ),
)
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BYTES = (
    (b"\x89HDF\r\n", "an HDF5 file (netCDF 4, too)"),
    (b"CDF\x01", "a netCDF file"),
    (b"CDF\x02", "a netCDF file"),
    (b"\xcd\xf3\x00", "a CDF file"),
    (b"\xcd\xf2\x60", "a CDF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (_OLD_OFFICE, "an old office document"),
    (b"%PDF-", "a PDF document"),
)
_SHEETS = (  # what stands in the first bytes of an archive, or where its list of members does
    (b"xl/", "an Excel workbook (.xlsx)"),
    (b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "an OpenDocument spreadsheet (.ods)"),
)
_SHEET_RECIPE = (
    "save the sheet as CSV UTF-8 in the program that made it, or "
    "`python -c \"import pandas; pandas.read_excel('{file}', sheet_name=0).to_csv('{stem}.csv', index=False)\"`, and look whether dates and long numbers are what the sheet shows"
)
_NO_TEXT = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b\x1a\x1e")
_LABEL = re.compile(r"\s*(?:[\w:.^-]+\s*=(?:\s|$).*|(?i:end(?:_object|_group)?)\s*)")


def known(head: bytes) -> str | None:
    """Recognise a file that begins as some other format does.

    Parameters
    ----------
    head
        Its first bytes; 262 tell a tar archive.

    Returns
    -------
    what
        In words with an article; None: it begins as none of them.
    """
    return (
        "a tar archive"
        if head[257:262] == b"ustar"
        else next((what for magic, what in _BYTES if head.startswith(magic)), None)
    )


def known_sheet(head: bytes, file: str) -> str | None:
    """Recognise a workbook of a spreadsheet program by the beginning of its archive; None: it is none.

    Parameters
    ----------
    head
        Its first bytes.
    file
        Its name, whose ending decides where the bytes do not.
    """
    if head.startswith(_OLD_OFFICE):
        return "an old Excel workbook (.xls)" if file.lower().endswith((".xls", ".xlt")) else None
    if not head.startswith(b"PK\x03\x04"):
        return None
    found = next((what for mark, what in _SHEETS if mark in head[:4096]), None)
    ends = {
        ".xlsx": "an Excel workbook (.xlsx)",
        ".xlsm": "an Excel workbook (.xlsm)",
        ".ods": "an OpenDocument spreadsheet (.ods)",
    }
    return found or ends.get(PurePath(file.lower()).suffix)


def check_bytes(head: bytes, file: str) -> None:
    """Refuse what is no text.

    Raises
    ------
    SourceError
        With what it is, if it begins as a known format does.
    """
    if sheet := known_sheet(head, file):
        name = PurePath(file).name
        remedy = _SHEET_RECIPE.format(file=name, stem=PurePath(file).stem)
        raise SourceError(f"{file} is {sheet}, no table of text", remedy=remedy)
    if other := known(head):
        raise SourceError(f"{file} is {other}, no table of text", remedy=_ANYTHING)
    if b"\0" in head[:4096]:
        place = Place(file=file, line=head.count(b"\n", 0, head.find(b"\0")) + 1)
        wide = head[:2] in {b"\xff\xfe", b"\xfe\xff"} or re.match(rb"(?:[^\0]\0){8}|(?:\0[^\0]){8}", head)
        remedy = (
            "say `encoding: utf-16`"
            if wide
            else f"this is no text file: is its kind fits, parquet or votable (`--kind` of `hven new`)? {_ANYTHING}"
        )
        raise SourceError("NUL bytes in a text file", place=place, remedy=remedy)
    if len(head.translate(None, delete=_NO_TEXT)) < 0.99 * len(head):
        raise SourceError(
            f"{file} is binary: {len(head):,} bytes with more than one control character in a hundred", remedy=_ANYTHING
        )


def check_text(line: str, place: Place) -> None:
    """Refuse text of another kind by its first line that holds anything.

    Raises
    ------
    SourceError
        With what it looks like, and which kind reads it.
    """
    # a file of DaCHS may begin with an XML declaration or a comment
    texts = [(_TAG, *_DACHS_FILE), *_TEXTS] if (place.file or "").endswith(".rd") else _TEXTS
    for pattern, what, remedy in texts:
        if re.match(pattern, line.lstrip(), re.IGNORECASE if what.startswith("XML") else 0):
            raise SourceError(
                f"this looks like {what}, not like delimited text", place=place, remedy=remedy + _DELIMITER
            )


def check_lines(lines: Sequence[str], uneven: int, place: Place) -> None:
    """Refuse lines of prose, markup or settings that would become a table of one column.

    Parameters
    ----------
    lines
        Of a sample in which no delimiter was found.
    uneven
        How many of them hold a comma, and would be refused.

    Raises
    ------
    SourceError
        With what they look like.
    """
    for what, alike in (
        ("markup", sum(line.lstrip().startswith("<") for line in lines)),
        ("lines of `key = value`", sum(_LABEL.fullmatch(line) is not None for line in lines)),
        ("running text or a program", 10 * uneven),
    ):
        if len(lines) > 3 and 2 * alike > len(lines):
            raise SourceError(
                f"no delimiter cuts the lines: this looks like {what}, not like a table",
                place=place,
                remedy=f"{_ANYTHING}; if it is a table of one column, name it: `names: [word]`, or say its `delimiter:`",
            )
