"""`hven check --metadata` proposes UCDs and units from names and values."""

from __future__ import annotations

from pathlib import Path

from hven import descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

STARS = """\
collection: stars
title: Stars
tables:
  follows:
    source: rows.csv
  declared:
    source: rows.csv
    primary: id
    columns:
      id: {type: string, ucd: meta.id;meta.main, description: Name}
      vmag: float64
"""


def propose_lines(directory: Path, text: str, rows: str) -> dict[str, str]:
    """Ingest a collection, and give the lines that its descriptor lacks, by what lacks."""
    path = directory / "collections/stars/stars.yaml"
    path.parent.mkdir(parents=True)
    (directory / "hven.toml").touch()
    (path.parent / "rows.csv").write_text(rows)
    path.write_text(text)
    with Site(load_settings(directory), watch_for_changes=False) as site:
        ingest_collection(site, "stars")
        resource, _ = descriptor.check_and_read_descriptor(path, site.settings)
        assert resource is not None
        tables = [site.get_published_state().tables_by_name[f"stars.{spec.table.name}"] for spec in resource.tables]
        lacks = list(descriptor.list_missing_metadata(resource, site.settings, tables))
    return {one.fault.message.partition(" (")[0]: one.added_text for one in lacks}


def test_suggestions_come_from_column_names_and_values(tmp_path: Path) -> None:
    said = propose_lines(tmp_path, STARS, "id,ra,dec,vmag\na,10,5,3.5\nb,200,-40,4\nc,300,80,5\n")
    (follows,) = (lines for message, lines in said.items() if message.startswith("columns of follows"))
    assert follows.splitlines()[:4] == [
        "    follow: true", "    columns:", '      id: {ucd: meta.id;meta.main, description: ".."}', '      ra: {ucd: pos.eq.ra;meta.main, unit: deg, description: ".."}',
    ]  # fmt: skip
    assert (
        said["no UCD and no unit and no description for declared.vmag"]
        == '{type: float64, ucd: phot.mag;em.opt.V, unit: mag, description: ".."}'
    )


def test_values_speak_against_a_unit(tmp_path: Path) -> None:
    """Numbers that are no degrees are not said to be some."""
    text = "collection: stars\ntitle: Stars\ntables: {main: {source: rows.csv}}\n"
    said = propose_lines(tmp_path, text, "ra,dec\n100000,5\n200000,6\n")
    (columns,) = (lines for message, lines in said.items() if message.startswith("columns of main"))
    assert 'ra: {ucd: pos.eq.ra;meta.main, unit: ".."' in columns
    assert "dec: {ucd: pos.eq.dec;meta.main, unit: deg" in columns
