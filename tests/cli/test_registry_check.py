"""What `hven check` says of records in registries: identifiers that cannot be, or that two have, and what records lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from process_runner import run_hven

TOML = 'authority = "idoc"\n\n[registry]\nauthorities = ["idoc.d2s"]\n'
WHOLE = """\
title: T
description: D
subjects: [stars]
creators: [Brahe]
licence: CC-BY-4.0
contact: {name: Sophie, email: s@x.org}
"""


def run_check(directory: Path, *registries: str, about: str = WHOLE, code: int = 0, toml: str = TOML) -> list[str]:
    (directory / "hven.toml").write_text(toml)
    for number, registry in enumerate(registries):
        folder = directory / "collections" / f"c{number}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rows.csv").write_text("n\n1\n")
        (folder / f"c{number}.yaml").write_text(f"collection: c{number}\n{about}registry: {registry}\ntables: {{main: {{source: rows.csv}}}}\n")  # fmt: skip
    done = run_hven("check", "--site", directory, expected_code=code)
    return [line.partition(": ")[2] if line.startswith(("error", "warning")) else line for line in (done.stdout + done.stderr).splitlines()]  # fmt: skip


def test_what_is_right(tmp_path: Path) -> None:
    said = "{id: corot/bright, services: {main.sia: c, main.cone: {id: ivo://IDOC.d2s/a, mirrors: [https://x.org/scs?], test: RA=1&DEC=2&SR=1}, main: m}, also: [doi:10.1/x]}"
    assert run_check(tmp_path, said, "{}", "{publish: false}") == ["3 descriptors: 0 errors, 0 warnings"]


@pytest.mark.parametrize(
    ("registry", "said"),
    [
        ("{id: 'a b'}", "registry.id: 'a b' is not a valid identifier: it contains ' '"),
        ("{id: 'a//b'}", "it has an empty part; use only letters, digits"),
        ("{id: 'a?b#c'}", "it contains '#' '?'"),
        ("{id: ivo://idok/x}", "registry.id: 'idok' is not an authority of this site; did you mean 'idoc'?"),
        ("{id: ivo://elsewhere.org/x}", "or add it to authorities = [..] under [registry] in hven.toml"),
        ("{id: ivo:x}", "is not an authority of this site; write ivo://AUTHORITY/PATH"),
        ("{id: ivo://idoc}", "it has an empty part"),
        ("{services: {mian.cone: x}}", "there is no table 'mian'; did you mean 'main'?"),
        ("{services: {main.sia-cut: x}}", "there is no service 'sia-cut'; did you mean 'sia-cutouts'?"),
        ("{services: {main.cine: x}}", "there is no service 'cine'; did you mean 'cone'?"),
        (
            "{services: {main.cone: {mirrors: [ftp://x.org]}}}",
            "'ftp://x.org' is not an address; write http://.. or https://..",
        ),
        (
            "{id: x, services: {main.cone: X}}",
            "registry: two records have the id ivo://idoc/x; give each record its own id",
        ),
        ("{also: [no uri]}", "registry.also: 'no uri' is not a URI"),
        ("{related: [{type: IsFriendOf}]}", "registry.related: 'IsFriendOf' is not a VOResource relation"),
        ("{related: [{type: IsPartOf, id: x}]}", "registry.related: 'x' is not an identifier"),
        ("{related: [{title: x}]}", "lacks the key 'type'"),
    ],
)
def test_invalid_registry_keys_are_reported_at_their_line(tmp_path: Path, registry: str, said: str) -> None:
    lines = run_check(tmp_path, registry, code=1)
    assert any(said in line and "c0.yaml:8:" in line for line in lines), lines


def test_missing_metadata_of_records_is_reported(tmp_path: Path) -> None:
    lines = run_check(tmp_path, "{}", about="title: T\ndoi: mine\n")
    for said in ("no description", "no subjects", "no creators", "no licence", "there is no contact", "doi is left out, because 'mine' is not valid"):  # fmt: skip
        assert any(said in line for line in lines), (said, lines)
    lines = run_check(tmp_path, "{}", about=WHOLE.replace(", email: s@x.org", ""))
    assert any("the contact has no email address" in line for line in lines), lines
    assert run_check(tmp_path, "{}", about=WHOLE.replace(", email: s@x.org", ""), toml=f'contact_email = "vo@x.org"\n{TOML}')[-1] == "1 descriptor: 0 errors, 0 warnings"  # fmt: skip


def test_identifiers_claimed_twice_are_reported(tmp_path: Path) -> None:
    lines = run_check(tmp_path, "{id: corot}", "{services: {main.cone: COROT}}", "{id: tap}", code=1)
    assert any(
        "registry: ivo://idoc/COROT is also the id of the collection c0" in line and "c1.yaml:8:1" in line
        for line in lines
    ), lines
    assert any(
        "registry: ivo://idoc/tap is also the id of the site's record tap" in line and "c2.yaml" in line
        for line in lines
    ), lines
    alone = run_hven("check", "c0", "--site", tmp_path, expected_code=1)
    assert "is also the id of the collection c" in alone.stdout + alone.stderr
