"""Validate a TAP service by taplint, the validator of another project, where its program STILTS is installed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import UserError
from hven.plugins.lint.findings import LintFinding
from hven.sources.site_programs import find_program, start_supervised_program

if TYPE_CHECKING:
    from collections.abc import Iterable

TAPLINT_STAGES = "TMV TME TMS TMC CPV CAP AVV QGE QPO QAS UWS MDQ OBS EXA"  # none uploads or asks other services
TAPLINT_TIMEOUT_SECONDS = 1800.0
MAX_TAPLINT_BYTES = 16 << 20  # of its output
SEVERITIES_BY_LETTER = {"E": "error", "F": "error", "W": "warning"}
TAPLINT_MANUAL = "https://www.starlink.ac.uk/stilts/sun256/taplint.html"
SITE_SCHEMAS = {"ivoa", "tap_schema"}  # what taplint says of these concerns the whole service
_FINDING_PATTERN = re.compile(r"^([EFW])-(\w{3}-\w{4})\S* +(.+)", re.MULTILINE)
_TABLE_PATTERN = re.compile(r"\w+\.\w+")


def list_taplint_findings(url: str, table_names: Iterable[str]) -> list[LintFinding]:
    """List the errors and warnings of taplint.

    Parameters
    ----------
    url
        Address of the TAP service.
    table_names
        Qualified names of all tables of the service.

    Returns
    -------
    findings
        With the first table that a message names. If STILTS is not installed or fails, the only finding says so.
    """
    try:
        program = find_program(Path(), "stilts")
    except UserError:
        return [_build_finding("info", "absent", "taplint was not run, because STILTS is not installed")]
    output = _run_taplint(program, url)
    if "\nTotals:" not in output:
        last_words = " ".join(output.split())[-300:]
        message = f"taplint did not end within {TAPLINT_TIMEOUT_SECONDS:,.0f} s, or failed: {last_words}"
        return [_build_finding("warning", "incomplete", message)]
    names = {name.lower() for name in table_names if name.lower().partition(".")[0] not in SITE_SCHEMAS}
    findings = []
    for letter, code, message in _FINDING_PATTERN.findall(output):
        named_tables = (name for name in _TABLE_PATTERN.findall(message.lower()) if name in names)
        findings.append(_build_finding(SEVERITIES_BY_LETTER[letter], code, message, next(named_tables, "")))
    return findings


def _build_finding(severity: str, code: str, message: str, table: str = "") -> LintFinding:
    remedy = f"see {TAPLINT_MANUAL}"
    return LintFinding(
        code=f"taplint.{code}", severity=severity, message=message, source="STILTS", remedy=remedy, table=table
    )


def _run_taplint(program: str, url: str) -> str:
    """Run the program, and return what it printed; it is killed with all its processes when its time is over."""
    arguments = [program, "taplint", f"tapurl={url}", f"stages={TAPLINT_STAGES}", "report=EWF", "maxrepeat=9"]
    with tempfile.TemporaryDirectory(prefix="hven-taplint-") as name:
        output_path = Path(name) / "output"
        with output_path.open("wb") as output:
            limits = {"RLIMIT_FSIZE": MAX_TAPLINT_BYTES}
            process = start_supervised_program(arguments, Path(name), output, output, limits=limits)
            with process, suppress(subprocess.TimeoutExpired):  # the end of the block closes its input, which kills it
                process.wait(TAPLINT_TIMEOUT_SECONDS)
        return output_path.read_text(encoding="utf-8", errors="replace")
