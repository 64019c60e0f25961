"""Uploads made to fill memory or time, and seeds of good ones with bytes changed: refused in words, or read a little at a time."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.formats import ResultStatus, TableMetadata, load_format
from hven.model import literal
from hven.model.deadlines import Deadline
from hven.model.errors import SourceError, TimeLimitError, TooLargeError
from hven.model.table import Column
from hven.model.types import build_type_from_arrow
from hven.query import _table_files as content
from hven.query._table_files import open_table_file
from hven.sources._reading import delimited


def _cards(*cards: str) -> bytes:
    text = "".join(card.ljust(80) for card in (*cards, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def _fits(*cards: str) -> bytes:
    first = _cards("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0")
    return first + _cards("XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "PCOUNT  = 0", "GCOUNT  = 1", *cards)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_fits(f"NAXIS1  = {1 << 40}", "NAXIS2  = 1", "TFIELDS = 1", f"TFORM1  = '{1 << 40}A'"), "NAXIS1 = 1.09951e"),
        (_fits(f"NAXIS1  = {10**20 - 1}", "NAXIS2  = 1", "TFIELDS = 0"), "which is impossible"),
        (_fits("NAXIS1  = nan", "NAXIS2  = 1", "TFIELDS = 0"), "which is impossible"),
        (_fits("NAXIS1  = 1E999", "NAXIS2  = 1", "TFIELDS = 0"), "which is impossible"),
        (b"SIMPLE  =                    T".ljust(6 << 20), "without an END"),
        (b"# %ECSV 1.0\n# ---\n# " + b"[" * 20_000 + b"\na b\n", "nested more than 200 levels deep"),
        (b"# %ECSV 1.0\n# ---\n" + b"# meta: x\n" * 80_000 + b"a b\n", "more than 512 KiB"),
    ],
)
def test_heads_that_promise_too_much(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(data)
    with pytest.raises(SourceError, match=why), open_table_file(tmp_path / "mine") as (_, rows):
        list(rows)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_one_long_text_in_every_row_is_spelt_out_a_few_rows_at_a_time(form: str, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    table = pa.table(
        {"a": pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * (1 << 20)]))}
    )
    if form == "parquet":
        pq.write_table(table, path, compression="zstd", store_schema=False)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    with open_table_file(path) as (_, rows):
        sizes = [next(rows).nbytes for _ in range(3)]
    assert max(sizes) < 48 << 20


LONG = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * (1 << 20)]))


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_list_of_one_long_text_is_refused_before_it_is_spelt_out(form: str, tmp_path: Path) -> None:
    """400 times the same megabyte in one row: a file of a kilobyte."""
    _write(form, tmp_path / "mine", pa.table({"a": pa.ListArray.from_arrays([0, 400], LONG)}))
    with (
        pytest.raises(SourceError, match="the strings of one row take up 419,430,400 bytes"),
        open_table_file(tmp_path / "mine") as (_, rows),
    ):
        list(rows)


def test_views_of_one_long_text_are_counted() -> None:
    """As many as may be look at the same characters: pyarrow writes none so, other programs do."""
    text = "x" * (1 << 20)
    view = np.array([len(text), int.from_bytes(b"xxxx", "little"), 0, 0] * 100, "<i4")
    views = pa.Array.from_buffers(pa.string_view(), 100, [None, pa.py_buffer(view), pa.py_buffer(text.encode())])
    views.validate(full=True)
    batch = pa.record_batch({"a": views})
    assert max(piece.num_rows for piece in literal.split_batch_by_expanded_size(batch)) == 32
    assert [piece.column(0).to_pylist() for piece in literal.split_batch_by_expanded_size(batch.slice(99))] == [[text]]


def test_bytes_are_spelt_out_a_few_rows_at_a_time(tmp_path: Path) -> None:
    _write(
        "parquet",
        tmp_path / "mine",
        pa.table({"a": pa.DictionaryArray.from_arrays(LONG.indices, LONG.dictionary.cast(pa.binary()))}),
    )
    with open_table_file(tmp_path / "mine") as (_, rows):
        assert max(next(rows).nbytes for _ in range(3)) < 48 << 20


MUCH = {
    "runs of one number": pa.table({"a": pa.repeat(7, 4_000_000)}),
    "a list of one number": pa.table(
        {"a": pa.ListArray.from_arrays(pa.array([0, 4_000_000], pa.int32()), pa.repeat(7.0, 4_000_000))}
    ),
    "plain texts": pa.table({"a": pa.repeat("x" * 40_000, 800)}),
}


@pytest.mark.parametrize("what", MUCH)
@pytest.mark.parametrize("form", ["parquet", "arrow", "arrow file"])
def test_what_is_packed_is_counted_by_the_heads(form: str, what: str, tmp_path: Path) -> None:
    """Before anything is unpacked: by the heads of pages and messages, whatever a footer says."""
    _write(form, tmp_path / "mine", MUCH[what], use_dictionary=False)
    assert (tmp_path / "mine").stat().st_size < 2_000_000
    with (
        pytest.raises(TooLargeError, match=r"take up 32,0\d\d,\d{3} bytes after unpacking; the limit is 20,000,000"),
        open_table_file(tmp_path / "mine", (), 20_000_000),
    ):
        pass
    with open_table_file(tmp_path / "mine", (), 33_000_000) as (_, rows):
        assert sum(batch.nbytes for batch in rows) > 31_000_000


def test_a_footer_that_lies_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    _write("parquet", path, MUCH["plain texts"], use_dictionary=False)
    data = path.read_bytes()
    said = pq.read_metadata(path).row_group(0).total_byte_size
    assert _long(said) in data
    path.write_bytes(data.replace(_long(said), _long(said % 128 | 1 << 21)))
    assert pq.read_metadata(path).row_group(0).total_byte_size < 3_000_000
    with pytest.raises(TooLargeError, match="32,0"), open_table_file(path, (), 20_000_000):
        pass


def _long(value: int) -> bytes:
    """Write a number as Parquet's footer does: zigzag, seven bits a byte."""
    left, found = value << 1, []
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])


def _write(form: str, path: Path, table: pa.Table, **options: Any) -> None:
    if form == "parquet":
        pq.write_table(table, path, compression="zstd", store_schema=False, **options)
        return
    how = pa.ipc.new_file if form == "arrow file" else pa.ipc.new_stream
    with (
        pa.OSFile(str(path), "wb") as file,
        how(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream,
    ):
        stream.write_table(table)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (",".join("a" * 2000) + "\n" + ",".join("b" * 2000) + "\n", pa.string()),
        ("t\n" + "2020-01-01\n" * 100 + "2020-13-01\n2021-02-29\n" * 20_000, pa.string()),
        ("n\n" + "1\n" * 100 + "9999999999999999999\n" * 20_000, pa.string()),
        ("n\n" + "9223372036854775807\n-9223372036854775808\n", pa.int64()),
    ],
)
def test_text_that_is_nearly_something_else(text: str, kind: pa.DataType, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(text)
    with open_table_file(tmp_path / "mine") as (table, rows):
        assert {column.type.arrow for column in table.columns} == {kind}
        list(rows)


KEPT = {"parquet": (347,)}  # seeds that once ended the process
SEED = pa.table(
    {"n": pa.array([1, None, 3], pa.int64()), "x": pa.array([0.5, 2.0, None]), "s": pa.array(["a<b", "", None])}
)


def _write_seed_file(form: str) -> bytes:
    columns = [Column(name=item.name, type=build_type_from_arrow(item.type)) for item in SEED.schema]
    head = TableMetadata(columns=columns, name="seed", description=None)
    return b"".join(load_format(form).write(head, iter(SEED.to_batches()), ResultStatus, {}))


def _damage_bytes(data: bytes, chance: random.Random) -> bytes:
    """Change, drop, double or cut some bytes, as lines and discs do; more often near the head."""
    text = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(min(len(text), chance.choice([200, 2000, len(text)]))) if text else 0
        much = chance.choice([1, 1, 4, 80])
        new = chance.choice(
            [
                bytes(much),
                b"\xff" * much,
                chance.randbytes(much),
                text[at : at + much] * 9,
                b"9" * much,
                b"",
                b"<",
                b'"',
            ]
        )
        text[at : at + chance.choice([0, much])] = new
    return bytes(text[: chance.choice([len(text), len(text), chance.randrange(len(text) + 1)])])


@pytest.mark.parametrize("form", ["votable", "fits", "parquet", "arrow", "csv"])
def test_changed_bytes_are_read_or_refused_in_words(form: str, tmp_path: Path) -> None:
    read_damaged_files(form, tmp_path, [*range(40), *KEPT.get(form, ())])


def read_damaged_files(form: str, place: Path, rounds: Iterable[int]) -> None:
    """Read what is left of a good file, so many times; each round's seed is its number."""
    seed, path = _write_seed_file(form), place / "mine"
    for number in rounds:
        data = _damage_bytes(seed, random.Random(f"{form} {number}"))
        path.write_bytes(data)
        try:
            with contextlib.suppress(SourceError, TooLargeError), open_table_file(path) as (_, rows):
                for batch in rows:
                    batch.validate(full=True)
        except Exception as error:
            error.add_note(f"{form}, round {number}: {io.BytesIO(data).read(300)!r}")
            raise


def test_rows_at_fault_are_not_all_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow's parser asks Python about each row of too few fields, and nobody else has the interpreter meanwhile."""
    asked: list[int] = []
    enough, noted = delimited._has_enough_rejects, content._note_wider_type
    monkeypatch.setattr(
        delimited, "_has_enough_rejects", lambda ragged, shape: asked.append(1) or enough(ragged, shape)
    )
    (tmp_path / "mine").write_bytes(b"a,b\n1,2\n" + b"1\n" * 200_000)
    with pytest.raises(SourceError, match="row 2: 1 fields instead of 2"), open_table_file(tmp_path / "mine"):
        pass
    assert len(asked) < 1_000
    monkeypatch.setattr(content, "_note_wider_type", lambda wrong, reject: asked.append(1) or noted(wrong, reject))
    (tmp_path / "mine").write_bytes(b"a,b\n" + b"1,2\n" * 2_000 + b"x,0.5\n" * 200_000)
    with open_table_file(tmp_path / "mine") as (table, rows):
        assert sum(batch.num_rows for batch in rows) == 202_000
    assert [str(column.type) for column in table.columns] == ["string", "float64"]
    assert len(asked) < 5_000


def test_the_head_of_a_votable_is_read_by_the_clock(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(
        b'<VOTABLE><RESOURCE><TABLE><FIELD name="a" datatype="int"/></TABLE></RESOURCE></VOTABLE>'
    )
    with Deadline(5).apply_as_current() as spent:
        spent.expiry_time -= 6
        with pytest.raises(TimeLimitError, match="5 s"), open_table_file(tmp_path / "mine"):
            pass
