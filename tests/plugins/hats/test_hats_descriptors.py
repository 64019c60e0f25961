"""From a catalogue of others to a descriptor and to answers: `hven new` and `hven check`, of directories, collections and addresses, partitions that are directories, columns by other names."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_hats_catalogues import (
    adopt,
    catalogue,
    open_far_catalogue,
    rows,
    run,
    run_on_snapshot,
    write_nested_catalogue,
)

from file_servers import ServedFiles, serve_http
from hven import descriptor, query
from hven.formats import ResultStatus, TableMetadata, votable
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sampling import find_sample_faults
from hven.model import plugins, settings
from hven.model.errors import HvenError, SourceError
from hven.model.table import Column
from hven.model.types import FLOAT64, INT64
from hven.plugins.hats import hats_catalogues as catalogues
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine import foreign_catalogues
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.sources import SourceContext
from plugin_needs import create_descriptor, load_drafter

SAID = {
    "obs_title": "Stars of the far side",
    "obs_description": "Seen by nobody.",
    "hats_creator": "Hypatia; Theon",
    "obs_copyright_url": "https://creativecommons.org/licenses/by/4.0/",
    "obs_regime": "Optical Infrared",
    "bib_reference": "2019A&A...622A..60C",
}
NAMES = {"id": "objID", "ra": "RA", "dec": "DEC", "mag": "Size"}  # SIZE is a word of ADQL


def rename_columns(where: Path) -> Path:
    """Give the columns the names that surveys like."""
    for path in where.rglob("Npix=*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.rename_columns([NAMES.get(name, name) for name in table.column_names]), path, row_group_size=40)  # fmt: skip
    return where


def collection(directory: Path) -> Path:
    """Write a collection as hats-import does: a catalogue, its margin, its index."""
    rename_columns(catalogue(directory / "stars", hats_col_ra="RA", hats_col_dec="DEC", **SAID))
    said = "obs_collection=far\nhats_primary_table_url=stars\nall_margins=stars_10arcs\nall_indexes=objID stars_objID\n"
    (directory / "collection.properties").write_text(said)
    for name, text in (("stars_10arcs", "dataproduct_type=margin"), ("stars_objID", "dataproduct_type=index")):
        (directory / name).mkdir()
        (directory / name / "hats.properties").write_text(f"obs_collection={name}\n{text}\nhats_primary_table_url=out/stars\n")  # fmt: skip
    return directory


def directories(where: Path, metadata: bool = False) -> Path:
    """Make each partition a directory of two files, as newer catalogues have them."""
    footers = []
    dataset = where / "dataset"
    for path in sorted(where.rglob("Npix=*.parquet")):
        table = pq.read_table(path, partitioning=None)
        path.unlink()
        path.with_suffix("").mkdir()
        (path.with_suffix("") / "_SUCCESS").touch()
        for number in range(2):  # the cells of both lie among one another
            part = path.with_suffix("") / f"part{number}.snappy.parquet"
            found: list[Any] = []
            pq.write_table(table.take(pa.array(np.arange(number, len(table), 2))), part, row_group_size=40, metadata_collector=found)  # fmt: skip
            found[0].set_file_path(str(part.relative_to(dataset)))
            footers += found
    said = (where / "hats.properties").read_text()
    (where / "hats.properties").write_text(f"{said}hats_npix_suffix=/\n")
    if metadata:
        pq.write_metadata(table.schema, dataset / "_metadata", footers)
    return where


@pytest.fixture
def site(tmp_path: Path) -> Path:
    home = tmp_path / "site"
    (home / "collections").mkdir(parents=True)
    (home / "hven.toml").write_text('allow_private = true\n[hats]\nroots = ["hats"]\n')
    return home


def list_served_files(files: Path, name: str = "far", listed: bool = True) -> dict[str, bytes]:
    """What a web server has of a directory, with the pages that list its directories."""
    found = {f"/{name}/{path.relative_to(files)}": path.read_bytes() for path in files.rglob("*") if path.is_file()}
    for path in [one for one in files.rglob("*") if one.is_dir()] if listed else []:
        links = "".join(f"<li><a href='{one.name.replace('=', '%3D')}'>x</a>" for one in path.iterdir())
        found[f"/{name}/{path.relative_to(files)}/"] = f"<html><a href='../'>up</a><a href='?C=N'>s</a>{links}".encode()
    return found


@pytest.fixture
def file_server() -> Iterator[ServedFiles]:
    with serve_http(ServedFiles({})) as found:
        yield found


CONE = "SELECT id FROM far.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 12)) = 1"


def answers(site: Path, name: str) -> list[dict[str, Any]]:
    """Ingest a collection, and ask for a cone, in order."""
    with Site(settings.load_settings(site)) as opened:
        report = ingest_collection(opened, name)
        assert "in_place" in report.tables[f"{name}.main"].findings
        opened.refresh_published_state()
        text = f"SELECT objid, ra, size_value FROM {name}.main WHERE CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 12)) = 1 ORDER BY objid"
        with query.run_query(text, OWNER_PRINCIPAL, site=opened) as result:
            found: list[dict[str, Any]] = result.read_table().to_pylist()
    assert not list((site / "hats").rglob("*.parquet"))  # nothing was copied
    return found


def compute_expected_rows() -> list[dict[str, Any]]:
    from hven.model.sky import compute_angular_distance

    found = [{"objid": row["id"], "ra": row["ra"], "size_value": row["mag"]} for row in rows().to_pylist() if compute_angular_distance(row["ra"], row["dec"], 40, 10) <= 12]  # fmt: skip
    return sorted(found, key=lambda row: int(row["objid"]))


# --- hven new --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "stars", "stars/hats.properties", "stars/dataset"])
def test_a_hats_collection_becomes_a_working_descriptor(tmp_path: Path, site: Path, place: str) -> None:
    where = collection(tmp_path / "out")
    path = create_descriptor(settings.load_settings(site), "far", str(where / place))
    text = path.read_text()
    assert f"source: {{kind: hats, path: {where / place.partition('/')[0]}".rstrip("/") in text
    for line in (
        "title: Stars of the far side",
        'description: "Seen by nobody."',
        "creators: [{name: Hypatia}, {name: Theon}]",
        'licence_url: "https://creativecommons.org/licenses/by/4.0/"',
        "waveband: [Infrared, Optical]",
        'bibcode: "2019A&A...622A..60C"',
        "engine: hats",
        "primary: [objid]",
        "position: [ra, dec]",
        "unit: deg, ucd: pos.eq.ra;meta.main",
    ):
        assert line in text
    assert answers(site, "far") == compute_expected_rows() != []


def test_column_metadata_of_a_catalogue_is_adopted(tmp_path: Path, site: Path) -> None:
    where = catalogue(tmp_path / "far")
    columns = (
        Column(name="id", type=INT64, ucd="meta.id;meta.main", description="Number in the plate"),
        Column(name="mag", type=FLOAT64, unit="mag", ucd="phot.mag;em.opt.V", description="Magnitude"),
    )
    told = votable.write_metadata_document(TableMetadata(columns=columns, name="stars"), ResultStatus()).encode()
    (where / hats_layout.COMMON_METADATA_FILE).write_bytes(hats_layout.write_common_metadata(pq.read_schema(next(where.rglob("Npix=*.parquet"))), told))  # fmt: skip
    text = create_descriptor(settings.load_settings(site), "far", str(where)).read_text()
    assert "id:  {type: int64, ucd: meta.id;meta.main, description: Number in the plate}" in text
    assert "mag: {type: float64, unit: mag, ucd: phot.mag;em.opt.V, description: Magnitude}" in text


@pytest.mark.parametrize("name", ["stars_10arcs", "stars_objID"])
@pytest.mark.parametrize("where", ["here", "there"])
def test_margins_and_indexes_are_refused_with_the_name_of_the_catalogue(
    tmp_path: Path, site: Path, file_server: ServedFiles, name: str, where: str
) -> None:
    home = collection(tmp_path / "out")
    file_server.files = list_served_files(home)
    with pytest.raises(
        SourceError, match=r"so its rows do not form a table.*, which is in the directory stars next to"
    ):
        create_descriptor(
            settings.load_settings(site),
            "far",
            str(home / name) if where == "here" else f"{file_server.address}/far/{name}",
        )
    assert not (site / "collections" / "far").exists()


def test_a_draft_of_a_remote_catalogue_reads_few_files(tmp_path: Path, site: Path, file_server: ServedFiles, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(load_drafter("table_drafting"), "MAX_REMOTE_SAMPLED_ROWS", 100)
    file_server.files = list_served_files(collection(tmp_path / "out"))
    text = create_descriptor(settings.load_settings(site), "far", f"{file_server.address}/far/").read_text()
    assert f'path: "{file_server.address}/far"' in text
    assert "# 2,000 rows according to the catalogue; guessed from the first 101" in text
    assert "primary: [objid]  # guessed: the catalogue has an index on this column; Hven did not check" in text
    looked = [one for one in file_server.asked if ".parquet" in one]
    assert len({one.split()[1] for one in looked}) < 10  # of 48 partitions
    assert all("bytes=" in one or one.startswith("HEAD") for one in looked)
    assert answers(site, "far") == compute_expected_rows() != []


def test_a_server_without_ranges_is_asked_for_whole_files(tmp_path: Path, site: Path, file_server: ServedFiles) -> None:
    file_server.files, file_server.ranges = list_served_files(collection(tmp_path / "out")), False
    assert "primary: [objid]  # guessed: no value occurs twice" in create_descriptor(settings.load_settings(site), "far", f"{file_server.address}/far").read_text()  # fmt: skip


def test_an_index_of_several_rows_is_no_key(tmp_path: Path, site: Path) -> None:
    where = collection(tmp_path / "out")
    for path in where.rglob("Npix=*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.set_column(1, "objID", pa.array(np.arange(len(table)) // 2)), path)
    assert "primary: " not in create_descriptor(settings.load_settings(site), "far", str(where)).read_text()


def test_without_a_root_it_is_said_what_would_serve_it(tmp_path: Path, site: Path) -> None:
    (site / "hven.toml").write_text("")
    text = create_descriptor(settings.load_settings(site), "far", str(catalogue(tmp_path / "far"))).read_text()
    assert "\n# engine: hats " in text
    assert "set roots under [hats]" in text


def test_what_is_no_catalogue_is_read_as_ever(tmp_path: Path, site: Path, file_server: ServedFiles) -> None:
    file_server.files = {"/far": b"id,mag\n1,2\n2,3\n"}
    assert (
        "kind: csv" in create_descriptor(settings.load_settings(site), "far", f"{file_server.address}/far").read_text()
    )
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "a.csv").write_text("id,mag\n1,2\n")
    assert "kind: csv" in create_descriptor(settings.load_settings(site), "near", str(tmp_path / "dataset")).read_text()


def test_light_curves_are_drafted_as_arrays(tmp_path: Path, site: Path) -> None:
    where, every = write_nested_catalogue(tmp_path / "far")
    text = create_descriptor(settings.load_settings(site), "far", str(where)).read_text()
    assert 'lc_t:    {type: "float64[*]"}' in text
    with Site(settings.load_settings(site)) as opened:
        ingest_collection(opened, "far")
        opened.refresh_published_state()
        with query.run_query("SELECT SUM(lc_t[1]) AS s FROM far.main", OWNER_PRINCIPAL, site=opened) as result:
            (row,) = result.read_table().to_pylist()
    assert row["s"] == sum(one["lc"]["t"][0] for one in every.to_pylist() if one["lc"] and one["lc"]["t"])


# --- hven check ------------------------------------------------------------------------------------------------------


def _swap_coordinates(where: Path) -> None:
    path = where / "hats.properties"
    path.write_text(path.read_text().replace("hats_col_ra=ra", "hats_col_ra=dec").replace("hats_col_dec=dec", "hats_col_dec=ra"))  # fmt: skip


def _narrow_column_type(where: Path) -> None:
    path = max(where.rglob("Npix=*.parquet"))
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(4, "mag", table["mag"].cast(pa.float32())), path)


HARM = {
    "a gap": (lambda where: min(where.rglob("Npix=*.parquet")).unlink(), "has no file"),
    "another type": (_narrow_column_type, "the column mag has the type float in this file, but double in"),
    "positions of other columns": (_swap_coordinates, "positions in this file are outside the file's partition"),
    "no catalogue": (lambda where: (where / "hats.properties").unlink(), "is not a HATS catalogue"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_check_reports_the_faults_of_a_catalogue(tmp_path: Path, site: Path, harm: str) -> None:
    where = catalogue(tmp_path / "far")
    path = create_descriptor(settings.load_settings(site), "far", str(where))
    found = settings.load_settings(site)
    resource, said = descriptor.check_and_read_descriptor(path, found)
    assert resource is not None
    assert [*said, *find_sample_faults(resource, path.parent, found)] == []
    act, words = HARM[harm]
    act(where)
    (fault,) = find_sample_faults(resource, path.parent, found)
    assert words in fault.message
    assert str(where) in fault.message
    assert fault.remedy
    assert fault.place.line
    with Site(found) as opened, pytest.raises(HvenError, match=words.split()[0]):
        ingest_collection(opened, "far")
    assert not [one for one in (site / "hats").rglob("*") if one.name == "manifest.arrow"]  # nothing half-adopted


def test_a_check_is_told_on_the_command_line(tmp_path: Path, site: Path) -> None:
    where = catalogue(tmp_path / "far")
    create_descriptor(settings.load_settings(site), "far", str(where))
    assert json.loads(run(site, "check", "far", "--json")) == []


# --- partitions that are directories ---------------------------------------------------------------------------------


def test_partitions_that_are_directories_are_adopted_counted_and_pruned(tmp_path: Path) -> None:
    where = directories(catalogue(tmp_path / "far"))
    engine, snapshot = adopt(tmp_path, where)
    assert snapshot.rows == 2000
    assert len(snapshot.parts) == 96
    (tmp_path / "local").mkdir()
    local, plain = adopt(tmp_path / "local", catalogue(tmp_path / "plain"))
    for text in (CONE, "SELECT COUNT(*) AS n FROM far.stars", "SELECT id FROM far.stars WHERE mag < 10", "SELECT * FROM far.stars WHERE id < 400"):  # fmt: skip
        found, known = (run_on_snapshot(*one, text) for one in ((engine, snapshot), (local, plain)))
        assert sorted(map(str, found)) == sorted(map(str, known)) != []
    manifest = engine.open_manifest(snapshot)
    few = manifest.find_row_groups_in_cells(np.array([hats_layout.compute_cell_range(1, 5)], np.int64))
    assert {manifest.head.files[one].pixel for one in manifest.get_row_group_column("file")[few]} == {
        5
    }  # both of its files, and no other
    assert len(np.unique(manifest.get_row_group_column("file")[few])) == 2
    assert engine.find_missing_or_resized_file(snapshot) is None
    kind: Any = plugins.load_plugin("sources", "hats")
    source = kind.open(kind.Options(path=str(where)), SourceContext())
    assert pa.Table.from_batches(source.read_batches()).num_rows == source.estimate_progress_total() == 2000
    for one in (engine, local):
        one.close()


@pytest.mark.parametrize("told", ["by links", "by metadata"])
def test_directories_behind_an_address_are_found(tmp_path: Path, file_server: ServedFiles, told: str) -> None:
    where = directories(catalogue(tmp_path / "far", 0), metadata=told == "by metadata")
    file_server.files = list_served_files(where, listed=told == "by links")
    engine, snapshot = open_far_catalogue(tmp_path, f"{file_server.address}/far")
    assert snapshot.rows == 2000
    assert len(snapshot.parts) == 24
    (tmp_path / "local").mkdir()
    local, here = adopt(tmp_path / "local", where)
    assert run_on_snapshot(engine, snapshot, CONE) == run_on_snapshot(local, here, CONE) != []
    kind: Any = plugins.load_plugin("sources", "hats")
    source = kind.open(kind.Options(path=f"{file_server.address}/far"), SourceContext(allow_private=True))
    assert pa.Table.from_batches(source.read_batches()).num_rows == 2000
    for one in (engine, local):
        one.close()


@pytest.mark.parametrize("place", ["here", "there"])
def test_an_empty_partition_directory_is_reported(tmp_path: Path, file_server: ServedFiles, place: str) -> None:
    where = directories(catalogue(tmp_path / "far", 0))
    empty = next(where.rglob("Npix=7"))
    for part in empty.glob("*.parquet"):
        part.unlink()
    file_server.files = list_served_files(where)
    with pytest.raises(SourceError, match="Norder=0 Npix=7 has no file") as fault:
        adopt(tmp_path, where) if place == "here" else open_far_catalogue(tmp_path, f"{file_server.address}/far")
    assert "Norder=0/Dir=0/Npix=7" in str(fault.value)
    assert list((tmp_path / "root" / "far.stars").iterdir()) == []


# --- what lies, and what hangs ---------------------------------------------------------------------------------------


def test_properties_that_name_missing_columns_are_reported(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"hats_col_ra=alpha, but the file .* has no such column") as fault:
        adopt(tmp_path, catalogue(tmp_path / "far", hats_col_ra="alpha"))
    assert "hats.properties" in str(fault.value)
    assert list((tmp_path / "root" / "far.stars").iterdir()) == []


@pytest.mark.parametrize("read", [foreign_catalogues.MAX_CHECKED_ROWS, 0])
def test_positions_outside_their_partition_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int) -> None:  # fmt: skip
    """All of them are looked at, or of a large catalogue some."""
    monkeypatch.setattr(foreign_catalogues, "MAX_CHECKED_ROWS", read)
    where = catalogue(tmp_path / "far")
    paths = sorted(where.rglob("Npix=*.parquet"), key=lambda path: path.stat().st_size)
    table = pq.read_table(paths[0], partitioning=None)
    pq.write_table(table.set_column(table.column_names.index("ra"), "ra", pa.array((table["ra"].to_numpy() + 120) % 360)), paths[0])  # fmt: skip
    with pytest.raises(SourceError, match="positions in this file are outside the file's partition") as fault:
        adopt(tmp_path, where)
    assert str(paths[0]) in str(fault.value)
    assert list((tmp_path / "root" / "far.stars").iterdir()) == []


def test_cells_without_footer_statistics_lose_no_rows(tmp_path: Path) -> None:
    """They are of another order than is said, and nothing but the rows would show it."""
    where = catalogue(tmp_path / "far")
    for path in where.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        cells = pa.array(table[hats_layout.CELL_COLUMN].to_numpy() >> 20)
        pq.write_table(
            table.set_column(0, hats_layout.CELL_COLUMN, cells), path, write_statistics=["id", "ra", "dec", "mag"]
        )
    engine, snapshot = adopt(tmp_path, where)
    assert len(run_on_snapshot(engine, snapshot, CONE)) == len(compute_expected_rows())
    engine.close()


def test_a_type_change_after_a_file_without_values_is_reported(tmp_path: Path) -> None:
    where = catalogue(tmp_path / "far")
    first, *_, last = sorted(where.rglob("Npix=*.parquet"))
    for path, kind in ((first, pa.null()), (last, pa.string())):
        table = pq.read_table(path, partitioning=None)
        values = pa.nulls(len(table)) if kind == pa.null() else table["mag"].cast(kind)
        pq.write_table(table.set_column(4, "mag", values), path)
    with pytest.raises(SourceError, match="the column mag has the type string in this file, but double in") as fault:
        adopt(tmp_path, where)
    assert str(last) in str(fault.value)


@pytest.mark.parametrize("what", ["properties", "a file"])
def test_a_hanging_mount_does_not_block_an_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Whoever asks for anything of a file there waits until the mount is back."""
    where = catalogue(tmp_path / "far")
    hung = where / "hats.properties" if what == "properties" else sorted(where.rglob("Npix=*.parquet"))[3]
    back, stat, read = threading.Event(), os.stat, Path.read_bytes

    def hanging(name: Any, *more: Any, **words: Any) -> os.stat_result:
        if str(name) == str(hung) and threading.current_thread().name == "hats-look":
            assert back.wait(60)
        return stat(name, *more, **words)

    def silent(path: Path) -> bytes:
        if path == hung:
            assert back.wait(60)
        return read(path)

    monkeypatch.setattr(os, "stat", hanging)
    monkeypatch.setattr(Path, "read_bytes", silent)
    monkeypatch.setattr(catalogues, "MOUNT_TIMEOUT_SECONDS", 0.3)
    kind: Any = plugins.load_plugin("sources", "hats")
    try:
        with pytest.raises(SourceError, match=r"has not responded for 0\.3 s") as fault:
            adopt(tmp_path, where)
        assert str(hung) in str(fault.value)
        assert "mount" in fault.value.remedy
        assert list((tmp_path / "root" / "far.stars").iterdir()) == []
        if what == "properties":
            with pytest.raises(SourceError, match=r"has not responded for 0\.3 s"):
                kind.find_hats_catalogue_root(str(where), SourceContext())
    finally:
        back.set()


def test_a_wrong_token_is_reported(tmp_path: Path, file_server: ServedFiles) -> None:
    file_server.files, file_server.token = list_served_files(catalogue(tmp_path / "far", 0)), "Bearer right"
    kind: Any = plugins.load_plugin("sources", "hats")
    options = kind.Options(path=f"{file_server.address}/far", token="$T", tries=1)
    for secret, let_in in (("right", True), ("wrong", False)):
        context = SourceContext(allow_private=True, resolve_secret=lambda _, secret=secret: secret)
        if let_in:
            source = kind.open(options, context)
            assert sum(batch.num_rows for batch in source.read_batches(None, 50)) == 50
            assert pa.Table.from_batches(source.read_batches()).num_rows == 2000
        else:
            with pytest.raises(SourceError, match="401") as fault:
                kind.open(options, context)
            assert "token" in fault.value.remedy
    with pytest.raises(SourceError, match="401"):  # an engine has no token
        open_far_catalogue(tmp_path, f"{file_server.address}/far")
    assert list((tmp_path / "root" / "far.stars").iterdir()) == []
