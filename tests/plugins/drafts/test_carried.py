"""What a VOTable says around its values survives `hven new`, ingest and `SELECT *`: fields, links, groups, options, constants, hidden columns."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

import pytest

from hven import formats, query
from hven.descriptor import check_descriptor, load_descriptor
from hven.formats import votable
from hven.ingest.api.runs import ingest_collection
from hven.model import units
from hven.model.settings import load_settings as settings
from hven.plugins.drafts import drafting
from hven.plugins.drafts.group_roles import find_code_list, find_member_roles
from hven.site import Site
from shared import shared

DOCUMENT = """<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><DESCRIPTION>Stars that were asked for</DESCRIPTION><RESOURCE>
<COOSYS ID="J2000" system="eq_FK5" equinox="J2000"/>
<TABLE>
<PARAM name="asked" datatype="char" arraysize="*" value="Sirius"/>
<PARAM name="reach" datatype="double" unit="arcmin" value="3.5"/>
<PARAM name="states" datatype="int" value="0"><VALUES><OPTION name="0" value="NO"/><OPTION name="1" value="LOW"/><OPTION name="2" value="LOW"/></VALUES></PARAM>
<PARAM ID="x9" name="HD.limit" datatype="int" value="7"><DESCRIPTION>How many</DESCRIPTION></PARAM>
<FIELD ID="a" name="HD" datatype="char" arraysize="*" ucd="ID_HD"><DESCRIPTION>number</DESCRIPTION><LINK href="http://x.example/?id=HD${HD}&amp;r=${RAdeg}"/></FIELD>
<FIELD ID="b" name="HD.origin" datatype="int" type="hidden"><VALUES><OPTION name="computed" value="1"/><OPTION name="II/246" value="2"/></VALUES></FIELD>
<FIELD ID="c" name="RAdeg" datatype="double" unit="deg" ucd="pos.eq.ra;meta.main" ref="J2000"/>
<FIELD ID="d" name="DEdeg" datatype="double" unit="deg" ucd="pos.eq.dec;meta.main" ref="J2000"/>
<FIELD ID="e" name="2MASS" datatype="char" arraysize="*" utype="x:y.z"/>
<GROUP name="HD" ucd="ID_HD"><DESCRIPTION>with its origin</DESCRIPTION><FIELDref ref="a"/><FIELDref ref="b"/><PARAMref ref="x9"/></GROUP>
<GROUP name="outer"><GROUP name="inner"><FIELDref ref="c" utype="stc:lon"/></GROUP></GROUP>
<DATA><TABLEDATA><TR><TD>48915</TD><TD>1</TD><TD>101.25</TD><TD>-16.5</TD><TD>06450891-1642580</TD></TR>
<TR><TD>1</TD><TD>2</TD><TD>1.25</TD><TD>0.5</TD><TD/></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>
"""


def read_both_tables(
    directory: Path, file: Path
) -> tuple[formats.TableMetadata, list[dict], formats.TableMetadata, list[dict], list[str]]:
    """Give head and rows of a VOTable and of `SELECT *` of the table that `hven new` makes of it, and the names of the columns as they are described here."""
    (directory / "hven.toml").write_text("")
    made = settings(directory)
    path = drafting.create_descriptor(made, "c", str(file))
    with Site(settings(directory)) as site:
        assert ingest_collection(site, "c").published
        with query.run_query("SELECT * FROM c.main", site=site, maxrec=100_000) as result:
            out = b"".join(
                votable.write_votable(
                    query.build_result_metadata(result),
                    result.iterate_batches(),
                    result.build_status,
                    {"serialization": "TABLEDATA"},
                )
            )
    (spec,) = load_descriptor(path, made).tables
    names = [one.name for one in spec.table.columns]
    data = file.read_bytes()
    there, here = (
        votable.read_votable(io.BytesIO(text))
        for text in (gzip.decompress(data) if file.suffix == ".gz" else data, out)
    )
    rows = [[row for batch in one.batches for row in batch.to_pylist()] for one in (there, here)]
    return there.metadata, rows[0], here.metadata, rows[1], names


def compare(directory: Path, file: Path) -> formats.TableMetadata:
    """Hold an answer against the document; gives its head."""
    there, theirs, here, ours, mine_named = read_both_tables(directory, file)
    names = {one.name: name for one, name in zip(there.columns, mine_named, strict=True)}
    mine = {one.name: one for one in here.columns}
    assert [*mine] == [*names.values()]
    converted = set()
    for one in there.columns:
        column = mine[names[one.name]]
        assert (column.description, column.utype, column.display) == (one.description, one.utype, one.display), one.name
        assert not one.ucd or column.ucd == (units.modernize_ucd(one.ucd) or column.ucd or one.ucd), one.name
        if one.unit in {"h:m:s", "d:m:s"} and column.unit == "deg":  # sexagesimal texts become degrees
            converted.add(one.name)
        else:
            assert one.unit is None or column.unit == (units.normalize_unit(one.unit) or one.unit), one.name
            assert column.type.is_string if one.type.is_string else column.type == one.type
        wanted = (
            None
            if one.link is None
            else re.sub(r"(?<!\{)\{([^{}]+)\}", lambda found: f"{{{names[found[1]]}}}", one.link)
        )
        assert column.link == wanted, one.name
        code_list = one.enum or find_code_list(one.name, there.enums) or ""
        assert here.enums.get(column.enum or "") == there.enums.get(code_list), one.name
        assert (column.frame is None) == (one.frame is None)
    known = {**names, **{one.name: one.name for one, _ in there.params}}
    for group, other in zip(there.groups, here.groups, strict=True):
        assert (group.name, group.ucd, group.utype, group.description) == (
            other.name,
            other.ucd,
            other.utype,
            other.description,
        )
        assert other.roles == {
            known[name] if role == name else role: known[name] for role, name in find_member_roles(group).items()
        }
    told = [
        [
            (
                one.name,
                one.type.datatype,
                units.normalize_unit(one.unit) if one.unit else None,
                one.description,
                head.enums.get(one.enum or ""),
                value,
            )
            for one, value in head.params
        ]
        for head in (there, here)
    ]
    assert repr(told[0]) == repr(told[1])
    assert sorted(repr([row[name] or None for name in names if name not in converted]) for row in theirs) == sorted(
        repr([row[names[name]] or None for name in names if name not in converted]) for row in ours
    )
    return here


def test_what_a_votable_says_around_its_values_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "stars.vot"
    file.write_text(DOCUMENT)
    here = compare(tmp_path, file)
    assert here.columns[0].link == "http://x.example/?id=HD{hd}&r={radeg}"
    assert [one.name for one in here.columns if one.display == "hidden"] == ["hd_origin"]
    assert [group.roles for group in here.groups] == [
        {"value": "hd", "origin": "hd_origin", "HD.limit": "HD.limit"},
        {"stc:lon": "radeg"},
    ]
    assert here.enums["states"] == {"0": "NO", "1": "LOW", "2": "LOW"}  # which the document has the wrong way round
    assert [frame.system for frame in here.frames] == ["eq_FK5"]


FILES = ("getstar-votable.vot", "searchcal/SearchCal-HD_32617.scvot.gz", "searchcal/SearchCal-hip1234.scvot.gz")


@pytest.mark.parametrize(("name", "columns"), [*zip(FILES, (367, 390, 378), strict=True)])
def test_the_files_of_real_services_come_back(tmp_path: Path, name: str, columns: int) -> None:
    here = compare(tmp_path, shared("data/interferometry") / name)
    assert len(here.columns) == columns
    assert len(here.groups) > 100
    assert here.params


def test_a_link_to_a_column_that_was_not_taken_is_told(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text("")
    place = tmp_path / "collections" / "c"
    place.mkdir(parents=True)
    (place / "stars.vot").write_text(DOCUMENT)
    (place / "c.yaml").write_text(
        "collection: c\ntitle: C\ntables:\n  t:\n    source: {kind: votable, files: stars.vot}\n    columns: {star: string}\n    map: {star: HD}\n"
    )
    with Site(settings(tmp_path)) as site:
        report = ingest_collection(site, "c")
        assert "it uses the column 'RAdeg', which the table does not copy" in report.format_text()
        assert site.get_published_state().tables_by_name["c.t"].table.find_column("star").link is None


def test_ucds_of_the_source_that_are_old_or_none(tmp_path):
    columns = [("a", "POS_EQ_RA_MAIN"), ("b", "UD_N"), ("c", "VIS2"), ("d", "meta.id")]
    fields = "".join(f'<FIELD name="{name}" datatype="int" ucd="{word}"/>' for name, word in columns)
    (tmp_path / "hven.toml").write_text("")
    (tmp_path / "s.vot").write_text(
        f'<VOTABLE version="1.4"><RESOURCE><TABLE>{fields}<DATA><TABLEDATA><TR>{"<TD>1</TD>" * 4}</TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'
    )
    made = settings(tmp_path)
    path = drafting.create_descriptor(made, "s", str(tmp_path / "s.vot"))
    assert "# the source gives the UCD 'UD_N', which is not valid" in path.read_text()
    assert [
        one.severity
        for one in check_descriptor(path, made)
        if "the source has invalid UCDs: b (UD_N), c (VIS2)" in one.message
    ] == ["warning"]
    path.write_text(re.sub(r"(b|c): +\{", r'\1: {ucd: "", ', path.read_text()))
    assert not [one for one in check_descriptor(path, made) if "UCD" in one.message]
    with Site(made) as site:
        assert ingest_collection(site, "s").published
        with query.run_query("SELECT * FROM s.main", site=site, maxrec=9) as result:
            assert [one.ucd or None for one in query.build_result_metadata(result).columns] == [
                "pos.eq.ra;meta.main",
                None,
                None,
                "meta.id",
            ]
