"""Hostile requests: each tries to fill memory, to take time or to block the interpreter."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq

MIB = 1 << 20
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=B"
VOTABLE = b'<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
VOTABLE_END = b"</TABLE></RESOURCE></VOTABLE>"


@dataclass(frozen=True, kw_only=True)
class HostileRequest:
    """A request; its body comes in pieces, so that a client that sends many needs little memory."""

    body: Callable[[], Iterator[bytes]]
    media_type: str = FORM
    path: str = "/tap/sync"
    method: str = "POST"
    is_limited_by_network: bool = (
        False  # it comes so that the time until it is there is the line's, which is not counted
    )


def build_query(query: str, form: str = "csv", maxrec: int | None = None) -> HostileRequest:
    """Build a query."""
    told = {"LANG": "ADQL", "RESPONSEFORMAT": form, "QUERY": query} | (
        {} if maxrec is None else {"MAXREC": str(maxrec)}
    )
    return HostileRequest(body=lambda: iter([urlencode(told).encode()]))


def build_upload(file: Callable[[], Iterator[bytes]], *, is_limited_by_network: bool = False) -> HostileRequest:
    """Build an upload of a table and a query that counts its rows."""
    told = {"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine", "UPLOAD": "mine,param:mine"}

    def body() -> Iterator[bytes]:
        for name, value in told.items():
            yield f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        yield b'--B\r\nContent-Disposition: form-data; name="mine"; filename="mine"\r\nContent-Type: application/octet-stream\r\n\r\n'
        yield from file()
        yield b"\r\n--B--\r\n"

    return HostileRequest(body=body, media_type=MULTIPART, is_limited_by_network=is_limited_by_network)


def build_fields(size: int) -> HostileRequest:
    """Build form fields without file names, which a server holds as text."""

    def body() -> Iterator[bytes]:
        for number in range(4):
            yield f'--B\r\nContent-Disposition: form-data; name="f{number}"\r\n\r\n'.encode()
            yield from [b"\xf0\x9f\x98\x80" + b"x" * (MIB - 4)] * (size // MIB // 4)
            yield b"\r\n"
        yield b"--B--\r\n"

    return HostileRequest(body=body, media_type=MULTIPART)


def repeat_piece(piece: bytes, size: int, before: bytes = b"", after: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """Return a body that repeats a piece."""
    big = piece * max(MIB // len(piece), 1)
    return lambda: iter([before, *[big] * (size // len(big)), after])


def write_compressed_table(form: str) -> Callable[[], Iterator[bytes]]:
    """Return a small file that is large when it is read: a dictionary of one long text."""

    def write_body() -> Iterator[bytes]:
        table = pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array(["x" * MIB]))})
        file = io.BytesIO()
        if form == "parquet":
            pq.write_table(table, file, compression="zstd", store_schema=False)
        else:
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.ipc.new_stream(file, table.schema, options=options) as stream:
                stream.write_table(table)
        yield file.getvalue()

    return write_body


def iterate_small_tables() -> Iterator[bytes]:
    """Yield the same small table in each format."""
    table, parquet, arrow = pa.table({"a": [1]}), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    with pa.ipc.new_stream(arrow, table.schema) as stream:
        stream.write_table(table)
    yield from (
        parquet.getvalue(),
        arrow.getvalue(),
        b"a,b\n1,2\n",
        b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\na\n1\n",
    )
    yield (
        VOTABLE
        + b'<FIELD name="a" datatype="int"/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA>'
        + VOTABLE_END
    )
    primary = (
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
        "END",
    )
    table_head = (
        "XTENSION= 'BINTABLE'", "BITPIX  =                    8", "NAXIS   =                    2", "NAXIS1  =                    4",
        "NAXIS2  =                    1", "PCOUNT  =                    0", "GCOUNT  =                    1", "TFIELDS =                    1",
        "TTYPE1  = 'a'", "TFORM1  = 'J'", "END",
    )  # fmt: skip
    yield b"".join(
        "".join(card.ljust(80) for card in head).ljust(2880).encode() for head in (primary, table_head)
    ) + bytes(2880)


def write_lists(compressed: bool) -> Callable[[], Iterator[bytes]]:
    """Return a file of lists of long texts, or of compressed buffers of zeros."""

    def write_body() -> Iterator[bytes]:
        file = io.BytesIO()
        rows = pa.nulls(40_000_000, pa.int64()) if compressed else pa.array([["x" * 100_000] * 50] * 4)
        table = pa.table({"a": rows})
        with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write_table(table)
        yield file.getvalue()

    return write_body


def nest_replacements(deep: int) -> str:
    text = "kind"
    for _ in range(deep):
        text = f"REPLACE({text}, 'a', '{'a' * 100}')"
    return text


def chain_joins(number: int) -> str:
    return "SELECT COUNT(*) AS n FROM sky.stars AS t0 " + " ".join(
        f"JOIN sky.stars AS t{i} ON t{i - 1}.state = t{i}.state" for i in range(1, number)
    )


def double_subqueries(number: int) -> str:
    made = ", ".join(
        f"a{i} AS (SELECT x.id FROM a{i - 1} AS x JOIN a{i - 1} AS y ON x.id = y.id)" for i in range(1, number)
    )
    return f"WITH a0 AS (SELECT id FROM sky.stars), {made} SELECT COUNT(*) AS n FROM a{number - 1}"


LONG_TEXT = "x" * 30_000
#: Uploads that hurt nobody.
SMALL_UPLOADS = [build_upload(partial(iter, [file])) for file in iterate_small_tables()]
HOSTILE_REQUESTS: dict[str, HostileRequest] = {
    "text that grows": build_query(f"SELECT {nest_replacements(5)} AS x FROM sky.stars"),
    "text of 30 kB in each row": build_query(f"SELECT kind || '{LONG_TEXT}' AS x FROM sky.stars"),
    "text of 30 kB, sorted": build_query(f"SELECT kind || '{LONG_TEXT}' AS x FROM sky.stars ORDER BY x"),
    "a literal of 900 kB": build_query(f"SELECT '{'x' * 900_000}' AS x FROM sky.stars"),
    "CHAR(1000000)": build_query("SELECT CAST(kind AS CHAR(1000000)) AS x FROM sky.stars"),
    "all names in one text": build_query(f"SELECT IVO_STRING_AGG(kind || '{'x' * 1000}', ',') AS x FROM sky.stars"),
    "60,000 concatenations": build_query(f"SELECT {'||'.join(['kind'] * 60_000)} AS x FROM sky.stars"),
    "30,000 columns": build_query(f"SELECT {','.join(['id'] * 30_000)} FROM sky.stars"),
    "4,900 columns of votable": build_query(
        f"SELECT {','.join(f'id AS a{i}' for i in range(4_900))} FROM sky.stars", "votable", 10
    ),
    "4,900 columns of every row": build_query(
        f"SELECT {','.join(f'id AS a{i}' for i in range(4_900))} FROM sky.stars", "votable"
    ),
    "300 joins": build_query(chain_joins(300)),
    "60 joins": build_query(chain_joins(60)),
    "tables twice as many with each step": build_query(double_subqueries(20)),
    "tables twice as many, 8 steps": build_query(double_subqueries(9)),
    "no condition": build_query(
        "SELECT COUNT(*) AS n FROM sky.stars AS a, sky.stars AS b, sky.stars AS c WHERE a.ra + b.ra > c.ra"
    ),
    "pairs, sorted": build_query(
        "SELECT a.ra, b.dec FROM sky.stars AS a, sky.stars AS b ORDER BY a.ra * b.dec", maxrec=10
    ),
    "100,000 products": build_query(f"SELECT {'*'.join(['ra'] * 100_000)} AS x FROM sky.stars"),
    "9,900 products": build_query(f"SELECT {'*'.join(['ra'] * 9_900)} AS x FROM sky.stars"),
    "6,000 conditions": build_query(
        f"SELECT id FROM sky.stars WHERE {' AND '.join(f'id <> {i}' for i in range(6_000))}"
    ),
    "1,000 subqueries": build_query(
        f"SELECT id FROM sky.stars AS a WHERE {' OR '.join(f'EXISTS (SELECT 1 FROM sky.stars AS b WHERE b.id = a.id + {i})' for i in range(990))}"
    ),
    "1,900 windows": build_query(
        f"SELECT {','.join(f'SUM(id + {i}) OVER (ORDER BY ra + {i}) AS a{i}' for i in range(1_900))} FROM sky.stars"
    ),
    "1,000 keys": build_query(
        f"SELECT COUNT(*) AS n FROM sky.stars GROUP BY {','.join(f'id + {i}' for i in range(1_000))}"
    ),
    "150,000 whole numbers": build_query(
        f"SELECT id FROM sky.stars WHERE id IN ({','.join(map(str, range(150_000)))})"
    ),
    "49,000 numbers of two kinds": build_query(
        f"SELECT id FROM sky.stars WHERE ra IN ({','.join(f'{i}' if i % 2 else f'{i}.5' for i in range(49_000))})"
    ),
    "500,000 names": build_query(f"SELECT id FROM sky.stars WHERE id IN ({','.join(['a'] * 490_000)})"),
    "parentheses": build_query(f"SELECT {'(' * 990_000}"),
    "a word of 1 MB": build_query(f"SELECT {'x' * 990_000} FROM sky.stars"),
    "250,000 neighbours": build_query(
        f"SELECT {chr(39)}x{chr(39)} {(chr(39) + 'x' + chr(39) + ' ') * 240_000} AS x FROM sky.stars"
    ),
    "fields of 100 MB": build_fields(100 * MIB),
    "a form of 100 MB": HostileRequest(body=repeat_piece(b"a=b&", 100 * MIB)),
    "a query of 110 MB put into a job": HostileRequest(
        body=repeat_piece(b"x", 110 * MIB), path="/tap/async/{job}/parameters/QUERY", method="PUT"
    ),
    "VOTable: a name of 45 MB": build_upload(repeat_piece(b"x", 45 * MIB, VOTABLE + b"<", b">")),
    "VOTable: a comment of 60 MB": build_upload(repeat_piece(b"x", 60 * MIB, VOTABLE + b"<!--", b"-->")),
    "a body in 200,000 pieces": build_upload(lambda: (b"%d\n" % i for i in range(200_000)), is_limited_by_network=True),
    # in small pieces: threads of this process send other requests at the same time
    "VOTable: 200,000 FIELDs": build_upload(
        lambda: chain(
            [VOTABLE],
            (
                b"".join(b'<FIELD name="a%d" datatype="int"/>' % n for n in range(k, k + 500))
                for k in range(0, 200_000, 500)
            ),
            [VOTABLE_END],
        )
    ),
    "VOTable: 4 million rows": build_upload(
        repeat_piece(
            b"<TR><TD>1</TD></TR>",
            80 * MIB,
            VOTABLE + b'<FIELD name="a" datatype="int"/><DATA><TABLEDATA>',
            b"</TABLEDATA></DATA>" + VOTABLE_END,
        )
    ),
    "CSV: 4,000 columns of one name": build_upload(
        lambda: iter([b",".join([b"aaaaa"] * 4_000) + b"\n" + b",".join([b"1"] * 4_000) + b"\n"])
    ),
    "CSV: 40 MB of quotes": build_upload(repeat_piece(b'"', 40 * MIB, b"a,b\n")),
    "CSV: 40 MB in one line": build_upload(repeat_piece(b"1,", 40 * MIB)),
    "ECSV: 20,000 brackets": build_upload(lambda: iter([b"# %ECSV 1.0\n# ---\n# " + b"[" * 20_000 + b"\na b\n"])),
    "FITS: a head of 90 MB": build_upload(
        repeat_piece(b"COMMENT".ljust(80), 90 * MIB, b"SIMPLE  =                    T".ljust(80))
    ),
    "Parquet: one text 5,000 times": build_upload(write_compressed_table("parquet")),
    "Arrow: one text 5,000 times": build_upload(write_compressed_table("arrow")),
    "Arrow: lists of long texts": build_upload(write_lists(compressed=False)),
    "Arrow: 320 MB of packed zeros": build_upload(write_lists(compressed=True)),
}
