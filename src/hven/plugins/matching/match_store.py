"""Keep the match of each catalogue on disk: for the other tables of the same run, and for the next run.

A table of objects and its log are made from the same pairs, which take most of the time. The next run matches only what
changed since then.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

import hven
from hven.plugins.matching.match_verdicts import MatchVerdicts
from hven.plugins.matching.pair_search import FoundPairs
from hven.plugins.matching.row_digests import DIGEST_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.plugins.matching.catalogue_reading import CatalogueReader
    from hven.plugins.matching.match_options import Options
    from hven.plugins.matching.pair_search import ReferenceStars
    from hven.sources import SourceContext

    Floats = npt.NDArray[np.float64]
    Digests = npt.NDArray[np.uint64]

STORE_DIRECTORY = "matches"
STORE_FORMAT = 1  # to be increased if pairs are found or stored in another way
PAIR_FIELDS = ("reference_rows", "ranks", "separations")
VECTOR_FIELDS = ("reference_vectors", "partner_vectors")
PAIR_VERDICT_FIELDS = ("verdicts", "ranks")
STAR_VERDICT_FIELDS = ("shown_pairs", "has_partner", "mate_counts", "second_separations", "flags")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueMatch:
    """The match of one catalogue.

    Attributes
    ----------
    pairs
        All candidate pairs.
    verdicts
        What was decided.
    values
        Values of the expressions for each pair.
    """

    pairs: FoundPairs
    verdicts: MatchVerdicts
    values: dict[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMatch:
    """A match, and what it was made from.

    Attributes
    ----------
    match
        The match.
    is_of_this_run
        Whether the current run made it.
    reference_ids, reference_digests
        Ids of the stars of the reference, and digests of their rows, shape (n,).
    cell_digests
        Digests of the cells of the catalogue.
    """

    match: CatalogueMatch
    is_of_this_run: bool
    reference_ids: pa.Array
    reference_digests: npt.NDArray[np.int64]
    cell_digests: Digests


class MatchStore:
    """The stored matches of a table.

    Parameters
    ----------
    context
        The context of the source; without a run and a directory, nothing is kept.
    options
        The options of the match.
    readers
        The reference and the catalogues, by their names.
    """

    def __init__(self, context: SourceContext, options: Options, readers: Mapping[str, CatalogueReader]) -> None:
        self._run_name = context.run_name
        self._table_name = context.table_name
        self._directories: dict[str, Path] = {}
        if context.cache_directory is None or not context.run_name:
            return
        root = context.cache_directory / STORE_DIRECTORY
        for name in options.catalogues:
            key = _build_match_key(options, name, readers)
            self._directories[name] = root / hashlib.sha256(key.encode()).hexdigest()[:32]
        for directory in root.glob("*"):
            if directory not in self._directories.values() and self._end_use_of_match(directory):
                _delete_match_without_users(directory)

    def load_match_and_mark_in_use(self, catalogue: str) -> StoredMatch | None:
        """Load the last match of a catalogue with the same options, and note that the table uses it; None: none.

        Parameters
        ----------
        catalogue
            Its name.
        """
        if catalogue not in self._directories:
            return None
        directory = self._directories[catalogue] / "match"
        try:
            pairs, stars, cells = (_read_table(directory / name) for name in ("pairs", "stars", "cells"))
            run_name = (directory / "run").read_text(encoding="utf-8")
        except (OSError, pa.ArrowInvalid):
            return None
        self._mark_match_in_use(catalogue)
        columns = {name: pairs.column(name).combine_chunks() for name in pairs.column_names}
        arrays = {name: np.asarray(array) for name, array in columns.items() if name.startswith(("pair.", "value."))}
        names = [name.removeprefix("row.") for name in columns if name.startswith("row.")]
        found = FoundPairs(
            **{name: arrays[f"pair.{name}"] for name in PAIR_FIELDS},
            **{name: np.stack([arrays[f"pair.{name}.{axis}"] for axis in range(3)], axis=1) for name in VECTOR_FIELDS},
            ids=columns["id"],
            rows=pa.table({name: columns[f"row.{name}"] for name in names}),
        )
        verdicts = MatchVerdicts(
            **{name: arrays[f"pair.verdict.{name}"] for name in PAIR_VERDICT_FIELDS},
            **{
                name: stars.column(name).combine_chunks().to_numpy(zero_copy_only=False) for name in STAR_VERDICT_FIELDS
            },
        )
        values = {name.removeprefix("value."): array for name, array in arrays.items() if name.startswith("value.")}
        return StoredMatch(
            match=CatalogueMatch(pairs=found, verdicts=verdicts, values=values),
            is_of_this_run=run_name == self._run_name,
            reference_ids=stars.column("id").combine_chunks(),
            reference_digests=np.asarray(stars.column("digest")),
            cell_digests=np.asarray(cells.column("digest")),
        )

    def store_match(
        self, catalogue: str, match: CatalogueMatch, reference: ReferenceStars, cell_digests: Digests
    ) -> None:
        """Store the match of a catalogue.

        Parameters
        ----------
        catalogue
            Its name.
        match
            The match.
        reference
            The reference, with `DIGEST_COLUMN`.
        cell_digests
            Digests of the cells of the catalogue.
        """
        if catalogue not in self._directories:
            return
        found, verdicts = match.pairs, match.verdicts
        pairs = {
            **{f"pair.{name}": getattr(found, name) for name in PAIR_FIELDS},
            **{f"pair.{name}.{axis}": getattr(found, name)[:, axis] for name in VECTOR_FIELDS for axis in range(3)},
            **{f"pair.verdict.{name}": getattr(verdicts, name) for name in PAIR_VERDICT_FIELDS},
            **{f"value.{name}": array for name, array in match.values.items()},
            "id": found.ids,
            **{f"row.{name}": found.rows.column(name) for name in found.rows.column_names},
        }
        stars = {
            "id": reference.ids,
            "digest": reference.rows.column(DIGEST_COLUMN.name),
            **{name: getattr(verdicts, name) for name in STAR_VERDICT_FIELDS},
        }
        directory = self._directories[catalogue]
        with suppress(OSError):  # a full disk: the next table computes the match again
            directory.mkdir(parents=True, exist_ok=True)
            for entry in directory.iterdir():
                if entry.name not in {"match", "tables"}:  # a killed run left it
                    shutil.rmtree(entry, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=directory) as unfinished_name:
                unfinished = Path(unfinished_name) / "match"
                unfinished.mkdir()
                _write_table(unfinished / "pairs", pairs)
                _write_table(unfinished / "stars", stars)
                _write_table(unfinished / "cells", {"digest": cell_digests})
                (unfinished / "run").write_text(self._run_name, encoding="utf-8")
                shutil.rmtree(directory / "match", ignore_errors=True)
                unfinished.rename(directory / "match")
            self._mark_match_in_use(catalogue)

    def _mark_match_in_use(self, catalogue: str) -> None:
        """Note that the table uses a stored match."""
        user_file = self._directories[catalogue] / "tables" / self._table_name
        user_file.parent.mkdir(exist_ok=True)
        user_file.touch()

    def _end_use_of_match(self, directory: Path) -> bool:
        """Remove the table from those that use a stored match; return False if it is none of them."""
        user_file = directory / "tables" / self._table_name
        if not user_file.exists():
            return False
        user_file.unlink()
        return True


def _build_match_key(options: Options, catalogue: str, readers: Mapping[str, CatalogueReader]) -> str:
    """Write everything except the rows that the pairs of a catalogue depend on."""
    columns = {
        name: [(column.name, str(column.type), column.unit, column.ucd) for column in readers[name].columns]
        for name in ("reference", catalogue)
    }
    return json.dumps(
        [
            STORE_FORMAT,
            hven.__version__,
            catalogue,
            options.model_dump(mode="json", exclude={"rows", "groups", "catalogues"}),
            options.catalogues[catalogue].model_dump(mode="json"),
            columns,
        ],
        default=str,
    )


def _write_table(path: Path, columns: dict[str, object]) -> None:
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read_table(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _delete_match_without_users(directory: Path) -> None:
    """Delete a stored match that no table uses."""
    if not any((directory / "tables").iterdir()):
        shutil.rmtree(directory, ignore_errors=True)
