"""The values of rows as words that readers look for: names, titles, targets, instruments, codes, each with how many rows have it.

They are counted once for each state of a table, over the rows that a reader may see, and kept in memory; a question only looks at what is kept.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import tree
from hven.engines import Live
from hven.model import Cache, Failures
from hven.model.errors import HvenError
from hven.portal._explore.column_labels import phrases
from hven.portal._explore.count_trees import hides
from hven.portal._explore.facets import LONGEST, written
from hven.portal._explore.search import COUNTED, ref
from hven.portal._explore.value_files import Files
from hven.portal.conditions import LISTS, NAMES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking

MOST = 50_000  # different values of one column; of more, names are looked for in the table's own form
OF_TABLE = 150_000  # of all columns of a table, those with few values first
BYTES = 128 * 1024**2  # of all values that a process remembers
PATIENCE = 10.0  # seconds for one column: nobody waits for it
UNKNOWN = 16  # columns of a view or a live table, of which nothing is known beforehand ..
ALTOGETHER = 30.0  # .. and seconds for all of them
LIVE = 600.0  # seconds that values of rows which other programs write are good for
AGAIN = 120.0  # seconds after which columns that failed are asked again
LARGE = 5_000_000  # rows of a live table that is not asked: its database has other work
SHORT = 3  # letters of a word that means something by itself
COMPARED = 12  # bytes of a beginning
MOST_WORDS = 8  # of one value
_FIRST = r"^[^\s_\-/.,;:+()\[\]]*[\s_\-/.,;:+()\[\]]+"  # the first word of a text, and what is behind it
TOGETHER = 30.0  # weight of values of several columns
FORGOTTEN = 100_000  # states of tables that were tried, after which all are tried again
REFINED = 64  # values of one table that are weighed
UNSAID = ("meta.ref", "meta.code.mime", "pos.outline", "meta.checksum", "meta.note")  # UCDs of what nobody looks for
UNNAMED = ("url", "md5", "checksum", "access_format", "s_region", "coverage", "granule_uid")
ARRAYS = ("texts", "begins", "whose", "first", "sizes", "columns", "rows")  # of `Values`, as files have them
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Rows of a table that have a value: `conditions` as an address has them; `values` as they are stored; `rows` None where nobody counted them together, and where they are `live`."""

    table: Table
    text: str
    conditions: tuple[tuple[str, str], ...]
    rows: int | None
    score: float
    values: tuple[str, ...] = ()
    live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The values of one table: as they are written, the column and the rows of each.

    Attributes
    ----------
    begins, whose
        What follows from the beginning of each word of each value on, `folded` and in order, and the place of that value: words are looked for by
        binary search.
    first, sizes
        How each value begins, and how long it is, `folded`; of a code its word.
    phrases
        By column: code -> its words in all languages.
    until
        When they are to be counted again (monotonic): never, but where a column failed, or they are live.
    live
        Other programs write the rows.
    mapped
        They lie in a file that all processes share.
    """

    table: Table
    texts: pa.StringArray
    begins: npt.NDArray[np.bytes_]
    whose: npt.NDArray[np.int32]
    first: npt.NDArray[np.bytes_]
    sizes: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int16]
    rows: npt.NDArray[np.int64]
    names: tuple[str, ...]
    phrases: tuple[Mapping[str, tuple[str, ...]], ...]
    until: float = math.inf
    live: bool = False
    mapped: bool = False

    @property
    def bytes(self) -> int:
        """The memory that they take of this process, about."""
        if self.mapped:
            return 2_000
        arrays = (self.texts, self.begins, self.whose, self.first, self.sizes, self.columns, self.rows)
        return sum(int(one.nbytes) for one in arrays) + 2_000

    def keys(self, places: npt.NDArray[np.int64]) -> pa.StringArray:
        """Return some values as they are compared: codes with their words."""
        texts = self.texts.take(pa.array(places))
        if any(self.phrases):
            of = [self.phrases[one] for one in self.columns[places]]
            texts = pa.array([" ".join((text, *words.get(text, ()))) for text, words in zip(texts.to_pylist(), of, strict=True)], pa.string())  # fmt: skip
        return folded(texts)


class Index:
    """Values of tables in their states, as readers see them. Thread-safe; one table is counted at a time."""

    def __init__(self) -> None:
        self.catalogues: tuple[Mapping[str, str], ...] = ()  # of the languages of the pages, where there are pages
        self._kept: Cache[Values] = Cache(BYTES)
        self._lists: Cache[tuple[float, list[Values]]] = Cache(8)  # of all tables that readers see, and until when
        self._making, self._listing = threading.Lock(), threading.Condition()
        self._tried: set[Hashable] = set()  # what was counted: where it does not fit, it is not counted again
        self._waiting: dict[tuple[Hashable, ...], tuple[Table, Asking]] = {}
        self._busy: tuple[Hashable, ...] | None = None  # what the thread counts at this moment

    def make(self, tables: Iterable[Table], asking: Asking) -> None:
        """Count what is not known yet, now."""
        for table in sorted(tables, key=lambda one: asking.holdings.published[one.qualified].rows or 0):
            self._made(_key(table, asking), table, asking, -1)

    def known(
        self, tables: Iterable[Table], asking: Asking, seconds: float, key: Hashable = None
    ) -> tuple[list[Values], bool]:
        """Return the values of tables, and whether some are still to be counted: what cannot be in so many seconds a thread goes on with.

        `key`: names the tables, their state and what the reader sees of them; None: they are looked up one by one.
        """
        every = None if key is None else self._lists.find(key)
        moment = time.monotonic()
        if every is not None and moment < every[0]:
            return every[1], False
        until = moment + seconds
        found: list[Values] = []
        late: dict[tuple[Hashable, ...], tuple[Table, Asking]] = {}
        old: dict[tuple[Hashable, ...], tuple[Table, Asking]] = {}
        for table in tables:
            own = _key(table, asking)
            values = self._kept.find(own)
            if values is None and not self._is_tried(own, asking):
                left = until - time.monotonic()
                # what may take longer a thread counts, and goes on with
                quick = left > 0 and not _unknown(table, asking)
                values = self._made(own, table, asking, left) if quick else None
                if values is None and not self._is_tried(own, asking):
                    late[own] = (table, asking)
            if values is not None:
                found.append(values)
                if values.until < moment:  # those of before are good enough until then
                    old[own] = (table, asking)
        if late or old:
            found += self._behind(late, old, until)
        elif key is not None:
            self._lists.keep(key, (min((one.until for one in found), default=math.inf), found))
        return found, bool(late)

    def _behind(
        self,
        late: dict[tuple[Hashable, ...], tuple[Table, Asking]],
        old: Mapping[tuple[Hashable, ...], tuple[Table, Asking]],
        until: float,
    ) -> list[Values]:
        """Have a thread count tables; who asks for one first waits for it so long, and takes it from `late`."""
        with self._listing:
            mine = late.keys() - self._waiting.keys() - {self._busy}
            idle = self._busy is None and not self._waiting
            self._waiting |= {**late, **old}
            if idle:
                threading.Thread(target=self._work, name="words", daemon=True).start()
            while mine & self._waiting.keys() or self._busy in mine:
                if not self._listing.wait(until - time.monotonic()):
                    break
            made = {key: values for key in mine if (values := self._kept.find(key)) is not None}
        for key in mine:
            if key in made or self._is_tried(key, late[key][1]):
                del late[key]
        return list(made.values())

    def _is_tried(self, key: tuple[Hashable, ...], asking: Asking) -> bool:
        """Return whether a table need not be counted now: its values do not fit, or it is too soon to try again what failed."""
        return key in self._tried or asking.site.kept(Failures).is_paused(("words", *key))

    def _work(self) -> None:
        while True:
            with self._listing:
                self._busy = next(iter(self._waiting), None)
                self._listing.notify_all()
                if self._busy is None:
                    return
                table, asking = self._waiting.pop(self._busy)
                key = self._busy
            self._made(key, table, asking, -1)

    def _made(self, key: tuple[Hashable, ...], table: Table, asking: Asking, seconds: float) -> Values | None:
        """Count a table, unless another thread does so in the meantime; None: it failed, or another one is at it for longer."""
        if not self._making.acquire(timeout=seconds):
            return None
        try:
            values = self._kept.find(key)
            if (values is None and not self._is_tried(key, asking)) or (values and values.until < time.monotonic()):
                if len(self._tried) > FORGOTTEN:
                    self._tried.clear()
                if (values := self._shared(key, table, asking, seconds)) is None:
                    return None
                if self._kept.bytes + values.bytes > BYTES:
                    log.warning("the values of all tables take more than %s MB: some are not searched", BYTES >> 20)
                self._kept.keep(key, values, values.bytes)
                self._tried.add(key)
        except Exception:  # the site may just be closing, or the table is gone: it is not searched
            log.info("the values of %s could not be counted", table.qualified, exc_info=True)
            asking.site.kept(Failures).note(("words", *key), f"the values of {table.qualified}", "see the log")
            return None
        else:
            asking.site.kept(Failures).forget(("words", *key))
            return values
        finally:
            self._making.release()

    def _shared(self, key: tuple[Hashable, ...], table: Table, asking: Asking, seconds: float) -> Values | None:
        """Return what another process has counted, or count it for all of them; what other programs write, each counts for itself. None: another one is at it."""
        if is_live(table, asking):
            return counted(table, asking, self.catalogues)
        files = Files(asking.site.settings.var / "words")
        words = {one.name: phrases(table, one, self.catalogues) for one in table.columns}
        owner, state = (key[0], key[-1]), (key, words, [(one.name, one.ucd) for one in table.columns])
        found = files.get(owner, state)
        with nullcontext(True) if found is not None else files.turn(seconds) as mine:
            if not mine:
                return None
            found = found or files.get(owner, state)
            if found is None:
                made = counted(table, asking, self.catalogues)
                if made.until == math.inf:
                    files.put(owner, state, made.names, {name: getattr(made, name) for name in ARRAYS})
                    found = files.get(owner, state)
                if found is None:
                    return made
        names, arrays = found
        return Values(
            table=table, names=tuple(names), phrases=tuple(words[name] for name in names), mapped=True, **arrays
        )


def _key(table: Table, asking: Asking) -> tuple[Hashable, ...]:
    """Name a state of a table as a reader sees it: where rows are hidden from somebody, those who see the same share it; a view's is that of what it reads."""
    known = asking.holdings.published
    item = known[table.qualified]
    own = asking.holdings.reach(asking.who, asking.policies) if hides(table, asking) else ""
    shown = tuple(column.name for column in table.columns if not column.hidden)
    read = tuple((name, known[name].run, known[name].updated) for name in sorted(item.reads) if name in known)
    return (table.qualified, item.run, item.updated, table.view, read, shown, own)


def is_live(table: Table, asking: Asking) -> bool:
    """Return whether other programs write the rows of a table, or of what it reads."""
    known = asking.holdings.published
    return any(isinstance(known[name].relation, Live) for name in (table.qualified, *known[table.qualified].reads) if name in known)  # fmt: skip


def _unknown(table: Table, asking: Asking) -> bool:
    """Return whether nothing is known of the values beforehand: of views, and of rows that other programs write."""
    return table.view is not None or is_live(table, asking)


def searched(table: Table, asking: Asking) -> list[Column]:
    """Return the columns whose values are looked for: texts that are names or choices, not addresses, outlines, checksums; those with few values first."""
    item = asking.published(table)
    statistics, unknown = item.statistics, _unknown(table, asking)
    if isinstance(item.relation, Live) and (item.relation.rows or 0) > LARGE:
        return []
    found = []
    for column in table.columns:
        name, ucd = column.name.lower(), (column.ucd or "").lower()
        if (
            column.hidden
            or not (column.type.is_string or column.enum or phrases(table, column, ()))
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
        if column.enum or unknown or (isinstance(distinct, int | float) and 0 < distinct <= MOST):
            found.append((float(distinct) if isinstance(distinct, int | float) else 0.0, column.rank, column))
    total, kept = 0.0, []
    for distinct, _, column in sorted(found, key=lambda one: one[:2]):
        total += distinct
        if total <= OF_TABLE:
            kept.append(column)
    return kept[:UNKNOWN] if unknown else kept


def counted(table: Table, asking: Asking, catalogues: Sequence[Mapping[str, str]] = ()) -> Values:
    """Count the values of a table, by its columns; `catalogues` have the words of codes."""
    columns = searched(table, asking)
    unknown, live = _unknown(table, asking), is_live(table, asking)
    over = time.monotonic() + ALTOGETHER if unknown else math.inf
    total, whole = 0, True
    texts, keys, numbers, rows = [], [], [], []
    more: list[tuple[str, int]] = []  # further words of a code, and its place
    words = tuple(phrases(table, one, catalogues) for one in columns)
    place = 0
    source = tree.TableRef((tree.Ident(table.schema, quoted=True), tree.Ident(table.name, quoted=True)))
    for at, column in enumerate(columns):
        name = ref(column.name)
        there = tree.IsNull(name, negated=True)
        items = (tree.SelectItem(name, tree.Ident("v")), COUNTED)
        asked = tree.Query(tree.Select(items, source, where=there, group_by=(name,), top=tree.Literal(2 * MOST)))
        left = min(PATIENCE, over - time.monotonic())
        try:
            with asking.run(asked, seconds=max(left, 0.01)) as result:
                found = result.table()
        except HvenError:
            whole = False
            continue
        if unknown and (len(found) > MOST or total + len(found) > OF_TABLE):
            continue
        total += len(found)
        values, number = _grouped(column, found.column(0).combine_chunks(), found.column(1).combine_chunks())
        texts.append(values)
        keys.append(_labelled(values, words[at]) if words[at] else values)
        more += [(one, place + number) for number, code in enumerate(values.to_pylist() if words[at] else ()) for one in (code, *words[at].get(code, ())[1:])]  # fmt: skip
        place += len(values)
        numbers.append(np.full(len(values), at, np.int16))
        rows.append(np.asarray(number, np.int64))
    said = pa.concat_arrays(keys) if keys else pa.array([], pa.string())
    begins, whose = _begun(
        pa.concat_arrays([said, pa.array([text for text, _ in more], pa.string())]),
        np.concatenate([np.arange(len(said)), [one for _, one in more]]).astype(np.int32),
    )
    return Values(
        table=table,
        texts=pa.concat_arrays(texts) if texts else pa.array([], pa.string()),
        begins=begins,
        whose=whose,
        first=_compared(folded(said)),
        sizes=np.asarray(pc.binary_length(folded(said)), np.int32),
        columns=np.concatenate(numbers) if numbers else np.zeros(0, np.int16),
        rows=np.concatenate(rows) if rows else np.zeros(0, np.int64),
        names=tuple(column.name for column in columns),
        phrases=words,
        live=live,
        until=time.monotonic() + (AGAIN if not whole else LIVE if live else math.inf),
    )


def _compared(keys: pa.StringArray) -> npt.NDArray[np.bytes_]:
    """Return how texts begin, as far as is compared."""
    return np.array([one.encode()[:COMPARED] for one in keys.to_pylist()], dtype=f"S{COMPARED}")


def _begun(texts: pa.StringArray, at: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int32]]:
    """Return what follows from the beginning of each word on, in order, and the place (`at`) that its text is of."""
    begins, whose, rest = [], [], texts
    for _ in range(MOST_WORDS):
        if not len(rest):
            break
        begins.append(_compared(folded(rest)))
        whose.append(at)
        shorter = pc.replace_substring_regex(rest, _FIRST, "")
        more = np.asarray(pc.and_(pc.less(pc.binary_length(shorter), pc.binary_length(rest)), pc.greater(pc.binary_length(shorter), 0)))  # fmt: skip
        rest, at = shorter.filter(pa.array(more)), at[more]
    every = np.concatenate(begins) if begins else np.zeros(0, f"S{COMPARED}")
    order = np.argsort(every, kind="stable")
    return every[order], (np.concatenate(whose) if whose else np.zeros(0, np.int32))[order]


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


def _labelled(values: pa.StringArray, words: Mapping[str, tuple[str, ...]]) -> pa.StringArray:
    """Write codes as they are called."""
    return pa.array([words.get(value, (value,))[0] for value in values.to_pylist()], pa.string())


def folded(texts: pa.Array) -> pa.StringArray:
    """Leave accents, capitals, blanks, hyphens and underscores out: ``M 31`` is ``m31``."""
    plain = pc.replace_substring_regex(pc.utf8_normalize(texts, form="NFKD"), r"[\p{Mn}\s_\-]+", "")
    return pc.utf8_lower(plain)


def fold(text: str) -> str:
    """Do the same to one text."""
    return str(folded(pa.array([text], pa.string()))[0].as_py())


Candidate = tuple[float, "Values", tuple[int, ...]]  # its weight, and the places of values that are meant together


def find(words: Sequence[str], values: Values, above: str, most: int) -> list[Candidate]:
    """Find the values of a table that have all words in them; some of the words may be in what is said of the table (`above`) instead.

    Parameters
    ----------
    words
        As `fold` writes them; a word of a value begins with each.
    above
        What is said of the table and of its collection, in the same way.
    """
    words = _joined(words)
    if not len(values.rows) or not words:
        return []
    hits = [_with(word, values) for word in words]
    wanted = [hit for word, hit in zip(words, hits, strict=True) if word not in above]
    found = np.flatnonzero(np.logical_and.reduce(wanted) if wanted else np.logical_or.reduce(hits))
    if not len(found):
        # what others write is counted by nobody: nothing is promised of values together
        return _together(words, hits, values, above) if not values.live and all(hit.any() for hit in wanted) else []
    # words that the table's own title says are no reason to prefer a value
    whole = "".join(word for word, hit in zip(words, hits, strict=True) if hit.any())
    if len(found) > REFINED:
        half = REFINED // 2
        named = np.flatnonzero(_with(whole, values, half) & np.logical_or.reduce(hits))
        most_rows = found[np.argpartition(-values.rows[found], half)[:half]]
        found = np.unique(np.concatenate([named, most_rows]))
    low, high = _around(whole)
    first, sizes = values.first[found], values.sizes[found]
    begun = (first >= low) & (first <= high)
    weight = np.where(begun, np.where(sizes == len(whole.encode()), 150.0, 50.0), 0.0)
    weight += sum(5.0 * hit[found] for hit in hits) + np.log10(values.rows[found] + 1.0)
    weight -= np.minimum(sizes, 60) / 6.0
    best = np.argsort(-weight, kind="stable")[:most]
    return [(float(weight[one]), values, (int(found[one]),)) for one in best]


def _with(word: str, values: Values, most: int | None = None) -> npt.NDArray[np.bool_]:
    """Mark the values of which a word begins so; `most`: those that are nearest to it."""
    first, last = _around(word)
    low = int(np.searchsorted(values.begins, first, "left"))
    high = int(np.searchsorted(values.begins, last, "right"))
    found = np.zeros(len(values.rows), bool)
    found[values.whose[low : high if most is None else min(high, low + most)]] = True
    if len(word.encode()) > COMPARED and high > low:
        at = np.flatnonzero(found)
        found[at] = np.asarray(pc.match_substring(values.keys(at), word))
    return found


def _around(word: str) -> tuple[np.bytes_, np.bytes_]:
    """Return the first and the last of what begins with a word, as far as is compared."""
    text = word.encode()
    return np.bytes_(text[:COMPARED]), np.bytes_((text + b"\xff" * COMPARED)[:COMPARED])


def _joined(words: Sequence[str]) -> list[str]:
    """Join short words to the ones before them, ``M 31``: a letter or a number is in many names, and means little by itself."""
    found: list[str] = []
    for word in words:
        if found and (len(word) < SHORT or len(found[-1]) < SHORT):
            found[-1] += word
        else:
            found.append(word)
    return found


def _together(
    words: Sequence[str], hits: Sequence[npt.NDArray[np.bool_]], values: Values, above: str
) -> list[Candidate]:
    """Find values of several columns that have all words between them: ``olivine CRISM``."""
    chosen: dict[int, int] = {}
    for word, hit in zip(words, hits, strict=True):
        at = np.flatnonzero(hit & ~np.isin(values.columns, list(chosen)) if chosen else hit)
        if not len(at):
            if word in above or any(hit[one] for one in chosen.values()):
                continue
            return []
        # nearest to the word itself, then what most rows have
        one = int(at[np.lexsort((-values.rows[at], values.sizes[at]))[0]])
        chosen[int(values.columns[one])] = one
    return [(TOGETHER, values, tuple(chosen.values()))] if len(chosen) > 1 else []


def match(found: Candidate) -> Match:
    """Tell what was found: the value, or several, as conditions of an address."""
    weight, values, places = found
    texts, stored, conditions = [], [], []
    for at in places:
        text = values.texts[at].as_py()
        column = values.table.column(values.names[int(values.columns[at])])
        texts.append(values.phrases[int(values.columns[at])].get(text, (text,))[0])
        stored.append(text)
        conditions.append((column.name, written([text])))
    rows = int(values.rows[places[0]]) if len(places) == 1 and not values.live else None
    return Match(
        table=values.table,
        text=", ".join(texts),
        conditions=tuple(conditions),
        rows=rows,
        score=weight,
        values=tuple(stored),
        live=values.live,
    )
