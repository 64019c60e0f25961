"""Answers say where their rows come from: publisher, citation, licence, snapshot and date of each collection that is read, and of no other."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from hven import query
from hven.formats import votable
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL

ABOUT = """collection: {name}
title: Title of {name}
publisher: Observatory of {name}
creators: ["Brahe, T.", "Kepler, J."]
doi: 10.1234/{name}
bibcode: 1602bib.{name}
licence: CC-BY-4.0
licence_url: https://creativecommons.org/licenses/by/4.0/
reference_url: https://x.example/{name}
{more}
tables:
  t: {{source: {{kind: csv, files: t.csv}}, primary: [id], columns: {{id: int32}}}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("origin")
    (directory / "hven.toml").write_text(
        'authority = "obs.example"\ncontact_name = "The Desk"\ncontact_email = "desk@obs.example"\n'
    )
    for name, more in {
        "seen": "",
        "model": "type: [Simulation]\ncontact: {name: A. Modeller, email: model@obs.example}",
        "closed": "access: private",
    }.items():
        place = directory / "collections" / name
        place.mkdir(parents=True)
        (place / "t.csv").write_text("id\n1\n2\n")
        (place / f"{name}.yaml").write_text(ABOUT.format(name=name, more=more))
    with Site(load_settings(directory)) as opened:
        for name in ("seen", "model", "closed"):
            assert ingest_collection(opened, name).published
        yield opened


def read_infos(site: Site, text: str, who: object = ANONYMOUS_PRINCIPAL) -> list[tuple[str, str]]:
    """Give the INFOs of an answer, as a reader of VOTables sees them."""
    with query.run_query(text, who, site=site) as result:  # type: ignore[arg-type]
        document = b"".join(
            votable.write_votable(
                query.build_result_metadata(result), result.iterate_batches(), result.build_status, {}
            )
        )
    read = votable.read_votable(io.BytesIO(document))
    list(read.batches)
    return [(info.name, info.value) for info in read.metadata.infos]


def test_an_answer_carries_the_origin_of_its_rows(site: Site) -> None:
    found = read_infos(site, "SELECT * FROM seen.t")
    item = site.get_published_state().tables_by_name["seen.t"]
    assert found[2:] == [
        ("publisher", "Observatory of seen"), ("contact", "desk@obs.example"), ("data_ivoid", "ivo://obs.example/seen"), ("title", "Title of seen"),
        ("creator", "Brahe, T."), ("creator", "Kepler, J."), ("citation", "https://doi.org/10.1234/seen"), ("article", "1602bib.seen"),
        ("reference_url", "https://x.example/seen"), ("rights", "CC-BY-4.0"), ("rights_uri", "https://creativecommons.org/licenses/by/4.0/"),
        ("resource_version", f"seen.t {item.run_id}"), ("last_update_date", item.updated),
    ]  # fmt: skip
    assert found[1][0] == "server_software"
    assert read_infos(site, "SELECT * FROM seen.t WHERE id = 1") == found  # nothing in it depends on the moment


def test_a_join_carries_that_of_each(site: Site) -> None:
    found = read_infos(site, "SELECT a.id FROM seen.t AS a JOIN model.t AS b ON a.id = b.id")
    assert [value for name, value in found if name == "data_ivoid"] == [
        "ivo://obs.example/seen",
        "ivo://obs.example/model",
    ]
    assert {value for name, value in found if name == "publisher"} == {"Observatory of seen", "Observatory of model"}
    assert [value for name, value in found if name == "data_type"] == ["simulation"]
    assert [value for name, value in found if name == "contact"] == ["desk@obs.example", "model@obs.example"]


def test_nothing_is_told_of_what_is_not_read(site: Site) -> None:
    assert "closed" not in str(read_infos(site, "SELECT * FROM seen.t"))
    assert "seen" not in str(read_infos(site, "SELECT COUNT(*) AS n FROM TAP_SCHEMA.tables"))
    assert ("rights", "CC-BY-4.0") in read_infos(site, "SELECT * FROM closed.t", OWNER_PRINCIPAL)
