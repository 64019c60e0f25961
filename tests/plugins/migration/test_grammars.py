"""Each grammar becomes a source, and templates are expanded as DaCHS does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from migration_sites import convert, convert_text, create_site

from hven.ingest.api.runs import ingest_collection
from hven.query import run_query
from hven.site import Site
from process_runner import run_hven

COLUMNS = '<column name="a" type="integer"/><column name="b" type="text"/>'
CONNECTION = "DRIVER={MariaDB};SERVER=db.example.org;DATABASE=sun;UID=reader;PWD=hidden-word"


def convert_source(directory: Path, data: str, **files: str) -> dict[str, Any]:
    site = convert_text(
        directory,
        f"<resource schema='sky'><table id='main' onDisk='True'>{COLUMNS}</table><data id='i'>{data}"
        "<make table='main'><rowmaker idmaps='*'/></make></data></resource>",
        **files,
    )
    source: dict[str, Any] = site.load_descriptor("sky")["tables"]["main"]["source"]
    return source


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('<sources>x.csv</sources><csvGrammar delimiter=";"/>', {"kind": "csv", "delimiter": "semicolon"}),
        (
            '<sources>x.csv</sources><csvGrammar names="a, b" topIgnoredLines="2" enc="latin-1"/>',
            {"kind": "csv", "header": False, "names": ["a", "b"], "skip": 2, "encoding": "latin-1"},
        ),
        (
            "<sources>x.csv</sources><columnGrammar><colDefs>\n a: 1-4\n b:6\n</colDefs></columnGrammar>",
            {"kind": "fixed", "fields": {"a": "1-4", "b": "6"}},
        ),
        (
            '<sources>x.csv</sources><columnGrammar><col key="a">1 - 4</col><col key="b">5-6</col></columnGrammar>',
            {"kind": "fixed", "fields": {"a": "1-4", "b": "5-6"}},
        ),
        ('<sources>x.csv</sources><fitsTableGrammar hdu="2"/>', {"kind": "fits", "hdu": 2}),
        ("<sources>x.csv</sources><voTableGrammar/>", {"kind": "votable"}),
        ("<sources>x.csv</sources><cdfHeaderGrammar/>", {"kind": "product", "mode": "header"}),
        (
            '<sources>x.csv</sources><reGrammar names="a b" fieldSep="\\s+" topIgnoredLines="1"/>',
            {"kind": "csv", "delimiter": "whitespace", "header": False, "names": ["a", "b"], "skip": 1},
        ),
        ('<sources>x.csv</sources><fitsProdGrammar qnd="True"/>', {"kind": "fits", "mode": "header"}),
    ],
)
def test_a_grammar_becomes_a_source(tmp_path: Path, data: str, expected: dict[str, Any]) -> None:
    source = convert_source(tmp_path, data)
    assert source.pop("files") == "../../inputs/sky/x.csv"
    assert source == expected


def test_patterns_and_ignored_files(tmp_path: Path) -> None:
    source = convert_source(
        tmp_path,
        '<sources recurse="True"><pattern>raw/*.csv</pattern><ignoreSources pattern="*_old.csv"/>'
        "<ignoreSources fromdb='select x from y'/></sources><sources>more.csv</sources><csvGrammar/>",
    )
    assert source["files"] == ["../../inputs/sky/raw/**/*.csv", "../../inputs/sky/more.csv"]
    assert source["ignore"] == "*_old.csv"


def test_rows_whose_key_is_missing_are_not_those_with_a_value(tmp_path: Path) -> None:
    """DaCHS ignores rows with the value alone; a condition on a missing value would drop these, too."""
    site_files = convert_text(
        tmp_path,
        "<resource schema='sky'><table id='main' onDisk='True'><column name='a' type='integer'/></table>"
        "<data id='i'><sources>rows.csv</sources><csvGrammar><ignoreOn><keyIs key='quality' value='bad'/></ignoreOn>"
        "</csvGrammar><make table='main'><rowmaker idmaps='*'/></make></data></resource>",
        rows__csv="a,quality\n1,bad\n2,\n3,good\n",
    )
    assert site_files.list_errors("sky") == [], site_files.read_report("sky")
    with Site(site_files.settings) as site:
        ingest_collection(site, "sky")
        result = run_query("SELECT a FROM sky.main ORDER BY a", site=site)
        values = [row["a"] for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    assert values == [2, 3]


def test_identifiers_of_pages_in_the_registry_are_kept(tmp_path: Path) -> None:
    services = "".join(
        f"<service id='{name}' allowed='form'><dbCore queriedTable='main'/><publish render='form' sets='{sets}'/></service>"
        for name, sets in (("home", "local"), ("search", "local,ivo_managed"), ("other", "ivo_managed"))
    )
    site_files = convert_text(
        tmp_path,
        "<resource schema='sky'><table id='main' onDisk='True'><column name='a' type='integer'/></table>"
        "<data id='i'><sources>rows.csv</sources><csvGrammar/><make table='main'><rowmaker idmaps='*'/></make></data>"
        f"{services}</resource>",
        rows__csv="a\n1\n",
    )
    assert site_files.load_descriptor("sky")["registry"] == {"id": "sky/q/search"}
    report = site_files.read_report("sky")
    assert "ivo://AUTHORITY/sky/q/other is another record of the collection" in report
    assert "sky/q/home is" not in report


def test_keys_that_the_grammar_renames(tmp_path: Path) -> None:
    site = convert_text(
        tmp_path,
        f"<resource schema='sky'><table id='main' onDisk='True'>{COLUMNS}</table><data id='i'><sources>x.csv</sources>"
        "<csvGrammar><mapKeys>a:Number of it, b:Size</mapKeys></csvGrammar>"
        "<make table='main'><rowmaker idmaps='*'/></make></data></resource>",
        x__csv="Number of it,Size\n1,big\n",
    )
    assert site.load_descriptor("sky")["tables"]["main"]["map"] == {"a": '"Number of it"', "b": '"Size"'}
    assert site.list_errors("sky") == []


def test_the_line_of_driver_txt_becomes_a_secret(tmp_path: Path) -> None:
    settings = create_site(tmp_path)
    folder = settings.directory / "inputs/sunspots"
    folder.mkdir()
    (folder / "driver.txt").write_text(CONNECTION)
    (folder / "q.rd").write_text(
        f"<resource schema='sunspots'><table id='main' onDisk='True'>{COLUMNS}</table><data id='i'>"
        "<sources>driver.txt</sources><odbcGrammar query=\"SELECT a, b FROM spots\"/><make table='main'/></data></resource>"
    )
    printed = run_hven("new", "sunspots", "--from", folder / "q.rd", "--site", settings.directory).stdout
    assert "the connection string from" in printed
    descriptor = (settings.directory / "collections/sunspots/sunspots.yaml").read_text()
    assert "{kind: sql, url: $SUNSPOTS_DB, query: " in descriptor.replace('"$SUNSPOTS_DB"', "$SUNSPOTS_DB")
    for path in (settings.directory / "collections/sunspots").iterdir():
        assert "hidden-word" not in path.read_text()
    assert "hidden-word" in (settings.directory / "secrets.toml").read_text()


def test_code_of_a_grammar_yields_rows(tmp_path: Path) -> None:
    site = convert_text(
        tmp_path,
        f"<resource schema='sky'><table id='main' onDisk='True'>{COLUMNS}</table><data id='i'>"
        "<sources>x.txt</sources><customGrammar module='res'/><make table='main'><rowmaker idmaps='*'/></make></data>"
        "</resource>",
        x__txt="one\nthree\n",
        res__py="from gavo.grammars.customgrammar import CustomRowIterator\n\n\n"
        "class RowIterator(CustomRowIterator):\n    def _iterRows(self):\n        with open(self.sourceToken) as file:\n"
        "            for line in file:\n                yield {'a': len(line) - 1, 'b': line.strip()}\n",
    )
    assert site.list_errors("sky") == []
    run_hven("ingest", "sky", "--site", site.settings.directory)
    printed = run_hven("query", "SELECT a, b FROM sky.main ORDER BY a", "--site", site.settings.directory).stdout
    assert "three" in printed


@pytest.mark.parametrize("module", ["../outside", "link"])
def test_code_outside_the_directory_is_not_read(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = create_site(tmp_path)
    folder = settings.directory / "inputs/sky"
    folder.mkdir()
    outside = settings.directory / "inputs/outside.py"
    outside.write_text("WORD = 'hidden_word'\n")
    (folder / "link.py").symlink_to(outside)
    (folder / "q.rd").write_text(
        f"<resource schema='sky'><table id='main' onDisk='True'>{COLUMNS}</table><data id='i'><sources>x.txt</sources>"
        f"<customGrammar module='{module}'/><make table='main'><rowmaker idmaps='*'/></make></data></resource>"
    )
    read_paths = []
    open_path = Path.open

    def record_path(path: Path, *arguments: Any, **options: Any) -> Any:
        read_paths.append(path.resolve())
        return open_path(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", record_path)  # also what read_text and read_bytes call
    site = convert(settings, "sky", folder / "q.rd")
    assert outside not in read_paths
    for path in site.settings.locate_descriptor("sky").parent.iterdir():
        assert "hidden_word" not in path.read_text()


@pytest.mark.parametrize("kind", ["large", "pipe"])
def test_large_files_and_pipes_are_not_read_as_code(kind: str, tmp_path: Path) -> None:
    settings = create_site(tmp_path)
    folder = settings.directory / "inputs/sky"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / "res.py")
    else:
        with (folder / "res.py").open("wb") as file:
            file.truncate(1 << 40)  # more than any memory, and nothing on the disk
    (folder / "q.rd").write_text(
        f"<resource schema='sky'><table id='main' onDisk='True'>{COLUMNS}</table><data id='i'><sources>x.txt</sources>"
        "<customGrammar module='res'/><make table='main'><rowmaker idmaps='*'/></make></data></resource>"
    )
    report = convert(settings, "sky", folder / "q.rd").read_report("sky")
    assert ("res.py is larger than 1 MiB" if kind == "large" else "res.py is not there") in report


def test_templates_are_expanded(tmp_path: Path) -> None:
    site = convert_text(
        tmp_path,
        r"""<resource schema="sky">
          <macDef name="unit">mag</macDef>
          <STREAM id="pair"><DEFAULTS ucd="phot.mag"/>
            <column name="\band" unit="\unit" ucd="\ucd" description="In \band"/><column name="e_\band"/><column name="x"/>
          </STREAM>
          <mixinDef id="named"><mixinPar name="label">Star</mixinPar>
            <events><column name="name" type="text" tablehead="\label"/></events></mixinDef>
          <table id="main" onDisk="True" mixin="named">
            <LOOP><csvItems>band, kind
                u, phot.mag;em.opt.U
                v, phot.mag;em.opt.V</csvItems>
              <events><FEED source="pair" band="\band" ucd="\kind"><PRUNE name="x"/><EDIT ref="column[e_\band]" unit="mag"/></FEED></events>
            </LOOP>
            <LOOP listItems="p q"><events><column name="n_\item" type="smallint"/></events></LOOP>
          </table>
        </resource>""",
    )
    columns = site.load_descriptor("sky")["tables"]["main"]["columns"]
    assert list(columns) == ["name", "u", "e_u", "v", "e_v", "n_p", "n_q"]
    assert columns["name"] == {"type": "string", "label": "Star"}
    assert columns["u"] == {"type": "float32", "unit": "mag", "ucd": "phot.mag;em.opt.U", "description": "In u"}
    assert columns["e_v"]["unit"] == "mag"
    assert columns["n_p"]["type"] == "int16"
