"""Keep copies of schemas of other servers in files, which all workers of a site share and which outlive a restart."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from hven.plugins.schema_life.described_columns import TEXTS_SCHEMA, ColumnRows, ComparedSchema, to_column_rows

MAX_COPIES_BYTES = 256 << 20  # of all files
MAX_COPY_BYTES = 64 << 20  # of one file: 200,000 columns have about 40 MiB
_LABEL_KEY, _TIME_KEY = b"label", b"read"
log = logging.getLogger("hven.portal")


class SchemaCopies:
    """The copies in a directory; without one, as on a site that cannot be written to, there are none.

    Parameters
    ----------
    directory
        Directory of the files, which is created if needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _locate_file(self, label: str) -> Path:
        return self._directory / f"{hashlib.sha256(label.encode()).hexdigest()[:32]}.arrow"

    def compute_age_seconds(self, label: str) -> float:
        """Return how long ago a schema was stored; infinity without a copy.

        Parameters
        ----------
        label
            As for `find_copy`.
        """
        try:
            return time.time() - self._locate_file(label).stat().st_mtime
        except OSError:
            return math.inf

    def find_copy(self, label: str) -> ComparedSchema | None:
        """Return the copy of a schema, with the time when it was read; None: there is none.

        Parameters
        ----------
        label
            Label of the schema: its address.
        """
        try:
            table = pa.ipc.open_file(pa.BufferReader(self._locate_file(label).read_bytes())).read_all()
            metadata = table.schema.metadata
            if metadata[_LABEL_KEY].decode() != label:
                return None
            columns = ColumnRows(table.select(TEXTS_SCHEMA.names).cast(TEXTS_SCHEMA))
            read_at = datetime.fromisoformat(metadata[_TIME_KEY].decode())
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            log.warning("the copy of %s cannot be used: %s", label, error)
            return None
        return ComparedSchema(label=label, columns=columns, read_at=read_at)

    def store_copy(self, model: ComparedSchema) -> None:
        """Store a copy, and delete the oldest ones that exceed `MAX_COPIES_BYTES`.

        Parameters
        ----------
        model
            The schema, without a fault.
        """
        table = to_column_rows(model.columns).take_texts()
        if table.nbytes > MAX_COPY_BYTES:
            return
        table = table.replace_schema_metadata({_LABEL_KEY: model.label, _TIME_KEY: model.read_at.isoformat()})
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            handle, unfinished_path = tempfile.mkstemp(dir=self._directory, prefix=".unfinished-")
            try:
                with os.fdopen(handle, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
                Path(unfinished_path).replace(self._locate_file(model.label))
            finally:
                Path(unfinished_path).unlink(missing_ok=True)
            self._delete_oldest_files()
        except OSError as error:
            log.warning("the copy of %s cannot be stored: %s", model.label, error)

    def _delete_oldest_files(self) -> None:
        """Delete the oldest files; those of programs that were killed are among them."""
        facts = [(path.stat(), path) for path in self._directory.iterdir()]
        total_bytes = 0
        for status, path in sorted(facts, key=lambda item: -item[0].st_mtime):
            total_bytes += status.st_size
            if total_bytes > MAX_COPIES_BYTES:
                path.unlink(missing_ok=True)
