"""Services that a registry lists: EPN-TAP and ObsCore tables of the Virtual Observatory, with what they cover, so that those are asked that can have something.

A registry is asked in RegTAP once a day, by a thread; what it said is kept on disk, and stands as long as it does not answer.
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

from hven.adql import tree
from hven.model import split_address_or_none
from hven.model.errors import HvenError, say
from hven.model.settings import RemoteService
from hven.model.sky import Moc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from hven.portal._explore.search import Search

FIRST = 4.0  # seconds that the first page waits for the list
AGAIN = 600.0  # seconds after which a registry is asked again that did not answer
TABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){0,2}")
ADDRESS = re.compile(r"https?://[^\s?#]+")
PLANCK, LIGHT = 6.62607015e-34, 299_792_458.0
JULIAN = 2_400_000.5  # days from the origin of Julian dates to that of modified ones
FROM = "FROM rr.resource NATURAL JOIN {table} NATURAL JOIN rr.capability NATURAL JOIN rr.interface"
TAP = "standard_id LIKE 'ivo://ivoa.net/std/tap%' AND intf_role = 'std'"
LISTS = {
    "epn": f"SELECT ivoid, res_title, standard_id, access_url, table_name {FROM.format(table='rr.res_table')} WHERE (table_utype LIKE 'ivo://ivoa.net/std/epntap#table-2.%' "
    f"OR table_utype LIKE 'ivo://vopdc.obspm/std/epncore#schema-2.%') AND {TAP}",
    "obscore": f"SELECT ivoid, res_title, standard_id, access_url, 'ivoa.obscore' AS table_name {FROM.format(table='rr.res_detail')} "
    f"WHERE detail_xpath = '/capability/dataModel/@ivo-id' AND 1 = ivo_nocasematch(detail_value, 'ivo://ivoa.net/std/obscore%') AND {TAP}",
}  # fmt: skip
COVERS = {
    "times": "SELECT ivoid, time_start, time_end FROM rr.stc_temporal",
    "energies": "SELECT ivoid, spectral_start, spectral_end FROM rr.stc_spectral",
    "places": "SELECT ivoid, coverage FROM rr.stc_spatial",
}
# column of a search -> what registries call that, and how its values become theirs: Julian dates, frequencies, wavelengths
AXES: dict[str, tuple[str, Callable[[float], float]]] = {
    "time_min": ("times", lambda value: value - JULIAN),
    "t_min": ("times", lambda value: value),
    "spectral_range_min": ("energies", lambda value: value * PLANCK),
    "em_min": ("energies", lambda value: PLANCK * LIGHT / max(value, 1e-30)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A table of a service elsewhere, and what it covers: times (MJD), energies (J), and the sky; empty: the registry does not say."""

    service: RemoteService
    times: tuple[tuple[float, float], ...] = ()
    energies: tuple[tuple[float, float], ...] = ()
    place: Moc | None = None

    def may_have(self, search: Search) -> bool:
        """Return whether it can have rows of a search: what a registry says of its coverage is not outside of what is asked for."""
        for axis, low, high in _ranges(search):
            known = getattr(self, axis)
            if known and not any(begin <= high and end >= low for begin, end in known):
                return False
        near = search.near
        if near is None or self.place is None:
            return True
        # cells of at least four radii: whatever touches the circle has one of these positions
        order = int(np.clip(np.floor(np.log2(58.6 / max(4 * near.radius, 1e-3))), 0, 12))
        coarse = self.place.degrade(min(order, self.place.order))
        across = near.radius / max(np.cos(np.radians(min(abs(near.lat) + near.radius, 89.9))), 1e-3)
        steps = [(east, north) for east in (-1, 0, 1) for north in (-1, 0, 1)]
        lon = [(near.lon + east * min(across, 180.0)) % 360 for east, _ in steps]
        lat = [float(np.clip(near.lat + north * near.radius, -90, 90)) for _, north in steps]
        return near.radius >= 30.0 or bool(coarse.contains(lon, lat).any())


@dataclass(kw_only=True)
class Lists:
    """What a registry listed, for all readers of a process.

    Attributes
    ----------
    file
        Where it is kept, for other processes and for days on which the registry does not answer.
    fault
        Why it could not be asked the last time.
    """

    file: Path
    found: dict[str, tuple[float, tuple[Listed, ...]]] = field(default_factory=dict)
    fault: str = ""
    asked: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(
        self, kind: str, ask: Callable[[str], list[dict[str, Any]]], *, seconds: float, most: int
    ) -> tuple[Listed, ...]:
        """Return the tables of a kind; what is older than `seconds` is asked for anew, by a thread.

        Parameters
        ----------
        ask
            Asks the registry.
        most
            Tables, at most.
        """
        known = self.found.get(kind) or self._read(kind)
        if known is None or time.time() - known[0] > seconds:
            thread = self._begin(kind, ask, most)
            if known is None and thread is not None:
                thread.join(FIRST)
        return self.found.get(kind, (0.0, ()))[1][:most]

    def _begin(self, kind: str, ask: Callable[[str], list[dict[str, Any]]], most: int) -> threading.Thread | None:
        with self.lock:
            if time.monotonic() - self.asked.get(kind, -AGAIN) < AGAIN:
                return None
            self.asked[kind] = time.monotonic()
        thread = threading.Thread(target=self._ask, args=(kind, ask, most), name="registry", daemon=True)
        thread.start()
        return thread

    def _ask(self, kind: str, ask: Callable[[str], list[dict[str, Any]]], most: int) -> None:
        try:
            rows = _tables(ask(LISTS[kind]))[:most]
            names = ", ".join(f"'{name}'" for name in sorted({row["ivoid"] for row in rows}) if "'" not in name)
            said: dict[str, Any] = {"time": time.time(), "tables": rows}
            for what, query in COVERS.items():
                said[what] = []
                with suppress(HvenError):  # registries before RegTAP 1.2 do not have these tables
                    said[what] = (
                        [list(row.values()) for row in ask(f"{query} WHERE ivoid IN ({names})")] if names else []
                    )
        except HvenError as error:
            self.fault = say("the registry could not be asked: {message}", error.message)
            return
        except Exception as error:  # whatever a stranger answers, the page is shown
            logging.getLogger("hven").warning("the registry could not be asked", exc_info=error)
            self.fault = say("the registry could not be asked: {message}", type(error).__name__)
            return
        self.fault = ""
        self.found[kind] = said["time"], _listed(said, kind)
        with suppress(OSError):
            self._path(kind).parent.mkdir(parents=True, exist_ok=True)
            part = self._path(kind).with_suffix(".part")
            part.write_text(json.dumps(said), encoding="utf-8")
            part.replace(self._path(kind))

    def _path(self, kind: str) -> Path:
        return self.file.with_name(f"{self.file.name}-{kind}.json")

    def _read(self, kind: str) -> tuple[float, tuple[Listed, ...]] | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(self._path(kind).read_bytes())
            self.found[kind] = float(said["time"]), _listed(said, kind)
        return self.found.get(kind)


def _tables(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Choose one line for each table of a service: that of a record of its own before that of the service; what is no address or no name is left out."""
    best: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        one = {name.lower(): str(value or "").strip() for name, value in row.items()}
        url, table = one["access_url"].rstrip("/"), one["table_name"]
        if not ADDRESS.fullmatch(url) or not TABLE.fullmatch(table):
            continue
        known = best.get((url, table))
        if known is None or (one["standard_id"].endswith("#aux") and not known["standard_id"].endswith("#aux")):
            best[url, table] = {**one, "access_url": url}
    return sorted(best.values(), key=lambda one: (one["res_title"].casefold(), one["access_url"], one["table_name"]))


def _listed(said: Mapping[str, Any], kind: Any) -> tuple[Listed, ...]:
    def spans(what: str, ivoid: str) -> tuple[tuple[float, float], ...]:
        return tuple((float(low), float(high)) for name, low, high in said[what] if name == ivoid and low is not None and high is not None)  # fmt: skip

    found = []
    for one in said["tables"]:
        url = one["access_url"]
        mark = hashlib.sha256(url.encode()).hexdigest()[:6]
        host = re.sub(r"[^a-z0-9]+", "-", (split_address_or_none(url).hostname or "").lower()).strip("-")[:30]
        service = RemoteService(
            name=f"r-{host}-{mark}", url=url, kind=kind, tables=(one["table_name"],), title=one["res_title"] or None
        )
        found.append(
            Listed(
                service=service,
                times=spans("times", one["ivoid"]),
                energies=spans("energies", one["ivoid"]),
                place=_place([str(text) for name, text in said["places"] if name == one["ivoid"] and text]),
            )
        )
    return tuple(found)


def _place(texts: Sequence[str]) -> Moc | None:
    found: Moc | None = None
    for text in texts:
        try:
            moc = Moc.parse(text)
        except (HvenError, ValueError):  # coverage that nobody can read is as if nothing were said
            return None
        found = moc if found is None else found | moc
    return found


def _ranges(search: Search) -> Iterable[tuple[str, float, float]]:
    """Give what a search asks of times and energies, in the registry's units; alternatives are not looked at."""
    bounds: dict[str, dict[str, float]] = {}
    parts = [part for test in search.tests for part in (test.parts if isinstance(test, tree.And) else (test,))]
    for part in parts:
        if (
            isinstance(part, tree.Compare)
            and isinstance(part.left, tree.ColumnRef)
            and isinstance(part.right, tree.Literal)
        ):
            name, value = part.left.name.name.lower(), part.right.value
            if isinstance(value, int | float) and part.op in {"<", "<=", ">", ">="}:
                bounds.setdefault(name, {})["high" if part.op[0] == "<" else "low"] = float(value)
    for low, (axis, convert) in AXES.items():
        high = f"{low[:-3]}max"
        begin, end = bounds.get(high, {}).get("low"), bounds.get(low, {}).get("high")
        if begin is None and end is None:
            continue
        ends = [-np.inf if begin is None else convert(begin), np.inf if end is None else convert(end)]
        if low == "em_min":  # short waves have much energy
            ends = [convert(end) if end is not None else 0.0, convert(begin) if begin is not None else np.inf]
        yield axis, min(ends), max(ends)
