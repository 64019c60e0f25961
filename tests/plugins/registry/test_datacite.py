"""DataCite's metadata of collections and releases: against DataCite's own schemas, another program's XML, and what descriptors say."""

from __future__ import annotations

import importlib.resources
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import bibtexparser
import jsonschema
import pytest
from datacite import schema45
from lxml import etree

from citation_site import PSZ2, build_site
from example_sites import list_examples
from hven import descriptor
from hven.model import settings
from hven.model.resource import Person, parse_doi, parse_orcid, parse_ror, parse_work_identifier
from hven.plugins.registry import datacite
from hven.plugins.registry.datacite import _describe_person
from hven.services import citations
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from requirements import ROOT

XSD = os.environ.get("HVEN_DATACITE_SCHEMA")  # directory with metadata.xsd of kernel 4.6
NS = {"d": datacite.DATACITE_NAMESPACE}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(settings.load_settings(build_site(tmp_path_factory.mktemp("cited"))), watch_for_changes=False) as site:
        site.store.releases.add_collection_releases("R4", ["psz2"], "The fourth list")
        site.store.releases.add_collection_releases("R6", ["psz2"])
        site.refresh_published_state()
        yield site


def collect_citation(site: Site, label: str = "") -> citations.CitationMetadata:
    around = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    now = site.get_published_state()
    return citations.collect_citation_metadata(
        around, now, now.get_catalogue(ANONYMOUS_PRINCIPAL, around.policies), "psz2", label
    )


def judge(made: dict[str, Any]) -> None:
    """By DataCite's JSON Schema, as the package datacite has it (4.5), with its formats."""
    schema = json.loads((importlib.resources.files("datacite") / "schemas/datacite-v4.5.json").read_text())
    jsonschema.validate(made, schema)
    assert schema45.validate(made)


def test_a_collection_becomes_a_datacite_record(site: Site) -> None:
    made = datacite.build_datacite_record(collect_citation(site))
    judge({**made, "doi": "10.5072/psz2"})
    assert made["titles"] == [{"title": "Clusters of galaxies & their masses"}]
    assert (made["publicationYear"], made["publisher"]["name"], made["types"]["resourceTypeGeneral"]) == ("2015", "Uraniborg", "Dataset")  # fmt: skip
    tycho, sophie, team = made["creators"]
    assert (tycho["givenName"], tycho["familyName"], tycho["nameType"]) == ("Tycho", "Brahe", "Personal")
    assert tycho["nameIdentifiers"] == [{"nameIdentifier": "https://orcid.org/0000-0002-1825-0097", "nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}]  # fmt: skip
    assert tycho["affiliation"][0]["affiliationIdentifier"] == "https://ror.org/02feahw73"
    assert "nameIdentifiers" not in sophie
    assert team == {"name": "The Uraniborg <team>"}
    assert {one["contributorType"] for one in made["contributors"]} == {"DataCurator", "ContactPerson"}
    assert "desk@" not in json.dumps(made), "addresses of people are not spread"
    dates = {one["dateType"]: one["date"] for one in made["dates"]}
    assert dates["Created"] == "2015-02-05"
    assert dates["Collected"] == "2010-01-01/2010-02-10"
    assert set(dates) == {"Created", "Issued", "Updated", "Collected"}
    related = {(one["relationType"], one["relatedIdentifierType"], one["relatedIdentifier"]) for one in made["relatedIdentifiers"]}  # fmt: skip
    assert related == {
        ("IsSupplementTo", "DOI", "10.1051/0004-6361/201525830"), ("IsDerivedFrom", "arXiv", "arXiv:1502.01598"),
        ("Cites", "URL", "https://example.org/x?a=1&b=2"), ("IsDocumentedBy", "bibcode", "2016A&A...594A..27P"),
        ("HasVersion", "URL", "http://vo.example/collections/psz2/releases/R4"), ("HasVersion", "URL", "http://vo.example/collections/psz2/releases/R6"),
    }  # fmt: skip
    assert made["rightsList"] == [{"rights": "CC-BY-4.0", "rightsUri": "https://spdx.org/licenses/CC-BY-4.0", "rightsIdentifier": "CC-BY-4.0", "rightsIdentifierScheme": "SPDX", "schemeUri": "https://spdx.org/licenses/"}]  # fmt: skip
    assert made["fundingReferences"] == [{"funderName": "Crown of Denmark", "funderIdentifier": "https://ror.org/02feahw73", "funderIdentifierType": "ROR", "awardNumber": "DK-1576", "awardUri": "https://example.org/dk", "awardTitle": "An island"}]  # fmt: skip
    assert made["sizes"][0] == "main: 10 rows"
    assert {"subject": "galaxy clusters", **datacite.UAT_SUBJECT_SCHEME} in made["subjects"]
    assert made["alternateIdentifiers"] == [{"alternateIdentifier": "ivo://uraniborg.example/psz2", "alternateIdentifierType": "IVOID"}]  # fmt: skip
    assert "geoLocations" not in made, "the sky is no place on the Earth"
    assert {"description": "Based on observations made at Uraniborg.", "descriptionType": "Other"} in made["descriptions"]  # fmt: skip


SEAS = PSZ2.replace("ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main", "ra: {type: float64, unit: deg, ucd: pos.bodyrc.lon").replace(
    "dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main", "dec: {type: float64, unit: deg, ucd: pos.bodyrc.lat"
)  # fmt: skip


@pytest.mark.parametrize(
    ("lons", "box"),
    [((10, 20), (10, 20)), ((0, 350), (-180, 180)), ((200, 210), (-160, -150)), ((-30, 30), (-30, 30))],
)
def test_positions_on_the_earth_become_geolocations(
    tmp_path: Path, lons: tuple[int, int], box: tuple[int, int]
) -> None:
    """Positions on the Earth are places for DataCite, whichever way their longitudes are counted."""
    rows = "name,ra,dec,begin,end,target_name\n" + "".join(f"c{n},{lon},{n * 10 - 5},2010-01-01T00:00:00,2010-02-01T00:00:00,Earth\n" for n, lon in enumerate(lons))  # fmt: skip
    said = (
        SEAS.replace("    primary: name\n", "    primary: name\n    position: [ra, dec]\n")
        + "      target_name: string\n"
    )
    with Site(settings.load_settings(build_site(tmp_path, said, rows=rows)), watch_for_changes=False) as site:
        made = {**datacite.build_datacite_record(collect_citation(site)), "doi": "10.5072/psz2"}
    judge(made)
    assert made["geoLocations"] == [{"geoLocationBox": {"westBoundLongitude": box[0], "eastBoundLongitude": box[1], "southBoundLatitude": -5.0, "northBoundLatitude": 5.0}}]  # fmt: skip
    assert _plain(etree.fromstring(datacite.write_datacite_xml(made).encode())) == _plain(schema45.dump_etree(made))


def test_releases_refer_to_each_other(site: Site) -> None:
    first, second = collect_citation(site, "r4"), collect_citation(site, "R6")
    judge({**datacite.build_datacite_record(first), "doi": "10.5072/psz2.r4"})
    related = {one.label: dict(one.relations) for one in (first, second)}
    assert related == {
        "R4": {"IsVersionOf": "http://vo.example/collections/psz2", "IsPreviousVersionOf": "http://vo.example/collections/psz2/releases/R6"},
        "R6": {"IsVersionOf": "http://vo.example/collections/psz2", "IsNewVersionOf": "http://vo.example/collections/psz2/releases/R4"},
    }  # fmt: skip
    made = datacite.build_datacite_record(first)
    assert (made["version"], made["titles"][0]["title"]) == ("R4", "Clusters of galaxies & their masses, R4")
    assert made["descriptions"][0]["description"].startswith("The fourth list\n\nThe list")
    assert made["publicationYear"] == first.issued[:4]


@pytest.mark.parametrize("label", ["", "R4"])
def test_the_xml_equals_that_of_another_program(site: Site, label: str) -> None:
    made = {**datacite.build_datacite_record(collect_citation(site, label)), "doi": "10.5072/psz2"}
    own = etree.fromstring(datacite.write_datacite_xml(made).encode())
    other = schema45.dump_etree(made)
    assert _plain(own) == _plain(other)
    if XSD:
        etree.XMLSchema(etree.parse(str(Path(XSD) / "metadata.xsd"))).assertValid(own)


def _plain(root: etree._Element) -> list[tuple[object, ...]]:
    """What an XML says, without order of lists and of attributes."""
    told = []
    for one in root.iter():
        path = "/".join([etree.QName(each).localname for each in reversed(list(one.iterancestors()))] + [etree.QName(one).localname])  # fmt: skip
        attributes = tuple(sorted((key, value) for key, value in one.attrib.items() if "schemaLocation" not in key))
        told.append((path, attributes, (one.text or "").strip()))
    return sorted(told)


@pytest.mark.needs("HVEN_DATACITE_SCHEMA")
def test_vocabularies_equal_those_of_the_datacite_schema() -> None:
    from hven.descriptor._citation_keys import DATACITE_RELATIONS, Role

    def words(name: str) -> set[str]:
        tree = etree.parse(str(Path(str(XSD)) / f"include/datacite-{name}-v4.xsd"))
        return {str(one) for one in tree.xpath("//*[local-name()='enumeration']/@value")}

    assert set(DATACITE_RELATIONS) == words("relationType")
    assert set(get_args(Role)) <= words("contributorType")


def test_checksums_of_identifiers_are_verified() -> None:
    # of https://support.orcid.org and https://ror.readme.io: known good ones; every digit that is changed is found
    for good in ("0000-0002-1825-0097", "0000-0001-5109-3700", "0000-0002-1694-233X"):
        assert parse_orcid(f"https://orcid.org/{good}") == good
        for at, sign in enumerate(good):
            if sign.isdigit():
                assert parse_orcid(good[:at] + str((int(sign) + 1) % 10) + good[at + 1 :]) is None, (good, at)
    for good in ("02feahw73", "03yrm5c26", "05dxps055", "02nr0ka47"):
        assert parse_ror(good) == f"https://ror.org/{good}"
        assert parse_ror(good[:-1] + str((int(good[-1]) + 1) % 10)) is None
    assert parse_doi("https://doi.org/10.5072/A") == parse_doi("doi:10.5072/A") == "10.5072/A"
    assert parse_work_identifier("2016A&A...594A..27P") == ("bibcode", "2016A&A...594A..27P")
    assert parse_work_identifier("hep-th/9901001") is None
    assert parse_work_identifier("arXiv:astro-ph/9901001v2") == ("arXiv", "arXiv:astro-ph/9901001v2")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("orcid: 0000-0002-1825-0097", "orcid: 0000-0002-1825-0098", "warning psz2.yaml:6: creators: orcid is left out, because '0000-0002-1825-0098' is not valid"),
        ('ror: "https://ror.org/02feahw73"}\n  - {', 'ror: "https://ror.org/02feahw74"}\n  - {', "warning psz2.yaml:6: creators: ror is left out"),
        ("relation: Cites", "relation: Cite", "error psz2.yaml:12: related: 'Cite' is not a DataCite relation"),
        ('"arXiv:1502.01598"', '"1502.01598"', "error psz2.yaml:12: related: '1502.01598' is not an identifier of a work"),
        ("role: DataCurator", "role: Curator", "error psz2.yaml:9: contributors.role must be "),
        ("licence: CC-BY-4.0", "doi: uraniborg", "warning psz2.yaml:16: doi: 'uraniborg' is not a DOI"),
    ],
)  # fmt: skip
def test_faults_of_citation_metadata_are_reported_at_their_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in PSZ2
    folder = tmp_path / "collections/psz2"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text("")
    (folder / "psz2.yaml").write_text(PSZ2.replace(old, new, 1))
    resource, faults = descriptor.check_and_read_descriptor(
        folder / "psz2.yaml", settings.load_settings(tmp_path), check_sources=False
    )
    severity, place, message = told.split(" ", 2)
    lines = [f"{one.severity} {Path(str(one.place.file)).name}:{one.place.line}: {one.message}" for one in faults]
    assert any(line.startswith(f"{severity} {place} {message}") for line in lines), lines
    if "orcid" in message:
        assert resource is not None
        assert resource.creators[0].orcid is None, "nobody else is named"


def test_missing_metadata_of_a_record_is_reported(tmp_path: Path) -> None:
    bare = "\n".join(line for line in PSZ2.splitlines() if not line.startswith(("licence", "creators", "  - ", "created", "bibcode", "description:")))  # fmt: skip
    with Site(settings.load_settings(build_site(tmp_path, bare + "\n")), watch_for_changes=False) as site:
        told = list(datacite.list_missing_metadata(collect_citation(site)))
    assert [message.partition(";")[0] for severity, message in told if severity == "error"] == ["it has no creators"]
    assert {"it has no licence, so users do not know how they may use it", "it has no description"} <= {
        message for _, message in told
    }


def test_bibtex_is_read_by_another_program(site: Site) -> None:
    one = collect_citation(site, "R4")
    text = citations.write_bibtex(one.resource, one.address, label=one.label, doi="10.5072/psz2.r4", year=one.year)
    library = bibtexparser.parse_string(text)
    assert not library.failed_blocks
    (entry,) = library.entries
    fields = {key: value.value for key, value in entry.fields_dict.items()}
    assert entry.entry_type == "misc"
    assert (fields["doi"], fields["version"], fields["year"]) == ("10.5072/psz2.r4", "R4", one.issued[:4])
    assert fields["author"].count(" and ") == 2
    assert r"\&" in fields["title"]
    assert citations.write_citation_sentence(one.resource, label="R4", doi="10.5072/psz2.r4", year="2026") == "Brahe, Tycho, Brahe, Sophie, The Uraniborg <team> (2026). Clusters of galaxies & their masses, R4. Uraniborg. https://doi.org/10.5072/psz2.r4"  # fmt: skip


DESCRIPTORS = [
    path
    for folder in (*list_examples().values(), ROOT / "demo")
    for path in sorted(folder.glob("collections/*/*.yaml"))
    if path.stem == path.parent.name
]


def test_datacites_schema_judges_what_all_descriptors_say() -> None:
    """Of every example and of the demo, whatever they lack: by DataCite's JSON Schema, and its XML by DataCite's own writer and schema."""
    judged = 0
    for path in DESCRIPTORS:
        about = descriptor.load_descriptor(path, settings.load_settings(path.parents[2], {}))
        one = citations.CitationMetadata(
            resource=about,
            address=citations.build_landing_page_url("http://vo.example", about.name),
            doi="10.5072/example",
            publisher=about.publisher or "Uraniborg",
            ivoid=f"ivo://uraniborg.example/{about.name}",
            description=about.description,
            issued="2026-01-02T03:04:05",
            updated="2026-02-03T04:05:06",
        )
        made = datacite.build_datacite_record(one)
        judge(made)
        own = etree.fromstring(datacite.write_datacite_xml(made).encode())
        assert _plain(own) == _plain(schema45.dump_etree(made)), path
        if XSD:
            etree.XMLSchema(etree.parse(str(Path(XSD) / "metadata.xsd"))).assertValid(own)
        judged += 1
    assert judged > 25


def test_a_name_with_a_comma_has_two_parts() -> None:
    persons = [
        _describe_person(Person(name=name)) for name in ("Rossetti, E.", "Ferraro, F.-R.", "van der Hulst, J. M.")
    ]
    assert [(one["familyName"], one["givenName"]) for one in persons] == [("Rossetti", "E."), ("Ferraro", "F.-R."), ("van der Hulst", "J. M.")]  # fmt: skip
