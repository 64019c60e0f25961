"""hven new: guesses of names, types, units, UCDs, positions, keys; YAML that always reads back."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import yaml
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from hven import descriptor
from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor._loading import check_descriptor
from hven.descriptor.api.yaml_text import format_yaml_flow_value, format_yaml_scalar
from hven.model import plugins
from hven.model.errors import ConflictError, SourceError, UsageError
from hven.model.settings import Settings
from hven.plugins.drafts.column_guesses import split_heading_unit, to_adql_identifier
from hven.plugins.drafts.drafting import create_descriptor, write_table_draft
from hven.sources import SourceContext, file_kinds
from plugin_needs import require_functions, require_plugins
from shared import shared


def read(text):
    return yaml.safe_load(text)


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "collections/x"
    path.mkdir(parents=True)
    return path


def faults(tmp_path, text):
    path = tmp_path / "collections/x/x.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return [str(fault) for fault in descriptor.check_descriptor(path, Settings(directory=tmp_path))]


# -- names and units ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RAJ2000", "raj2000"), ("e_Vmag", "e_vmag"), ("Diameter (km)", "diameter_km"), ("err+", "err_plus"), ("err-", "err_minus"), ("2MASS", "c_2mass"),
        ("#ID", "id"), ("Ångström", "angstrom"), ("\u03c3_V", "sigma_v"), ("SELECT", "select_value"), ("Date", "date_value"), ("value", "data_value"), ("user", "user_name"), ("", "unnamed"), ("日本", "unnamed"), ("a  b--c", "a_b_c"),
        ("pm (mas/yr)", "pm_mas_yr"), ("99%", "c_99_percent"),
    ],
)  # fmt: skip
def test_names_become_identifiers(name, expected):
    assert to_adql_identifier(name) == expected


@given(st.text(max_size=80))
def test_any_name_becomes_a_regular_identifier(name):
    made = to_adql_identifier(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", made)
    assert made.upper() not in RESERVED_WORDS
    assert to_adql_identifier(made) == made


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("vis2(8mu)", ("vis2(8mu)", None)), ("flux [1.4GHz]", ("flux [1.4GHz]", None)), ("F (2 mass)", ("F (2 mass)", None)),
        ("flux (10-14erg/s/cm2)", ("flux", "10**-14erg.s**-1.cm**-2")), ("Diameter (km)", ("Diameter", "km")), ("Period [days]", ("Period", "d")), ("v [km/s]", ("v", "km/s")), ("Alt_km", ("Alt_km", "km")),
        ("Speed_km_s", ("Speed_km_s", "km/s")), ("Flag (see note)", ("Flag (see note)", None)), ("Flag (2)", ("Flag (2)", None)), ("format of the data file(s)", ("format of the data file(s)", None)),
        ("Note (a)", ("Note (a)", None)), ('Sep. (")', ("Sep.", "arcsec")), ("share (%)", ("share", "%")), ("n (*)", ("n (*)", None)), ("(km)", ("(km)", None)), ("plain", ("plain", None)),
    ],
)  # fmt: skip
def test_units_in_headings(heading, expected):
    assert split_heading_unit(heading) == expected


# -- YAML -----------------------------------------------------------------------------------


@given(st.text(max_size=60) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_any_scalar_reads_back_as_it_was(value):
    assert read(f"k: {format_yaml_flow_value([value])}") == {"k": [value]} or (
        isinstance(value, float) and float(read(format_yaml_flow_value([value]))[0]) == value
    )


@given(
    st.dictionaries(st.text(max_size=20), st.text(max_size=40) | st.lists(st.text(max_size=10), max_size=3), max_size=4)
)
def test_any_options_read_back_as_they_were(options):
    assert read("source: " + format_yaml_flow_value(options)) == {"source": options}


@given(
    key=st.sampled_from(
        [
            "y",
            "no",
            "on",
            "null",
            "n",
            "True",
            "~",
            "1e5",
            "0o7",
            "12:30:45",
            "=",
            "- x",
            "a: b",
            "a #b",
            "@x",
            "`x",
            "%",
            "[a",
            "{",
            "*x",
            "&x",
            "!x",
        ]
    )
)
def test_words_that_yaml_takes_for_something_else(key):
    assert read(f"{format_yaml_scalar(key)}: {format_yaml_scalar(key)}") == {key: key}


def test_metadata_cannot_break_out(tmp_path, home):
    """Header texts with quotes, line ends, braces and comment signs stay text."""
    evil = ["a: {b", 'x" , y: "', "it's # no comment", "---", "two\nlines", "\\n", "{{ 7*7 }}", "é\x07\u2028", "- item"]
    path = home / "a.csv"
    path.write_text(
        ",".join('"' + name.replace('"', '""') + '"' for name in evil) + "\n" + ",".join("1" * len(evil)) + "\n"
    )
    text = write_table_draft("x", "csv", {"files": "a.csv", "header": True}, home, origin="a.csv\ntables: {}")
    assert faults(tmp_path, text) == []
    table = read(text)["tables"]["main"]
    assert len(table["columns"]) == len(evil)
    assert [value[1:-1].replace('""', '"') for value in table["map"].values()] == [name.strip() for name in evil]


# -- guesses --------------------------------------------------------------------------------


def test_a_plain_catalogue(tmp_path, home):
    path = home / "a.csv"
    path.write_text(
        "name,ra (deg),dec (deg),Vmag (mag),n,code\nSirius,101.28,-16.71,-1.44,3,007\nVega,279.23,38.78,0.03,3,012\n"
    )
    text = write_table_draft("x", "csv", {"files": "a.csv"}, home)
    assert faults(tmp_path, text) == []
    table = read(text)["tables"]["main"]
    assert table["position"] == ["ra", "dec"]
    assert table["primary"] == ["name"]
    assert table["columns"] == {
        "name": {"type": "string", "ucd": "meta.id;meta.main"},
        "ra": {"type": "float64", "unit": "deg", "ucd": "pos.eq.ra;meta.main"},
        "dec": {"type": "float64", "unit": "deg", "ucd": "pos.eq.dec;meta.main"},
        "vmag": {"type": "float64", "unit": "mag", "ucd": "phot.mag;em.opt.V"},
        "n": {"type": "int32"},
        "code": {"type": "string"},
    }
    assert table["map"] == {"ra": '"ra (deg)"', "dec": '"dec (deg)"', "vmag": '"Vmag (mag)"'}


def test_words_for_null_and_keys_that_are_none(tmp_path, home):
    path = home / "a.csv"
    path.write_text("id,speed\n" + "".join(f"{k % 50},{k * 1.5}\n" for k in range(60)) + "50,xxx\n51,missing\n")
    text = write_table_draft("x", "csv", {"files": "a.csv"}, home)
    table = read(text)["tables"]["main"]
    assert table["source"]["null"] == {"speed": ["missing", "xxx"]}
    assert table["columns"]["speed"]["type"] == "float64"
    assert "primary" not in table, "ids occur twice"
    assert faults(tmp_path, text) == []


def test_codes_for_no_value_stand_apart(tmp_path, home):
    rows = "".join(
        f"{k},{12 + k / 50 if k % 7 else 99.99},{9900 + k},{-999 if k == 5 else k / 3}\n" for k in range(100)
    )
    (home / "a.csv").write_text("n,mag,count,x\n" + rows)
    text = write_table_draft("x", "csv", {"files": "a.csv"}, home)
    assert re.findall(r"# (\w+) reaches (\S+): .* write `(.*)`", text) == [
        ("mag", "99.99", "null: {mag: 99.99}"),
        ("x", "-999", "null: {x: -999}"),
    ]
    assert faults(tmp_path, text) == []


def test_sexagesimal_positions_and_numbered_comments(tmp_path):
    path = shared("data/sync/exoplanets/open_exoplanet_catalogue_2020-08-06.csv.gz")
    text = write_table_draft("x", "csv", {"files": str(path)}, path.parent)
    table = read(text)["tables"]["main"]
    assert table["position"] == ["right_ascension", "declination"]
    assert table["map"]["right_ascension"] == "sexagesimal(column_17, 'hour')"
    assert table["map"]["declination"] == "sexagesimal(column_18)"
    axis = table["columns"]["semi_major_axis"]
    assert (axis["type"], axis["unit"], axis["description"]) == (
        "float64",
        "AU",
        "Semi-major axis [Astronomical Units]",
    )
    assert faults(tmp_path, text) == []


def test_positions_in_pieces(tmp_path):
    rule = "-" * 60
    (tmp_path / "a.dat").write_text("Vega   18 36 56.34 +38 47 01.3\nSirius 06 45 08.92 -16 42 58.0\n")
    (tmp_path / "ReadMe").write_text(
        f"X/1   A list   (Brahe+ 1598)\n{'=' * 60}\nA list of bright stars\n\nByte-by-byte Description of file: a.dat\n{rule}\n   Bytes Format Units Label Explanations\n{rule}\n"
        "   1-  6  A6      ---     Name   Name\n   8-  9  I2      h       RAh    RA\n  11- 12  I2      min     RAm    RA\n  14- 18  F5.2    s       RAs    RA\n"
        "      20  A1      ---     DE-    sign\n  21- 22  I2      deg     DEd    Dec\n  24- 25  I2      arcmin  DEm    Dec\n  27- 30  F4.1    arcsec  DEs    Dec\n"
        + rule
        + "\n"
    )
    path = create_descriptor(Settings(directory=tmp_path / "s"), "bright", str(tmp_path / "a.dat"))
    table = read(path.read_text())["tables"]["main"]
    assert table["source"]["kind"] == "fixed", "a ReadMe beside the file is used"
    assert table["position"] == ["ra", "dec"]
    assert table["map"]["ra"] == "15 * (RAh + RAm / 60.0 + coalesce(RAs, 0) / 3600.0)"
    assert read(path.read_text())["title"] == "A list of bright stars"
    assert [str(fault) for fault in descriptor.check_descriptor(path, Settings(directory=tmp_path / "s"))] == []


REAL = [
    ("csv", "data/helio/hfc/charm/ch_results.csv.gz", 33, None),
    ("csv", "data/planetary/craters/mars_craters_km.csv", 3, []),
    ("csv", "data/sync/desi-tiles/tiles-main-20210512-rev00425.ecsv.gz", 13, ["ra", "dec"]),
    ("fits", "data/images/clusters/HFI_PCCS_SZ-union_R2.08.fits", 30, ["ra", "dec"]),
    ("fits", "data/interferometry/jmdc/JMDC_2017-03-28.fits.gz", 251, ["raj2000", "dej2000"]),
    ("votable", "data/interferometry/searchcal/SearchCal-HD_32617.scvot.gz", 390, None),
    ("votable", "data/vo/scs-result.xml", 9, ["raj2000", "dej2000"]),
]


@pytest.mark.parametrize(("kind", "name", "width", "position"), REAL)
def test_real_files_give_descriptors_without_faults(tmp_path, kind, name, width, position):
    path = shared(name)
    assert file_kinds.detect_kind_from_file_content(path) == kind
    text = write_table_draft("x", kind, {"files": str(path)}, path.parent)
    found = faults(tmp_path, text)
    odd = [one for one in found if "the source has invalid UCDs" in one]  # nobody can guess those
    assert len(odd) == ("JMDC" in name or "SearchCal" in name)
    assert [one for one in found if "the source has invalid units" not in one] == odd
    table = read(text)["tables"]["main"]
    assert len(table["columns"]) == width
    if position is not None:
        assert table.get("position", []) == position


def test_images_become_rows_of_header_cards(tmp_path):
    path = create_descriptor(Settings(directory=tmp_path), "images", str(shared("data/helio/images") / "*.fits"))
    table = read(path.read_text())["tables"]["main"]
    assert table["source"]["mode"] == "header"
    assert table["columns"]["telescop"]["type"] == "string"
    assert table["map"]["date_obs"] == '"DATE-OBS"'


def test_the_axes_of_a_spectrogram_are_not_its_headers(tmp_path):
    image = fits.PrimaryHDU(np.zeros((4, 6), np.uint8))
    image.header["INSTRUME"] = "BIR"
    axes = fits.BinTableHDU.from_columns(
        [fits.Column("TIME", "6D", array=[np.arange(6)]), fits.Column("FREQUENCY", "4D", array=[np.arange(4)])]
    )
    fits.HDUList([image, axes]).writeto(tmp_path / "a.fits")
    table = read(create_descriptor(Settings(directory=tmp_path), "a", str(tmp_path / "a.fits")).read_text())["tables"][
        "main"
    ]
    assert table["source"]["mode"] == "header"
    assert "instrume" in table["columns"]
    table = read(create_descriptor(Settings(directory=tmp_path), "b", str(tmp_path / "a.fits"), table="1").read_text())[
        "tables"
    ]["main"]
    assert list(table["columns"]) == ["time_value", "frequency"]


def test_positions_of_oifits_and_codes_of_fits(home):
    columns = [
        fits.Column("TARGET_ID", "I", array=[1, 2, 3]), fits.Column("RAEP0", "D", unit="deg", array=[10.0, 20.0, 30.0]), fits.Column("DECEP0", "D", unit="deg", array=[1.0, 2.0, 3.0]),
        fits.Column("UD_DIAM", "D", unit="mas", array=[-1.0, 0.5, 60.0]), fits.Column("TEFF", "J", array=[5000, 6000, -2147483648]),
    ]  # fmt: skip
    fits.BinTableHDU.from_columns(columns, name="OI_TARGET").writeto(home / "a.fits")
    text = write_table_draft("x", "fits", {"files": "a.fits"}, home)
    assert read(text)["tables"]["main"]["position"] == ["raep0", "decep0"]
    assert "write `null: {UD_DIAM: -1}` in the source" in text
    assert "write `null: {TEFF: -2147483648}` in the source" in text
    options = {"files": "a.fits", "null": {"UD_DIAM": -1, "TEFF": -2147483648}}
    fits_kind = plugins.load_plugin("sources", "fits")
    (batch,) = fits_kind.open(fits_kind.Options.model_validate(options), SourceContext(directory=home)).read_batches(
        ["UD_DIAM", "TEFF"]
    )
    assert batch.to_pydict() == {"UD_DIAM": [None, 0.5, 60.0], "TEFF": [5000, 6000, None]}


def test_ucds_of_quantities_are_for_quantities(home):
    lines = [f"{n},{'true' if n % 2 else 'false'},{n},{n / 7},x{n},false\n" for n in range(30)]
    (home / "a.csv").write_text("id,diamFlag,diam_count,diam,mass_origin,flux\n" + "".join(lines))
    columns = read(write_table_draft("x", "csv", {"files": "a.csv"}, home))["tables"]["main"]["columns"]
    assert {name: column.get("ucd") for name, column in columns.items() if name != "id"} == {
        "diamflag": "meta.code", "diam_count": "meta.number", "diam": "phys.angSize", "mass_origin": None, "flux": "meta.code",
    }  # fmt: skip


def test_data_outside_the_site_are_told(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    assert (
        "outside the site"
        in create_descriptor(Settings(directory=tmp_path / "site"), "x", str(tmp_path / "a.csv")).read_text()
    )
    (tmp_path / "site/b.csv").write_text("a,b\n1,2\n")
    assert (
        "outside the site"
        not in create_descriptor(Settings(directory=tmp_path / "site"), "y", str(tmp_path / "site/b.csv")).read_text()
    )


# -- the verb -------------------------------------------------------------------------------


def test_files_of_several_tables_say_which_was_taken(tmp_path):
    from astropy.io import fits

    def table(name):
        return fits.BinTableHDU.from_columns([fits.Column("id", "J", array=[1, 2])], name=name)

    fits.HDUList([fits.PrimaryHDU(), table("STARS"), fits.ImageHDU(), table("NOTES")]).writeto(tmp_path / "a.fits")
    one = "<TABLE name='{0}'><FIELD name='id' datatype='int'/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE>"
    (tmp_path / "a.vot").write_text(
        "<VOTABLE version='1.3'><RESOURCE type='meta'><TABLE name='params'><FIELD name='x' datatype='int'/></TABLE></RESOURCE><RESOURCE>"
        + one.format("stars") + one.format("notes") + "</RESOURCE></VOTABLE>"
    )  # fmt: skip
    site = Settings(directory=tmp_path)
    said = create_descriptor(site, "f", str(tmp_path / "a.fits")).read_text()
    assert "# this is table 1 STARS (2 rows) of 2; --table chooses another: 3 NOTES (2 rows)" in said
    said = create_descriptor(site, "v", str(tmp_path / "a.vot")).read_text()
    assert "# this is table 1 stars of 3; --table chooses another: 0 params, 2 notes" in said
    for name, file, choice in (("g", "a.fits", "NOTES"), ("w", "a.vot", "2")):
        made = create_descriptor(site, name, str(tmp_path / file), table=choice)
        assert "--table" not in made.read_text()
        assert list(read(made.read_text())["tables"]["main"]["columns"]) == ["id"]


def test_fixed_width_text_is_cut_where_all_lines_are_blank(tmp_path):
    lines = [f"HD{number:5d} {number / 7:8.3f}{'':3}{'ab c' if number % 2 else '':4}" for number in range(1, 400)]
    (tmp_path / "a.dat").write_text("# a catalogue, 1890\n" + "\n".join(lines) + "\n")
    site = Settings(directory=tmp_path)
    made = create_descriptor(site, "x", str(tmp_path / "a.dat"), kind="fixed")
    found = read(made.read_text())["tables"]["main"]
    # what HD is followed by differs: its blanks are not in all lines
    assert found["source"]["fields"] == {
        "column_1": "1-2",
        "column_2": "5-7",
        "column_3": "11-16",
        "column_4": "20-21",
        "column_5": "23-23",
    }
    assert found["source"]["comment"] == "#"
    assert {name: column["type"] for name, column in found["columns"].items()} == {
        "column_1": "string", "column_2": "int32", "column_3": "float64", "column_4": "string", "column_5": "string",
    }  # fmt: skip
    assert faults(tmp_path, made.read_text()) == []
    (tmp_path / "b.dat").write_text("abc def\nabcdefg\n")
    with pytest.raises(SourceError, match=r"no character position of .*b\.dat is blank in all lines"):
        create_descriptor(site, "y", str(tmp_path / "b.dat"), kind="fixed")
    (tmp_path / "c.dat").write_text("abc\tdef\n")
    with pytest.raises(SourceError, match="contains tabs"):
        create_descriptor(site, "y", str(tmp_path / "c.dat"), kind="fixed")


def test_old_ucds_are_brought_up_to_date(tmp_path, home):
    (home / "a.vot").write_text(
        "<VOTABLE version='1.1'><RESOURCE><TABLE><FIELD name='p' datatype='double' ucd='POS_EQ_RA_MAIN' unit='deg'/>"
        "<FIELD name='q' datatype='double' ucd='nonsense'/><DATA><TABLEDATA><TR><TD>1</TD><TD>2</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    columns = read(write_table_draft("x", "votable", {"files": "a.vot"}, home))["tables"]["main"]["columns"]
    assert columns["p"]["ucd"] == "pos.eq.ra;meta.main"
    assert "ucd" not in columns["q"]


def test_a_record_of_units_is_taken_and_said(home):
    lines = [f"{n},s{n},10:11:{n % 60:02},{10 + n / 100},{n / 7:.3f},{n % 3}\n" for n in range(300)]
    (home / "a.csv").write_text("ID,Name,RAJ2000,Vmag,Period,files\n,,h:m:s,[mag],days,\n" + "".join(lines))
    text = write_table_draft("x", "csv", {"files": "a.csv"}, home)
    assert "which is not valid" not in text
    table = read(text)["tables"]["main"]
    assert table["source"]["units"] is True
    assert table["primary"] == ["id"]
    assert table["columns"]["vmag"] == {"type": "float64", "unit": "mag", "ucd": "phot.mag;em.opt.V"}
    assert table["columns"]["period"]["unit"] == "d"
    assert table["map"]["raj2000"] == "sexagesimal(RAJ2000, 'hour')"


def test_columns_that_are_nearly_something_else_are_told(home):
    lines = [f"{n},{'3.4?' if n == 17 else n / 7},{n % 28 + 1:02}/{1 + n % 12:02}/2020,A{n}\n" for n in range(100)]
    (home / "a.csv").write_text("id,flux,seen,name\n" + "".join(lines).replace("13/01/2020", "2020-01-13"))
    text = write_table_draft("x", "csv", {"files": "a.csv"}, home)
    assert "99 of the 100 sampled values are numbers; exceptions: row 18 '3.4?'; write `null: {flux: ['3.4?']}`" in text
    assert (
        "the dates have 2 formats, %d/%m/%Y and ISO 8601; map the column with coalesce(parse_time(seen, '%d/%m/%Y'), parse_time(seen))"
        in text
    )
    (home / "x.yaml").write_text(text)
    site = Settings(directory=home.parent.parent)
    said = [fault for fault in check_descriptor(home / "x.yaml", site) if "is read as text" in fault.message]
    assert [(fault.severity, fault.message.split(" ")[1], fault.place.line is not None) for fault in said] == [
        ("warning", "'flux'", True),
        ("warning", "'seen'", True),
    ]
    text = text.replace("{kind: csv, files: a.csv", "{kind: csv, files: a.csv, types: {flux: string}").replace(
        "seen: {type: string", "seen: {type: timestamp"
    )
    (home / "x.yaml").write_text(
        text + "    map: {seen: \"coalesce(parse_time(seen, '%d/%m/%Y'), parse_time(seen))\"}\n"
    )
    assert check_descriptor(home / "x.yaml", site) == [], "what the curator said is not doubted"


def test_a_table_without_columns_is_refused(home):
    (home / "a.vot").write_text(
        '<VOTABLE version="1.4"><RESOURCE><TABLE><PARAM name="a" datatype="int" value="1"/></TABLE></RESOURCE></VOTABLE>'
    )
    with pytest.raises(SourceError, match=r"a\.vot: the TABLE has no FIELD"):
        write_table_draft("x", "votable", {"files": "a.vot"}, home)
    (home / "x.yaml").write_text("collection: x\ntitle: X\ntables: {main: {source: {kind: votable, files: a.vot}}}\n")
    (fault,) = [
        fault
        for fault in check_descriptor(home / "x.yaml", Settings(directory=home.parent.parent))
        if fault.severity == "error"
    ]
    assert "the TABLE has no FIELD" in fault.message


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a.xml", "not found\n1,2\n", "not well-formed XML"),
        ("a.fits", "not found\n1,2\n", "not a FITS file"),
        ("a.json", "not found\n1,2\n", "JSON begins with"),
    ],
)
def test_text_that_is_called_something_else_is_no_table_of_text(home, name, text, fault):
    require_plugins("sources", "json", "fits")
    (home / name).write_text(text)
    with pytest.raises(SourceError, match=fault):
        create_descriptor(Settings(directory=home), "stars", str(home / name))


def test_xml_without_a_prologue_is_read_as_xml(home):
    require_plugins("sources", "xml")
    (home / "a.xml").write_text("<list><star id='a'><mag>1.5</mag></star><star id='b'><mag>2.5</mag></star></list>")
    path = create_descriptor(Settings(directory=home), "stars", str(home / "a.xml"))
    assert read(path.read_text())["tables"]["main"]["source"]["kind"] == "xml"


def test_refusals(tmp_path):
    site = Settings(directory=tmp_path)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.bin").write_bytes(b"\x7fELF\0\0\0")
    (tmp_path / "empty").mkdir()
    made = create_descriptor(site, "one", str(tmp_path / "a.csv"))
    assert read(made.read_text())["tables"]["main"]["source"] == {"kind": "csv", "files": "../../a.csv"}
    for name, source, error, message in [
        ("one", "a.csv", ConflictError, "exists"),
        ("two words", "a.csv", UsageError, "cannot be the name of a collection; .*two_words"),
        ("select", "a.csv", UsageError, "cannot be the name"),
        ("two", "none.csv", SourceError, "no file none.csv"),
        ("two", str(tmp_path / "empty"), SourceError, "is a directory"),
        ("two", str(tmp_path / "*.dat"), SourceError, "no file matches"),
        ("two", str(tmp_path / "b.bin"), SourceError, "write the right kind"),
        ("two", "postgresql://u:p@h/db", UsageError, "must be a secret"),
    ]:
        with pytest.raises(error, match=message):
            create_descriptor(site, name, source)
    assert not (tmp_path / "collections/two").exists(), "nothing is left of what failed"


def test_outlines_of_geojson_become_polygons(home):
    require_plugins("sources", "json")
    ring = [[10, 5], [12, 5], [12, 6], [10, 6], [10, 5]]
    line = {"type": "Feature", "id": 1, "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (home / "a.geojson").write_text(json.dumps(line) + "\n")
    mapped = "columns: {outline: {type: polygon}}, map: {outline: \"oriented(geometry, 'body')\"}"
    (home / "x.yaml").write_text(f"collection: x\ntitle: X\ntables: {{main: {{source: a.geojson, {mapped}}}}}\n")
    assert check_descriptor(home / "x.yaml", Settings(directory=home.parent.parent)) == []


def test_units_of_the_source_that_are_none_are_told(home):
    (home / "a.csv").write_text("id,flux,logg\n,sfu,[cgs]\n1,2.5,4.1\n2,3.5,4.2\n")
    columns = "columns: {id: int32, flux: float64, logg: {type: float64, unit: ''}}"
    (home / "x.yaml").write_text(f"collection: x\ntitle: X\ntables: {{main: {{source: a.csv, {columns}}}}}\n")
    (fault,) = check_descriptor(home / "x.yaml", Settings(directory=home.parent.parent))
    assert (fault.severity, fault.message) == ("warning", "tables.main: the source has invalid units: flux (sfu)")


HOLES = """ID_CORONALHOLES,CC,CC_X_PIX,CC_Y_PIX,CC_LENGTH,R_SUN,CENTER_X,CENTER_Y,CDELT1,CDELT2,C_ROTATION,DATE_OBS
ch_1,444444446666000000002222,520,540,24,374.87,511.5,511.5,2.63,2.63,2080,2009-03-04T00:00:12
ch_2,44x6600222,600,500,10,374.87,511.5,511.5,2.63,2.63,2080,2009-03-04T00:00:12
"""
HOLES += "".join(f"ch_{n},{'4' * n}66{'0' * n}22,{400 + n},500,{2 * n + 4},374.87,511.5,511.5,2.63,2.63,2080,2009-03-04T00:00:12\n" for n in range(3, 60))  # fmt: skip


@pytest.mark.parametrize("standard", [None, "epn-tap"])
def test_chain_codes_of_hfc_become_regions(standard, tmp_path):
    """The whole of a table by HFC's names, as its views have them: the descriptor is checked and ingested as it was proposed."""
    require_functions("chain_contour")
    from hven import query
    from hven.ingest.api.runs import ingest_collection
    from hven.site.auth import OWNER_PRINCIPAL
    from hven.testing.site import open_site_with_uningested_files

    (tmp_path / "holes.csv").write_text(HOLES)
    with open_site_with_uningested_files(tmp_path, "collection: other\ntitle: Other\ntables: {}\n") as site:
        path = create_descriptor(site.settings, "holes", str(tmp_path / "holes.csv"), standard=standard)
        assert "R_SUN * CDELT1, sun_l0(DATE_OBS, C_ROTATION), sun_b0(DATE_OBS))" in path.read_text()
        assert [fault for fault in check_descriptor(path, site.settings) if fault.severity == "error"] == []
        report = ingest_collection(site, "holes")
        table, column = ("epn_core", "granule_uid") if standard else ("main", "id_coronalholes")
        site.refresh_published_state()
        with query.run_query(f"SELECT {column}, s_region FROM holes.{table}", OWNER_PRINCIPAL, site=site) as result:
            rows = dict(zip(*result.read_table().to_pydict().values(), strict=True))
    assert len(rows) == 59
    assert [name for name, region in rows.items() if region is None] == ["ch_2"]
    # nine pixels wide and five high, west of the middle of the disc (longitude 147 then), a pixel is 0.15 degrees
    assert max(rows["ch_1"][::2]) - min(rows["ch_1"][::2]) == pytest.approx(9 * 0.155, abs=0.05)
    assert "row 2: contour = character 3 of the chain code is not a digit from 0 to 7" in report.format_text()


def test_chain_codes_without_their_image_say_what_is_missing(tmp_path, home):
    require_functions("chain_contour")
    (tmp_path / "codes.csv").write_text("ID,CC,CC_X_PIX,CC_Y_PIX\n" + "a,4444666600002222,5,5\n" * 3)
    text = write_table_draft("codes", "csv", {"files": "codes.csv"}, tmp_path)
    assert "CC is a chain code on an image, and the image's centre, scale, radius, date are not in this table" in text
    assert "chain_contour(CC, CC_X_PIX, CC_Y_PIX, disc(..))" in text
    table = read(text)["tables"]["main"]
    assert "s_region" not in table["columns"]
    assert (table["source"]["types"], table["columns"]["cc"]["type"]) == (
        {"CC": "string"},
        "string",
    )  # no number, whose first zeros say nothing
