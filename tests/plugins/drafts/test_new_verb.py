"""The verb ``new``: what it says, and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from process_runner import run_hven

STARS = "name,ra (deg),dec (deg),Vmag (mag)\nSirius,101.287,-16.716,-1.44\nVega,279.235,38.784,0.03\nRigel,78.634,-8.202,0.18\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "stars.csv").write_text(STARS)
    run_hven("init", tmp_path / "site")
    run_hven("new", "stars", "--from", "stars.csv", "--site", "site", cwd=tmp_path)
    return tmp_path / "site"


def test_help_says_what_it_does() -> None:
    assert "  new " in run_hven("--help").stdout.partition("Publish:")[0]
    assert len(run_hven("new", "-h").stdout.splitlines()) > 5


@pytest.mark.parametrize(
    ("name", "command"),
    [("M 31.v2.csv", "hven new m_31_v2 --from 'M 31.v2.csv'"), ("stars", "hven new stars --from FILE")],
)
def test_new_without_data_says_how_to_write_it(name: str, command: str) -> None:
    told = run_hven("new", name, expected_code=2).stderr
    assert f"--from is missing; it specifies the file or the address of the data; run {command}" in told


def test_a_file_within_the_site_goes_into_its_backups_and_nothing_is_said(site: Path) -> None:
    (site / "collections/more").mkdir()
    (site / "collections/more/more.csv").write_text(STARS)
    assert "backup" not in run_hven("new", "more", "--from", "collections/more/more.csv", cwd=site).stdout
    assert "backup" not in run_hven("new", "others", "--from", "collections/**/m*.csv", cwd=site).stdout


def test_a_pattern_of_files_outside_the_site_is_told_like_a_file(site: Path, tmp_path: Path) -> None:
    (tmp_path / "far/a").mkdir(parents=True)
    (tmp_path / "far/a/stars.csv").write_text(STARS)
    for name, pattern in (("one", "far/*/*.csv"), ("two", "far/**/stars.csv")):
        told = run_hven("new", name, "--from", tmp_path / pattern, cwd=site).stdout
        assert " in place, so `hven backup` does not save the data" in told


def test_new_writes_a_descriptor_that_is_right(site: Path) -> None:
    path = site / "collections" / "stars" / "stars.yaml"
    assert "pos.eq.ra;meta.main" in path.read_text()
    assert run_hven("check", "stars", "--site", site).stdout == "1 descriptor: 0 errors, 0 warnings\n"
    assert (
        "exists"
        in run_hven("new", "stars", "--from", site.parent / "stars.csv", "--site", site, expected_code=1).stderr
    )
