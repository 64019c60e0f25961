"""The service of archives keeps the contract of services."""

from __future__ import annotations

import pyarrow as pa

from hven.descriptor import load_standard_descriptor
from hven.testing.face import FaceContract

STANDARD = load_standard_descriptor("obscore-1.1").tables[0].table


class TestArchive(FaceContract):
    name = "archive"
    table = STANDARD.copy_with(schema="ivoa", name="obscore")
    rows = pa.table(
        {
            column.name: pa.array(
                ["x" if column.type.is_string and column.required else 1 if column.required else None],
                column.type.arrow,
            )
            for column in table.columns
        }
    )
