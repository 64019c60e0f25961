"""The 66 rules of OIFITS: a made file breaks each of them and no other, and the made files keep the others."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from rule_files import make_oifits, write_broken_file

from hven.model.errors import SourceError
from hven.plugins.interferometry import oifits_checker, oifits_repairs, oifits_tables
from hven.plugins.interferometry.oifits_checker import check_oifits_file
from hven.plugins.interferometry.oifits_repairs import write_repaired_file
from hven.plugins.interferometry.oifits_rules import OIFITS_RULES, find_severity
from hven.portal.api.pages import get_message_translator
from shared import shared


def test_there_are_66_rules_and_three_repairs() -> None:
    assert len(OIFITS_RULES) == 66
    repairs = [name for name, rule in OIFITS_RULES.items() if rule.is_repairable]
    assert repairs == ["GENERIC_COL_ERR_FIX", "GENERIC_OIREV_FIX", "OI_ARRAY_XYZ_FIX"]


@pytest.mark.parametrize("version", [1, 2])
def test_the_made_file_keeps_all_rules(version: int, tmp_path: Path) -> None:
    path = tmp_path / "made.fits"
    make_oifits(version).writeto(path)
    report = check_oifits_file(path)
    assert (report.version, report.findings) == (version, [])
    packed = tmp_path / "made.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert check_oifits_file(packed).findings == []
    packed.write_bytes(packed.read_bytes()[:-200])
    assert [finding.rule for finding in check_oifits_file(packed).findings] == ["FILE_LOAD"]


@pytest.mark.parametrize("rule", OIFITS_RULES)
def test_a_file_breaks_one_rule_and_no_other(rule: str, tmp_path: Path) -> None:
    path, version = write_broken_file(rule, tmp_path)
    found = {finding.rule: finding.message for finding in check_oifits_file(path, version=version).findings}
    assert found.keys() == {rule}, found
    translate = get_message_translator("fr")
    assert [message for message in found.values() if translate(message) == message] == [], (
        "each finding has a translation"
    )


# version and counts of each real file, as read with astropy by hand: OI_REVN, units, positions, dates and flags
REAL_FILES: dict[str, tuple[int, dict[str, int]]] = {
    "2009-11-eps_Aur-avg5.oifits": (1, {"OI_ARRAY_STA_INDEX_MIN": 11, "OI_ARRAY_XYZ_FIX": 26, "GENERIC_COL_UNIT_EXIST": 52}),
    "2012-03-24_ALL_oiDataCalib.fits": (1, {"GENERIC_COL_VAL_POSITIVE": 1, "OI_ARRAY_XYZ_FIX": 1}),
    "AMBER_DelSco_K_2010-04-15T07h12_MR.fits": (1, {"UNKNOWN_COLUMN": 2, "GENERIC_DATE_OBS_STANDARD": 3, "GENERIC_COL_ERR_FIX": 2}),
    "AMBER_V838_Mon_2013-04-15.fits": (1, {"UNKNOWN_COLUMN": 5, "GENERIC_DATE_OBS_STANDARD": 3, "GENERIC_COL_ERR_FIX": 1}),
    "AlphaCenA.oifits": (2, {"MAIN_HEADER_TYPE_MULTI": 2, "GENERIC_COL_VAL_POSITIVE": 1, "OI_ARRAY_XYZ_FIX": 1, "GENERIC_COL_VAL_ACCEPTED_INT": 6}),
    "GRAVI.2016-06-23T03-10-17.458_singlesciviscalibrated.fits": (2, {
        "GENERIC_OIREV_FIX": 10, "UNKNOWN_COLUMN": 21, "GENERIC_COL_MANDATORY": 2, "GENERIC_KEYWORD_MANDATORY": 2, "GENERIC_COL_VAL_POSITIVE": 3,
    }),
    "HD140573.oifits": (1, {"OI_ARRAY_STA_INDEX_MIN": 1, "OI_TARGET_TARGETID_MIN": 1, "GENERIC_COL_UNIT_EXIST": 4}),
    "MATISSE_2018-12-13T081156_HD45677_A0G1J2J3_IR-LM.fits": (2, {
        "GENERIC_KEYWORD_MANDATORY": 1, "GENERIC_COL_ERR_FIX": 1, "UNKNOWN_COLUMN": 1, "GENERIC_COL_UNIT_EXIST": 2,
    }),
    "MIRCX_2023Oct14_bet_Ari.fits": (1, {"GENERIC_OIREV_FIX": 6, "OI_TARGET_TARGETID_MIN": 1, "GENERIC_COL_UNIT_EXIST": 2}),
    "NGC5128_2005.oifits": (1, {"GENERIC_COL_UNIT_EXIST": 2, "GENERIC_DATE_OBS_RANGE": 1}),
    "PIONIER_intro.fits": (1, {"GENERIC_COL_VAL_POSITIVE": 1, "OI_ARRAY_XYZ_FIX": 1}),
    "T_PYX_oiDataCalib.fits": (1, {"GENERIC_COL_VAL_POSITIVE": 1, "OI_ARRAY_STA_NAME": 1, "OI_ARRAY_XYZ_FIX": 1}),
    "bad_V1_with_V2_Tables.fits": (1, {
        "OIFITS_OI_TARGET_EXIST": 1, "OIFITS_OI_WAVELENGTH_EXIST": 1, "OIFITS_OIDATA": 1, "OIFITS_TABLE_NOT_V2": 2, "ARRNAME_REF": 1, "UNKNOWN_TABLE": 1,
    }),
    "betlyr6t.oifits": (1, {"OI_ARRAY_STA_INDEX_MIN": 1, "OI_ARRAY_XYZ_FIX": 1, "OI_TARGET_TARGETID_MIN": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files_break_the_rules_that_were_counted_by_hand(name: str) -> None:
    report = check_oifits_file(shared(f"data/interferometry/oifits/{name}"))
    assert (report.version, Counter(finding.rule for finding in report.findings)) == REAL_FILES[name]


def test_a_finding_says_where_and_how_often(tmp_path: Path) -> None:
    path, _ = write_broken_file("GENERIC_COL_ERR_FIX", tmp_path)
    finding = check_oifits_file(path).findings[0]
    assert (finding.table, finding.member, finding.count, finding.rows) == ("OI_VIS2#5", "VIS2ERR", 1, [2])
    assert finding.message == "1 unflagged values of column VIS2ERR are not positive", "the second has a flag"


@pytest.mark.parametrize(("profile", "severity"), [("jmmc", "warning"), ("strict", "error"), ("lenient", "info")])
def test_the_profile_decides_on_severities(profile: str, severity: str, tmp_path: Path) -> None:
    path, _ = write_broken_file("UNKNOWN_TABLE", tmp_path)
    assert check_oifits_file(path, profile).count_findings() == {severity: 1}


def test_severities_depend_on_tables_columns_and_versions() -> None:
    def find(rule: str, table: str, member: str, version: int = 1) -> str:
        return find_severity("jmmc", rule, table, member, version)

    assert find("GENERIC_COL_VAL_ACCEPTED_STR", "OI_TARGET", "VELTYP") == "warning"
    assert find("GENERIC_COL_VAL_ACCEPTED_STR", "OI_TARGET", "CATEGORY") == "error"
    assert find("GENERIC_COL_UNIT", "OI_VIS", "VISAMPERR") == "error"
    assert find("GENERIC_COL_UNIT", "OI_VIS", "VISPHI") == "info"
    assert find("OI_CORR_IINDEX_MIN", "OI_CORR", "IINDX") == "info"
    assert [find("GENERIC_KEYWORD_VAL_ACCEPTED_INT", "OI_T3", "OI_REVN", version=version) for version in (1, 2)] == ["info", "warning"]  # fmt: skip


@pytest.mark.parametrize("place", range(0, 30_000, 1_577))
def test_a_damaged_file_is_reported_and_never_an_error(place: int, tmp_path: Path) -> None:
    path = tmp_path / "damaged.fits"
    make_oifits(2).writeto(path)
    content = bytearray(path.read_bytes())
    content[place : place + 7] = b"\xff\x009'E-\x7f"
    path.write_bytes(content)
    check_oifits_file(path)


@pytest.mark.parametrize("place", range(12, 2_000, 97))
def test_a_damaged_compressed_file_is_reported_and_never_an_error(place: int, tmp_path: Path) -> None:
    path = tmp_path / "damaged.fits.gz"
    make_oifits(2).writeto(tmp_path / "made.fits")
    content = bytearray(gzip.compress((tmp_path / "made.fits").read_bytes()))
    content[place : place + 20] = b"\xff" * 20
    path.write_bytes(content)
    assert "FILE_LOAD" in [finding.rule for finding in check_oifits_file(path).findings]


def test_values_need_a_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts and indices of correlations are larger in memory than in the file; zeros after the file are none of it."""
    path, _ = write_broken_file("GENERIC_COL_ERR_FIX", tmp_path)
    size = path.stat().st_size
    packed = tmp_path / "packed.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() + bytes(10 * size)))
    monkeypatch.setattr(oifits_repairs, "MAX_FILE_BYTES", 2 * size, raising=False)
    with pytest.raises(SourceError, match="MB of data"):
        write_repaired_file(packed, tmp_path / "copy.oifits")
    texts = fits.BinTableHDU.from_columns([fits.Column("NAME", "100A", array=np.full(100, "x"))], name="OI_TEXTS")
    fits.HDUList([fits.PrimaryHDU(), texts]).writeto(tmp_path / "texts.fits")
    assert len(oifits_tables.read_oifits_tables(tmp_path / "texts.fits")) == 2
    budget = oifits_tables._MemoryBudget("texts.fits", 100_000)
    monkeypatch.setattr(oifits_tables, "_MemoryBudget", lambda _: budget)
    with pytest.raises(SourceError, match="MB of data"):
        oifits_tables.read_oifits_tables(tmp_path / "texts.fits")
    correlated, _ = write_broken_file("GENERIC_CORRINDX_UNIQ", tmp_path)
    monkeypatch.setattr(oifits_checker, "MAX_INDICES", 7)
    assert [finding.rule for finding in check_oifits_file(correlated).findings] == ["FILE_LOAD"]


@pytest.mark.parametrize("rule", ["GENERIC_COL_ERR_FIX", "GENERIC_OIREV_FIX", "OI_ARRAY_XYZ_FIX"])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_repaired_copy_keeps_all_rules(rule: str, is_compressed: bool, tmp_path: Path) -> None:
    path, _ = write_broken_file(rule, tmp_path)
    before = path.read_bytes()
    if is_compressed:
        path.write_bytes(gzip.compress(before))
    target = tmp_path / "copy.oifits"
    assert write_repaired_file(path, target) == [rule]
    assert check_oifits_file(target).findings == []
    after = target.read_bytes()
    assert len(after) == len(before)
    assert sum(one != other for one, other in zip(after, before, strict=True)) < 200, "only the faults change"
    with fits.open(target) as hdus:
        hdus.verify("exception")
    assert write_repaired_file(target, tmp_path / "again.oifits") == []
