"""What STILTS taplint finds in a faulty service, we find too; and in the clean one neither finds anything."""

from __future__ import annotations

import re

import pytest
from service_faults import FAULTS
from tap_server import TapServer, serve

from hven.plugins.lint.validation import CHECK_GROUPS, LintRequestLimits, validate_service
from stilts import run_stilts

pytestmark = [pytest.mark.outside, pytest.mark.slow]

STAGES = "TMV TME TMS TMC CPV CAP AVV QGE QPO QAS UWS MDQ OBS EXA"
TOGETHER = {
    "cap.adql-version", "cap.function-form", "cap.geometry-name", "cap.upload-missing", "schema.flag", "schema.arraysize", "schema.size",
    "schema.std", "tables.unit", "tables.ucd", "query.language", "obscore.unit", "obscore.ucd", "obscore.utype", "obscore.missing-column",
    "obscore.null", "obscore.product-type", "obscore.calib-level", "obscore.option", "uws.time", "uws.duration", "examples.vocabulary",
    "examples.identifier", "examples.query", "output.unknown", "TOP is not kept", "destroyed by DELETE alone", "cut without a word",
}  # fmt: skip
OTHERS = {
    "YXDL": "stilts 3.4.7 does not know xtype moc, which EPN-TAP 2.0 and DALI 1.2 have",
    "VCEX": "vocabularies are fetched from the net; offline its built-in terms are used",
}
LIKE: dict[str, set[str]] = {}
for group in CHECK_GROUPS:
    for check in group.checks:
        for code in check.taplint_codes:
            LIKE.setdefault(code, set()).add(check.code)


def taplint(url: str) -> dict[str, str]:
    """Give the codes (E_CPT1 ...) with a message each."""
    done = run_stilts("taplint", f"tapurl={url}", f"stages={STAGES}", "report=EWF", "maxrepeat=3", code=None)
    assert "Totals:" in done.stdout, done.stdout + done.stderr
    return {
        f"{one[1]}_{one[2]}": one[0]
        for one in re.finditer(r"^([EWF])-\w{3}-(\w{4})-\S+ .*", done.stdout, re.MULTILINE)
        if one[2] not in OTHERS
    }


def _matching(code: str, words: str) -> set[str]:
    """Give our codes for one of theirs; what their XML parser says has codes made of its words."""
    if "cvc-" in words:
        documents = {"uws"} if "-UWS-" in words else {"vosi", "cap"}
        return {check.code for group in CHECK_GROUPS if group.name in documents for check in group.checks}
    return LIKE.get(code, set())


def test_in_the_clean_service_neither_finds_anything(tap_server: TapServer) -> None:
    with serve(tap_server) as url:
        assert taplint(url) == {}
        assert validate_service(url, limits=LintRequestLimits(pause_seconds=0.0)).findings == ()


def test_what_taplint_finds_we_find(tap_server: TapServer) -> None:
    planted = [fault for fault in FAULTS if fault.name in TOGETHER]
    assert {fault.name for fault in planted} == TOGETHER
    for fault in planted:
        fault.plant(tap_server)
    with serve(tap_server) as url:
        theirs = taplint(url)
        ours = {one.code for one in validate_service(url, limits=LintRequestLimits(pause_seconds=0.0)).findings}
    assert len(theirs) >= 15, theirs
    missed = {code: words for code, words in theirs.items() if not _matching(code, words) & ours}
    assert missed == {}
    assert {code for fault in planted for code in fault.codes} <= ours
