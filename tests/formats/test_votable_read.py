"""Reading other people's VOTables: a corpus of real ones, the legal oddities, and what must be refused."""

from __future__ import annotations

import base64
import contextlib
import gzip
import importlib.util
import io
import json
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hven.formats.api.xml_input import find_local_name
from hven.formats.votable import read_votable, reader
from hven.model.errors import SourceError
from hven.model.types import ColumnType
from hven.testing.format import make_all_types_batch, write_document
from shared import shared


def corpus():
    """Give what is below each folder of the corpus: the folder, and the name of a file."""
    for folder in ("votable", "dal", "datalink"):
        for line in shared(f"corpora/{folder}/INDEX.jsonl").read_text().splitlines():
            yield folder, json.loads(line)["file"]


# Files without a table that can be read, each with what we say. Most are no VOTables at all.
REFUSED = {
    "astropy--custom_datatype.xml": "datatype='bar'",
    "astropy--irsa-nph-error.xml": "no TABLE",
    "astropy--no_field_not_empty_table.xml": "no FIELD",
    "astropy--no_resource.xml": "no TABLE",
    "astropy--parquet_binary.xml": "cannot read PARQUET rows",  # in another file, which does not lie here
    "astropy--resource_groups.xml": "no TABLE",
    # made of values that overflow; astropy clips them
    "astropy--regression.xml": "'256' is not a value of type unsignedByte",
    "astroquery--FORS2.2021-01-02T00_59_12.533_raw2raw.xml": "root element is association",
    "astroquery--FORS2.2021-01-02T00_59_12.533_raw2raw_multipart.xml": "not well-formed",
    "astroquery--cutout_333.9092_-45.8418_0.5000.xml": "root element is job",
    "astroquery--dust-error.xml": "root element is results",
    "astroquery--dustm31.xml": "root element is results",
    "astroquery--error.xml": "error message from a service: No note found",
    "pyvo--errorstatus.xml": "error message from a service: ERROR",  # pyvo raises DALQueryError for it, whatever rows stand beside
    "astroquery--test_table1.xml": "root element is tableset",
    "astroquery--test_table_rename.xml": "root element is tableset",
    "astroquery--test_table_update.xml": "root element is tableset",
    "tap--EmptyTable.xml": "no TABLE",
    "vollt--testdata_no-field.vot": "no FIELD",
    "astroquery--conesearch_error1.xml": "error message from a service: Error in input RA",
    "astroquery--conesearch_error2.xml": "error message from a service: Error in input RA",
    "pyvo--capabilities-basicauth.xml": "root element is capabilities",
    "pyvo--capabilities-newformat.xml": "root element is capabilities",
    "pyvo--capabilities.xml": "root element is capabilities",
    "pyvo--test.photcal_error.xml": "error message from a service: PhotCalID not found",
    "pyvo--missingcolumns.xml": "no FIELD",
    "pyvo--missingresource.xml": "no TABLE",
    "pyvo--missingtable.xml": "no TABLE",
    "caom2service--example-caomPublisherID.xml": "no TABLE",
    "dal--mismatched-id-ref-template.xml": "no TABLE",
    "dal--missing-meta-resource-template.xml": "no TABLE",
    "dal--multiple-resource-template.xml": "no TABLE",
    "dal--valid-template.xml": "no TABLE",
    "tap--datalink.xml": "no TABLE",
}


def test_corpus(subtests):
    for folder, name in corpus():
        with subtests.test(f"{folder}/{name}"), shared(f"corpora/{folder}/{name}").open("rb") as file:
            judge(file, name)


def iterate_package_documents():
    """Give the documents that astropy and pyvo bring for their own tests: a name that begins with the package's, and the file."""
    for package in ("astropy", "pyvo"):
        home = Path(importlib.util.find_spec(package).origin).parent
        for path in sorted(home.rglob("tests/**/*.xml")):
            if b"<VOTABLE" in path.read_bytes()[:4096]:
                yield f"{package}--{path.name}", path


def test_documents_of_other_packages(subtests):
    """Those that tests install anyway: real documents without ../shared."""
    found = dict(iterate_package_documents())
    assert len(found) > 40
    for name, path in found.items():
        with subtests.test(name), path.open("rb") as file:
            judge(file, name)


def judge(file, name):
    """Read a file: either all of its rows have the types that its head says, or the error is the one that it must be."""
    if name in REFUSED:
        with pytest.raises(SourceError, match=REFUSED[name]):
            list(read_votable(file).batches)
        return
    found = read_votable(file)
    rows = 0
    for batch in found.batches:
        batch.validate(full=True)
        assert batch.schema.types == [column.type.arrow for column in found.metadata.columns]
        rows += batch.num_rows
    assert found.metadata.columns or rows == 0


def test_the_corpus_is_there():
    assert len(list(shared("corpora/votable").glob("*"))) > 80


# -- oddities


def table(
    rows,
    fields='<FIELD name="a" datatype="int"/>',
    *,
    around=("", ""),
    namespace=' xmlns="http://www.ivoa.net/xml/VOTable/v1.3"',
):
    return (
        f'<?xml version="1.0"?>\n<VOTABLE version="1.3"{namespace}><RESOURCE>{around[0]}<TABLE>{fields}<DATA>{rows}</DATA></TABLE>{around[1]}</RESOURCE></VOTABLE>'
    ).encode()


def values(data, wanted=None):
    found = read_votable(io.BytesIO(data), wanted)
    return [tuple(row.values()) for batch in found.batches for row in batch.to_pylist()]


def cells(*texts, tag="TD"):
    return "<TABLEDATA><TR>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</TR></TABLEDATA>"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            "<TABLEDATA><TR><TD>1</TD></TR><TR><TD/></TR><TR><TD /></TR><TR><TD></TD></TR></TABLEDATA>",
            [1, None, None, None],
        ),
        ("<TABLEDATA/>", []),
        ("<TABLEDATA></TABLEDATA>", []),
        ("<TABLEDATA> \n <!-- nothing --> </TABLEDATA>", []),
        ("<TABLEDATA><TR ID='x'>\n<TD>1</TD></TR><TR><TD>2</TD></TR></TABLEDATA>", [1, 2]),
        ("<TABLEDATA><TR><TD><![CDATA[3]]></TD></TR></TABLEDATA>", [3]),
        ("<TABLEDATA><TR><TD>1<!-- a > b --></TD></TR></TABLEDATA>", [1]),
        ("<TABLEDATA><TR></TR><TR><TD>5</TD></TR></TABLEDATA>", [None, 5]),
        (
            "<TABLEDATA><TR><TD> 1\n</TD></TR><TR><TD>+2</TD></TR><TR><TD>0x1F</TD></TR><TR><TD>3.0</TD></TR></TABLEDATA>",
            [1, 2, 31, 3],
        ),
        ("<TABLEDATA><TR><TD>&#49;</TD></TR><TR><TD>&#x32;</TD></TR></TABLEDATA>", [1, 2]),
        ('<TABLEDATA><TR><TD encoding="base64">AAAABw==</TD></TR></TABLEDATA>', [7]),
    ],
)
def test_rows_as_text(rows, expected):
    assert [row[0] for row in values(table(rows))] == expected


def test_text_keeps_its_characters():
    fields = '<FIELD name="a" datatype="char" arraysize="*"/>'
    text = "a &lt;b&gt; &amp;amp; &amp;lt; &quot;c&quot; &apos; &#38;#65; é  "
    assert values(table(cells(text), fields)) == [('a <b> &amp; &lt; "c" \' &#65; é  ',)]
    assert values(table(cells(text + "<!-- x -->"), fields)) == [('a <b> &amp; &lt; "c" \' &#65; é  ',)]
    assert values(table(cells("a > b"), fields)) == [("a > b",)]
    assert values(table(cells("one\r\ntwo\rthree&#13;"), fields)) == [("one\ntwo\nthree\r",)]


@pytest.mark.parametrize(
    "namespace", ["", *(f' xmlns="http://www.ivoa.net/xml/VOTable/v1.{minor}"' for minor in range(6))]
)
def test_any_namespace_or_none(namespace):
    assert values(table(cells("1"), namespace=namespace)) == [(1,)]


def test_a_namespace_that_is_no_uri():
    data = table(cells("1"), namespace=' xmlns="$http://www.ivoa.net/xml/VOTable/v1.3"')
    with pytest.raises(SourceError, match="VOTABLE cannot be written again: Invalid namespace"):
        read_votable(io.BytesIO(data))


@pytest.mark.parametrize("document", ["<o/>", '<v:o xmlns:v="urn:v"/>', "<v:o/>"])
def test_names_of_elements_lack_prefixes_also_undeclared_ones(document: str) -> None:
    """The parser keeps a prefix that is never declared in the tag, if it goes on after such a fault."""
    assert find_local_name(etree.fromstring(document, etree.XMLParser(recover=True)).tag) == "o"


def test_prefixed_elements():
    data = table(cells("1"), namespace=' xmlns:v="http://www.ivoa.net/xml/VOTable/v1.3"').decode()
    data = data.replace("</", "</v:").replace("<", "<v:").replace("<v:?", "<?").replace("<v:/v:", "</v:")
    assert "<v:TD>1</v:TD>" in data
    assert values(data.encode()) == [(1,)]


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "windows-1252", "UTF-16"])
def test_other_encodings(encoding):
    fields = '<FIELD name="größe" datatype="unicodeChar" arraysize="*"/>'
    text = (
        table(cells("größer"), fields)
        .decode()
        .replace('<?xml version="1.0"?>', f'<?xml version="1.0" encoding="{encoding}"?>')
    )
    found = read_votable(io.BytesIO(text.encode(encoding)))
    assert found.metadata.columns[0].name == "größe"
    assert [batch.to_pylist() for batch in found.batches] == [[{"größe": "größer"}]]


def test_byte_order_mark_and_gzip():
    assert values(b"\xef\xbb\xbf" + table(cells("1"))) == [(1,)]
    assert values(gzip.compress(table(cells("1")))) == [(1,)]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('datatype="int"', ColumnType("int")),
        ('datatype="Double"', ColumnType("double")),
        ('datatype="int" arraysize="1"', ColumnType("int")),
        ('datatype="char"', ColumnType("char")),
        ('datatype="char" arraysize=" 10* "', ColumnType("char", "10*")),
        ('arraysize="*"', ColumnType("char", "*")),
        ('datatype="string"', ColumnType("char", "*")),
        ('datatype="unicodeString"', ColumnType("unicodeChar", "*")),
        ('datatype="integer"', ColumnType("int")),
        ('datatype="char" arraysize="*" xtype="timestamp"', ColumnType("char", "*", "timestamp")),
        ('datatype="char" arraysize="19" xtype="adql:TIMESTAMP"', ColumnType("char", "19", "adql:TIMESTAMP")),
        ('datatype="int" xtype="timestamp"', ColumnType("int")),
        ('datatype="double" arraysize="2" xtype="point"', ColumnType("double", "2", "point")),
        ('datatype="double" arraysize="*" xtype="point"', ColumnType("double", "*")),
        ('datatype="float" arraysize="2x3x*"', ColumnType("float", "2x3x*")),
        ('datatype="long" arraysize="2x4*"', ColumnType("long", "2x4*")),
        ('datatype="double" xtype="mjd"', ColumnType("double", None, "mjd")),
    ],
)
def test_types_as_they_are_written(said, kind):
    assert read_votable(io.BytesIO(table("<TABLEDATA/>", f'<FIELD name="a" {said}/>'))).metadata.columns[0].type == kind


@pytest.mark.parametrize(
    "said",
    [
        'datatype="bar"',
        'datatype="int" arraysize="x"',
        'datatype="int" arraysize="0"',
        'datatype="int" arraysize="99999999999"',
        'datatype="int" arraysize="-1"',
    ],
)
def test_types_that_are_none(said):
    with pytest.raises(SourceError, match=r"FIELD 'a' \(line 2\) has"):
        read_votable(io.BytesIO(table("<TABLEDATA/>", f'<FIELD name="a" {said}/>')))


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("boolean", "T", True),
        ("boolean", "fALSE", False),
        ("boolean", "0", False),
        ("boolean", "?", None),
        ("double", "1e5", 1e5),
        ("double", "-Inf", float("-inf")),
        ("double", "+InF", float("inf")),
        ("double", "1d3", 1000.0),
        ("double", "null", None),
        ("float", " +.5 ", 0.5),
        ("unsignedByte", "0xff", 255),
        ("long", "-9223372036854775808", -(2**63)),
        ("bit", "1", True),
        ('bit" arraysize="5', "1 0 110", None),
        ('bit" arraysize="4', "1 0 11", [True, False, True, True]),
        ('floatComplex" arraysize="*', "1 2  3 4", [[1, 2], [3, 4]]),
        ("floatComplex", "1 2", [1, 2]),
        ('int" arraysize="2x*', "1 2 3 4", [1, 2, 3, 4]),
        ('boolean" arraysize="*', "T f ? 1", [True, False, None, True]),
        ('char" arraysize="3x*', "abcd  é", ["abc", "d", "é"]),
    ],
)
def test_values_as_they_are_written(kind, text, expected):
    data = table(cells(text), f'<FIELD name="a" datatype="{kind}"/>')
    if text == "1 0 110":
        expected = [True, False, True, True, False]
    assert values(data) == [(expected,)]


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("int", "x", "'x' is not a value of type int"),
        ("int", "1.5", "'1.5' is not a value of type int"),
        ("short", "40000", "too large"),
        ("unsignedByte", "-1", "too large"),
        ("double", "1,5", "'1,5' is not a value of type double"),
        ("boolean", "maybe", "'maybe' is not a value of type boolean"),
        ('bit" arraysize="3', "012", "not a value of type bit"),
        ('bit" arraysize="3', "01", "the array must have 3 elements, but has 2"),
        ('double" arraysize="2', "1 2 3", "the array must have 2 elements, but has 3"),
        ('floatComplex" arraysize="*', "1 2 3", "an odd number"),
        ('int" arraysize="*', "1 2 x", "'1 2 x' is not"),
        ('char" arraysize="*" xtype="timestamp', "yesterday", "'yesterday' is not a value of type timestamp"),
    ],
)
def test_values_that_are_none_are_named_by_row_and_column(kind, text, why):
    fields = f'<FIELD name="a" datatype="{kind}"/>'
    rows = "<TABLEDATA>" + "<TR><TD/></TR>" * 3 + f"<TR><TD>{text}</TD></TR></TABLEDATA>"
    with pytest.raises(SourceError, match=f"row 4, column 'a': .*{why}"):
        values(table(rows, fields))


@pytest.mark.parametrize(("null", "text"), [("-99", "-99"), ("-99", " -99 "), ("0x10", "16"), ("", "")])
def test_nulls_by_value(null, text):
    fields = f'<FIELD name="a" datatype="int"><VALUES null="{null}"/></FIELD>'
    assert values(table(cells(text), fields)) == [(None,)]
    array = f'<FIELD name="a" datatype="int" arraysize="*"><VALUES null="{null or -99}"/></FIELD>'
    assert values(table(cells(f"1 {text.strip() or -99} 2"), array)) == [([1, None, 2],)]


def test_metadata():
    fields = """
      <DESCRIPTION>A  table
        of stars</DESCRIPTION>
      <FIELD name="ra" ID="col1" datatype="double" unit="deg" ucd="pos.eq.ra" utype="a:b" ref="sys"><DESCRIPTION>Right &lt;ascension&gt;</DESCRIPTION>
        <VALUES null="-1"><MIN value="0"/><MAX value="360" inclusive="no"/></VALUES><LINK href="http://x/${ra}?{y}"/></FIELD>
      <FIELD ID="kind" datatype="char"><VALUES><OPTION name="star" value="s"/><OPTION value="g"/></VALUES></FIELD>
      <PARAM name="radius" datatype="float" value="0.5" unit="deg"/>
      <PARAM name="broken" datatype="float" value="much"/>
      <GROUP name="pos"><DESCRIPTION>where</DESCRIPTION><FIELDref ref="col1" utype="hven:value"/><FIELDref ref="kind"/></GROUP>
      <GROUP><PARAMref ref="p"/></GROUP>
      <LINK href="http://x/"/>"""
    around = (
        '<INFO name="QUERY" value="SELECT"> x </INFO><COOSYS ID="sys" system="ICRS" epoch="J2016.0"/><TIMESYS ID="t" timescale="TT" refposition="GEOCENTER"/>',
        "",
    )
    head = read_votable(io.BytesIO(table("<TABLEDATA/>", fields, around=around))).metadata
    ra, kind = head.columns
    assert (ra.name, ra.unit, ra.ucd, ra.utype, ra.frame, ra.null, ra.minimum, ra.maximum) == (
        "ra",
        "deg",
        "pos.eq.ra",
        "a:b",
        "sys",
        "-1",
        0.0,
        360.0,
    )
    assert ra.description == "Right <ascension>"
    assert ra.link == "http://x/{ra}?{{y}}"
    assert (kind.name, kind.enum) == ("kind", "kind")
    assert head.enums == {"kind": {"s": "star", "g": "g"}}
    assert head.description == "A table of stars"
    assert [(column.name, value) for column, value in head.params] == [("radius", 0.5), ("broken", "much")]
    assert [(group.name, group.roles, group.description) for group in head.groups] == [
        ("pos", {"value": "ra", "kind": "kind"}, "where")
    ]
    assert [(frame.id, frame.kind, frame.system, frame.epoch, frame.timescale) for frame in head.frames] == [
        ("sys", "coosys", "ICRS", "J2016.0", None),
        ("t", "timesys", None, None, "TT"),
    ]
    assert [(info.name, info.value, info.content) for info in head.infos] == [("QUERY", "SELECT", "x")]
    assert head.links == ["http://x/"]


def test_several_tables():
    def write_resource(name, value, kind="results"):
        rows = f"<DATA>{cells(value)}</DATA>" if value is not None else ""
        return f'<RESOURCE type="{kind}"><TABLE name="{name}" ID="id_{name}"><FIELD name="a" datatype="int"/>{rows}</TABLE></RESOURCE>'

    data = f"<VOTABLE>{write_resource('meta', 0, 'meta')}{write_resource('empty', None)}{write_resource('first', 1)}{write_resource('second', 2)}</VOTABLE>".encode()
    assert values(data) == [(1,)]
    assert values(data, 0) == [(0,)]
    assert values(data, 1) == []
    assert values(data, 3) == [(2,)]
    assert values(data, "second") == [(2,)]
    assert values(data, "id_second") == [(2,)]
    for wanted in (4, "third", -1):
        with pytest.raises(SourceError, match="choose one of its tables: meta, empty, first, second"):
            values(data, wanted)


# -- binary


def binary(payload, fields, kind="BINARY2", **said):
    attributes = "".join(f' {name}="{value}"' for name, value in {"encoding": "base64", **said}.items())
    text = base64.b64encode(payload).decode() if isinstance(payload, bytes) else payload
    return table(f"<{kind}><STREAM{attributes}>{text}</STREAM></{kind}>", fields)


INT = '<FIELD name="a" datatype="int"/>'
TEXT = '<FIELD name="a" datatype="char" arraysize="*"/>'


def test_base64_in_any_lines():
    payload = b"".join(struct.pack(">Bi", 0, number) for number in range(50))
    text = base64.b64encode(payload).decode()
    for step in (1, 3, 4, 7, 76):
        lines = "\r\n ".join(text[at : at + step] for at in range(0, len(text), step))
        assert values(binary(f"\n  {lines}\n", INT)) == [(number,) for number in range(50)]
    assert values(binary(text.rstrip("="), INT)) == [(number,) for number in range(50)]


def test_strings_in_binary():
    def cell(data):
        return struct.pack(">Bi", 0, len(data)) + data

    payload = cell(b"abc") + cell("größe".encode()) + cell(b"ab\0cd") + cell(b"") + b"\x80\0\0\0\0"
    assert values(binary(payload, TEXT)) == [("abc",), ("größe",), ("ab",), ("",), (None,)]
    assert values(binary(cell(b"gr\xf6\xdfe") + cell(b"x"), TEXT)) == [("größe",), ("x",)]
    wide = '<FIELD name="a" datatype="unicodeChar" arraysize="*"/>'

    def units(text):
        return b"\0" + struct.pack(">i", len(text) // 2) + text

    assert values(binary(units("é𝄞".encode("utf-16-be")) + units(b"\xd8\x00\x00a"), wide)) == [("é𝄞",), ("\ufffda",)]
    fixed = '<FIELD name="a" datatype="char" arraysize="4"/>'
    assert values(binary(b"\0abcd\0ab\0\0\0ab  ", fixed)) == [("abcd",), ("ab",), ("ab  ",)]


@pytest.mark.parametrize(
    ("payload", "fields", "why"),
    [
        (struct.pack(">Bi", 0, 1)[:-1], INT, "end in the middle of row 1"),
        (struct.pack(">BiBi", 0, 1, 0, 2) + b"\0", INT, "end in the middle of row 3"),
        (struct.pack(">Bi", 0, -5), TEXT, "row 1 has a cell of negative length"),
        (struct.pack(">Bi", 0, 2**31 - 1) + b"abc", TEXT, "end in the middle of row 1"),
        ("AAAA*AAA", INT, "not base64"),
        ("AAAAAAE=AAAAAAI=", INT, "padding before its end"),  # two rows; the second was lost without a word
        (b"\0X", '<FIELD name="a" datatype="boolean"/>', "not a value of type boolean"),
    ],
)
def test_binary_that_is_broken(payload, fields, why):
    with pytest.raises(SourceError, match=why):
        values(binary(payload, fields))


@pytest.mark.parametrize(
    ("said", "kind", "why"),
    [
        ({"href": "file:///etc/passwd"}, "BINARY2", "in another file"),
        ({"href": "http://localhost/x"}, "FITS", "cannot read FITS rows"),
        ({"encoding": "gzip"}, "BINARY", "only base64"),
    ],
)
def test_nothing_is_fetched(said, kind, why):
    with pytest.raises(SourceError, match=why):
        values(binary(b"", INT, kind, **said))


# -- refused


@given(data=st.data(), serialization=st.sampled_from(["TABLEDATA", "BINARY", "BINARY2"]))
def test_damage_is_an_error_of_ours_or_harmless(data, serialization):
    columns, batch = make_all_types_batch()
    document_bytes = bytearray(write_document("votable", columns, [batch], options={"serialization": serialization}))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(document_bytes) - 1))
        size = data.draw(st.integers(0, 5))
        document_bytes[at : at + size] = data.draw(
            st.binary(max_size=5) | st.sampled_from([b"<", b">", b"&", b"</TD>", b"<TD>", b"<!--", b"]]>", b"=", b'"'])
        )
    with contextlib.suppress(SourceError):  # any other error fails the test
        for part in read_votable(io.BytesIO(bytes(document_bytes))).batches:
            part.validate(full=True)


BOMB = (
    '<!DOCTYPE VOTABLE [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"a,b\n1,2\n", "not well-formed"),
        (b"<html><body>login first</body></html>", "root element is html"),
        (b"\x1f\x8b\x08\x00garbage", "gzip"),
        (gzip.compress(table(cells("1")), mtime=0)[:-20], "gzip stream is truncated"),
        (table(cells("1"))[:-30], "not well-formed"),
        (table(cells("1") * 2)[:120], "not well-formed"),
        (table("<TABLEDATA><TR><TD>1</TD></TR>")[:-40], "ends in the middle|not well-formed"),
        (table(cells("1", "2")), "row 1 has 2 cells"),
        (table("<TABLEDATA><TR><TD>1</TR></TABLEDATA>"), "not well-formed"),
        (table(cells("&nothing;")), "nothing"),
        (table(cells("a & b"), TEXT), "well-formed|not begin an entity"),
        (table(cells("<b>1</b>")), "element or entity inside a cell"),
        (table(cells("\xff").replace("\xff", "@@")).replace(b"@@", b"\xff"), "UTF-8|not a value|well-formed"),
        ((BOMB + table(cells("1")).decode()[22:]).encode(), "declares entities"),
        (
            b'<!DOCTYPE VOTABLE [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + table(cells("&x;"))[22:],
            "declares entities",
        ),
        (b"<?xml version='1.0' encoding='klingon'?><VOTABLE/>", "klingon"),
        (
            b"<VOTABLE><RESOURCE><INFO name='QUERY_STATUS' value='ERROR'>no such table</INFO></RESOURCE></VOTABLE>",
            "error message from a service: no such table",
        ),
        *(  # a table stands beside the error: with no rows, or without DATA
            (
                b"<VOTABLE><RESOURCE><INFO name='QUERY_STATUS' value='ERROR'>no such table</INFO><TABLE>"
                b"<FIELD name='n' datatype='int'/>" + data + b"</TABLE></RESOURCE></VOTABLE>",
                "error message from a service: no such table",
            )
            for data in (
                b"",
                b"<DATA><TABLEDATA></TABLEDATA></DATA>",
                b"<DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA>",
            )
        ),
    ],
)
def test_refused_with_a_reason(data, why):
    with pytest.raises(SourceError, match=why):
        values(data)


def test_an_external_dtd_is_not_fetched():
    assert values(
        b'<!DOCTYPE VOTABLE SYSTEM "http://127.0.0.1:9/VOTable.dtd">' + table(cells("1"), namespace="")[22:]
    ) == [(1,)]


def test_metadata_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(reader, "_MAX_METADATA_BYTES", 1 << 20)
    info = b'<INFO name="a" value="b"/>\n' * 50_000
    with pytest.raises(SourceError, match="1 MiB of metadata besides its rows"):
        values(gzip.compress(b"<VOTABLE><RESOURCE>" + info + table(cells("1")), 1))


@pytest.mark.parametrize(
    ("start", "again", "why"),
    [
        (b"<TABLE>", b'<FIELD name="a" datatype="int"/>', "more than 20,000 columns"),
        (b"<TABLE>", b"<INFO/>", "more than 250,000 elements"),
        (b"<", b"a", "a tag or comment of more than 4 MiB"),
        (b'<INFO value="', b"a", "a tag or comment of more than 4 MiB"),
        (b"<!--", b"-a", "a tag or comment of more than 4 MiB"),
    ],
)
def test_what_has_no_end_is_refused_as_it_comes(start, again, why):
    document = b"<VOTABLE><RESOURCE>" + start + again * ((15 << 20) // len(again))
    file = io.BytesIO(document)
    with pytest.raises(SourceError, match=why):
        read_votable(file)
    assert file.tell() < len(document)


def test_thousands_of_fields_of_one_name():
    head = read_votable(io.BytesIO(table("", fields='<FIELD name="a" datatype="int"/>' * 20_000))).metadata
    assert (head.columns[1].name, head.columns[-1].name) == ("a_2", "a_20000")


def test_rows_beyond_measure_are_looked_at_a_few_times(monkeypatch):
    monkeypatch.setattr(reader, "_PIECE_BYTES", 1 << 10)
    monkeypatch.setattr(reader, "read_utf8_chunks", lambda file: iter(lambda: file.read(1 << 10), b""))
    looks = []
    unpack = reader.binary_reader.VotableBinaryDecoder.decode_rows
    monkeypatch.setattr(
        reader.binary_reader.VotableBinaryDecoder,
        "decode_rows",
        lambda self, data, first: looks.append(len(data)) or unpack(self, data, first),
    )
    stream = base64.b64encode(struct.pack(">I", 1 << 20) + bytes(1 << 20)).decode()
    data = f'<BINARY><STREAM encoding="base64">{stream}</STREAM></BINARY>'
    (row,) = values(table(data, fields='<FIELD name="a" datatype="unsignedByte" arraysize="*"/>'))
    assert len(row[0]) == 1 << 20
    assert sum(looks) < 5 << 20


def test_what_stands_among_rows_and_is_none():
    with pytest.raises(SourceError, match="<FOO>, which is not a row"):
        values(table("<TABLEDATA><TR><TD>1</TD></TR><FOO/></TABLEDATA>"))


def test_memory_stays_flat():
    row = b"<TR><TD>12345</TD></TR>\n"

    class Long(io.RawIOBase):
        def __init__(self, size):
            self.start, self.end = table("<TABLEDATA>@</TABLEDATA>").split(b"@")
            self.left = size

        def read(self, size=-1):
            if self.start:
                start, self.start = self.start, b""
                return start
            if self.left > 0:
                self.left -= len(row) * 40_000
                return row * 40_000
            end, self.end = self.end, b""
            return end

    def peak(size):
        tracemalloc.start()
        try:
            rows = sum(batch.num_rows for batch in read_votable(Long(size)).batches)
            assert rows * len(row) >= size
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(16 << 20) < 1.2 * peak(8 << 20)
