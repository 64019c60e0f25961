"""What a card says of a collection at first sight: pictures of its rows, its years, its targets; from statistics, and one small question a table."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import tree
from hven.engines import Live
from hven.model import Cache, Failures, split_address_or_none
from hven.model.errors import HvenError
from hven.portal._explore.cell_text import ADDRESS
from hven.portal._explore.rows import keys_of
from hven.portal._explore.search import Search, ref
from hven.portal._explore.summary import bounds
from hven.services.file_rows import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table
    from hven.portal._explore.page_queries import Asking

MOST = 12  # pictures of a collection
LOOKED = 60  # rows that are looked at for pictures that differ
PATIENCE = 1.0  # seconds for one table
TELLING_SECONDS = 8.0  # for finding pictures of one table that show something; they are drawn for that
AT_ONCE = 4
KEPT = 2_000  # collections in different states that are remembered
TARGETS = ("target_name", "target", "body")
FEW = 1  # different targets that statistics can name
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A small picture of a row: its address, its table, and the key of the row as an address has it."""

    address: str
    table: Table
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is said of a collection at first sight; `years` as the first and the last one."""

    pictures: tuple[Picture, ...] = ()
    years: tuple[str, str] | None = None
    targets: tuple[str, ...] = ()


class Looks:
    """Looks at collections, remembered by the state of their tables. Thread-safe."""

    def __init__(self) -> None:
        self._kept: Cache[Look] = Cache(KEPT)
        self._partial: Cache[Look] = Cache(KEPT)  # where some tables could not be asked, until the next attempt
        self._lock = threading.Lock()

    def ready(self, of: Sequence[Sequence[Table]], asking: Asking, reach: str) -> bool:
        """Return whether nobody has to be asked now: all is known, or it is too soon to try again what failed."""
        failures = asking.site.kept(Failures)
        keys = [("look", *_key(tables, asking, reach)) for tables in of]
        return all(self._kept.find(key) is not None or failures.is_paused(key) for key in keys)

    def of(
        self,
        of: Sequence[Sequence[Table]],
        asking: Asking,
        reach: str,
        shown: Callable[[str], bool],
        telling: Callable[[str], bool] = lambda _: True,
    ) -> list[Look]:
        """Look at the tables of collections, as one reader sees them.

        Parameters
        ----------
        reach
            Of the reader.
        shown
            Whether pages may show the picture of an address.
        telling
            Whether the picture of an address shows something; may take a while.
        """

        def one(tables: Sequence[Table]) -> Look:
            failures, key = asking.site.kept(Failures), ("look", *_key(tables, asking, reach))
            found = self._kept.find(key)
            if found is not None:
                return found
            if failures.is_paused(key):
                return self._partial.find(key) or Look()
            found, fault = _look(tables, asking, shown, telling)
            if fault:
                failures.note(key, f"the card of {tables[0].schema}", fault)
                self._partial.keep(key, found)
            else:
                failures.forget(key)
                self._kept.keep(key, found)
            return found

        if self.ready(of, asking, reach):
            return [one(tables) for tables in of]
        with self._lock, ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(one, of))


def origin_shown(origins: Sequence[str], own: str) -> Callable[[str], bool]:
    """Return what says whether pages may show a picture: of their own origin, or of one that the site file names (``https://*.example.org``)."""

    def shown(address: str) -> bool:
        if address.startswith("/"):
            return True
        parts = split_address_or_none(address)
        here = f"{parts.scheme}://{parts.netloc}"
        wild = [one.split("*", 1) for one in origins if "://*." in one]
        return here in {own, *origins} or any(here.startswith(begin) and here.endswith(end) for begin, end in wild)

    return shown


def _key(tables: Sequence[Table], asking: Asking, reach: str) -> tuple[object, ...]:
    items = [asking.holdings.published[table.qualified] for table in tables]
    own = reach if any(asking.hides(table) for table in tables) else "public"
    return (own, *((item.table.qualified, item.run, item.updated) for item in items))


def _look(
    tables: Sequence[Table], asking: Asking, shown: Callable[[str], bool], telling: Callable[[str], bool]
) -> tuple[Look, str]:
    """Look at the tables of a collection; return also why some could not be asked, or nothing."""
    fault = ""
    pictures: list[Picture] = []
    times: list[tuple[str, str]] = []
    targets: dict[str, None] = {}
    for table in tables:
        item = asking.published(table)
        if table.view is not None or item.relation is None or isinstance(item.relation, Live):
            continue
        try:
            pictures += _pictures(table, asking, shown, telling) if len(pictures) < MOST else []
            times += [found] if (found := bounds(table, asking)) is not None else []
        except HvenError as error:  # a card without them is better than no card
            log.info("the card of %s goes without a look at its rows: %s", table.qualified, error)
            fault = f"{table.qualified}: {error}"
        for column in table.columns:
            known = item.statistics.get(column.name, {})
            if column.name.lower() in TARGETS and known.get("distinct") == FEW and known.get("minimum"):
                targets[str(known["minimum"])] = None
    years = (min(one[0] for one in times)[:4], max(one[1] for one in times)[:4]) if times else None
    return Look(pictures=tuple(pictures[:MOST]), years=years, targets=tuple(targets)), fault


def _pictures(
    table: Table, asking: Asking, shown: Callable[[str], bool], telling: Callable[[str], bool]
) -> list[Picture]:
    """Find pictures of some rows that differ, and show something."""
    columns = [one for one in table.columns if not one.hidden and kind_of(one, table) == "picture"]
    if not columns:
        return []
    name = columns[0].name
    items = tuple(tree.SelectItem(ref(one)) for one in dict.fromkeys([name, *table.primary]))
    there = tree.IsNull(ref(name), negated=True)
    select = tree.Select(items, Search(table=table).source(), where=there, top=tree.Literal(LOOKED))
    rows = asking.table(tree.Query(select), seconds=PATIENCE)
    found: dict[str, Picture] = {}
    for address, key in zip(rows.column(name).to_pylist(), keys_of(rows, table.primary), strict=True):
        whole = ADDRESS.fullmatch(str(address).strip())
        if whole is not None and whole[0].lower().startswith("http") and shown(whole[0]):
            found.setdefault(whole[0], Picture(address=whole[0], table=table, key=key))
    until = time.monotonic() + TELLING_SECONDS
    chosen: list[Picture] = []
    for picture in found.values():
        if len(chosen) == MOST or time.monotonic() > until:
            break
        if telling(picture.address):
            chosen.append(picture)
    return chosen
