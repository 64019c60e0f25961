"""The values of rows as words that readers look for: names, titles, targets, instruments, codes, each with how many rows have it.

They are counted once for each state of a table, over the rows that a reader may see, and kept in memory; a question only looks at what is kept.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import tree
from hven.engines import Live
from hven.model import Cache
from hven.model.errors import HvenError
from hven.portal._explore.count_trees import hides
from hven.portal._explore.facets import LONGEST, written
from hven.portal._explore.search import COUNTED, ref
from hven.portal.conditions import LISTS, NAMES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking

MOST = 50_000  # different values of one column; of more, names are looked for in the table's own form
OF_TABLE = 150_000  # of all columns of a table, those with few values first
BYTES = 96 * 1024**2  # of all values that a process remembers
PATIENCE = 10.0  # seconds for one column: nobody waits for it
SHORT = 3  # letters of a word that may stand anywhere
FORGOTTEN = 100_000  # states of tables that were tried, after which all are tried again
REFINED = 60  # values of one table that are weighed one by one
UNSAID = ("meta.ref", "meta.code.mime", "pos.outline", "meta.checksum", "meta.note")  # UCDs of what nobody looks for
UNNAMED = ("url", "md5", "checksum", "access_format", "s_region", "coverage", "granule_uid")
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Rows of a table that have a value: `conditions` as an address has them; `rows` None where nobody counted them together."""

    table: Table
    text: str
    conditions: tuple[tuple[str, str], ...]
    rows: int | None
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The values of one table: as they are written, what is looked for in them (`keys`), the column and the rows of each."""

    table: Table
    texts: pa.StringArray
    keys: pa.StringArray
    columns: npt.NDArray[np.int16]
    rows: npt.NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """The memory that they take, about."""
        return int(self.texts.nbytes + self.keys.nbytes + self.columns.nbytes + self.rows.nbytes) + 2_000


class Index:
    """Values of tables in their states, as readers see them. Thread-safe; one table is counted at a time."""

    def __init__(self) -> None:
        self._kept: Cache[Values] = Cache(BYTES)
        self._making, self._listing = threading.Lock(), threading.Lock()
        self._tried: set[Hashable] = set()  # what failed, or does not fit, is not counted again and again
        self._waiting: dict[Hashable, tuple[Table, Asking]] = {}
        self._busy = False

    def make(self, tables: Iterable[Table], asking: Asking) -> None:
        """Count what is not known yet, now."""
        for table in sorted(tables, key=lambda one: asking.holdings.published[one.qualified].rows or 0):
            self._made(_key(table, asking), table, asking, -1)

    def known(self, tables: Iterable[Table], asking: Asking, seconds: float) -> tuple[list[Values], bool]:
        """Return the values of tables, and whether some are still to be counted: what cannot be in so many seconds a thread goes on with."""
        until = time.monotonic() + seconds
        found, late = [], {}
        for table in tables:
            key = _key(table, asking)
            values = self._kept.find(key)
            if values is None and key not in self._tried:
                left = until - time.monotonic()
                values = self._made(key, table, asking, left) if left > 0 else None
                if values is None and key not in self._tried:
                    late[key] = (table, asking)
            if values is not None:
                found.append(values)
        if late:
            with self._listing:
                self._waiting |= late
                if not self._busy:
                    self._busy = True
                    threading.Thread(target=self._work, name="words", daemon=True).start()
        return found, bool(late)

    def _work(self) -> None:
        while True:
            with self._listing:
                if not self._waiting:
                    self._busy = False
                    return
                key = next(iter(self._waiting))
                table, asking = self._waiting.pop(key)
            self._made(key, table, asking, -1)

    def _made(self, key: Hashable, table: Table, asking: Asking, seconds: float) -> Values | None:
        """Count a table, unless another thread does so in the meantime; None: it failed, or another one is at it for longer."""
        if not self._making.acquire(timeout=seconds):
            return None
        try:
            values = self._kept.find(key)
            if values is None and key not in self._tried:
                if len(self._tried) > FORGOTTEN:
                    self._tried.clear()
                values = counted(table, asking)
                self._kept.keep(key, values, values.bytes)
                self._tried.add(key)
        except Exception:  # the site may just be closing, or the table is gone: it is not searched
            log.info("the values of %s could not be counted", table.qualified, exc_info=True)
            self._tried.add(key)
            return None
        else:
            return values
        finally:
            self._making.release()


def _key(table: Table, asking: Asking) -> Hashable:
    """Name a state of a table as a reader sees it: where rows are hidden from somebody, those who see the same share it."""
    item = asking.holdings.published[table.qualified]
    own = asking.holdings.reach(asking.who, asking.policies) if hides(table, asking) else ""
    shown = tuple(column.name for column in table.columns if not column.hidden)
    return (table.qualified, item.run, item.updated, own, shown)


def searched(table: Table, asking: Asking) -> list[Column]:
    """Return the columns whose values are looked for: texts that are names or choices, not addresses, outlines, checksums; those with few values first."""
    statistics = asking.published(table).statistics
    found = []
    for column in table.columns:
        name, ucd = column.name.lower(), (column.ucd or "").lower()
        if (
            column.hidden
            or not (column.type.is_string or column.enum)
            or column.type.is_array
            or column.type.is_geometry
        ):
            continue
        if (
            ucd.startswith(UNSAID)
            or column.type.xtype
            or name in UNNAMED
            or name.endswith(("_url", "_md5", "_checksum"))
        ):
            continue
        distinct = statistics.get(column.name, {}).get("distinct")
        if column.enum or (isinstance(distinct, int | float) and 0 < distinct <= MOST):
            found.append((float(distinct) if isinstance(distinct, int | float) else 0.0, column.rank, column))
    total, kept = 0.0, []
    for distinct, _, column in sorted(found, key=lambda one: one[:2]):
        total += distinct
        if total <= OF_TABLE:
            kept.append(column)
    return kept


def counted(table: Table, asking: Asking) -> Values:
    """Count the values of a table, by its columns."""
    item = asking.holdings.published[table.qualified]
    columns = [] if item.relation is None or isinstance(item.relation, Live) else searched(table, asking)
    texts, keys, numbers, rows = [], [], [], []
    source = tree.TableRef((tree.Ident(table.schema, quoted=True), tree.Ident(table.name, quoted=True)))
    for at, column in enumerate(columns):
        name = ref(column.name)
        there = tree.IsNull(name, negated=True)
        items = (tree.SelectItem(name, tree.Ident("v")), COUNTED)
        asked = tree.Query(tree.Select(items, source, where=there, group_by=(name,), top=tree.Literal(2 * MOST)))
        try:
            with asking.run(asked, seconds=PATIENCE) as result:
                found = result.table()
        except HvenError:
            continue
        values, number = _grouped(column, found.column(0).combine_chunks(), found.column(1).combine_chunks())
        words = table.enums.get(column.enum or "", {})
        texts.append(values)
        keys.append(folded(_labelled(values, words) if words else values))
        numbers.append(np.full(len(values), at, np.int16))
        rows.append(np.asarray(number, np.int64))
    return Values(
        table=table,
        texts=pa.concat_arrays(texts) if texts else pa.array([], pa.string()),
        keys=pa.concat_arrays(keys) if keys else pa.array([], pa.string()),
        columns=np.concatenate(numbers) if numbers else np.zeros(0, np.int16),
        rows=np.concatenate(rows) if rows else np.zeros(0, np.int64),
        names=tuple(column.name for column in columns),
    )


def _grouped(column: Column, values: pa.Array, rows: pa.Array) -> tuple[pa.StringArray, pa.Array]:
    """Put together what one condition finds: items of lists ``a#b``, spellings in small letters and capitals."""
    text = values.cast(pa.string())
    group = pc.utf8_trim_whitespace(text) if column.name.lower() in LISTS else text
    if column.name.lower() in LISTS and pc.any(pc.match_substring(text, "#")).as_py():
        parts = pc.split_pattern(text, "#")
        group = pc.utf8_trim_whitespace(pc.list_flatten(parts))
        parents = pc.list_parent_indices(parts)
        once = pa.table([parents, group], names=["p", "v"]).group_by(["p", "v"]).aggregate([])
        group, rows = once.column("v").combine_chunks(), rows.take(once.column("p").combine_chunks())
    same = group if column.name.lower() in NAMES or not column.type.is_string else pc.utf8_lower(group)
    summed = (
        pa.table([same, group, rows], names=["k", "v", "n"])
        .group_by("k", use_threads=False)
        .aggregate([("v", "first"), ("n", "sum")])
    )
    size = pc.utf8_length(summed.column("v_first"))
    kept = summed.filter(pc.and_(pc.greater(size, 0), pc.less_equal(size, LONGEST)))
    return kept.column("v_first").combine_chunks(), kept.column("n_sum").combine_chunks()


def _labelled(values: pa.StringArray, words: Mapping[str, str]) -> pa.StringArray:
    """Write codes with their words behind them."""
    return pa.array([f"{value} {words.get(value, '')}" for value in values.to_pylist()], pa.string())


def folded(texts: pa.Array) -> pa.StringArray:
    """Leave accents, capitals, blanks, hyphens and underscores out: ``M 31`` is ``m31``."""
    plain = pc.replace_substring_regex(pc.utf8_normalize(texts, form="NFKD"), r"[\p{Mn}\s_\-]+", "")
    return pc.utf8_lower(plain)


def fold(text: str) -> str:
    """Do the same to one text."""
    return str(folded(pa.array([text], pa.string()))[0].as_py())


def find(words: Sequence[str], values: Values, above: str, most: int) -> list[Match]:
    """Find the values of a table that have all words in them; some of the words may be in what is said of the table (`above`) instead.

    Parameters
    ----------
    words
        As `fold` writes them.
    above
        What is said of the table and of its collection, in the same way.
    """
    size = len(values.keys)
    if not size or not words:
        return []
    words = _joined(words)
    hits = [np.asarray(pc.match_substring(values.keys, word)) for word in words]
    some = np.logical_or.reduce(hits)
    if not some.any():
        return []
    every = some & np.logical_and.reduce([hit | (word in above) for word, hit in zip(words, hits, strict=True)])
    if not every.any():
        return _together(words, hits, values, above)
    at = np.flatnonzero(every)
    # words that the table's own title says are no reason to prefer a value
    whole = "".join(word for word, hit in zip(words, hits, strict=True) if hit[at].any())
    found = values.keys.take(pa.array(at))
    weight = 100.0 * np.asarray(pc.equal(found, whole)) + 50.0 * np.asarray(pc.starts_with(found, whole))
    weight += sum(5.0 * hit[at] for hit in hits) + np.log10(values.rows[at] + 1.0)
    weight -= np.minimum(np.asarray(pc.utf8_length(found)), 60) / 6.0
    best = np.argsort(-weight, kind="stable")[: min(REFINED, most)]
    return [_match(values, int(at[one]), float(weight[one])) for one in best]


def _joined(words: Sequence[str]) -> list[str]:
    """Join short words to the ones before them, ``M 31``: a letter or a number is in many names, and means little by itself."""
    found: list[str] = []
    for word in words:
        if found and (len(word) < SHORT or len(found[-1]) < SHORT):
            found[-1] += word
        else:
            found.append(word)
    return found


def _together(words: Sequence[str], hits: Sequence[npt.NDArray[np.bool_]], values: Values, above: str) -> list[Match]:
    """Find values of several columns that have all words between them: ``olivine CRISM``."""
    chosen: dict[int, int] = {}
    for word, hit in zip(words, hits, strict=True):
        at = np.flatnonzero(hit)
        at = at[~np.isin(values.columns[at], list(chosen))] if chosen else at
        if not len(at):
            if word in above or any(word in values.keys[one].as_py() for one in chosen.values()):
                continue
            return []
        length = np.asarray(pc.utf8_length(values.keys.take(pa.array(at))))
        one = int(at[np.lexsort((-values.rows[at], length))[0]])  # nearest to the word itself, then what most rows have
        chosen[int(values.columns[one])] = one
    if len(chosen) < 2:
        return []
    parts = [_match(values, one, 0.0) for one in chosen.values()]
    text = ", ".join(part.text for part in parts)
    conditions = tuple(condition for part in parts for condition in part.conditions)
    return [Match(table=values.table, text=text, conditions=conditions, rows=None, score=30.0)]


def _match(values: Values, at: int, score: float) -> Match:
    text = values.texts[at].as_py()
    column = values.table.column(values.names[int(values.columns[at])])
    words = values.table.enums.get(column.enum or "", {})
    return Match(
        table=values.table,
        text=words.get(text, text),
        conditions=((column.name, written([text])),),
        rows=int(values.rows[at]),
        score=score if math.isfinite(score) else 0.0,
    )
