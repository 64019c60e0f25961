"""Search the provenance of records, backward or forward, within bounds of depth and number."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hven.model.errors import NotFoundError
from hven.plugins.provenance.prov_records import ACTIVITY, AGENT_RELATIONS, ProvGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.provenance.prov_records import ProvRecord, ProvRelation

MAX_RECORDS = 2_000  # of a graph
MAX_MEMBERS = 100  # of one record: files of a source, tables of a view
UNLIMITED_DEPTH = 2**31
# relations that cost a step: to an activity, or to what something was derived from
COSTLY_BACKWARD = frozenset({"wasGeneratedBy", "wasInformedBy", "wasDerivedFrom"})
COSTLY_FORWARD = frozenset({"used", "wasInformedBy", "wasDerivedFrom"})


class ProvStep(NamedTuple):
    """A relation, and the record to which the search goes by it."""

    relation: ProvRelation
    neighbour: str


class StepList(NamedTuple):
    """Steps from a record, and the number of those that were left out."""

    steps: Sequence[ProvStep] = ()
    left_out_count: int = 0


class ProvenanceSource(Protocol):
    """Where a search finds records: only those that its reader may know of."""

    def find_record(self, record_id: str) -> ProvRecord | None:
        """Return a record; None: there is none that the reader may know of."""

    def list_steps(self, record_id: str, *, is_forward: bool) -> StepList:
        """List the steps from a record, to its origins or to what was made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceSearchOptions:
    """The parameters of ProvSAP.

    Attributes
    ----------
    depth
        Largest number of activities and derivations on the way to a record.
    is_forward
        Whether to search what was made of the records.
    has_agents, has_members, has_descriptions, has_configuration
        Whether to include agents, members of collections, plans, and parameters.
    """

    depth: int = 1
    is_forward: bool = False
    has_agents: bool = True
    has_members: bool = True
    has_descriptions: bool = False
    has_configuration: bool = True

    def is_step_included(self, step: ProvStep) -> bool:
        """Return whether the search takes a step.

        Parameters
        ----------
        step
            A step; those from a member to its collection are always taken.
        """
        relation = step.relation
        if relation.kind in AGENT_RELATIONS:
            return self.has_agents
        if relation.kind == "hadMember":
            return self.has_members or step.neighbour == relation.origin
        return self.has_configuration or not relation.target.startswith("parameter/")


class _ProvenanceSearch:
    """A search: the records and relations that it has found, and the records that it still has to follow."""

    def __init__(self, source: ProvenanceSource, options: ProvenanceSearchOptions, start_ids: frozenset[str]) -> None:
        self.source = source
        self.options = options
        self.start_ids = start_ids
        self.records: dict[str, ProvRecord] = {}
        self.relations: dict[ProvRelation, None] = {}
        self.left_out: dict[str, int] = {}
        self._costs: dict[str, int] = {}
        self._pending = deque[tuple[str, int]]()

    def add_start_records(self, start_ids: Sequence[str]) -> None:
        """Add the records from which the search begins.

        Raises
        ------
        NotFoundError
            There is no such record that the reader may know of.
        """
        for start_id in dict.fromkeys(start_ids):
            if self._is_full_for(start_id):
                self.left_out[start_id] = 1
                continue
            if not self._add_record(start_id):
                raise NotFoundError(
                    f"there is no provenance for {start_id!r:.120}",
                    remedy="write the id of a collection, table, row, run, release or job, as /prov shows it",
                )
            self._costs[start_id] = 0
            self._pending.append((start_id, 0))

    def follow_relations(self) -> None:
        """Follow relations from record to record, the cheapest first."""
        while self._pending:
            record_id, cost = self._pending.popleft()
            if cost > self._costs[record_id]:
                continue
            step_list = self._list_steps_with_results(record_id)
            left_out_count = step_list.left_out_count
            for step in step_list.steps:
                next_cost = cost + self._compute_step_cost(step)
                if next_cost > self.options.depth or not self.options.is_step_included(step):
                    continue
                if self._is_full_for(step.neighbour):
                    left_out_count += 1
                elif self._add_record(step.neighbour):
                    self.relations[self._complete_relation(step.relation)] = None
                    self._schedule_record_visit(step.neighbour, next_cost, is_first=next_cost == cost)
            if left_out_count:
                self.left_out[record_id] = left_out_count

    def _list_steps_with_results(self, record_id: str) -> StepList:
        step_list = self.source.list_steps(record_id, is_forward=self.options.is_forward)
        is_activity = self.records[record_id].kind == ACTIVITY
        if record_id not in self.start_ids or not is_activity or self.options.is_forward:
            return step_list
        # what an activity generated belongs to it
        results = self.source.list_steps(record_id, is_forward=True)
        result_steps = [step for step in results.steps if step.relation.kind == "wasGeneratedBy"]
        return StepList([*step_list.steps, *result_steps], step_list.left_out_count + results.left_out_count)

    def _compute_step_cost(self, step: ProvStep) -> int:
        relation = step.relation
        if self.options.is_forward:
            return int(relation.kind in COSTLY_FORWARD and step.neighbour == relation.origin)
        return int(relation.kind in COSTLY_BACKWARD and step.neighbour == relation.target)

    def _schedule_record_visit(self, record_id: str, cost: int, *, is_first: bool) -> None:
        if cost >= self._costs.get(record_id, UNLIMITED_DEPTH):
            return
        self._costs[record_id] = cost
        if is_first:
            self._pending.appendleft((record_id, cost))
        else:
            self._pending.append((record_id, cost))

    def _add_record(self, record_id: str) -> bool:
        """Add a record; return False if the reader may not know of it."""
        if record_id not in self.records:
            record = self.source.find_record(record_id)
            if record is None:
                return False
            self.records[record_id] = record
        return True

    def _is_full_for(self, record_id: str) -> bool:
        """Return whether there are too many records to add another one."""
        return len(self.records) >= MAX_RECORDS and record_id not in self.records

    def _complete_relation(self, relation: ProvRelation) -> ProvRelation:
        """Add the plan of an association to the records, or leave it out."""
        if relation.plan and not (self.options.has_descriptions and self._add_record(relation.plan)):
            return replace(relation, plan="")
        return relation


def search_provenance(
    source: ProvenanceSource, start_ids: Sequence[str], options: ProvenanceSearchOptions, namespace: str
) -> ProvGraph:
    """Search the provenance of records.

    Parameters
    ----------
    source
        Finds records for the reader.
    start_ids
        Ids of the records.
    options
        Direction, depth and content.
    namespace
        Namespace of the ids.

    Returns
    -------
    graph
        The records, and those that the search reached, at most `MAX_RECORDS`.

    Raises
    ------
    NotFoundError
        There is no such record that the reader may know of.
    """
    search = _ProvenanceSearch(source, options, frozenset(start_ids))
    search.add_start_records(start_ids)
    search.follow_relations()
    return ProvGraph(
        namespace=namespace, records=search.records, relations=tuple(search.relations), left_out=search.left_out
    )
