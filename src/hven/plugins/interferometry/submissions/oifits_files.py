"""Check submitted OIFITS files against the rules of the standard, and read their granules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.plugins.interferometry.oifits_checker import check_oifits_file
from hven.plugins.interferometry.oifits_granules import read_granules
from hven.plugins.interferometry.oifits_repairs import write_repaired_file
from hven.plugins.interferometry.oifits_rules import OIFITS_RULES
from hven.plugins.submissions.file_checkers import FITS_EXTENSIONS, FileChecker, FileFinding
from hven.sources.api.rows import DataFile

if TYPE_CHECKING:
    from pathlib import Path


def _check_file(path: Path, profile: str) -> list[FileFinding]:
    findings = []
    for finding in check_oifits_file(path, profile).findings:
        place = ".".join(filter(None, (finding.table, finding.member)))
        findings.append(
            FileFinding(
                rule=finding.rule,
                severity=finding.severity,
                message=finding.message,
                place=place,
                section=OIFITS_RULES[finding.rule].origin,
                count=finding.count,
                rows=finding.rows,
                repairable=OIFITS_RULES[finding.rule].is_repairable,
            )
        )
    return findings


def _read_rows(path: Path) -> list[dict[str, Any]]:
    return read_granules(DataFile(path=path, name=path.name))[1]


CHECKER = FileChecker(
    name="oifits",
    extensions=(".oifits", ".oifits.gz", *FITS_EXTENSIONS),
    check_file=_check_file,
    read_rows=_read_rows,
    write_repaired_file=write_repaired_file,
)
