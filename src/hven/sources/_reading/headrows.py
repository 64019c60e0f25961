"""Rows made of what the heads of many files say: keywords become columns, typed after a sample of the files; their data are not read."""

from __future__ import annotations

import re
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

import hven
from hven.model import units
from hven.model.errors import FarFault, SourceError
from hven.model.sky import footprints
from hven.model.table import Column
from hven.model.types import CONTOUR, from_arrow
from hven.sources import FILE_FACTS, ROW, Context, Pin, Reject
from hven.sources._reading.cells import emptied
from hven.sources._reading.filerows import Files
from hven.sources._reading.files import DataFile, FileOptions, Texts, check_names, fact_type
from hven.sources._reading.keptheads import Heads, Kept, heads_of
from hven.sources._reading.rows import Nulls, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources.cards import Value

_UNIT = re.compile(r"\[([^\]]{1,20})\]\s*")
_UNIT_CUT = re.compile(r"\[([^\[\]]{1,20})")  # a comment that ends where the card of 80 characters does
# what labels of ISIS write where a unit stands, for a value of each detector: `ExposureDuration = 640.0 <IR>`
_CHANNELS = {"IR", "VIS", "UV", "VNIR", "SWIR", "NIR"}
SAMPLE = 200
ROWS = 1000  # of a batch
FOOTPRINT = "file.footprint"


class HeadOptions(FileOptions):
    """What every source understands that reads the heads of files."""

    cards: list[str] | None = Field(
        None, description="Header, cards: the keywords wanted; default all that occur. A missing card is null."
    )
    null: Nulls = Field(
        default_factory=dict,
        description="Values that stand for none, besides TNULL and NaN: a list, or by column name (`*` = all).",
    )
    root: str = Field("", description="Header modes: where they lie: https://.., ftp://.., s3://..; default: beside the descriptor.")  # fmt: skip
    options: dict[str, str] = Field(default_factory=dict, description="How another server is asked; $NAME is a secret.")
    members: Texts | None = Field(None, description="Header modes, of archives (zip, tar) among the files: patterns of members; default: what the kind reads, by its names.")  # fmt: skip
    at_once: int = Field(
        8, ge=1, le=64, description="Files of one mount that are read at the same time, where one waits for them."
    )


class HeadRows(Files):
    """One row for each file, or several, of what its head says.

    Parameters
    ----------
    options, context
        Of the kind.
    structure
        Keywords that are no columns, unless they are asked for.
    stonyhurst, west
        What longitudes of footprints are (`hven.model.sky.footprints.of_headers`).
    """

    #: The remedy where no card is found: how one looks for cards in files of the kind.
    where_cards_are = "`mode: cards` lists the cards and attributes of the first files, with their names"

    def __init__(
        self, options: HeadOptions, context: Context, files: Sequence[DataFile] | None = None, *, structure: frozenset[str] = frozenset(), stonyhurst: bool = False, west: bool = False
    ) -> None:  # fmt: skip
        super().__init__(options, context, files)
        self.stonyhurst, self.west, self._structure = stonyhurst, west, structure
        self.cards = list(options.cards) if options.cards is not None else None
        self.nulls, self.at_once = options.null, options.at_once

    @abstractmethod
    def heads(self, file: DataFile) -> Heads:
        """Read what the head of a file says; `SourceError` if it cannot be read."""

    @abstractmethod
    def way(self) -> str:
        """Name what `heads` reads: what was read in another way is not taken for it."""

    def fixed(self) -> Sequence[Column]:
        """List columns that all rows have, whatever the files say; they stand first."""
        return ()

    def columns(self) -> list[Column]:
        """List a column per keyword, typed after up to 200 of the files."""
        return list(self._columns.values())

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file after the other."""
        names = check_names(columns, list(self._columns), "the headers")
        rows: list[tuple[int, DataFile, dict[str, Value]]] = []
        count, left = min(ROWS, self.context.batch), limit
        number = 0
        for place, (file, found) in enumerate(self._found(self.files if limit is None else self.files[:limit]), 1):
            self.read = place
            if isinstance(found, SourceError):
                number += 1
                reject = Reject(file=file.name, row=number, column=None, value=None, reason=found.message)
                self._reject(reject, found)
                continue
            for row in found.rows[:left]:
                number += 1
                rows.append((number, file, row))
            left = None if left is None else left - len(found.rows)
            while len(rows) >= count:
                yield from self._batch(rows[:count], names)
                rows = rows[count:]
            if left is not None and left <= 0:
                break
        if rows:
            yield from self._batch(rows, names)

    def _found(self, files: Sequence[DataFile]) -> Iterator[tuple[DataFile, Heads | SourceError]]:
        kept = (
            None
            if self.context.kept is None
            else Kept(self.context.kept / "heads.sqlite", f"{hven.__version__} {self.way()}")
        )
        try:
            yield from heads_of(files, self.heads, self.at_once, kept)
            if kept is not None:
                kept.tidy()
        except FarFault as fault:  # its server does not answer: nothing is known of any file
            raise SourceError(fault.message, remedy=fault.remedy) from fault
        finally:
            if kept is not None:
                kept.close()

    def pins(self) -> list[Pin]:
        """List the files; only their headers were read, so there is no checksum."""
        return [
            Pin(
                name=file.name,
                bytes=file.stat.st_size,
                modified=file.modified.isoformat(timespec="seconds"),
                detail="header only",
            )
            for file in self.files
        ]

    def size(self) -> int:
        """Count the files."""
        return len(self.files)

    def done(self) -> int:
        """Count the files read so far."""
        return self.read

    @cached_property
    def _columns(self) -> dict[str, Column]:
        fixed = {column.name: column for column in self.fixed()}
        found: dict[str, pa.DataType | None] = dict.fromkeys(self.cards or ())
        comments: dict[str, str] = {}
        failed: SourceError | None = None
        good = 0
        for _, heads in self._found(self.files[:: max(1, len(self.files) // SAMPLE)]):
            if isinstance(heads, SourceError):
                failed = heads
                continue
            good += 1
            for key, comment in heads.comments.items():
                comments.setdefault(key, comment)
            for key, value in (pair for row in heads.rows for pair in row.items()):
                if key not in fixed and (key in found if self.cards is not None else key not in self._structure):
                    found[key] = _wider(found.get(key), value)
        if not good and failed is not None:
            raise failed
        missing = [key for key, kind in found.items() if kind is None and key in (self.cards or ())]
        if missing and len(missing) == len(found):
            raise SourceError(f"no file has any of the cards {', '.join(missing)}", remedy=self.where_cards_are)
        found.pop(FOOTPRINT, None)
        if not found and not fixed:
            raise SourceError("the headers have no cards but those of structure", remedy=self.where_cards_are)
        return fixed | {key: _column(key, kind or pa.string(), comments.get(key, "")) for key, kind in found.items()}

    def _batch(
        self, rows: Sequence[tuple[int, DataFile, dict[str, Value]]], names: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Assemble a batch of the rows of many files; those with a value that is not of its column's type are refused."""
        arrays: dict[str, pa.Array] = {}
        wrong: dict[int, Reject] = {}
        for name in dict.fromkeys(names):
            if name == ROW:
                arrays[name] = pa.array([number for number, _, _ in rows], pa.int64())
            elif name == FOOTPRINT:
                arrays[name] = self._footprints([row.get(FOOTPRINT, row) for _, _, row in rows])  # type: ignore[misc]
            elif name in FILE_FACTS:
                arrays[name] = pa.array([file.fact(name) for _, file, _ in rows], fact_type(name))
            else:
                kind = self._columns[name].type.arrow
                values = [row.get(name) for _, _, row in rows]
                try:
                    cells = pa.array([_fitted(value, kind) for value in values], kind)
                except (ValueError, TypeError, pa.ArrowException, OverflowError):
                    cells = pa.array([self._fits(name, kind, *rows[at], at, wrong) for at in range(len(rows))], kind)
                arrays[name] = emptied(cells, words_of(self.nulls, name))
        batch = pa.RecordBatch.from_arrays([arrays[name] for name in names], names=list(names))
        for at in sorted(wrong):
            self._reject(wrong[at], None)
        if wrong:
            batch = batch.filter(pa.array([at not in wrong for at in range(len(rows))]))
        if batch.num_rows:
            yield batch

    def _fits(
        self, name: str, kind: pa.DataType, number: int, file: DataFile, row: dict[str, Value], at: int, wrong: dict[int, Reject]
    ) -> Value:  # fmt: skip
        """Return a value of the column's type; note why there is none."""
        value = row.get(name)
        try:
            fitted: Value = _fitted(value, kind)
            pa.scalar(fitted, kind)
        except (ValueError, TypeError, pa.ArrowException, OverflowError):
            reason = f"not {self._columns[name].type} as in the other files"
            wrong.setdefault(at, Reject(file=file.name, row=number, column=name, value=str(value), reason=reason))
            return None
        return fitted

    def _footprints(self, headers: Sequence[Mapping[str, Value]]) -> pa.Array:
        """Make what images cover of their WCS cards."""
        found = footprints.of_headers(headers, stonyhurst=self.stonyhurst, west=self.west)
        return found.column(CONTOUR.arrow)

    def _reject(self, reject: Reject, error: SourceError | None) -> None:
        if self.context.reject is None:
            raise error or SourceError(f"{reject.file}: card {reject.column} = {reject.value!r} is {reject.reason}")
        self.context.reject(reject)


def _wider(known: pa.DataType | None, value: Any) -> pa.DataType | None:
    if value is None or value == "" or isinstance(value, dict):
        return known
    kind = (
        pa.bool_()
        if isinstance(value, bool)
        else pa.int64()
        if isinstance(value, int)
        else pa.float64()
        if isinstance(value, float)
        else pa.string()
    )
    if known is None or known == kind:
        return kind
    return pa.float64() if {known, kind} == {pa.int64(), pa.float64()} else pa.string()


def _fitted(value: Any, kind: pa.DataType) -> Any:
    if value is None or value == "":
        return None
    if pa.types.is_string(kind):
        return {True: "T", False: "F"}[value] if isinstance(value, bool) else str(value)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind) and isinstance(value, float):
        return int(value) if value == int(value) else value
    return value


def _column(key: str, kind: pa.DataType, comment: str) -> Column:
    match = _UNIT.search(comment)
    if match is None and (cut := _UNIT_CUT.fullmatch(comment.strip())) is not None and units.meant(cut.group(1)):
        match = cut
    said = match.group(1).strip() if match else ""
    unit = None if not said or said.isdigit() or said in _CHANNELS else said
    text = comment.replace(match.group(0), "", 1).strip() if match and unit else comment
    return Column(name=key, type=from_arrow(kind), unit=unit, description=text or None)
