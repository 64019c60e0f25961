"""``hven promote --lint``: what the public site's TAP service tells of the promoted tables."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from promotion_sites import SitePair, create_sites

from hven.model.errors import UserError
from hven.plugins.lint.findings import LintFinding, LintReport
from hven.plugins.promotion import service_validation, taplint_findings
from hven.plugins.promotion.service_validation import select_promoted_findings
from hven.plugins.promotion.taplint_findings import list_taplint_findings
from process_runner import reserve_port, run_hven, serve_site

TAPLINT_OUTPUT = """\
Section MDQ: Check table query result columns against declared metadata
E-MDQ-CTYP-1 Declared/result type mismatch for column ra in table stars.main (char != double)
W-MDQ-XTYP-2x Non-DALI xtype value "old" in table planets.main
F-CAP-GONE   No capabilities
I-TMC-CLEN Columns: 4
Totals: Errors: 1; Warnings: 1; Infos: 1; Summaries: 0; Failures: 1
"""


@pytest.fixture(autouse=True)
def absent_taplint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out taplint, which takes half a minute."""

    def refuse_program(directory: Path, name: str) -> str:
        raise UserError(f"there is no program {name!r}")

    monkeypatch.setattr(taplint_findings, "find_program", refuse_program)


def install_taplint(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a script stand for STILTS."""
    program = directory / "stilts"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(taplint_findings, "find_program", lambda *_: str(program))


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
        assert "taplint was not run, because STILTS is not installed" in text
        document = json.loads(promote_with_lint(sites, "--json"))
        assert document["lint"]["judged"] is True
        assert document["lint"]["counts"]["error"] == 0


def test_taplint_decides_on_the_exit_code_too(sites: SitePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = reserve_port()
    set_public_url(sites, f"http://127.0.0.1:{port}")
    install_taplint(tmp_path, monkeypatch, f"cat <<'END'\n{TAPLINT_OUTPUT}END")
    with serve_site(sites.gold, port=port):
        text = promote_with_lint(sites, expected_code=1)
    assert "stars is published in gold" in text
    assert "error: stars.main: Declared/result type mismatch for column ra in table stars.main" in text
    assert "error: No capabilities [taplint.CAP-GONE]; see https://www.starlink.ac.uk/stilts/" in text


class TagServer:
    """Answers with the entity tags of a list, and then with the last one; it notes when the service is validated."""

    def __init__(self, tags: list[str]) -> None:
        self.tags = tags
        self.events: list[str] = []

    def send_request(self, method: str, url: str, **_options: object) -> SimpleNamespace:
        tag = self.tags[min(len(self.events), len(self.tags) - 1)]
        if not tag:
            raise UserError("no answer")
        self.events.append(f"{method} {url}")
        return SimpleNamespace(headers={"etag": tag})

    def validate(self, url: str) -> LintReport:
        self.events.append("validation")
        return LintReport(url=url, is_judged=False)


OLD_TAG, NEW_TAG = 'W/"1.0-aaaa-public"', 'W/"1.0-bbbb~stars-public"'


@pytest.mark.parametrize(
    ("tags", "request_count"),
    [
        ([OLD_TAG, OLD_TAG, NEW_TAG], 6),
        ([NEW_TAG, NEW_TAG, OLD_TAG, NEW_TAG], 7),  # one of several processes is late
        ([NEW_TAG], 4),
        ([""], 0),
    ],
)
def test_servers_have_time_to_notice_the_publication(
    tags: list[str], request_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else, findings tell of tables that are in one document of the service, and not yet in another."""
    server = TagServer(tags)
    monkeypatch.setattr(service_validation.http_client, "send_request_once", server.send_request)
    monkeypatch.setattr(service_validation, "validate_service", server.validate)
    monkeypatch.setattr(service_validation, "POLL_INTERVAL_SECONDS", 0.0)
    service_validation.validate_promoted_tables("http://127.0.0.1/tap", [], [], "bbbb")
    assert server.events == ["HEAD http://127.0.0.1/tap/tables"] * request_count + ["validation"]


def test_servers_that_never_show_the_publication_are_not_awaited_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    server = TagServer([OLD_TAG])
    monkeypatch.setattr(service_validation.http_client, "send_request_once", server.send_request)
    monkeypatch.setattr(service_validation, "MAX_WAIT_SECONDS", 0.3)
    assert not service_validation.wait_for_published_state("http://127.0.0.1/tap", "bbbb")
    assert len(server.events) > 1


def test_a_server_shows_the_state_of_its_site(sites: SitePair) -> None:
    port = reserve_port()
    url = f"http://127.0.0.1:{port}/tap"
    with sites.open_gold() as site:
        version = site.get_published_state().version
    with serve_site(sites.gold, port=port):
        assert service_validation.wait_for_published_state(url, version)


def test_findings_of_taplint_have_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_taplint(tmp_path, monkeypatch, f"cat <<'END'\n{TAPLINT_OUTPUT}END")
    findings = list_taplint_findings("http://127.0.0.1/tap", ["tap_schema.tables", "planets.main", "STARS.main"])
    assert [(finding.severity, finding.code, finding.table) for finding in findings] == [
        ("error", "taplint.MDQ-CTYP", "stars.main"),
        ("warning", "taplint.MDQ-XTYP", "planets.main"),
        ("error", "taplint.CAP-GONE", ""),
    ]


@pytest.mark.parametrize(
    ("script", "timeout_seconds", "words"),
    [("echo E-MDQ-CTYP-1 cut; exit 1", 60.0, "or failed: E-MDQ-CTYP-1 cut"), ("exec sleep 600", 1.0, "within 1 s")],
)
def test_taplint_that_does_not_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, timeout_seconds: float, words: str
) -> None:
    monkeypatch.setattr(taplint_findings, "TAPLINT_TIMEOUT_SECONDS", timeout_seconds, raising=False)
    install_taplint(tmp_path, monkeypatch, script)
    (finding,) = list_taplint_findings("http://127.0.0.1/tap", [])
    assert (finding.severity, finding.code) == ("warning", "taplint.incomplete")
    assert words in finding.message


def test_the_address_is_an_argument_of_taplint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_taplint(tmp_path, monkeypatch, "printf 'E-ARG-ARGS '; echo \"$@\"; echo Totals:")
    (finding,) = list_taplint_findings("https://host.example/tap", [])
    assert finding.message.startswith("taplint tapurl=https://host.example/tap stages=TMV TME")


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
