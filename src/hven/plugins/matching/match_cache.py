"""Keep the match of a catalogue on disk for the other tables of the same run.

A table of objects and its log are made from the same pairs, which take most of the time.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.plugins.matching.match_verdicts import MatchVerdicts
from hven.plugins.matching.pair_search import FoundPairs

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.plugins.matching.match_options import Options
    from hven.sources import SourceContext

    Floats = npt.NDArray[np.float64]
    MatchedPairs = tuple[FoundPairs, MatchVerdicts, dict[str, Floats]]

CACHE_DIRECTORY = "matches"
PAIR_FIELDS = ("reference_rows", "ranks", "separations")
PAIR_VERDICT_FIELDS = ("verdicts", "ranks")
STAR_VERDICT_FIELDS = ("shown_pairs", "has_partner", "mate_counts", "second_separations", "flags")


class MatchCache:
    """The matches of a run.

    Parameters
    ----------
    context
        The context of the source; without a run and a directory, nothing is kept.
    options
        The options of the match.
    """

    def __init__(self, context: SourceContext, options: Options) -> None:
        self._directory: Path | None = None
        if context.cache_directory is not None and context.run_name:
            run_digest, options_digest = (
                hashlib.sha256(text.encode()).hexdigest()[:16]
                for text in (context.run_name, options.model_dump_json(exclude={"rows"}))
            )
            self._directory = context.cache_directory / CACHE_DIRECTORY / run_digest / options_digest

    def load_match(self, catalogue: str) -> MatchedPairs | None:
        """Load the match of a catalogue; None: this run has not matched it yet.

        Parameters
        ----------
        catalogue
            Its name.
        """
        if self._directory is None:
            return None
        try:
            pairs, stars = (_read_table(self._directory / catalogue / name) for name in ("pairs", "stars"))
        except FileNotFoundError:
            return None
        columns = {name: pairs.column(name).combine_chunks() for name in pairs.column_names}
        arrays = {name: np.asarray(array) for name, array in columns.items() if name.startswith(("pair.", "value."))}
        names = [name.removeprefix("row.") for name in columns if name.startswith("row.")]
        found = FoundPairs(
            **{name: arrays[f"pair.{name}"] for name in PAIR_FIELDS},
            ids=columns["id"],
            reference_vectors=np.empty((0, 3)),
            partner_vectors=np.empty((0, 3)),
            rows=pa.table({name: columns[f"row.{name}"] for name in names}),
        )
        verdicts = MatchVerdicts(
            **{name: arrays[f"pair.verdict.{name}"] for name in PAIR_VERDICT_FIELDS},
            **{
                name: stars.column(name).combine_chunks().to_numpy(zero_copy_only=False) for name in STAR_VERDICT_FIELDS
            },
        )
        values = {name.removeprefix("value."): array for name, array in arrays.items() if name.startswith("value.")}
        return found, verdicts, values

    def store_match(self, catalogue: str, match: MatchedPairs) -> None:
        """Store the match of a catalogue, and remove those of other runs.

        Parameters
        ----------
        catalogue
            Its name.
        match
            The pairs, the verdicts, and the values of expressions.
        """
        if self._directory is None:
            return
        found, verdicts, values = match
        pairs = {
            **{f"pair.{name}": getattr(found, name) for name in PAIR_FIELDS},
            **{f"pair.verdict.{name}": getattr(verdicts, name) for name in PAIR_VERDICT_FIELDS},
            **{f"value.{name}": array for name, array in values.items()},
            "id": found.ids,
            **{f"row.{name}": found.rows.column(name) for name in found.rows.column_names},
        }
        stars = {name: getattr(verdicts, name) for name in STAR_VERDICT_FIELDS}
        run_directory = self._directory.parent
        with suppress(OSError):  # a full disk: the next table computes the match again
            for other in run_directory.parent.glob("*"):
                if other != run_directory:
                    shutil.rmtree(other, ignore_errors=True)
            self._directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._directory) as unfinished:
                _write_table(Path(unfinished) / "match" / "pairs", pairs)
                _write_table(Path(unfinished) / "match" / "stars", stars)
                (Path(unfinished) / "match").rename(self._directory / catalogue)


def _write_table(path: Path, columns: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read_table(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
