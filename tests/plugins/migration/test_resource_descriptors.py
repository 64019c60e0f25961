"""hven new from resource descriptors: what becomes a descriptor is checked, ingested and queried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from asgi_client import Client
from astropy.io import fits
from migration_sites import INPUTS, convert, convert_text, create_site

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import UsageError
from hven.model.settings import Settings, load_settings
from hven.plugins.migration.draft_pruning import prune_draft
from hven.plugins.migration.migration_report import MigrationReport
from hven.query import run_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from process_runner import run_hven


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return create_site(tmp_path)


def read_rows(site: Site, query: str) -> list[dict[str, object]]:
    result = run_query(query, site=site, principal=ANONYMOUS_PRINCIPAL)
    try:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    finally:
        result.close()


def test_a_catalogue_with_a_cone_search_from_end_to_end(settings: Settings) -> None:
    directory = settings.directory
    written = run_hven("new", "brightest", "--from", directory / "inputs/brightest/q.rd", "--site", directory).stdout
    assert re.search(r"wrote .*brightest\.yaml\nwrote .*migration-report\.txt\n", written)
    assert re.search(
        r"entries understood: \d+, left out: \d+, needing your decision: \d+; read migration-report\.txt\n", written
    )
    assert run_hven("check", "brightest", "--site", directory).stdout == "1 descriptor: 0 errors, 0 warnings\n"
    run_hven("ingest", "brightest", "--site", directory)
    report = (directory / "collections/brightest/migration-report.txt").read_text()
    settings_path = directory / "hven.toml"
    aliases = report.partition("Lines for hven.toml\n-------------------\n")[2]
    settings_path.write_text(settings_path.read_text().replace("# contact_email", "contact_email") + "\n" + aliases)
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        for path in ("/cone/brightest.main", "/brightest/q/cone/scs.xml"):
            answer = client.get(path, RA="101.3", DEC="-16.7", SR="1", RESPONSEFORMAT="csv")
            assert answer.status == 200
            assert "Sirius" in answer.text
            assert "Vega" not in answer.text
        record = client.get(
            "/oai", verb="GetRecord", metadataPrefix="ivo_vor", identifier="ivo://example.org/brightest/q/cone"
        )
        assert "<identifier>ivo://example.org/brightest/q/cone</identifier>" in record.text
        rows = read_rows(site, "SELECT star, raj2000, vmag, remark, page FROM brightest.main ORDER BY star")
    assert [row["star"] for row in rows] == ["Rigel", "Sirius", "Vega"]
    assert rows[1]["raj2000"] == pytest.approx(101.287, abs=1e-3)
    assert rows[1]["remark"] is None
    assert rows[2]["remark"] == "standard"
    assert str(rows[2]["page"]).endswith("/stars/Vega")


def test_a_table_of_epn_tap_with_code(settings: Settings) -> None:
    site_files = convert(settings, "moons", settings.directory / "inputs/moons/q.rd")
    assert site_files.list_errors("moons") == []
    table = site_files.load_descriptor("moons")["tables"]["epn_core"]
    assert table["standard"] == "epn-tap-2.0"
    assert table["frame"] == "body"
    assert list(table["columns"]) == ["camera"]
    assert table["text"]["access_url"] == "https://files.example.org/moons/{picture}.png"
    assert site_files.load_descriptor("moons")["registry"] == {"services": {"epn_core": "moons/q/epn_core"}}
    code = site_files.read_file("moons", "dachs_code.py")
    assert code.startswith('"""Code of a resource descriptor')
    assert "\nimport re\n" in code
    report = site_files.read_report("moons")
    assert "line 67: moons" not in report
    assert re.search(r"epn_core_choose_camera: moved to dachs_code\.py", report)
    assert "line 9: meta" not in report
    assert "the rights text became `acknowledgement`" in report
    with Site(settings) as site:
        ingest_collection(site, "moons")
        rows = read_rows(site, "SELECT * FROM moons.epn_core ORDER BY granule_uid")
    assert [row["granule_uid"] for row in rows] == ["n002_5", "w001_3"]
    assert [row["camera"] for row in rows] == ["narrow", "wide"]
    first = rows[1]
    assert first["target_name"] == "Io"
    assert first["time_max"] == first["time_min"] + 1  # type: ignore[operator]
    assert first["time_min"] == 2461285.0
    assert first["spectral_range_min"] == pytest.approx(2.99792458e14 / 0.7)
    assert first["access_estsize"] == 200
    assert first["thumbnail_url"] == "https://files.example.org/moons/w001_small.png"


def test_other_units_than_those_of_the_standard_are_reported(tmp_path: Path) -> None:
    columns = "".join(f"<column name='{name}' type='text'/>" for name in ("granule_gid", "obs_id", "dataproduct_type"))
    site_files = convert_text(
        tmp_path,
        "<resource schema='sky'><table id='epn_core' onDisk='True'><column name='granule_uid' type='text'/>"
        f"{columns}<column name='spectral_range_min' type='double precision' unit='MHz'/>"
        "<column name='sun_distance_min' type='real' unit='au'/><column name='platesc' unit='arcsec/pixel'/>"
        "<column name='time_min' type='double precision' unit='d'/></table></resource>",
    )
    report = site_files.read_report("sky")
    assert "spectral_range_min has the unit MHz, and Hz in EPN-TAP 2.0" in report
    assert report.count("has the unit") == 1, "the others are spelled in another way"


def test_images_keep_owner_and_embargo(settings: Settings) -> None:
    folder = settings.directory / "inputs/plates/raw"
    folder.mkdir()
    header = fits.Header({"PLATE": "P1", "FILTER": "V", "EXPTIME": 60.0, "DATE-OBS": "1950-03-04T22:00:00"})
    header.update(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.5, "CRPIX2": 1.5, "CRVAL1": 40.0, "CRVAL2": 10.0}
    )
    header.update({"CDELT1": -0.1, "CDELT2": 0.1})
    fits.PrimaryHDU([[1, 2], [3, 4]], header).writeto(folder / "p1.fits")
    site_files = convert(settings, "plates", settings.directory / "inputs/plates/q.rd")
    assert site_files.list_errors("plates") == []
    table = site_files.load_descriptor("plates")["tables"]["plates"]
    assert table["access"] == {"rows": "public", "take": "embargo IS NULL OR embargo <= now OR reader = owner"}
    with Site(settings) as site:
        ingest_collection(site, "plates")
        (row,) = read_rows(site, "SELECT * FROM plates.plates")
        (observation,) = read_rows(
            site, "SELECT obs_publisher_did, s_ra, dataproduct_type, access_estsize FROM ivoa.obscore"
        )
    assert row["imageTitle"] == "Plate P1"
    assert row["accref"] == "plates/raw/p1.fits", "as in DaCHS, the path below its directory of inputs"
    assert observation["obs_publisher_did"] == f"ivo://example.org/~?{row['accref']}"
    assert observation["s_ra"] == pytest.approx(40.0)
    assert observation["access_estsize"] == 6, "kbyte, and accsize is in bytes"
    assert observation["dataproduct_type"] == "image"
    assert row["owner"] == "observers"
    assert str(row["embargo"])[:10] == "2099-01-02", "DaCHS opens files on the day after"
    assert row["exposure"] == 60.0
    assert row["dateObs"] == pytest.approx(33344.9166667), "setMeta of DaCHS makes a modified Julian date of a time"
    assert row["coverage"] is not None
    report = site_files.read_report("plates")
    assert "apply siap#getBandFromFilter has no equivalent" in report
    assert '[[alias]]\npath = "/plates/q/images/siap.xml"\nto = "/sia/plates.plates"' in report


def test_images_keep_what_obscore_is_told_of_them(settings: Settings) -> None:
    folder = settings.directory / "inputs/sky"
    folder.mkdir()
    header = fits.Header({"OBJECT": "M 31", "DATE-OBS": "2020-01-02", "EXPTIME": 86.4, "CTYPE1": "RA---TAN"})
    header.update({"CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 40.0, "CRVAL2": 10.0})
    header.update({"CDELT1": -0.1, "CDELT2": 0.1})
    fits.PrimaryHDU([[1, 2, 3], [4, 5, 6], [7, 8, 9]], header).writeto(folder / "a.fits")
    (folder / "q.rd").write_text(
        "<resource schema='sky'><meta name='rights' rightsURI='https://spdx.org/licenses/CC0-1.0.html'>Free</meta>"
        "<table id='main' onDisk='True' mixin='//siap#pgs'><mixin targetName='object' "
        "expTime='exptime' tMax='dateObs+exptime/86400.' oUCD=\"'phot.count'\" emMin='bandwidth(x)'>"
        "//obscore#publishSIAP</mixin><column name='object' type='text'/>"
        "<column name='exptime' unit='s' type='double precision'/></table>"
        "<data id='i'><sources>a.fits</sources><fitsProdGrammar><rowfilter procDef='//products#define'>"
        "<bind key='table'>'sky.main'</bind><bind key='embargo'>row.get('DATE_OBS', '2000-01-01')</bind></rowfilter>"
        "</fitsProdGrammar><make table='main'><rowmaker><simplemaps>object:OBJECT, exptime:EXPTIME</simplemaps>"
        "<apply procDef='//siap#computePGS'/><apply procDef='//siap#setMeta'>"
        "<bind key='dateObs'>parseTimestamp(@DATE_OBS, '%Y-%m-%d')</bind></apply></rowmaker></make></data></resource>"
    )
    site_files = convert(settings, "sky", folder / "q.rd")
    assert site_files.list_errors("sky") == []
    assert site_files.load_descriptor("sky")["licence"] == "CC0-1.0"
    assert "emMin='bandwidth(x)' is SQL: write it as em_min under `obscore`" in site_files.read_report("sky")
    with Site(settings) as site:
        ingest_collection(site, "sky")
        (row,) = read_rows(site, "SELECT * FROM sky.main")
        (observation,) = read_rows(
            site, "SELECT target_name, t_exptime, t_min, t_max, o_ucd, s_ra, s_dec FROM ivoa.obscore"
        )
    assert str(row["embargo"])[:10] == "2020-01-03"
    assert observation.pop("s_ra") == pytest.approx(39.9, abs=0.01), "the centre of the image, not its first pixel"
    assert observation.pop("s_dec") == pytest.approx(10.1, abs=0.01)
    assert observation.pop("t_max") == pytest.approx(58850.001)
    assert observation == {"target_name": "M 31", "t_exptime": 86.4, "t_min": 58850.0, "o_ucd": "phot.count"}


def test_spectra_keep_position_units_and_date(settings: Settings) -> None:
    folder = settings.directory / "inputs/sky"
    folder.mkdir()
    header = fits.Header({"OBJECT": "Vega", "DATE-OBS": "2020-01-02T12:00:00", "RA": 279.25, "DEC": 38.75})
    fits.PrimaryHDU([1, 2, 3], header).writeto(folder / "a.fits")
    (folder / "q.rd").write_text(
        "<resource schema='sky'><table id='main' onDisk='True'><mixin fluxUnit='Jy' spectralUnit='Angstrom' "
        "spectralUCD='em.wl'>//ssap#hcd</mixin></table><data id='i'><sources>a.fits</sources><fitsProdGrammar/>"
        "<make table='main'><rowmaker><apply procDef='//ssap#setMeta'><bind key='dateObs'>@DATE_OBS</bind>"
        "<bind key='targname'>@OBJECT</bind><bind key='alpha'>@RA</bind><bind key='delta'>@DEC</bind>"
        "<bind key='pubDID'>\\standardPubDID</bind></apply></rowmaker></make></data></resource>"
    )
    site_files = convert(settings, "sky", folder / "q.rd")
    assert site_files.list_errors("sky") == []
    with Site(settings) as site:
        ingest_collection(site, "sky")
        (row,) = read_rows(site, "SELECT * FROM sky.main")
    assert (row["ssa_fluxunit"], row["ssa_spectralunit"], row["ssa_spectralucd"]) == ("Jy", "Angstrom", "em.wl")
    assert row["ssa_location"] == [279.25, 38.75]
    assert row["ssa_dateObs"] == 58850.5
    assert row["ssa_pubDID"] == "ivo://example.org/~?sky/a.fits"


def test_delimited_names_of_columns_have_no_prefix(tmp_path: Path) -> None:
    site_files = convert_text(
        tmp_path,
        "<resource schema='sky'><table id='main' onDisk='True'><column name='quoted/Flux (Jy)' type='real'/></table>"
        "<data id='i'><sources>rows.csv</sources><csvGrammar/><make table='main'><rowmaker idmaps='*'/></make></data>"
        "</resource>",
        rows__csv="Flux (Jy)\n1\n",
    )
    assert list(site_files.load_descriptor("sky")["tables"]["main"]["columns"]) == ["Flux (Jy)"]


def test_files_under_embargo_stay_locked_without_columns_for_it(tmp_path: Path) -> None:
    """DaCHS keeps owner and embargo in a table of its own, and opens a file on the day after its embargo."""
    site_files = convert_text(
        tmp_path,
        "<resource schema='sky'><table id='main' onDisk='True'><column name='a' type='integer'/></table>"
        "<data id='i'><sources>rows.csv</sources><csvGrammar><rowfilter procDef='//products#define'>"
        "<bind name='table'>'sky.main'</bind><bind name='owner'>'observers'</bind>"
        "<bind name='embargo'>parseISODT(@until)</bind></rowfilter></csvGrammar>"
        "<make table='main'><rowmaker idmaps='*'/></make></data></resource>",
        rows__csv="a,until\n1,2020-05-31\n2,2099-01-01\n",
    )
    assert site_files.list_errors("sky") == [], site_files.read_report("sky")
    table = site_files.load_descriptor("sky")["tables"]["main"]
    assert table["access"] == {"rows": "public", "take": "embargo IS NULL OR embargo <= now OR reader = owner"}
    assert [name for name, column in table["columns"].items() if column.get("hidden")] == ["embargo", "owner"]
    with Site(site_files.settings) as site:
        ingest_collection(site, "sky")
        rows = read_rows(site, "SELECT a, embargo, owner FROM sky.main ORDER BY a")
    assert [str(row["embargo"])[:10] for row in rows] == ["2020-06-01", "2099-01-02"]
    assert {row["owner"] for row in rows} == {"observers"}


@pytest.mark.parametrize(
    "limit", ["access: {rows: nothing = 1}", "where: nothing = 1", "map: {embargo: nothing}", "access: private"]
)
def test_a_limit_with_faults_closes_the_table(tmp_path: Path, limit: str) -> None:
    settings = create_site(tmp_path)
    folder = settings.collections_directory / "sky"
    folder.mkdir(parents=True)
    (folder / "rows.csv").write_text("a\n1\n")
    table = {
        "source": {"kind": "csv", "files": "rows.csv"},
        "columns": {"a": {"type": "int32"}, "embargo": {"type": "string"}},
    }
    draft = {"collection": "sky", "title": "Sky", "description": "Stars", "tables": {"main": table}}
    table.update(yaml.safe_load(limit))
    report = MigrationReport()
    prune_draft(draft, settings=settings, report=report)
    assert table["access"] == "private"
    assert not table.keys() & {"where", "map"}
    assert any("so the table is private" in text for text in report.decisions) == ("nothing" in limit)


def test_no_code_runs_during_the_conversion(settings: Settings) -> None:
    marker = settings.directory / "ran"
    path = settings.directory / "inputs/moons/q.rd"
    path.write_text(path.read_text().replace("# which", f"open({str(marker)!r}, 'w')  #"))
    site_files = convert(settings, "moons", path)
    assert str(marker) in site_files.read_file("moons", "dachs_code.py")
    assert not marker.exists()
    assert (
        "dachs_code.py contains code from q.rd: read it first, because `hven check` and `hven ingest` run it"
        in site_files.drafts[0].notes[0]
    )


def test_no_code_of_a_grammar_and_an_apply_runs_during_the_conversion(settings: Settings) -> None:
    """The draft is checked with both in one file, at whose top level the code of the grammar stands."""
    marker = settings.directory / "ran"
    folder = settings.directory / "inputs/ships"
    folder.mkdir()
    (folder / "log.txt").write_text("1\n")
    (folder / "grammar.py").write_text(
        "from gavo.grammars.customgrammar import CustomRowIterator\n"
        f"open({str(marker)!r}, 'w')\n"
        "class RowIterator(CustomRowIterator):\n    def _iterRows(self):\n        yield {'a': 1, 'b': 'x'}\n"
    )
    (folder / "q.rd").write_text(
        '<resource schema="ships"><table id="main" onDisk="True"><column name="a" type="integer"/>'
        '<column name="b" type="text"/></table><data id="i"><sources pattern="*.txt"/>'
        '<customGrammar module="grammar"/><make table="main"><rowmaker idmaps="*"><apply name="x"><code>\n'
        f"open({str(marker)!r}, 'w')\n@b = @b.strip().upper()\n"
        "</code></apply></rowmaker></make></data></resource>"
    )
    site_files = convert(settings, "ships", folder / "q.rd")
    table = site_files.load_descriptor("ships")["tables"]["main"]
    assert table["source"]["kind"] == "python"
    assert table["map"] == {"b": "main_x_b(b)"}
    assert site_files.read_file("ships", "dachs_code.py").count(str(marker)) == 2
    assert not marker.exists()


def test_a_folder_becomes_one_collection_for_each_schema(settings: Settings) -> None:
    folder = settings.directory / "inputs"
    (folder / "moons/q.rd.save").write_text("<resource schema='old'/>")
    (folder / "moons/backup-01").mkdir()
    (folder / "moons/backup-01/q.rd").write_text("<resource schema='old'><table id='a' onDisk='True'/></resource>")
    with pytest.raises(UsageError) as caught:
        convert(settings, "everything", folder)
    assert "describes 3 collections: brightest, moons, plates" in str(caught.value)
    site_files = convert(settings, "*", folder)
    assert [draft.name for draft in site_files.drafts] == ["brightest", "moons", "plates"]


def test_descriptors_of_one_schema_become_one_collection(settings: Settings) -> None:
    for name in ("north", "south"):
        (settings.directory / f"inputs/{name}.rd").write_text(
            f'<resource schema="zones"><table id="{name}" onDisk="True"><column name="a"/></table></resource>'
        )
    site_files = convert(settings, "zones", settings.directory / "inputs")
    assert list(site_files.load_descriptor("zones")["tables"]) == ["north", "south"]


def test_a_table_that_two_descriptors_define_is_a_decision(settings: Settings) -> None:
    for name in ("north", "south"):
        (settings.directory / f"inputs/{name}.rd").write_text(
            '<resource schema="zones"><table id="main" onDisk="True"><column name="a"/></table></resource>'
        )
    site_files = convert(settings, "zones", settings.directory / "inputs")
    report = site_files.read_report("zones")
    assert "south.rd:1: another descriptor has a table main, too: only that one was converted" in report


def test_options_for_single_tables_are_refused(settings: Settings) -> None:
    path = INPUTS / "brightest/q.rd"
    told = run_hven("new", "b", "--from", path, "--kind", "csv", "--site", settings.directory, expected_code=2).stderr
    assert "--kind does not apply to a document that describes whole collections" in told
