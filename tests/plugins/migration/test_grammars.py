"""Each grammar becomes a source, and templates are expanded as DaCHS does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from migration_sites import ConvertedSite, convert, convert_text, create_site

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


def ingest_and_list_rows(site_files: ConvertedSite, query: str = "SELECT * FROM sky.main") -> list[tuple[Any, ...]]:
    with Site(site_files.settings) as site:
        ingest_collection(site, "sky")
        result = run_query(query, site=site)
        rows = [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    return rows


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
    assert ingest_and_list_rows(site_files, "SELECT a FROM sky.main ORDER BY a") == [(2,), (3,)]


def test_texts_that_mean_a_missing_value(tmp_path: Path) -> None:
    """DaCHS compares texts with `nullLiteral`, and values with `nullExpr`; `nullExcs` are for texts that are no values."""
    columns = {
        "mag": ("real", '<values nullLiteral="-99.99"/>'),
        "n": ("integer", '<values nullLiteral="-1"/>'),
        "kind": ("text", '<values nullLiteral="none"/>'),
        "flux": ("double precision", ""),
        "size": ("double precision", ""),
        "is_good": ("boolean", ""),
        "half": ("real", ""),
    }
    elements = "".join(
        f"<column name='{name}' type='{column_type}'>{values}</column>"
        for name, (column_type, values) in columns.items()
    )
    site_files = convert_text(
        tmp_path,
        f"<resource schema='sky'><table id='main' onDisk='True'>{elements}</table>"
        "<data id='i'><sources>rows.csv</sources><csvGrammar/><make table='main'><rowmaker idmaps='mag, n'>"
        "<map key='kind' source='sort'/>"
        "<map key='flux' source='flux' nullExpr='-9.5'/>"
        "<map key='size' nullExcs='ValueError'>float(@size)</map>"
        "<map key='is_good'>@quality == 'good'</map>"
        "<map key='half'>@flux and float(@flux) / 2</map>"
        "</rowmaker></make></data></resource>",
        rows__csv="mag,n,sort,flux,size,quality\n-99.99,-1,none,-9.5,big,bad\n1.5,2,star,3,4.5,good\n2.5,3,,,,\n",
    )
    assert site_files.list_errors("sky") == [], site_files.read_report("sky")
    assert ingest_and_list_rows(site_files) == [
        (None, None, None, None, None, False, -4.75),
        (1.5, 2, "star", 3.0, 4.5, True, 1.5),
        (2.5, 3, None, None, None, False, None),
    ]


def test_code_of_an_embedded_grammar_runs(tmp_path: Path) -> None:
    """The code begins with a block, uses what its setup imports, and reads files by their full names."""
    (tmp_path / "away").mkdir()
    path = tmp_path / "away" / "q.rd"
    path.write_text(
        "<resource schema='sky'><table id='main' onDisk='True'><column name='a' type='integer'/>"
        "<column name='xs' type='real[2]'/></table>"
        "<data id='i'><sources item='rows.csv'/><embeddedGrammar><iterator><setup><par key='step'>10</par>"
        "<code>\n    import csv\n</code></setup><code>\n"
        "    with open(self.sourceToken) as file:\n      for row in csv.reader(file):\n"
        "        yield {'a': int(row[0]) + step, 'b': row[1]}\n  </code></iterator></embeddedGrammar>"
        "<make table='main'><rowmaker idmaps='a'><map key='xs'>[float(@b), 2.5]</map></rowmaker></make></data></resource>"
    )
    (path.parent / "rows.csv").write_text("1,0.5\n2,1.5\n")
    site_files = convert(create_site(tmp_path), "sky", path)
    assert site_files.list_errors("sky") == [], site_files.read_report("sky")
    assert ingest_and_list_rows(site_files) == [(11, [0.5, 2.5]), (12, [1.5, 2.5])]


def test_separators_with_blanks_around_them(tmp_path: Path) -> None:
    source = convert_source(tmp_path, "<sources>x.csv</sources><reGrammar names='a b' fieldSep='\\s*\\|\\s*'/>")
    assert source["delimiter"] == "pipe"


def test_procedures_run_before_maps(tmp_path: Path) -> None:
    """DaCHS runs variables, then procedures, then maps, in whichever order a resource descriptor has them."""
    site_files = convert_text(
        tmp_path,
        f"<resource schema='sky'><table id='main' onDisk='True'>{COLUMNS}</table>"
        "<data id='i'><sources>rows.csv</sources><csvGrammar/><make table='main'><rowmaker>"
        "<map key='b' source='colour'/>"
        '<apply procDef="//procs#dictMap"><bind key="key">"colour"</bind>'
        '<bind key="mapping">{"r": "red", "b": "blue"}</bind></apply>'
        "<map key='a'>@double</map><var key='double'>2*int(@a)</var></rowmaker></make></data></resource>",
        rows__csv="a,colour\n1,r\n2,b\n",
    )
    mapping = site_files.load_descriptor("sky")["tables"]["main"]["map"]
    assert mapping == {
        "b": "(CASE colour WHEN 'r' THEN 'red' WHEN 'b' THEN 'blue' ELSE NULL END)",
        "a": "(2 * CAST(a AS BIGINT))",
    }


def test_angles_with_digits_and_links_in_texts(tmp_path: Path) -> None:
    site_files = convert_text(
        tmp_path,
        "<resource schema='sky'><meta name='description'>See `its page &lt;https://example.org/a&gt;`_, "
        "&lt;https://example.org/b&gt; and &lt;b class='x'>this&lt;/b>.</meta>"
        "<table id='main' onDisk='True'><column name='dec' type='double precision' displayHint='type=dms,sf=1'/></table>"
        "<data id='i'><sources>rows.csv</sources><csvGrammar/><make table='main'><rowmaker idmaps='*'/></make></data>"
        "</resource>",
        rows__csv="dec\n1\n",
    )
    descriptor = site_files.load_descriptor("sky")
    assert descriptor["description"] == "See its page (https://example.org/a), <https://example.org/b> and this."
    assert descriptor["tables"]["main"]["columns"]["dec"]["display"] == "sexagesimal"


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
