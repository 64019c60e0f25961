"""``hven promote --lint``: what the public site's TAP service tells of the promoted tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from promotion_sites import SitePair, create_sites

from hven.plugins.lint.findings import LintFinding, LintReport
from hven.plugins.promotion.service_validation import select_promoted_findings
from process_runner import reserve_port, run_hven, serve_site


@pytest.fixture
def sites(tmp_path: Path) -> SitePair:
    pair = create_sites(tmp_path)
    pair.publish_version(1)
    return pair


def set_public_url(pair: SitePair, url: str) -> None:
    """Give the public site an address."""
    path = pair.gold / "hven.toml"
    path.write_text(f'public_url = "{url}"\n{path.read_text()}')


def promote_with_lint(pair: SitePair, *options: str, expected_code: int = 0) -> str:
    command = ("promote", "stars", "--to", "gold", "--lint", *options, "--site", pair.dev)
    return run_hven(*command, expected_code=expected_code).stdout


def test_promoted_tables_are_validated_at_the_public_address(sites: SitePair) -> None:
    port = reserve_port()
    set_public_url(sites, f"http://127.0.0.1:{port}")
    with serve_site(sites.gold, port=port):
        text = promote_with_lint(sites)
        assert "stars is published in gold" in text
        assert f"hven lint http://127.0.0.1:{port}/tap: 0 error," in text
        document = json.loads(promote_with_lint(sites, "--json"))
        assert document["lint"]["judged"] is True
        assert document["lint"]["counts"]["error"] == 0


def test_a_service_that_does_not_answer_is_no_equality(sites: SitePair) -> None:
    set_public_url(sites, f"http://127.0.0.1:{reserve_port()}")
    text = promote_with_lint(sites, expected_code=1)
    assert "stars is published in gold" in text
    assert "could not be validated" in text


def test_a_site_without_address_is_refused_before_anything_changes(sites: SitePair) -> None:
    command = ("promote", "stars", "--to", "gold", "--lint", "--site", sites.dev)
    done = run_hven(*command, expected_code=2)
    assert "public_url" in done.stderr
    with sites.open_gold() as gold:
        assert not gold.published_records


def test_lint_and_dry_run_exclude_each_other(sites: SitePair) -> None:
    command = ("promote", "stars", "--to", "gold", "--lint", "--dry-run", "--site", sites.dev)
    assert "exclude each other" in run_hven(*command, expected_code=2).stderr


def test_findings_of_other_tables_are_left_out() -> None:
    tables = ("stars.main", "STARS.main", "planets.main", "")
    findings = tuple(
        LintFinding(code="meta.ucd", severity="error", message="m", source="s", remedy="r", table=table)
        for table in tables
    )
    report = LintReport(url="http://127.0.0.1/tap", is_judged=True, findings=findings)
    validation = select_promoted_findings(report, ["stars.main"])
    assert [finding.table for finding in validation.findings] == ["stars.main", "STARS.main", ""]
    assert validation.counts_by_severity["error"] == 3
