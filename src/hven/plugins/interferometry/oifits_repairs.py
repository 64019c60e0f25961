"""Repair the faults of an OIFITS file that need no knowledge of the observation, in a copy.

These are the three rules of `oifits_rules` that are repairs: OI_REVN of a table, the position of VLTI and CHARA, and
errors that are not positive, which become NaN.
"""

from __future__ import annotations

import gzip
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import SourceError, TextPlace, format_message
from hven.plugins.interferometry.oifits_checker import (
    ARRAY_POSITIONS,
    check_oifits_file,
    find_expected_revision,
    find_unflagged_nonpositive_errors,
)
from hven.plugins.interferometry.oifits_rules import OIFITS_RULES
from hven.plugins.interferometry.oifits_tables import GZIP_MAGIC, MAX_FILE_BYTES, read_oifits_tables

if TYPE_CHECKING:
    from pathlib import Path

    from hven.plugins.interferometry.oifits_tables import OifitsHdu

CARD_BYTES = 80
_CHECKSUM_KEYS = ("CHECKSUM", "DATASUM")  # of the content before the repair
_POSITION_KEYS = ("ARRAYX", "ARRAYY", "ARRAYZ")


def write_repaired_file(path: Path, target: Path) -> list[str]:
    """Write a copy of a file without the faults that can be repaired.

    Parameters
    ----------
    path
        The file, which may be compressed by gzip.
    target
        The copy, which is not compressed.

    Returns
    -------
    rules
        The rules that the file broke; if there are none, nothing is written.

    Raises
    ------
    SourceError, OSError
        The file cannot be read, or the copy cannot be written.
    """
    report = check_oifits_file(path)
    repairs = [finding for finding in report.findings if OIFITS_RULES[finding.rule].is_repairable]
    if not repairs:
        return []
    hdus = {hdu.label: hdu for hdu in read_oifits_tables(path)}
    with path.open("rb") as plain_file:
        is_compressed = plain_file.read(2) == GZIP_MAGIC
        plain_file.seek(0)
        with gzip.open(plain_file) if is_compressed else nullcontext(plain_file) as file:
            content = bytearray(file.read(MAX_FILE_BYTES + 1))
    if len(content) > MAX_FILE_BYTES:
        message = format_message("the file has more than {most:,} MB of data", MAX_FILE_BYTES >> 20)
        raise SourceError(message, place=TextPlace(file=path.name), remedy="split it")
    for finding in repairs:
        hdu = hdus[finding.table]
        if finding.rule == "GENERIC_OIREV_FIX":
            _replace_card(content, hdu, "OI_REVN", str(find_expected_revision(hdu, report.version)))
        elif finding.rule == "OI_ARRAY_XYZ_FIX":
            array_name = hdu.find_keyword_text("ARRNAME") or ""
            position = next(place for name, place in ARRAY_POSITIONS.items() if array_name.startswith(name))
            for key, value in zip(_POSITION_KEYS, position, strict=True):
                _replace_card(content, hdu, key, repr(value))
        else:
            _replace_invalid_uncertainties(content, hdu, finding.member)
        for key in _CHECKSUM_KEYS:
            _replace_card(content, hdu, key, "")
    target.write_bytes(content)
    return list(dict.fromkeys(finding.rule for finding in repairs))


def _replace_card(content: bytearray, hdu: OifitsHdu, key: str, value: str) -> None:
    """Replace the value of a card; without a value, the card becomes blank."""
    for start in range(hdu.header_offset, hdu.data_offset, CARD_BYTES):
        if content[start : start + 9] == f"{key:8}=".encode():
            text = f"{key:8}= {value:>20}" if value else ""
            content[start : start + CARD_BYTES] = text.ljust(CARD_BYTES).encode()


def _replace_invalid_uncertainties(content: bytearray, hdu: OifitsHdu, name: str) -> None:
    """Write NaN in place of errors that are not positive."""
    column = hdu.columns[name]
    row_bytes = hdu.header.read_integer("NAXIS1")
    value_type = column.values.dtype
    cells: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = np.ndarray(
        column.values.shape,
        value_type,
        content,
        hdu.data_offset + column.offset,
        (row_bytes, value_type.itemsize),
    )
    cells[find_unflagged_nonpositive_errors(hdu, name)] = np.nan
