"""Tables that are read in place: what their databases say of them now, and the tables that come of it.

Nobody waits for a database that is away: what was last seen of a table is kept in ``var/live``, and in force until it can be
looked at again. A look costs some small queries of the catalogue; rows are never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.descriptor.live_queries import Made, is_live, made
from hven.engines import Live, LiveColumn
from hven.model import plugins
from hven.model.errors import DescriptorError, HvenError
from hven.model.settings import secret
from hven.model.table import dated
from hven.site._engines import LIVE
from hven.site._picture import Published
from hven.sources import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.settings import Settings
    from hven.site._engines import Engines

LOOK = 3.0  # seconds between two looks at a table


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known of one table; `look` is the last one that succeeded."""

    look: Any = None
    problem: str | None = None
    made: Made | None = None
    key: tuple[object, ...] = ()


class Lives:
    """The tables of a site that are read in place. Thread-safe."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self._settings = settings
        self._engines = engines
        self._directory = settings.kept / "live"
        self._states: dict[str, State] = {}
        self._lock = threading.Lock()
        self._looked = 0.0
        self.number = 0  # grows with each change

    def settle(self, settings: Settings) -> None:
        """Apply these settings."""
        self._settings = settings

    def due(self) -> bool:
        """Return whether the last look is some seconds ago."""
        return time.monotonic() - self._looked > LOOK

    def look(self, resources: Mapping[str, Resource], *, known: bool = False) -> None:
        """Inspect the tables.

        Parameters
        ----------
        known
            True: only at those of which nothing is known yet, and not while somebody else looks.
        """
        if not self._lock.acquire(blocking=not known):
            return
        try:
            before = dict(self._states)
            wanted: dict[str, State] = {}
            for resource in resources.values():
                for spec in resource.tables:
                    if is_live(spec):
                        name = spec.table.qualified
                        wanted[name] = self._looked_at(spec, resource, before.get(name, State()), known=known)
            self._states = wanted
            if not known:
                self._looked = time.monotonic()
            self.number += wanted != before
        finally:
            self._lock.release()

    def _looked_at(self, spec: TableSpec, resource: Resource, before: State, *, known: bool) -> State:
        source = spec.sources[0]
        key = (resource.hashes, str(source.options))
        path = (
            self._directory
            / f"{hashlib.sha256(repr((spec.table.qualified, sorted(source.options.items()))).encode()).hexdigest()[:24]}.json"
        )
        if known and before.key == key:
            return before
        look, problem = before.look if before.key[1:] == key[1:] else None, None
        try:
            look = _source(source, self._settings).look()
        except HvenError as error:
            problem = f"table {spec.table.qualified}: {error}"
            look = look or _remembered(path)
        else:
            if before.look != look:
                _remember(path, look)
        if look is None:
            return State(problem=problem, key=key)
        if before.key == key and before.look == look and before.made is not None and before.problem == problem:
            return before
        self._engines.limited(LIVE + str(source.options["url"]), float(source.options.get("seconds", 60.0)))
        try:
            return State(look=look, problem=problem, made=made(spec, resource, look), key=key)
        except DescriptorError as error:
            said = problem or f"table {spec.table.qualified}: it does not fit its database any more: {error}"
            return State(look=look, problem=said, made=before.made if before.key == key else None, key=key)

    def problems(self) -> list[str]:
        """List what is wrong with them."""
        return [state.problem for state in self._states.values() if state.problem is not None]

    def hints(self) -> list[str]:
        """List the indexes that the databases lack."""
        return [
            f"table {name}: {hint.message}: {hint.remedy}"
            for name, state in self._states.items()
            if state.made is not None
            for hint in state.made.hints
        ]

    def published(self, resources: Mapping[str, Resource]) -> dict[str, Published]:
        """Return the tables that can be told."""
        found = {}
        for resource in resources.values():
            for spec in resource.tables:
                state = self._states.get(spec.table.qualified) if is_live(spec) else None
                if state is not None and state.made is not None:
                    found[spec.table.qualified] = _published(spec, resource, state.made, state.look)
        return found


def _published(spec: TableSpec, resource: Resource, one: Made, look: Any) -> Published:
    url = str(spec.sources[0].options["url"])
    columns = tuple(
        LiveColumn(name=there.name, value=there.shown.value, raw=there.shown.raw, guard=there.shown.guard)
        for there in look.served()
    )
    live = Live(
        url,
        look.name,
        LIVE + url,
        columns=columns,
        mapping=one.queries,
        copies=one.copies,
        position=one.position,
        rows=look.rows,
        stamp=hashlib.sha256(repr((replace(look, rows=None), sorted(resource.hashes.items()))).encode()).hexdigest()[
            :16
        ],
    )
    return Published(table=dated(one.table), relation=live, updated="", resource=resource, rows=None)


def _source(source: SourceSpec, settings: Settings) -> Any:
    module = plugins.load("sources", source.kind)
    return module.open(
        module.Options.model_validate(dict(source.options)), Context(secret=partial(secret, settings.directory))
    )


def _remember(path: Any, look: Any) -> None:
    """Write what was seen to a file, for a start while the database is away."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")  # forks have the same thread
        new.write_text(json.dumps(asdict(look), default=str), encoding="utf-8")
        new.replace(path)
    except OSError:
        return  # without it the table is told once its database is back


def _remembered(path: Any) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    return plugins.load("sources", "live").recalled(json.loads(text))


__all__ = ["Lives"]
