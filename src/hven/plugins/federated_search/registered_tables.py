"""Lists of EPN-TAP and ObsCore services from a registry, with their coverage.

Only tables that may have rows for a search are queried.

A thread queries the registry (RegTAP) once a day. The answer is stored on disk, and used as long as the registry is not
reachable.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.adql import syntax_tree
from hven.model import split_address_or_empty
from hven.model.errors import HvenError, format_message
from hven.model.settings import RemoteTapService
from hven.model.sky import Moc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from hven.portal.api.table_rows import TableSearch

FIRST_WAIT_SECONDS = 4.0  # how long the first page waits for the list
RETRY_SECONDS = 600.0  # after which a registry that failed is queried again
TABLE_NAME_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){0,2}")
ADDRESS_PATTERN = re.compile(r"https?://[^\s?#]+")
PLANCK_CONSTANT, SPEED_OF_LIGHT = 6.62607015e-34, 299_792_458.0
MJD_OFFSET_DAYS = 2_400_000.5  # from the origin of Julian dates to that of modified ones
REGTAP_JOIN = "FROM rr.resource NATURAL JOIN {table} NATURAL JOIN rr.capability NATURAL JOIN rr.interface"
TAP_CONDITION = "standard_id LIKE 'ivo://ivoa.net/std/tap%' AND intf_role = 'std'"
EPN_UTYPE_CONDITION = (
    "(table_utype LIKE 'ivo://ivoa.net/std/epntap#table-2.%' "
    "OR table_utype LIKE 'ivo://vopdc.obspm/std/epncore#schema-2.%')"
)
OBSCORE_CONDITION = (
    "detail_xpath = '/capability/dataModel/@ivo-id' "
    "AND 1 = ivo_nocasematch(detail_value, 'ivo://ivoa.net/std/obscore%')"
)
TABLE_QUERIES = {
    "epn": "SELECT ivoid, res_title, standard_id, access_url, table_name "
    f"{REGTAP_JOIN.format(table='rr.res_table')} WHERE {EPN_UTYPE_CONDITION} AND {TAP_CONDITION}",
    "obscore": "SELECT ivoid, res_title, standard_id, access_url, 'ivoa.obscore' AS table_name "
    f"{REGTAP_JOIN.format(table='rr.res_detail')} WHERE {OBSCORE_CONDITION} AND {TAP_CONDITION}",
}
COVERAGE_QUERIES = {
    "times": "SELECT ivoid, time_start, time_end FROM rr.stc_temporal",
    "energies": "SELECT ivoid, spectral_start, spectral_end FROM rr.stc_spectral",
    "places": "SELECT ivoid, coverage FROM rr.stc_spatial",
}
# column of a search -> axis of the registry, and the conversion of its values: Julian dates, frequencies, wavelengths
SEARCH_AXES: dict[str, tuple[str, Callable[[float], float]]] = {
    "time_min": ("times", lambda value: value - MJD_OFFSET_DAYS),
    "t_min": ("times", lambda value: value),
    "spectral_range_min": ("energies", lambda value: value * PLANCK_CONSTANT),
    "em_min": ("energies", lambda value: PLANCK_CONSTANT * SPEED_OF_LIGHT / max(value, 1e-30)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredRemoteTable:
    """A table of a remote service and its coverage: times (MJD), energies (J), and the sky.

    An empty coverage means that the registry has none.
    """

    service: RemoteTapService
    times: tuple[tuple[float, float], ...] = ()
    energies: tuple[tuple[float, float], ...] = ()
    place: Moc | None = None

    def may_have_rows(self, search: TableSearch) -> bool:
        """Return whether the table may have rows for a search, according to its coverage in the registry."""
        for axis, low, high in _extract_search_ranges(search):
            axis_ranges = getattr(self, axis)
            if axis_ranges and not any(begin <= high and end >= low for begin, end in axis_ranges):
                return False
        near = search.near
        if near is None or self.place is None:
            return True
        # cells of at least four radii: every cell that touches the circle contains one of these positions
        min_cell_degrees = max(4 * near.radius_degrees, 1e-3)
        order = int(np.clip(np.floor(np.log2(58.6 / min_cell_degrees)), 0, 12))
        coarse = self.place.degrade(min(order, self.place.order))
        max_latitude = min(abs(near.latitude) + near.radius_degrees, 89.9)
        across = near.radius_degrees / max(np.cos(np.radians(max_latitude)), 1e-3)
        steps = [(east, north) for east in (-1, 0, 1) for north in (-1, 0, 1)]
        lon = [(near.longitude + east * min(across, 180.0)) % 360 for east, _ in steps]
        lat = [float(np.clip(near.latitude + north * near.radius_degrees, -90, 90)) for _, north in steps]
        return near.radius_degrees >= 30.0 or bool(coarse.contains(lon, lat).any())


@dataclass(kw_only=True)
class RegisteredTableCache:
    """The lists of a registry, for all readers of a process.

    Attributes
    ----------
    file
        Stores the lists for other processes, and for times when the registry is not reachable.
    fault
        The reason why the last query of the registry failed.
    """

    file: Path
    tables_by_kind: dict[str, tuple[float, tuple[RegisteredRemoteTable, ...]]] = field(default_factory=dict)
    fault: str = ""
    last_attempts: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def list_tables(
        self,
        kind: str,
        query_registry: Callable[[str], list[dict[str, Any]]],
        *,
        max_age_seconds: float,
        max_tables: int,
    ) -> tuple[RegisteredRemoteTable, ...]:
        """Return the tables of a kind; a thread updates a list that is older than `max_age_seconds`.

        Parameters
        ----------
        query_registry
            Runs a query on the registry.
        max_tables
            The maximum number of tables.
        """
        known_list = self.tables_by_kind.get(kind) or self._load_stored_tables_into_memory(kind)
        if known_list is None or time.time() - known_list[0] > max_age_seconds:
            thread = self._start_refresh_thread_unless_recent(kind, query_registry, max_tables)
            if known_list is None and thread is not None:
                thread.join(FIRST_WAIT_SECONDS)
        return self.tables_by_kind.get(kind, (0.0, ()))[1][:max_tables]

    def _start_refresh_thread_unless_recent(
        self, kind: str, query_registry: Callable[[str], list[dict[str, Any]]], max_tables: int
    ) -> threading.Thread | None:
        with self.lock:
            if time.monotonic() - self.last_attempts.get(kind, -RETRY_SECONDS) < RETRY_SECONDS:
                return None
            self.last_attempts[kind] = time.monotonic()
        thread = threading.Thread(
            target=self._refresh_tables, args=(kind, query_registry, max_tables), name="registry", daemon=True
        )
        thread.start()
        return thread

    def _refresh_tables(
        self, kind: str, query_registry: Callable[[str], list[dict[str, Any]]], max_tables: int
    ) -> None:
        try:
            rows = _choose_table_records(query_registry(TABLE_QUERIES[kind]))[:max_tables]
            ivoids = sorted({row["ivoid"] for row in rows})
            names = ", ".join(f"'{name}'" for name in ivoids if "'" not in name)
            registry_answer: dict[str, Any] = {"time": time.time(), "tables": rows}
            for coverage_kind, query in COVERAGE_QUERIES.items():
                registry_answer[coverage_kind] = []
                with suppress(HvenError):  # registries before RegTAP 1.2 do not have these tables
                    if names:
                        coverage_rows = query_registry(f"{query} WHERE ivoid IN ({names})")
                        registry_answer[coverage_kind] = [list(row.values()) for row in coverage_rows]
        except HvenError as error:
            self.fault = format_message("the registry could not be queried: {message}", error.message)
            return
        except Exception as error:  # no answer of a remote service may break the page
            logging.getLogger("hven").warning("the registry could not be queried", exc_info=error)
            self.fault = format_message("the registry could not be queried: {message}", type(error).__name__)
            return
        self.fault = ""
        self.tables_by_kind[kind] = registry_answer["time"], _parse_registered_tables(registry_answer, kind)
        path = self._build_store_path(kind)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial_file = path.with_suffix(".part")
            partial_file.write_text(json.dumps(registry_answer), encoding="utf-8")
            partial_file.replace(path)

    def _build_store_path(self, kind: str) -> Path:
        return self.file.with_name(f"{self.file.name}-{kind}.json")

    def _load_stored_tables_into_memory(self, kind: str) -> tuple[float, tuple[RegisteredRemoteTable, ...]] | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            stored_answer = json.loads(self._build_store_path(kind).read_bytes())
            tables = _parse_registered_tables
            self.tables_by_kind[kind] = float(stored_answer["time"]), tables(stored_answer, kind)
        return self.tables_by_kind.get(kind)


def _choose_table_records(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Choose one record for each table of a service: the table's own record, if there is one.

    Records without a valid address or table name are left out.
    """
    best: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        record = {name.lower(): str(value or "").strip() for name, value in row.items()}
        url = record["access_url"].rstrip("/")
        table = record["table_name"]
        if not ADDRESS_PATTERN.fullmatch(url) or not TABLE_NAME_PATTERN.fullmatch(table):
            continue
        best_record = best.get((url, table))
        is_own_record = record["standard_id"].endswith("#aux")
        if best_record is None or (is_own_record and not best_record["standard_id"].endswith("#aux")):
            best[url, table] = {**record, "access_url": url}

    def build_sort_key(record: Mapping[str, str]) -> tuple[str, str, str]:
        return record["res_title"].casefold(), record["access_url"], record["table_name"]

    return sorted(best.values(), key=build_sort_key)


def _parse_registered_tables(registry_answer: Mapping[str, Any], kind: Any) -> tuple[RegisteredRemoteTable, ...]:
    def select_ranges(coverage_kind: str, ivoid: str) -> tuple[tuple[float, float], ...]:
        return tuple(
            (float(low), float(high))
            for name, low, high in registry_answer[coverage_kind]
            if name == ivoid and low is not None and high is not None
        )

    registered = []
    for record in registry_answer["tables"]:
        url = record["access_url"]
        address_digest = hashlib.sha256(url.encode()).hexdigest()[:6]
        host = (split_address_or_empty(url).hostname or "").lower()
        host_name = re.sub(r"[^a-z0-9]+", "-", host).strip("-")[:30]
        service = RemoteTapService(
            name=f"r-{host_name}-{address_digest}",
            url=url,
            kind=kind,
            tables=(record["table_name"],),
            title=record["res_title"] or None,
        )
        ivoid = record["ivoid"]
        times = select_ranges("times", ivoid)
        energies = select_ranges("energies", ivoid)
        coverage_texts = [str(text) for name, text in registry_answer["places"] if name == ivoid and text]
        place = _merge_coverage(coverage_texts)
        registered.append(RegisteredRemoteTable(service=service, times=times, energies=energies, place=place))
    return tuple(registered)


def _merge_coverage(texts: Sequence[str]) -> Moc | None:
    merged: Moc | None = None
    for text in texts:
        try:
            moc = Moc.parse(text)
        except (HvenError, ValueError):  # an invalid coverage counts as none
            return None
        merged = moc if merged is None else merged | moc
    return merged


def _extract_search_ranges(search: TableSearch) -> Iterable[tuple[str, float, float]]:
    """Yield the ranges of times and energies of a search, in the registry's units; alternatives are ignored."""
    bounds: dict[str, dict[str, float]] = {}
    parts: list[syntax_tree.Expr] = []
    for test in search.tests:
        parts += test.parts if isinstance(test, syntax_tree.Conjunction) else (test,)
    for part in parts:
        if not isinstance(part, syntax_tree.Comparison) or part.op not in {"<", "<=", ">", ">="}:
            continue
        if isinstance(part.left, syntax_tree.ColumnRef) and isinstance(part.right, syntax_tree.Literal):
            name = part.left.name.name.lower()
            value = part.right.value
            side = "low"
            if part.op[0] == "<":
                side = "high"
            if isinstance(value, int | float):
                bounds.setdefault(name, {})[side] = float(value)
    for low, (axis, convert) in SEARCH_AXES.items():
        high = f"{low[:-3]}max"
        begin = bounds.get(high, {}).get("low")
        end = bounds.get(low, {}).get("high")
        if begin is None and end is None:
            continue
        if low == "em_min":  # short waves have high energies
            lowest, highest = 0.0, np.inf
            range_ends = [lowest if end is None else convert(end), highest if begin is None else convert(begin)]
        else:
            range_ends = [-np.inf if begin is None else convert(begin), np.inf if end is None else convert(end)]
        yield axis, min(range_ends), max(range_ends)
