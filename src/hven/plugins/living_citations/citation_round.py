"""One round: look at new cited results, decide what changed tables mean for the known ones, and repeat due queries."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.engines import Snapshot
from hven.model.errors import HvenError
from hven.plugins.living_citations.change_verdicts import AnswerChange, RowQuery, decide_by_keys, read_row_query
from hven.plugins.living_citations.citation_store import (
    CHANGED,
    COUNT,
    NO_WORK,
    RUN,
    SAME,
    UNKNOWN,
    CitationFinding,
    CitationFindingStore,
    write_json,
)
from hven.plugins.living_citations.settings import get_citation_check_settings
from hven.plugins.living_citations.store_tables import citation_findings
from hven.query.cited_results import compare_with_repeated_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.resource import CitedResult
    from hven.model.settings import Settings

log = logging.getLogger("hven.citations")
NEW_RESULTS_AT_ONCE = 2_000
MAX_COUNTED_AT_ONCE = 1_000
MAX_WORK_SECONDS = 5.0  # of a round, for due queries


def update_findings(settings: Settings) -> None:
    """Look at the cited results of a site again.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    with Site(settings) as site:
        CitationRound(site).run()


class CitationRound:
    """One round over the cited results of a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.store.get_or_create(CitationFindingStore)
        self._state = site.get_published_state()
        relations = {name: item.relation for name, item in self._state.tables_by_name.items()}
        self._published_ids = {name: item.id for name, item in relations.items() if isinstance(item, Snapshot)}

    def run(self) -> None:
        """Do what is to be done; due queries as far as the share of the processor allows."""
        self.add_new_results()
        self.decide_changed_tables()
        if time.time() < self._store.find_rest_end():
            return
        begin, has_worked = time.monotonic(), False
        while time.monotonic() < begin + MAX_WORK_SECONDS and self.decide_next_finding():
            has_worked = True
        if has_worked:
            share = get_citation_check_settings(self._site.settings).processor_share
            self._store.record_rest_end(time.time() + (time.monotonic() - begin) * (1 / share - 1))

    def add_new_results(self) -> None:
        """Add results that got their address since the last round."""
        catalogue = self._state.get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES)
        findings = []
        for ident, made, body in self._store.list_new_results(NEW_RESULTS_AT_ONCE):
            row_query = read_row_query(body, catalogue)
            findings.append(
                CitationFinding(
                    id=ident,
                    made=made,
                    collections=body["collections"],
                    snapshots=body["snapshots"],
                    cited_rows=body["rows"],
                    row_count=body["rows"],
                    definition=row_query.definition,
                    shown_names=row_query.shown_names,
                    shows_key=row_query.shows_key,
                )
            )
        if findings:
            self._store.add_findings(findings)

    # --- changed tables ---------------------------------------------------------------------------------------

    def decide_changed_tables(self) -> None:
        """Decide from keys what later states of tables mean for results, as far as keys tell."""
        for snapshots in self._store.list_states():
            present_snapshots = self._find_present_snapshots(snapshots)
            if present_snapshots == snapshots:
                continue
            findings = self._store.list_findings(citation_findings.c.snapshots == write_json(snapshots))
            by_keys = [finding for finding in findings if finding.definition and finding.work == NO_WORK]
            changes: dict[str, AnswerChange | None] = {}
            if by_keys:
                changes = dict(self._decide_findings(by_keys, snapshots))
            pairs = [
                (finding, replace(self._apply_change(finding, changes.get(finding.id)), snapshots=present_snapshots))
                for finding in findings
            ]
            self._store.record_findings(pairs, self._list_curators)

    def _find_present_snapshots(self, snapshots: Mapping[str, str]) -> dict[str, str]:
        """Return the present states of tables; of a table that is gone, the last one."""
        return {table: self._published_ids.get(table, since) for table, since in snapshots.items()}

    def _decide_findings(
        self, findings: Sequence[CitationFinding], snapshots: Mapping[str, str]
    ) -> Iterator[tuple[str, AnswerChange | None]]:
        """Yield ids of results with how their answers differ from those in earlier states of their only table."""
        ((table_name, since),) = snapshots.items()
        queries = list({_get_query(finding): None for finding in findings})
        try:
            changes = decide_by_keys(self._site, self._state, table_name, since, queries)
        except Exception:  # the queries themselves can still tell
            log.exception("the cited queries of %s cannot be checked with the keys of its changed rows", table_name)
            changes = [None] * len(queries)
        changes_by_query = dict(zip(queries, changes, strict=True))
        for finding in findings:
            yield finding.id, changes_by_query[_get_query(finding)]

    def _apply_change(self, finding: CitationFinding, change: AnswerChange | None) -> CitationFinding:
        """Return a finding after a change of its answer since it was looked at last; None: not known."""
        if change is None or finding.verdict == UNKNOWN:
            return replace(finding, work=finding.work if finding.work == COUNT else RUN)
        if not change.counts:
            return replace(finding, at=time.time())
        if finding.verdict != SAME:  # the changes since the last look are not those since the paper
            return replace(finding, work=COUNT)
        return _add_change(finding, change)

    def _list_curators(self, collection: str) -> tuple[str, ...]:
        resource = self._state.resources.get(collection)
        groups = () if resource is None or not resource.project else (f"project:{resource.project}:curator",)
        return (*self._site.settings.health.operators, *groups)

    # --- work in the background -------------------------------------------------------------------------------

    def decide_next_finding(self) -> bool:
        """Do a piece of due work, the longest due first; False: there is none, or a table has changed meanwhile."""
        columns = citation_findings.c
        first_findings = self._store.list_findings(columns.work != NO_WORK, order=columns.at, limit=1)
        if not first_findings:
            return False
        (finding,) = first_findings
        result = self._site.store.results.find_result(finding.id)
        if finding.work == COUNT and finding.definition and result is not None:
            self._count_changes_since_paper(finding, result)
            return True
        return self._repeat_query(finding, result)

    def _count_changes_since_paper(self, first_finding: CitationFinding, result: CitedResult) -> None:
        """Count the changes since the paper, of a result and of others over the same table that cite the same state."""
        cited_snapshots = result.body["snapshots"]
        findings = [first_finding]  # always, or the round would choose it again and again
        columns = citation_findings.c
        is_other = (columns.work == COUNT) & (columns.id != first_finding.id)
        for finding in self._store.list_findings(is_other, order=columns.at, limit=MAX_COUNTED_AT_ONCE):
            other_result = self._site.store.results.find_result(finding.id)
            if other_result is not None and other_result.body["snapshots"] == cited_snapshots:
                findings.append(finding)
        changes = dict(self._decide_findings(findings, cited_snapshots))
        pairs = []
        for finding in findings:
            change = changes[finding.id]
            if change is None:
                later_finding = replace(finding, work=RUN)
            else:
                later_finding = _add_change(finding, change)
            pairs.append((finding, later_finding))
        self._store.record_findings(pairs, self._list_curators)

    def _repeat_query(self, finding: CitationFinding, result: CitedResult | None) -> bool:
        """Repeat the query of a result over the published state; False: this state has changed meanwhile."""
        comparison: dict[str, Any] = {"error": "the result is gone"}
        if result is not None:
            comparison = compare_with_repeated_query(
                result, ANONYMOUS_PRINCIPAL, site=self._site, policies=DEFAULT_POLICIES, uses_current_state=True
            )
        if self._site.get_published_state().version != self._state.version:
            return False  # it may have read a later state
        error = comparison.get("error")
        values: dict[str, Any] = {"how": RUN, "work": NO_WORK, "at": time.time(), "counts": {}, "columns": ()}
        if error is not None:
            text = error
            if isinstance(error, HvenError):
                text = error.message
            values |= {"verdict": UNKNOWN, "error": str(text)[:300]}
        else:
            verdict = SAME if comparison["same"] else CHANGED
            values |= {"verdict": verdict, "error": "", "row_count": comparison["rows"]}
        self._store.record_findings([(finding, replace(finding, **values))], self._list_curators)
        return True


def _get_query(finding: CitationFinding) -> RowQuery:
    return RowQuery(finding.definition, tuple(finding.shown_names), bool(finding.shows_key))


def _add_change(finding: CitationFinding, change: AnswerChange) -> CitationFinding:
    """Return a finding whose answer differs from that of the paper by a change."""
    return replace(
        finding,
        verdict=CHANGED if change.counts else SAME,
        how="keys",
        work=NO_WORK,
        at=time.time(),
        counts=change.counts,
        columns=change.columns,
        row_count=finding.cited_rows + change.counts.get("new", 0) - change.counts.get("gone", 0),
        error="",
    )
