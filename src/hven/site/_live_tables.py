"""Tables that are read in place: what their databases say of them now, and the tables that come of it.

Nobody waits for a database that is away: what was last seen of a table is kept in ``var/live``, and in force until it
can be looked at again. A look costs some small queries of the catalogue; rows are never read.
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

from hven.descriptor.live_queries import LiveTable, compile_live_table, is_live
from hven.engines import LiveColumn, LiveRelation
from hven.model import plugins
from hven.model.errors import DescriptorError, HvenError
from hven.model.settings import resolve_secret
from hven.model.table import set_column_epochs
from hven.site._engine_registry import LIVE_ENGINE_PREFIX
from hven.site._published_state import PublishedTable
from hven.sources import SourceContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.settings import Settings
    from hven.site._engine_registry import EngineRegistry

INSPECTION_INTERVAL_SECONDS = 3.0  # seconds between two looks at a table


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTableState:
    """What is known of one table; `inspection` is the last one that succeeded."""

    inspection: Any = None
    problem: str | None = None
    definition: LiveTable | None = None
    cache_key: tuple[object, ...] = ()


class LiveTables:
    """The tables of a site that are read in place. Thread-safe."""

    def __init__(self, settings: Settings, engines: EngineRegistry) -> None:
        self._settings = settings
        self._engines = engines
        self._directory = settings.data_directory / "live"
        self._table_states: dict[str, LiveTableState] = {}
        self._lock = threading.Lock()
        self._last_inspection = 0.0
        self.change_count = 0  # grows with each change

    def apply_settings(self, settings: Settings) -> None:
        """Apply these settings."""
        self._settings = settings

    def is_inspection_due(self) -> bool:
        """Return whether the last look is some seconds ago."""
        return time.monotonic() - self._last_inspection > INSPECTION_INTERVAL_SECONDS

    def inspect_tables(self, resources: Mapping[str, Resource], *, new_only: bool = False) -> None:
        """Inspect the tables.

        Parameters
        ----------
        new_only
            True: only at those of which nothing is known yet, and not while somebody else looks.
        """
        if not self._lock.acquire(blocking=not new_only):
            return
        try:
            old_states = dict(self._table_states)
            new_states: dict[str, LiveTableState] = {}
            for resource in resources.values():
                for spec in resource.tables:
                    if is_live(spec):
                        name = spec.table.qualified_name
                        new_states[name] = self._inspect_table(
                            spec, resource, old_states.get(name, LiveTableState()), new_only=new_only
                        )
            self._table_states = new_states
            if not new_only:
                self._last_inspection = time.monotonic()
            self.change_count += new_states != old_states
        finally:
            self._lock.release()

    def _inspect_table(
        self, spec: TableSpec, resource: Resource, old_state: LiveTableState, *, new_only: bool
    ) -> LiveTableState:
        source = spec.sources[0]
        key = (resource.hashes, str(source.options))
        identity = repr((spec.table.qualified_name, sorted(source.options.items())))
        digest = hashlib.sha256(identity.encode()).hexdigest()
        path = self._directory / f"{digest[:24]}.json"
        if new_only and old_state.cache_key == key:
            return old_state
        inspection = old_state.inspection if old_state.cache_key[1:] == key[1:] else None
        problem = None
        try:
            inspection = _open_source(source, self._settings).inspect_table()
        except HvenError as error:
            problem = f"table {spec.table.qualified_name}: {error}"
            inspection = inspection or _load_inspection(path)
        else:
            if old_state.inspection != inspection:
                _save_inspection(path, inspection)
        if inspection is None:
            return LiveTableState(problem=problem, cache_key=key)
        if (
            old_state.cache_key == key
            and old_state.inspection == inspection
            and old_state.definition is not None
            and old_state.problem == problem
        ):
            return old_state
        self._engines.limit_statement_time(
            LIVE_ENGINE_PREFIX + str(source.options["url"]), float(source.options.get("seconds", 60.0))
        )
        try:
            definition = compile_live_table(spec, resource, inspection)
            return LiveTableState(
                inspection=inspection,
                problem=problem,
                definition=definition,
                cache_key=key,
            )
        except DescriptorError as error:
            problem_text = (
                problem or f"table {spec.table.qualified_name}: it does not fit its database any more: {error}"
            )
            return LiveTableState(
                inspection=inspection,
                problem=problem_text,
                definition=old_state.definition if old_state.cache_key == key else None,
                cache_key=key,
            )

    def list_problems(self) -> list[str]:
        """List what is wrong with them."""
        return [state.problem for state in self._table_states.values() if state.problem is not None]

    def list_missing_indexes(self) -> list[str]:
        """List the indexes that the databases lack."""
        return [
            f"table {name}: {hint.message}: {hint.remedy}"
            for name, state in self._table_states.items()
            if state.definition is not None
            for hint in state.definition.index_hints
        ]

    def build_published_tables(self, resources: Mapping[str, Resource]) -> dict[str, PublishedTable]:
        """Return the tables that can be told."""
        published_tables = {}
        for resource in resources.values():
            for spec in resource.tables:
                if is_live(spec):
                    state = self._table_states.get(spec.table.qualified_name)
                else:
                    state = None
                if state is not None and state.definition is not None:
                    published_tables[spec.table.qualified_name] = _build_published_table(
                        spec, resource, state.definition, state.inspection
                    )
        return published_tables


def _build_published_table(
    spec: TableSpec, resource: Resource, definition: LiveTable, inspection: Any
) -> PublishedTable:
    url = str(spec.sources[0].options["url"])
    columns = tuple(
        LiveColumn(
            name=live_column.name,
            value=live_column.served_type.value,
            is_comparable=live_column.served_type.raw,
            guard_condition=live_column.served_type.guard,
        )
        for live_column in inspection.list_served_columns()
    )
    live = LiveRelation(
        url,
        inspection.name,
        LIVE_ENGINE_PREFIX + url,
        columns=columns,
        mapping_queries=definition.queries,
        copied_columns=definition.copies,
        position=definition.position_index,
        rows=inspection.rows,
        stamp=hashlib.sha256(
            repr((replace(inspection, rows=None), sorted(resource.hashes.items()))).encode()
        ).hexdigest()[:16],
    )
    table = set_column_epochs(definition.table)
    return PublishedTable(table=table, relation=live, updated="", resource=resource, rows=None)


def _open_source(source: SourceSpec, settings: Settings) -> Any:
    module = plugins.load_plugin("sources", source.kind)
    return module.open(
        module.Options.model_validate(dict(source.options)),
        SourceContext(resolve_secret=partial(resolve_secret, settings.directory)),
    )


def _save_inspection(path: Any, inspection: Any) -> None:
    """Write what was seen to a file, for a start while the database is away."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")  # forks have the same thread
        new.write_text(json.dumps(asdict(inspection), default=str), encoding="utf-8")
        new.replace(path)
    except OSError:
        return  # without it the table is told once its database is back


def _load_inspection(path: Any) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    plugin = plugins.load_plugin("sources", "live")
    return plugin.table_info_from_json(json.loads(text))


__all__ = ["LiveTables"]
