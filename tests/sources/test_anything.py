"""Whatever a file holds: rows, rejects, or an error with its place; never another exception. Damaged and foreign files."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from hven.model import plugins
from hven.model.errors import HvenError
from hven.sources import SourceContext, file_kinds
from shared import shared


def read(path, kind, **options):
    """Read all of it, with what the contract says of batches."""
    module = plugins.load_plugin("sources", kind)
    refused = []
    context = SourceContext(directory=path.parent, on_reject=refused.append, batch_row_limit=100)
    source = module.open(module.Options.model_validate({"files": path.name, **options}), context)
    said = {column.name: column.type.arrow for column in source.list_columns()}
    rows = 0
    for batch in source.read_batches():
        batch.validate(full=True)
        assert {item.name: item.type for item in batch.schema} == said
        rows += batch.num_rows
    return rows, refused


@pytest.mark.slow
@pytest.mark.parametrize("room", ["helio", "images", "interferometry", "planetary", "radio", "stars", "sync", "vo"])
def test_all_real_files_are_read_or_refused_with_a_reason(room):
    read_well, silent = 0, []
    for path in sorted(
        item for item in shared(f"data/{room}").rglob("*") if item.is_file() and item.stat().st_size < 800_000
    ):
        kind = file_kinds.detect_kind_from_file_content(path)
        if kind is None or kind == "sql":
            continue
        try:
            rows, refused = read(path, kind)
            read_well += rows > 0 and not refused
        except HvenError as error:
            if not (error.remedy or error.place.file):
                silent.append(f"{path}: {error}")
    assert silent == []
    assert read_well


def samples(directory):
    counted = np.arange(40)
    (directory / "a.csv").write_text(
        'id,"na me",x,t\n' + "".join(f'{n},"v ""{n}""\n z",{n / 3},2020-01-0{n % 9 + 1}T00:00:00\n' for n in counted)
    )
    ragged = np.empty(40, object)
    ragged[:] = [np.arange(n % 5, dtype=">i4") for n in counted]
    columns = [
        fits.Column("n", "J", array=counted),
        fits.Column("s", "5A", array=[f"s{n}" for n in counted]),
        fits.Column("v", "PJ()", array=ragged),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(directory / "a.fits")
    fits.TableHDU.from_columns(
        [fits.Column("n", "I4", array=counted), fits.Column("x", "F8.3", array=counted / 3)]
    ).writeto(directory / "b.fits")
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), directory / "a.parquet")
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("name", ["a.csv", "a.fits", "b.fits", "a.parquet"])
def test_damaged_files_never_crash(tmp_path, name):
    """Bytes changed, cut out and doubled at random, from a fixed seed."""
    good = samples(tmp_path)[name]
    kind = {"csv": "csv", "fits": "fits", "parquet": "parquet"}[name.partition(".")[2]]
    dice = random.Random(name)
    path = tmp_path / f"damaged-{name}"
    outcomes = set()
    for _ in range(120):
        data = bytearray(good)
        for _ in range(dice.choice([1, 2, 5, 20])):
            at = dice.randrange(len(data) or 1)
            what = dice.random()
            if what < 0.6 and data:
                data[at] = dice.choice([0, 10, 13, 34, 44, 45, 57, 255, dice.randrange(256)])
            elif what < 0.8:
                del data[at : at + dice.choice([1, 3, 80, 500])]
            else:
                data[at:at] = data[max(0, at - 50) : at]
        path.write_bytes(data)
        try:
            _, refused = read(path, kind, **({"mode": "header"} if kind == "fits" and dice.random() < 0.2 else {}))
            outcomes.add("rejects" if refused else "rows")
        except HvenError:
            outcomes.add("error")
    assert {"rows", "error"} <= outcomes
