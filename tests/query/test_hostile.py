"""Uploads made to fill memory or time, and seeds of good ones with bytes changed: refused in words, or read a little at a time."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.errors import SourceError
from hven.formats import End, Head, load
from hven.model.table import Column
from hven.model.types import from_arrow
from hven.query.content import table_in


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
        (_fits(f"NAXIS1  = {10**20 - 1}", "NAXIS2  = 1", "TFIELDS = 0"), "which cannot be"),
        (_fits("NAXIS1  = nan", "NAXIS2  = 1", "TFIELDS = 0"), "which cannot be"),
        (_fits("NAXIS1  = 1E999", "NAXIS2  = 1", "TFIELDS = 0"), "which cannot be"),
        (b"SIMPLE  =                    T".ljust(6 << 20), "without an END"),
        (b"# %ECSV 1.0\n# ---\n# " + b"[" * 20_000 + b"\na b\n", "nested more than 200 deep"),
        (b"# %ECSV 1.0\n# ---\n" + b"# meta: x\n" * 80_000 + b"a b\n", "more than 512 KiB"),
    ],
)
def test_heads_that_promise_too_much(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(data)
    with pytest.raises(SourceError, match=why), table_in(tmp_path / "mine") as (_, rows):
        list(rows)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_one_long_text_in_every_row_is_spelt_out_a_few_rows_at_a_time(form: str, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    table = pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * (1 << 20)]))})
    if form == "parquet":
        pq.write_table(table, path, compression="zstd", store_schema=False)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    with table_in(path) as (_, rows):
        sizes = [next(rows).nbytes for _ in range(3)]
    assert max(sizes) < 48 << 20


def test_runs_of_one_number_are_counted_by_the_footer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hven.query.content._PARQUET_MOST", 1 << 20)
    pq.write_table(pa.table({"a": pa.array([7] * 200_000)}), tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_size < 10_000
    with pytest.raises(SourceError, match="1,600,000 bytes unpacked"), table_in(tmp_path / "mine"):
        pass


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
    with table_in(tmp_path / "mine") as (table, rows):
        assert {column.type.arrow for column in table.columns} == {kind}
        list(rows)


KEPT = {"parquet": (347,)}  # seeds that once ended the process
SEED = pa.table({"n": pa.array([1, None, 3], pa.int64()), "x": pa.array([0.5, 2.0, None]), "s": pa.array(["a<b", "", None])})


def _written(form: str) -> bytes:
    columns = [Column(name=item.name, type=from_arrow(item.type)) for item in SEED.schema]
    head = Head(columns=columns, name="seed", description=None)
    return b"".join(load(form).write(head, iter(SEED.to_batches()), End, {}))


def _changed(data: bytes, chance: random.Random) -> bytes:
    """Change, drop, double or cut some bytes, as lines and discs do; more often near the head."""
    text = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(min(len(text), chance.choice([200, 2000, len(text)]))) if text else 0
        much = chance.choice([1, 1, 4, 80])
        new = chance.choice([bytes(much), b"\xff" * much, chance.randbytes(much), text[at : at + much] * 9, b"9" * much, b"", b"<", b'"'])
        text[at : at + chance.choice([0, much])] = new
    return bytes(text[: chance.choice([len(text), len(text), chance.randrange(len(text) + 1)])])


@pytest.mark.parametrize("form", ["votable", "fits", "parquet", "arrow", "csv"])
def test_changed_bytes_are_read_or_refused_in_words(form: str, tmp_path: Path) -> None:
    changed_bytes(form, tmp_path, [*range(40), *KEPT.get(form, ())])


def changed_bytes(form: str, place: Path, rounds: Iterable[int]) -> None:
    """Read what is left of a good file, so many times; each round's seed is its number."""
    seed, path = _written(form), place / "mine"
    for number in rounds:
        data = _changed(seed, random.Random(f"{form} {number}"))
        path.write_bytes(data)
        try:
            with contextlib.suppress(SourceError), table_in(path) as (_, rows):
                for batch in rows:
                    batch.validate(full=True)
        except Exception as error:
            error.add_note(f"{form}, round {number}: {io.BytesIO(data).read(300)!r}")
            raise
