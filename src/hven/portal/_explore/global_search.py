"""One search over all EPN-TAP or all ObsCore tables: those of this site, and those of services elsewhere that the site file names.

Each table is asked on its own, at once with the others and within a time; whatever comes is shown, whatever does not is told with its reason.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven import query
from hven.adql import tree
from hven.adql.text import write
from hven.descriptor import load_standard
from hven.model import Cache, plugins
from hven.model.errors import HvenError, Overloaded, SourceError, TooLarge, UserError, joined, say
from hven.model.settings import RemoteService
from hven.model.table import Table, dated
from hven.portal import conditions as epn
from hven.portal._explore import facets
from hven.portal._explore.facets import Choice
from hven.portal._explore.rows import keys_of
from hven.portal._explore.search import Search, read, ref
from hven.portal._explore.service_list import Lists
from hven.site.auth import ANONYMOUS
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.model.table import Column
    from hven.portal._explore.facets import Facet
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.service_list import Listed
    from hven.site import Site

TITLES = {"epn": "EPN-TAP", "obscore": "ObsCore"}
KINDS = tuple(TITLES)
STANDARDS = {"epn": "epn-tap-2.0", "obscore": "obscore-1.1"}
SECONDS = 10.0  # for all tables together
REGISTRY = 60.0  # for the list of a registry
AT_ONCE = 12  # tables that a process asks at once, for all readers
EACH = 4  # questions to one service at once: nobody elsewhere shall suffer from our readers
FOUND = 1000  # tables elsewhere whose columns are remembered
KNOWN = 3600.0  # seconds for which the columns of a table elsewhere are remembered
LARGEST = 16 * 1024**2  # bytes of an answer from elsewhere
ROWS, SHARE = 50, 12  # rows of one table that is looked at alone; of each of several
EXAMPLES_OF = 3  # targets, and kinds of product, of the examples
VALUED, SHOWN_VALUES = 40, 50  # tables whose values a field of the form offers; how many values
SECTIONS = {
    "epn": {
        "main": ("target_name", "target_class", "dataproduct_type", "instrument_host_name", "instrument_name", "processing_level"),
        "time": ("time", "time_sampling_step", "time_exp"),
        "location": ("spatial_frame_type", "c1", "c2", "c3", "c1_resol", "c2_resol", "target_region"),
        "spectral": ("spectral_range", "spectral_sampling_step", "spectral_resolution", "measurement_type"),
        "illumination": ("incidence", "emergence", "phase", "solar_longitude", "local_time"),
        "reference": ("granule_uid", "granule_gid", "obs_id", "service_title", "bib_reference", "access_format", "creation_date", "release_date"),
        "optional": ("species", "filter", "feature_name", "alt_target_name", "target_distance", "sun_distance", "subsolar_longitude", "subobserver_longitude", "publisher"),
    },
    "obscore": {
        "main": ("target_name", "target_class", "dataproduct_type", "calib_level", "obs_collection", "facility_name", "instrument_name"),
        "time": ("t", "t_exptime", "t_resolution"),
        "location": ("s_ra", "s_dec", "s_fov", "s_resolution"),
        "spectral": ("em", "em_res_power"),
        "reference": ("obs_id", "obs_publisher_did", "obs_title", "obs_creator_name", "access_format", "access_estsize", "bib_reference", "obs_release_date"),
        "optional": ("pol_states", "o_ucd", "proposal_id", "data_rights"),
    },
}  # fmt: skip
SHOWN = {
    "epn": ("granule_uid", "target_name", "dataproduct_type", "instrument_name", "time_min", "time_max", "c1min", "c1max", "c2min", "c2max", "thumbnail_url", "access_url"),
    "obscore": ("obs_id", "target_name", "dataproduct_type", "obs_collection", "instrument_name", "t_min", "t_max", "s_ra", "s_dec", "access_url"),
}  # fmt: skip
EXAMPLES = {
    "epn": (
        ("images of Mars", "target_name=Mars&dataproduct_type=im"),
        (
            "spectra of Venus or Titan in the infrared",
            "target_name=Venus,Titan&dataproduct_type=sp&spectral_range=1..5 um",
        ),
        ("Mars, south of 60 degrees, in southern spring", "target_name=Mars&c2=-90..-60&solar_longitude=180..270"),
        ("what was seen in January 2004", "time=2004-01"),
    ),
    "obscore": (
        ("images within 30 arcmin of the Crab nebula", "_near=05:34:31.9 +22:00:52,30 arcmin&dataproduct_type=image"),
        ("spectra in the near infrared", "dataproduct_type=spectrum&em=1..2.5 um"),
        ("observations of January 2004", "t=2004-01-01..2004-01-31"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A table to ask; `service` is None for one of this site, `listed` is what a registry says of it."""

    name: str
    title: str
    service: RemoteService | None = None
    table: Table | None = None
    listed: Listed | None = None

    @property
    def key(self) -> str:
        """Its name in an address."""
        return f"{self.service.name}/{self.name}" if self.service is not None else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one table said.

    Attributes
    ----------
    status
        ``ok``; ``waiting``: nobody asked it yet; ``other``: it cannot be asked this; ``late``, ``failed``, ``busy``.
    rows
        How many it has.
    found, columns
        Its first rows, and what their columns are.
    keys
        Of these rows, as pages name them; empty: they are elsewhere, or have none.
    """

    target: Target
    status: str
    rows: int | None = None
    message: str = ""
    adql: str = ""
    seconds: float = 0.0
    found: pa.Table | None = None
    columns: tuple[Column, ...] = ()
    keys: tuple[str, ...] = ()


@lru_cache(maxsize=2)
def standard(kind: str) -> Table:
    """Return the table of the standard: what the form may ask for."""
    table = dated(load_standard(STANDARDS[kind]).tables[0].table)
    names = {column.name for column in table.columns}
    return table.having(position=("s_ra", "s_dec")) if {"s_ra", "s_dec"} <= names else table


def kind_of(table: Table) -> str:
    """Return of which kind a table is: ``epn``, ``obscore``, or nothing."""
    name = table.name.lower()
    if name == "epn_core" or "epntap#table" in (table.utype or "") or (table.standard or "").startswith("epn-tap"):
        return "epn" if table.offers("epn-tap") else ""
    return "obscore" if table.schema == "ivoa" and name == "obscore" else ""


def targets(kind: str, asking: Asking, tables: Sequence[Table]) -> list[Target]:
    """List the tables of a kind: those of this site that the reader may know of, then those elsewhere."""
    found = []
    for table in tables:
        if kind_of(table) == kind and table.qualified in asking.holdings.published:
            resource = asking.holdings.resources.get(table.schema)
            title = (resource.title if resource is not None else None) or table.title or table.qualified
            found.append(Target(name=table.qualified, title=title, table=table))
    for service in asking.site.settings.remote:
        if service.kind == kind:
            found += [
                Target(name=name, title=service.title or service.name, service=service) for name in service.tables
            ]
    said = {(one.service.url.rstrip("/"), one.name) for one in found if one.service is not None}
    for one in listed(kind, asking):
        (name,) = one.service.tables
        if (one.service.url, name) not in said:
            found.append(Target(name=name, title=one.service.title or name, service=one.service, listed=one))
    return found


def listed(kind: str, asking: Asking) -> list[Listed]:
    """List the tables elsewhere that the registry of the site names, without those of this site."""
    settings = asking.site.settings
    said = settings.everywhere
    if said.registry is None:
        return []
    known = lists(asking.site)
    found = known.of(kind, lambda adql: _registry(adql, asking), seconds=said.hours * 3600, most=said.most)
    own = (settings.url or "").rstrip("/")
    return [
        replace(one, service=replace(one.service, seconds=said.seconds))
        for one in found
        if not own or not one.service.url.startswith(f"{own}/")
    ]


def lists(site: Site) -> Lists:
    """Return what the registry of the site listed."""
    name = hashlib.sha256((site.settings.everywhere.registry or "").encode()).hexdigest()[:12]
    found: Lists = site.kept(_lists, site.settings.var / "services" / name)
    return found


def _lists(file: Path) -> Lists:
    return Lists(file=file)


def _registry(adql: str, asking: Asking) -> list[dict[str, Any]]:
    """Ask the registry: a service elsewhere, or a collection of this site as everybody sees it."""
    settings = asking.site.settings
    name = settings.everywhere.registry or ""
    if not name.startswith(("http://", "https://")):
        text = adql.replace("rr.", f"{name}.")
        with query.run(text, ANONYMOUS, site=asking.site) as result:
            return [row for batch in result.batches() for row in batch.to_pylist()]
    service = RemoteService(name="registry", url=name)
    return list(_remote(service, adql, settings, REGISTRY)[0].to_pylist())


def ask_all(chosen: Sequence[Target], ask: Callable[[Target], Told], *, seconds: float = SECONDS) -> list[Told]:
    """Ask several tables at once; those that have not answered in time are told to be late."""
    begun = {target.key: _pool.submit(ask, target) for target in chosen}
    wait(begun.values(), timeout=seconds)
    found = []
    for target in chosen:
        one = begun[target.key]
        if one.done() and not one.cancelled():
            found.append(one.result())
        else:
            one.cancel()
            found.append(
                Told(
                    target=target,
                    status="late",
                    message=say("no answer within {seconds:g} s", seconds),
                    seconds=seconds,
                )
            )
    return found


def ask(
    target: Target,
    pairs: Sequence[tuple[str, str]],
    kind: str,
    asking: Asking,
    *,
    rows: int = 0,
    columns: Sequence[str] = (),
    seconds: float = SECONDS,
) -> Told:
    """Ask one table how many rows it has, and for the first `rows` of them, those `columns` or what pages show; never raises what a table can do wrong."""
    begun = time.monotonic()
    adql = ""
    try:
        if target.listed is not None and not target.listed.may_have(read(pairs, standard(kind))):
            return Told(target=target, status="other", message="its coverage in the registry has nothing of this")
        table = target.table or _elsewhere(target, kind, asking.site, seconds)
        search = read(pairs, table)
        if search.faults:
            told = joined(
                "{one}; {other}", (say("{name}: {message}", fault.field, say(fault.message)) for fault in search.faults)
            )
            return Told(target=target, status="other", message=told)
        search = search.having(columns=tuple(columns or shared([table], kind)))
        adql = search.adql()
        left = max(seconds - (time.monotonic() - begun), 0.1)
        keys: tuple[str, ...] = ()
        if target.service is None:
            number = _known(search, asking) or asking.number(search.count(), seconds=left)
            shown = search.shown()
            page = asking.table(_with_keys(search).query(limit=rows), seconds=left) if rows and number else None
            if page is not None:
                keys = keys_of(page, table.primary) if table.primary else ()
                page = page.select([column.name for column in shown])
        else:
            number = _number(_remote(target.service, write(search.count()), asking.site.settings, left)[0])
            page, shown = None, ()
            if rows and number:
                left = max(seconds - (time.monotonic() - begun), 0.1)
                page, shown = _asked_for(
                    *_remote(target.service, write(search.query(limit=rows)), asking.site.settings, left), search, rows
                )
        spent = round(time.monotonic() - begun, 2)
        return Told(
            target=target, status="ok", rows=number, adql=adql, seconds=spent, found=page, columns=shown, keys=keys
        )
    except HvenError as error:
        late = time.monotonic() - begun >= seconds * 0.95 or isinstance(error, remote.Silent)
        status = "busy" if isinstance(error, Overloaded) else "late" if late else "failed"
        return Told(
            target=target, status=status, message=error.message, adql=adql, seconds=round(time.monotonic() - begun, 2)
        )
    except Exception as error:  # whatever one table does, the others are shown
        logging.getLogger("hven").warning("%s could not be asked", target.key, exc_info=error)
        message = say("its answer cannot be used ({error})", type(error).__name__)
        return Told(
            target=target, status="failed", message=message, adql=adql, seconds=round(time.monotonic() - begun, 2)
        )


def values(name: str, like: str, asking: Asking, tables: Sequence[Table]) -> list[Choice]:
    """Return the values of a column in all tables of this site that have it, the most frequent first; `like` leaves those that contain it."""
    there = [
        (table, column)
        for table in tables
        for column in table.columns
        if column.name.lower() == name.lower() and not column.hidden
    ]
    there = [(table, column) for table, column in there if column.type.is_string][:VALUED]

    def one(pair: tuple[Table, Column]) -> Facet | None:
        try:
            return facets.facet(Search(table=pair[0]), pair[1], asking, shown=SHOWN_VALUES, like=like)
        except HvenError:  # its own page says why; the other tables have values
            return None

    with ThreadPoolExecutor(EACH) as pool:
        found = list(pool.map(one, there))
    counts: dict[str, int] = {}
    for facet in found:
        for choice in facet.choices if facet is not None else ():
            if choice.value:
                counts[choice.value] = counts.get(choice.value, 0) + (choice.rows or 0)
    best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN_VALUES]
    return [Choice(value=value, label=value, rows=count) for value, count in best]


def examples(asking: Asking, tables: Sequence[Table]) -> list[tuple[str, str, int]]:
    """List columns and values that many rows here have: what one may begin with."""
    return [
        (name, one.value or "", one.rows or 0)
        for name in ("target_name", "dataproduct_type")
        for one in values(name, "", asking, tables)[:EXAMPLES_OF]
    ]


def shared(tables: Sequence[Table], kind: str) -> list[str]:
    """List the columns that pages show, of those that all tables have."""
    return [
        name for name in SHOWN[kind] if all(any(column.name == name for column in table.columns) for table in tables)
    ]


def union(searches: Sequence[Search], kind: str) -> str:
    """Write one query over several tables of this site: the columns that all of them have, and which table a row is from."""
    names = shared([search.table for search in searches], kind)
    body: tree.Select | tree.SetOperation | None = None
    for search in searches:
        source = tree.SelectItem(tree.Literal(search.table.qualified), tree.Ident("source_table"))
        one = tree.Select(
            (source, *(tree.SelectItem(ref(name)) for name in names)), search.source(), where=search.where()
        )
        body = one if body is None else tree.SetOperation("UNION", body, one, all=True)
    return "" if body is None else write(tree.Query(body))


_pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="everywhere")
_lock = threading.Lock()
_gates: dict[str, threading.BoundedSemaphore] = {}


def _columns_elsewhere() -> Cache[tuple[float, Table]]:
    """Remember tables elsewhere, and when their columns were found."""
    return Cache(FOUND)


def _known(search: Search, asking: Asking) -> int | None:
    return asking.published(search.table).rows if search.where() is None and not asking.hides(search.table) else None


def _with_keys(search: Search) -> Search:
    shown = [column.name for column in search.shown()]
    return search.having(columns=tuple(dict.fromkeys([*shown, *search.table.primary])))


def _number(found: pa.Table) -> int:
    try:
        number = int(found.column(0)[0].as_py())
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise SourceError("it answers a count with no number") from error
    if number < 0:
        raise SourceError("it answers a count with no number")
    return number


def _asked_for(
    found: pa.Table, columns: tuple[Column, ...], search: Search, rows: int
) -> tuple[pa.Table, tuple[Column, ...]]:
    """Select what was asked for from an answer: these columns, by whatever case, and no more rows."""
    at = {column.name.lower(): number for number, column in reversed(list(enumerate(columns)))}
    names = [column.name for column in search.shown()]
    if lacking := [name for name in names if name.lower() not in at]:
        raise SourceError(say("it answers without the columns that were asked for: {names}", ", ".join(lacking)[:100]))
    numbers = [at[name.lower()] for name in names]
    taken = found.select(numbers).rename_columns(names).slice(0, rows)
    return taken, tuple(replace(columns[number], name=name) for number, name in zip(numbers, names, strict=True))


def _elsewhere(target: Target, kind: str, site: Site, seconds: float) -> Table:
    """Find the columns of a table elsewhere through the service's own TAP_SCHEMA; what was found is remembered."""
    if target.service is None:
        raise AssertionError
    kept = site.kept(_columns_elsewhere)
    known = kept.find(target.key)
    if known is not None and time.monotonic() - known[0] < KNOWN:
        return known[1]
    service = target.service

    def asks(adql: str) -> list[dict[str, object]]:
        return list(_remote(service, adql, site.settings, seconds, whole=True)[0].to_pylist())

    (table,) = epn.find_tables(asks, [target.name])
    names = {column.name.lower(): column.name for column in table.columns}
    if kind == "obscore" and {"s_ra", "s_dec"} <= set(names):
        table = replace(table, position=(names["s_ra"], names["s_dec"]))
    kept.keep(target.key, (time.monotonic(), table))
    return table


def _remote(
    service: RemoteService, adql: str, settings: Settings, seconds: float, *, whole: bool = False
) -> tuple[pa.Table, tuple[Column, ...]]:
    """Ask a TAP service: its rows and what it says of their columns; `whole`: there must be no more rows."""
    with _lock:
        gate = _gates.setdefault(service.url, threading.BoundedSemaphore(EACH))
    if not gate.acquire(blocking=False):
        raise Overloaded(say("{name} is being asked by others already", service.name), remedy="try again in a moment")
    end = time.monotonic() + seconds
    form = [
        ("REQUEST", "doQuery"),
        ("LANG", "ADQL"),
        ("FORMAT", "votable"),
        ("RESPONSEFORMAT", "votable"),
        ("QUERY", adql),
    ]
    try:
        with remote.stream(
            "POST",
            f"{service.url.rstrip('/')}/sync",
            form=form,
            headers={"User-Agent": "hven (portal)"},
            seconds=seconds,
            allow_private=settings.allow_private,
        ) as answer:
            body = bytearray()
            for part in answer.parts:
                body += part
                if len(body) > LARGEST:
                    raise TooLarge(say("{name} answers with more than {most:,} bytes", service.name, LARGEST))
                if time.monotonic() > end:
                    raise remote.Silent(
                        say("{name} does not come to an end within {seconds:g} s", service.name, seconds)
                    )
            status = answer.status
    finally:
        gate.release()
    try:
        found = plugins.load("formats", "votable").FORMAT.read(io.BytesIO(bytes(body)), batch=10_000)
        batches = list(found.batches)
    except UserError as error:
        said = error.message if b"VOTABLE" in body[:4000] else say("it answers {status}, and no VOTable", status)
        raise SourceError(say("{name}: {message}", service.name, said)) from error
    except Exception as error:  # what strangers send is read by several libraries, each with errors of its own
        raise SourceError(
            say("{name}: its VOTable cannot be read ({error})", service.name, type(error).__name__)
        ) from error
    if status != 200:
        raise SourceError(say("{name} answers {status}", service.name, status))
    if whole and found.is_truncated:
        raise SourceError(say("{name}: it cuts off what it says of its tables (QUERY_STATUS=OVERFLOW)", service.name))
    schema = batches[0].schema if batches else pa.schema([column.arrow for column in found.head.columns])
    return pa.Table.from_batches(batches, schema), tuple(found.head.columns)
