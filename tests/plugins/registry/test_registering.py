"""`hven register`: what validators of registries would say, with the line to mend; the records; what hven.toml lacks."""

from __future__ import annotations

import io
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from hven.app import _cli as cli
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import UserError
from hven.plugins.registry import registry_validation
from hven.plugins.registry.record_store import RegistryRecord, RegistryRecordStore
from hven.plugins.registry.registry_enrolment import update_settings_text
from hven.plugins.registry.registry_records import PublishingRegistry, write_registry_record_xml
from hven.services.face import ServiceContext, load_service_faces
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from process_runner import run_hven

TOML = """\
authority = "tycho.example"
public_url = "https://vo.tycho.example/hven"
contact_email = "vo@tycho.example"

[registry]
organisation = "Uraniborg"
"""
WHOLE = """\
collection: stars
title: Stars of Tycho
description: Where they were
subjects: [solar-physics]
creators: ["Brahe, T."]
licence: CC-BY-4.0
waveband: [Optical]
created: 2016-03-30
registry: {id: tycho/stars}
tables:
  main:
    description: All of them
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns:
      id: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("register")
    folder = home / "collections/stars"
    folder.mkdir(parents=True)
    (home / "hven.toml").write_text(TOML)
    (folder / "rows.csv").write_text("id,ra,dec\na,10,5\nb,200,-40\n")
    (folder / "stars.yaml").write_text(WHOLE)
    with Site(settings.load_settings(home), watch_for_changes=False) as site:
        ingest_collection(site, "stars")
    return home


@pytest.fixture
def site_files(directory: Path) -> Iterator[tuple[Path, Path]]:
    """The two files, which are as they were after the test."""
    descriptor = directory / "collections/stars/stars.yaml"
    yield directory / "hven.toml", descriptor
    (directory / "hven.toml").write_text(TOML)
    descriptor.write_text(WHOLE)


def test_what_is_right_and_nothing_is_told_by_a_look(directory: Path) -> None:
    def list_records() -> list[RegistryRecord]:
        with Site(settings.load_settings(directory), watch_for_changes=False) as site:
            return site.store.get_or_create(RegistryRecordStore).list_records(0, 100)

    before = list_records()
    assert re.fullmatch(
        r"[6-9] records: 0 errors, 0 warnings\n", run_hven("register", "--check", "--site", directory).stdout
    )
    shown = run_hven("register", "--show", "stars", "--site", directory).stdout
    ids = re.findall(r"<identifier>(.*)</identifier>", shown)
    assert ids == ["ivo://tycho.example/tycho/stars", "ivo://tycho.example/tycho/stars/main/cone"]
    assert list_records() == before
    assert (
        "no registry records for the collection 'moons'"
        in run_hven("register", "--show", "moons", "--site", directory, expected_code=1).stderr
    )


@pytest.mark.parametrize(
    ("old", "new", "said", "line", "code"),
    [
        ("created: 2016-03-30", "created: 2999-01-01", "VRdate, ivo://tycho.example/tycho/stars and 1 more: its date Created is 2999-01-01, which is in the future", 8, 1),
        ("[Optical]", "[Optcal]", "VODataService: 'Optcal' is not a term in the vocabulary messenger; did you mean 'Optical'", 7, 0),
        ("licence: CC-BY-4.0\n", "", "VOResource: the collection 'stars' has no licence, so users do not know how they may use it; add: licence: CC-BY-4.0", 1, 0),
        (", description: Declination", "", "VODataService, ivo://tycho.example/tycho/stars and 1 more: these columns of stars.main (1) have no description: dec;", 10, 0),
        ("    description: All of them\n", "", "the table stars.main has no description; add under main: description: ..", 10, 0),
    ],
)  # fmt: skip
def test_descriptor_faults_are_reported_at_their_line(site_files: tuple[Path, Path], old: str, new: str, said: str, line: int, code: int) -> None:  # fmt: skip
    toml, descriptor = site_files
    descriptor.write_text(WHOLE.replace(old, new))
    told = run_hven("register", "--check", "stars", "--site", toml.parent, expected_code=code).stdout
    (found,) = (one for one in told.splitlines() if said in one)
    assert f"{descriptor}:{line}: " in found
    assert found.startswith("warning: ") == (code == 0)


@pytest.mark.parametrize(("count", "end"), [(5, "c4"), (6, "c4, .."), (7, "c4, ..")])
def test_five_columns_without_a_description_are_named(count: int, end: str) -> None:
    columns = "".join(f"<column><name>c{number}</name></column>" for number in range(count))
    record = etree.fromstring(f"<r><tableset><schema><table><name>s.t</name><description>T</description>{columns}</table></schema></tableset></r>")  # fmt: skip
    ((_, message, *_),) = registry_validation._find_missing_descriptions(record)
    assert message == f"these columns of s.t ({count}) have no description: c0, c1, c2, c3, {end}"


@pytest.mark.parametrize(
    ("old", "new", "said", "line"),
    [
        ('tycho.example"', 'Example.org"', "RI3.1.4b: hven.toml has no usable authority", 1),
        ("https://vo.tycho.example", "http://localhost:8080", "RI3.1.5a: hven.toml has no usable public_url", 2),
        ('contact_email = "vo@tycho.example"\n', "", "RI3.1.1: hven.toml has no usable contact_email", 1),
        ('organisation = "Uraniborg"\n', "", "VOResource: hven.toml has no usable registry.organisation", 5),
        ("[registry]", '[registry]\nids = {tap = "ivo://tycho.example/tycho/stars"}', "RI3.1.3: ivo://tycho.example/tycho/stars is the id of 2 records", 6),
    ],
)  # fmt: skip
def test_missing_site_settings_are_reported_at_their_line(
    site_files: tuple[Path, Path], old: str, new: str, said: str, line: int
) -> None:
    toml, _ = site_files
    toml.write_text(TOML.replace(old, new, 1))
    wrong = "organisation" not in old
    lines = run_hven("register", "--check", "--site", toml.parent, expected_code=int(wrong)).stdout.splitlines()
    assert any(said in one and f"{toml}:{line}: " in one for one in lines), lines


@pytest.fixture(scope="module")
def judging(directory: Path) -> Iterator[ServiceContext]:
    (directory / "hven.toml").write_text(TOML)
    with Site(settings.load_settings(directory), watch_for_changes=False) as site:
        yield replace(ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL), faces=load_service_faces())


CONE = "ivo://tycho.example/tycho/stars/main/cone"


@pytest.mark.parametrize(
    ("ivoid", "old", "new", "said"),
    [
        (CONE, ' role="std"', "", 'CS4.0b, .* no interface vs:ParamHTTP with role="std"'),
        (CONE, "<testQuery>.*</testQuery>|<testQueryString>.*?</testQueryString>", "", "VODataService, .* no test query"),
        (CONE, "<interface.*?</interface>", "", "VR3.2.2a, .* has no interface"),
        (CONE, "<capability.*</capability>", "", "VR3.2.2a, .* a service without a capability"),
        (CONE, "IsServiceFor", "IsFriendOf", "VR3.1.3a, .* 'IsFriendOf' is not a relation"),
        (CONE, "<email>.*</email>", "", "VOResource, .*: its contact has no email address"),
        ("ivo://tycho.example/tycho/stars", "<waveband>", "<temporal>9 3</temporal><waveband>", "VODataService, .* it covers 9 3 days"),
        ("ivo://tycho.example/tycho/stars", "<name>stars.main</name>", "<name>stars.main</name><utype>ivo://ivoa.net/std/epntap#table-2.0</utype>", "none"),
        ("ivo://tycho.example/tycho/stars", "TAP#aux(.*<name>stars.main</name>)", r"x\1<utype>ivo://ivoa.net/std/EPNTAP#table-2.0</utype>", "EPN-TAP, .*no TAP#aux"),
        ("ivo://tycho.example/registry", "vg:OAIHTTP", "vs:ParamHTTP", "RI4.0a, "),
        ("ivo://tycho.example/registry", "<managedAuthority>.*</managedAuthority>", "", "RI3.1.4b: tycho.example is not an authority"),
        ("ivo://tycho.example", "ivo://tycho.example<", "ivo://other.example<", "RI3.1.4c: there is no record of the authority tycho.example"),
    ],
)  # fmt: skip
def test_each_fault_of_a_record_is_reported_alone(
    judging: ServiceContext, ivoid: str, old: str, new: str, said: str
) -> None:
    """A record that is spoilt in one thing is refused for that, and what is whole for nothing."""
    records = registry_validation.build_draft_records(judging)
    assert registry_validation.find_record_faults(judging, records) == []

    def spoilt(one: RegistryRecord) -> RegistryRecord:
        changed = re.sub(old, new, one.body, flags=re.DOTALL)
        assert changed != one.body
        return replace(one, body=changed)

    bad = {part: [spoilt(one) if one.ivoid == ivoid else one for one in found] for part, found in records.items()}
    told = [fault.message for fault in registry_validation.find_record_faults(judging, bad)]
    assert [one for one in told if re.match(said, one)] if said != "none" else told == [], told


def test_the_registry_itself_and_a_kind(judging: ServiceContext) -> None:
    records = registry_validation.build_draft_records(judging)
    none = {part: [one for one in found if one.kind != "vg:Registry"] for part, found in records.items()}
    assert any(one.message.startswith("RI3.1.4a") for one in registry_validation.find_record_faults(judging, none))
    other = {part: [replace(one, kind="vs:DataService") if one.ivoid == CONE else one for one in found] for part, found in records.items()}  # fmt: skip
    assert any(
        one.message.startswith(f"CS4.0a, {CONE}") for one in registry_validation.find_record_faults(judging, other)
    )


def test_shown_records_equal_harvested_records(judging: ServiceContext) -> None:
    around = judging
    draft = {one.ivoid: one for found in registry_validation.build_draft_records(around).values() for one in found}
    PublishingRegistry(around).refresh_listing_conflicts()
    try:
        for ivoid, one in draft.items():
            told = around.site.store.get_or_create(RegistryRecordStore).find_record(ivoid)
            assert told is not None
            assert (told.kind, told.body) == (one.kind, one.body)
        again = [one for found in registry_validation.build_draft_records(around).values() for one in found]
        assert [write_registry_record_xml(one) for one in again] == [
            write_registry_record_xml(around.site.store.get_or_create(RegistryRecordStore).find_record(one.ivoid))
            for one in again
        ]  # type: ignore[arg-type]
        assert all(one.changed for one in again)
        shown = etree.fromstring(registry_validation.format_record(again[0]))
        assert shown.get("created") == again[0].created
    finally:
        around.site.store.get_or_create(RegistryRecordStore).replace_records_listing_conflicts(
            dict.fromkeys(around.site.store.get_or_create(RegistryRecordStore).map_part_digests())
        )


def test_lines_of_keys_are_those_of_their_section() -> None:
    lines = ["x = 1", "[portals.a]", "authority = 'idoc'", "[registry]", "ids = {}"]
    assert [registry_validation._find_key_line(lines, *key) for key in (("x", ""), ("authority", ""), ("ids", "registry"), ("organisation", "registry"))] == [1, 1, 5, 4]  # fmt: skip


# --- the guide ------------------------------------------------------------------------------------------------


def test_the_guide_prints_the_missing_settings(tmp_path: Path) -> None:
    run_hven("init", tmp_path / "site")
    toml = tmp_path / "site/hven.toml"
    told = run_hven("register", "--site", tmp_path / "site").stdout
    lines = [one.strip() for one in told.splitlines() if one.startswith("    ")]
    assert [one.partition(" = ")[0] for one in lines] == ["authority", "public_url", "contact_email", "[registry]", "organisation"]  # fmt: skip
    toml.write_text("\n".join(lines))
    assert "has all the settings that registries need" in run_hven("register", "--site", tmp_path / "site").stdout
    assert (
        "https://vo.your-institute.example/oai in the form" in run_hven("register", "--site", tmp_path / "site").stdout
    )
    assert (
        "so it needs a terminal" in run_hven("register", "--write", "--site", _bare(tmp_path), expected_code=2).stderr
    )


def _bare(directory: Path) -> Path:
    run_hven("init", directory / "bare")
    return directory / "bare"


class Terminal(io.StringIO):
    """A person's answers."""

    def isatty(self) -> bool:
        return True


def test_answers_are_written_to_hven_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    toml = _bare(tmp_path) / "hven.toml"
    before = toml.read_text()
    monkeypatch.setattr(sys, "stdin", Terminal("idoc\nhttps://idoc.example nobody\nIAS\n"))
    assert cli.main(["register", "--write", "--site", str(toml.parent)]) == 1
    assert "contact_email" in capsys.readouterr().err
    assert toml.read_text() == before
    monkeypatch.setattr(sys, "stdin", Terminal('idoc\nvo@idoc.example https://idoc.example\nInstitut "é"\n'))
    assert cli.main(["register", "--write", "--site", str(toml.parent)]) == 0
    out, err = capsys.readouterr()
    assert "has all the settings that registries need" in out
    assert len(re.findall(r"The (authority|registry|organisation)\b", err)) == 3  # questions
    found = settings.load_settings(toml.parent)
    assert (found.authority, found.public_url, found.contact_email, found.registry.organisation) == ("idoc", "https://idoc.example", "vo@idoc.example", 'Institut "é"')  # fmt: skip
    assert set(before.splitlines()) - set(toml.read_text().splitlines()) == {'authority = "example.org"          # ivo://example.org/...'}  # fmt: skip


def test_existing_settings_are_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    toml = _bare(tmp_path) / "hven.toml"
    toml.write_text('authority = "idoc"\npublic_url = "https://idoc.example"\n[registry]\norganisation = "IAS"\n')
    monkeypatch.setattr(sys, "stdin", Terminal("vo@idoc.example\n"))
    assert cli.main(["register", "--write", "--site", str(toml.parent)]) == 0
    assert "The authority" not in capsys.readouterr().err
    assert (settings.load_settings(toml.parent).public_url, settings.load_settings(toml.parent).contact_email) == ("https://idoc.example", "vo@idoc.example")  # fmt: skip
    toml.write_text('authority = "idoc"\n[registry]\norganisation = "IAS"\n')
    monkeypatch.setattr(sys, "stdin", Terminal("https://idoc.example\n"))  # half of the answer
    assert cli.main(["register", "--write", "--site", str(toml.parent)]) == 0
    assert "still lacks these settings: contact_email" in capsys.readouterr().err
    assert settings.load_settings(toml.parent).public_url == "https://idoc.example"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n[a]\nauthority = 1\n",
        "authority = 'x' # old\n[registry] # ours\norganisation = 'y'\n[z]\norganisation = 3\n",
        "x = [\n  [1],\n]\n[registry]\nids = {}\n[z]\n",
    ],
)
def test_lines_go_where_they_belong(text: str) -> None:
    before, after = tomllib.loads(text), tomllib.loads(update_settings_text(text, {"authority": "new", "registry.organisation": "IAS"}))  # fmt: skip
    assert after == {**before, "authority": "new", "registry": {**before.get("registry", {}), "organisation": "IAS"}}


def test_a_file_that_is_written_otherwise_stays() -> None:
    with pytest.raises(UserError, match=r"cannot add the lines to hven\.toml"):
        update_settings_text("registry = {ids = {}}\n", {"registry.organisation": "IAS"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--check", "--show"], "cannot be combined"),
        (["stars"], "hven register stars --check"),
        (["--at", "https://x.example/tap"], "--at needs --harvested"),
        (["--harvested"], "the address of the registry is missing"),
    ],
)
def test_wrong_usage(directory: Path, words: list[str], said: str) -> None:
    assert said in run_hven("register", *words, "--site", directory, expected_code=2).stderr
