"""A second engine for tests: DuckDB again, in another directory and under another name; it may be down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hven.adql.syntax_tree import BoundQuery
from hven.engines import ExecutionLimits, LiveRelation, MemoryRelation, QueryExecution, QueryPlan, Relation, Snapshot
from hven.engines.duckdb.engine import DuckEngine
from hven.model import plugins
from hven.model.errors import StorageError

OTHER_NAME = "other"


class WatchedPlan:
    """A plan that records the tables that were queried, and refuses tables of other engines."""

    def __init__(self, engine: OtherEngine, plan: QueryPlan) -> None:
        self.engine, self.plan, self.is_quick, self.schema = engine, plan, plan.is_quick, plan.schema

    def execute(
        self, values: Sequence[float | str | None], relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        for name, one in relations.items():
            assert isinstance(one, MemoryRelation) or one.engine == OTHER_NAME, f"{name} was asked of the wrong engine"
        if self.engine.module.away:
            raise StorageError("the other database does not respond")
        self.engine.module.asked.append(sorted(relations))
        return self.plan.execute(values, relations, limits)

    def explain(self) -> str:
        return self.plan.explain()


class OtherEngine(DuckEngine):
    """An engine that is not the embedded one."""

    name = OTHER_NAME  # type: ignore[assignment]

    def __init__(self, directory: Path, module: Any, **options: Any) -> None:
        super().__init__(directory, **options)
        self.module = module

    def plan_query(self, bound_query: BoundQuery) -> WatchedPlan:  # type: ignore[override]
        return WatchedPlan(self, super().plan_query(bound_query))

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        if self.module.away:
            raise StorageError("the other database does not respond")
        super().remove_snapshot(snapshot)

    def find_outage(self) -> str | None:
        return "the other database does not respond" if self.module.away else None


@contextmanager
def register_other_engine() -> Iterator[Any]:
    """Register the engine ``other`` and yield its module: `away` makes it fail, `asked` lists the queried tables."""
    module: Any = ModuleType(OTHER_NAME)
    module.away, module.asked, module.opened = False, [], 0

    def open_(where: Path, *, memory: int, **options: Any) -> OtherEngine:
        module.opened += 1
        if module.away:
            raise StorageError("the other database does not respond", remedy="start it")
        return OtherEngine(where, module, memory_bytes=memory, **options)

    module.open = open_
    names, load = plugins.list_plugins, plugins.load_plugin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            plugins, "list_plugins", lambda group: (*names(group), OTHER_NAME) if group == "engines" else names(group)
        )
        patch.setattr(
            plugins,
            "load_plugin",
            lambda group, name: module if (group, name) == ("engines", OTHER_NAME) else load(group, name),
        )
        yield module


__all__ = ["OTHER_NAME", "LiveRelation", "register_other_engine"]
