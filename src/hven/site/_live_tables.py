"""Live tables: what their databases report of them now, and the published tables that result.

No request waits for a database that does not respond: the last inspection of a table is stored in ``var/live``, and
stays in force until the next one succeeds. An inspection runs some small queries of the catalogue and reads no rows.
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

from hven.descriptor.live_queries import LiveTable, compile_live_table, is_live_table_spec
from hven.engines import LIVE_SOURCE_KIND, LiveColumn, LiveRelation
from hven.model import plugins
from hven.model.errors import DescriptorError, HvenError, UserError
from hven.model.settings import resolve_secret
from hven.model.table import set_column_epochs
from hven.site._engine_registry import LIVE_ENGINE_PREFIX
from hven.site._published_state import PublishedTable
from hven.sources import SourceContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.model.settings import Settings
    from hven.site._engine_registry import EngineRegistry

INSPECTION_INTERVAL_SECONDS = 3.0  # seconds between two inspections of a table


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTableState:
    """What is known of one table; `inspection` is the last one that succeeded."""

    inspection: Any = None
    problem: str | None = None
    definition: LiveTable | None = None
    cache_key: tuple[object, ...] = ()


class LiveTableInspector:
    """The live tables of a site. Thread-safe."""

    def __init__(self, settings: Settings, engines: EngineRegistry) -> None:
        self._settings = settings
        self._engines = engines
        self._directory = settings.data_directory / "live"
        self._table_states: dict[str, LiveTableState] = {}
        self._lock = threading.Lock()
        self._last_inspection = 0.0
        self.change_count = 0  # grows with each change

    def apply_settings(self, settings: Settings) -> None:
        """Use other settings from now on."""
        self._settings = settings

    def is_inspection_due(self) -> bool:
        """Return whether the last inspection was more than some seconds ago."""
        return time.monotonic() - self._last_inspection > INSPECTION_INTERVAL_SECONDS

    def inspect_tables(self, resources: Mapping[str, CollectionSpec], *, is_new_only: bool = False) -> None:
        """Inspect the tables.

        Parameters
        ----------
        is_new_only
            True: only the tables of which nothing is known yet, and not while another thread inspects them.
        """
        if not self._lock.acquire(blocking=not is_new_only):
            return
        try:
            old_states = dict(self._table_states)
            new_states: dict[str, LiveTableState] = {}
            for spec, resource in _iterate_live_specs(resources):
                name = spec.table.qualified_name
                old_state = old_states.get(name, LiveTableState())
                new_states[name] = self._inspect_and_compile_table(spec, resource, old_state, is_new_only=is_new_only)
            self._table_states = new_states
            if not is_new_only:
                self._last_inspection = time.monotonic()
            self.change_count += new_states != old_states
        finally:
            self._lock.release()

    def _inspect_and_compile_table(
        self, spec: TableSpec, resource: CollectionSpec, old_state: LiveTableState, *, is_new_only: bool
    ) -> LiveTableState:
        source = spec.sources[0]
        key = (resource.hashes, str(source.options))
        identity = repr((spec.table.qualified_name, sorted(source.options.items())))
        digest = hashlib.sha256(identity.encode()).hexdigest()
        path = self._directory / f"{digest[:24]}.json"
        if is_new_only and old_state.cache_key == key:
            return old_state
        inspection = None
        if old_state.cache_key[1:] == key[1:]:
            inspection = old_state.inspection
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
        is_same_definition = old_state.cache_key == key and old_state.definition is not None
        if is_same_definition and old_state.inspection == inspection and old_state.problem == problem:
            return old_state
        engine_name = LIVE_ENGINE_PREFIX + str(source.options["url"])
        self._engines.limit_statement_time(engine_name, float(source.options.get("seconds", 60.0)))
        definition = None
        if old_state.cache_key == key:
            definition = old_state.definition
        try:
            definition = compile_live_table(spec, resource, inspection)
        except DescriptorError as error:
            mismatch = f"table {spec.table.qualified_name}: it no longer fits its database: {error}"
            problem = problem or mismatch
        return LiveTableState(inspection=inspection, problem=problem, definition=definition, cache_key=key)

    def list_problems(self) -> list[str]:
        """List what is wrong with the tables."""
        return [state.problem for state in self._table_states.values() if state.problem is not None]

    def list_missing_index_hints(self) -> list[str]:
        """List the indexes that the databases lack."""
        hints = []
        for name, state in self._table_states.items():
            if state.definition is not None:
                hints += [f"table {name}: {hint.message}: {hint.remedy}" for hint in state.definition.index_hints]
        return hints

    def build_published_tables(self, resources: Mapping[str, CollectionSpec]) -> dict[str, PublishedTable]:
        """Return the tables whose columns are known."""
        published_tables = {}
        for spec, resource in _iterate_live_specs(resources):
            name = spec.table.qualified_name
            state = self._table_states.get(name)
            if state is not None and state.definition is not None:
                published_tables[name] = _build_published_table(spec, resource, state.definition, state.inspection)
        return published_tables


def _iterate_live_specs(resources: Mapping[str, CollectionSpec]) -> Iterator[tuple[TableSpec, CollectionSpec]]:
    for resource in resources.values():
        for spec in resource.tables:
            if is_live_table_spec(spec):
                yield spec, resource


def _build_published_table(
    spec: TableSpec, resource: CollectionSpec, definition: LiveTable, inspection: Any
) -> PublishedTable:
    url = str(spec.sources[0].options["url"])
    columns = []
    for live_column in inspection.list_served_columns():
        served_type = live_column.served_type
        column = LiveColumn(
            name=live_column.name,
            value=served_type.value,
            is_comparable=served_type.raw,
            guard_condition=served_type.guard,
        )
        columns.append(column)
    version_text = repr((replace(inspection, rows=None), sorted(resource.hashes.items())))
    relation = LiveRelation(
        url,
        inspection.name,
        LIVE_ENGINE_PREFIX + url,
        columns=tuple(columns),
        mapping_queries=definition.queries,
        copied_columns=definition.copies,
        position=definition.position_index,
        rows=inspection.rows,
        stamp=hashlib.sha256(version_text.encode()).hexdigest()[:16],
    )
    table = set_column_epochs(definition.table)
    return PublishedTable(table=table, relation=relation, updated="", resource=resource, rows=None)


def _open_source(source: SourceSpec, settings: Settings) -> Any:
    module = plugins.load_plugin("sources", source.kind)
    options = module.Options.model_validate(dict(source.options))
    context = SourceContext(resolve_secret=partial(resolve_secret, settings.directory))
    return module.open(options, context)


def _save_inspection(path: Any, inspection: Any) -> None:
    """Write an inspection to a file, for a start of the server while the database does not respond."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # forked processes have threads of the same number
        new_path = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
        new_path.write_text(json.dumps(asdict(inspection), default=str), encoding="utf-8")
        new_path.replace(path)
    except OSError:
        return  # without the file the table is published once its database answers again


def _load_inspection(path: Any) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        plugin = plugins.load_plugin("sources", LIVE_SOURCE_KIND)
    except UserError:  # the site leaves out its package
        return None
    return plugin.table_info_from_json(json.loads(text))
