"""ivoa.obscore after changes: what a new process would build, though only what changed is compiled again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.site import Site, _obscore_views

DESCRIPTOR = """\
collection: {name}
title: Images
access: {access}
tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: ident
    columns:
      ident: {{type: string, description: Name}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec}}
    obscore:
      set: {{dataproduct_type: {kind}, calib_level: 2, facility_name: {name}}}
      text: {{obs_title: "{name} {{ident}}"}}
      optional: obs_title
"""
NAMES = ("east", "north", "west")
VIEW = "ivoa.obscore"


def write_descriptor(site: Site, name: str, *, access: str = "public", kind: str = "image") -> None:
    path = site.settings.directory / "collections" / name / f"{name}.yaml"
    path.write_text(DESCRIPTOR.format(name=name, access=access, kind=kind))


def write_rows(site: Site, name: str, count: int) -> None:
    lines = [f"{name}{number},{number}.5,{number}.25" for number in range(count)]
    path = site.settings.directory / "collections" / name / "rows.csv"
    path.write_text("\n".join(["ident,ra,dec", *lines]) + "\n")


@pytest.fixture
def compiled_tables(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the tables whose part of ivoa.obscore is compiled."""
    names: list[str] = []
    compile_member = _obscore_views._compile_member

    def record_and_compile(standard_name, published_table):
        if standard_name == _obscore_views.OBSCORE_VIEW:
            names.append(published_table.table.qualified_name)
        return compile_member(standard_name, published_table)

    monkeypatch.setattr(_obscore_views, "_compile_member", record_and_compile)
    return names


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Open a site with three collections of observations."""
    with Site(Settings(directory=tmp_path, authority="ohp.fr"), watch_for_changes=False) as site:
        for name in NAMES:
            (tmp_path / "collections" / name).mkdir(parents=True)
            write_descriptor(site, name)
            write_rows(site, name, 3)
            assert ingest_collection(site, name).published
        site.refresh_published_state()
        yield site


def change_rows(site: Site) -> None:
    write_rows(site, "north", 5)
    assert ingest_collection(site, "north").published


def change_mapping(site: Site) -> None:
    write_descriptor(site, "north", kind="cube")


def close_collection(site: Site) -> None:
    write_descriptor(site, "north", access="private")


def rename_column(site: Site) -> None:
    path = site.settings.directory / "collections/north/north.yaml"
    text = path.read_text().replace("      ident: ", "      label: ").replace("primary: ident", "primary: label")
    path.write_text(text.replace("{ident}", "{label}"))
    rows = path.with_name("rows.csv")
    rows.write_text(rows.read_text().replace("ident", "label", 1))
    assert ingest_collection(site, "north").published


def unpublish_collection(site: Site) -> None:
    site.store.unpublish_collection("north")


@pytest.mark.parametrize(
    ("change", "compiled"),
    [
        (change_rows, set()),
        (change_mapping, {"north.main"}),
        (close_collection, {"north.main"}),
        (rename_column, {"north.main"}),
        (unpublish_collection, set()),
    ],
)
def test_a_change_compiles_only_its_table_and_gives_what_a_new_process_builds(
    site: Site, compiled_tables: list[str], change: Callable[[Site], None], compiled: set[str]
) -> None:
    before = site.get_published_state()
    change(site)
    after = site.refresh_published_state()
    assert after.version != before.version
    assert set(compiled_tables) == compiled
    with Site(site.settings, watch_for_changes=False) as other:
        expected = other.get_published_state()
    assert after.version == expected.version
    assert after.problems == expected.problems
    assert dict(after.tables_by_name[VIEW].members) == dict(expected.tables_by_name[VIEW].members)
    assert after.tables_by_name[VIEW].table == expected.tables_by_name[VIEW].table


def test_a_mapping_that_does_not_fit_is_reported_until_it_does(site: Site, compiled_tables: list[str]) -> None:
    write_descriptor(site, "north", kind="cube")
    path = site.settings.directory / "collections/north/north.yaml"
    good = path.read_text()
    # a column that the published table does not have yet
    path.write_text(good.replace("      dec: ", "      glon: {type: float64, description: Longitude}\n      dec: ").replace("calib_level: 2", "calib_level: 2}\n      map: {s_fov: glon"))  # fmt: skip
    for _ in range(2):  # the second time for a change of another collection
        state = site.refresh_published_state()
        assert any("ivoa.obscore does not include north.main" in problem for problem in state.problems)
        assert set(state.tables_by_name[VIEW].members) == {"east.main", "west.main"}
        write_descriptor(site, "east", kind="cube")
    path.write_text(good)
    state = site.refresh_published_state()
    assert not state.problems
    assert set(state.tables_by_name[VIEW].members) == {"east.main", "north.main", "west.main"}
    assert "west.main" not in compiled_tables
