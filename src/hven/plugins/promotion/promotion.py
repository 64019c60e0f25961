"""Promote collections: stage rows and files on the target, verify them, and publish all of it in one transaction."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from hven import descriptor
from hven.ingest.api import publication
from hven.ingest.api.changes import create_run_id
from hven.ingest.api.runs import execute_steps_before_removal, find_stale_table_warnings
from hven.model.errors import ConflictError, DescriptorError, HvenError, NotFoundError, UserError
from hven.plugins.promotion import collection_runs, pinned_directories, three_way_merge
from hven.plugins.promotion.collection_runs import PromotionRun
from hven.plugins.promotion.collection_states import (
    PROMOTION_KEY,
    CollectionState,
    PromotableCollections,
    SourceCollection,
    compute_description_digests,
    list_events_newest_first,
    read_collection_state,
    read_own_state,
    select_earlier_rows,
)
from hven.plugins.promotion.metadata_differences import find_unusable_obscore_columns
from hven.plugins.promotion.package_selection import select_packages_of
from hven.plugins.promotion.promotion_reports import PromotionReport, compare_sites
from hven.site.store import build_lease_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.site import Site
    from hven.site.store import SnapshotRecord

RUN_KIND = "promote"
RETURN_RUN_KIND = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionOptions:
    """What a promotion may do.

    Attributes
    ----------
    may_widen
        More people may see any table of the target than before.
    widened_tables
        Qualified names of the tables that more people may see on the target than before.
    may_overwrite
        Changes of the target that do not come from the source site are replaced.
    may_merge
        Such changes are kept, where the source site did not change the same.
    must_compare_contents
        Files are compared by their contents, also if their sizes and times are equal.
    """

    may_widen: bool = False
    widened_tables: frozenset[str] = frozenset()
    may_overwrite: bool = False
    may_merge: bool = False
    must_compare_contents: bool = False


class PromotionSource(Protocol):
    """The site from which collections are promoted."""

    def list_collections(self) -> PromotableCollections:
        """List the collections that can be promoted, and the others."""

    def read_collection(
        self, name: str, target: CollectionState, work_directory: Path, *, is_dry_run: bool
    ) -> SourceCollection:
        """Read what the site publishes of a collection.

        Parameters
        ----------
        name
            Name of the collection.
        target
            The target, whose files need not be copied again.
        work_directory
            Directory for files that are copied first.
        is_dry_run
            Whether only the difference is wanted.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSource:
    """A site of this machine, from which collections are promoted.

    Attributes
    ----------
    states
        Earlier states whose rows are promoted, by the names of collections.
    """

    site: Site
    states: Mapping[str, str] = field(default_factory=dict)

    def list_collections(self) -> PromotableCollections:
        """List the collections that can be promoted, and the others."""
        published_names = self.site.refresh_published_state().resources.keys()
        stored_names = {record.collection for record in self.site.published_records.values()}
        names_without_rows = set(self.site.settings.list_collections()) - stored_names
        return PromotableCollections(sorted(published_names & stored_names), sorted(names_without_rows))

    def read_collection(
        self,
        name: str,
        target: CollectionState,  # noqa: ARG002
        work_directory: Path,  # noqa: ARG002
        *,
        is_dry_run: bool,  # noqa: ARG002
    ) -> SourceCollection:
        """Read what the site publishes of a collection, or has published."""
        collection = read_own_state(self.site, name)
        if name in self.states:
            return select_earlier_rows(collection, self.states[name])
        return collection


@dataclass(kw_only=True)
class CollectionPlan:
    """What a promotion of one collection would do.

    Attributes
    ----------
    origin, target
        What the source site and the target publish.
    source_files
        The files of the source site, before a merge.
    """

    origin: SourceCollection
    target: CollectionState
    report: PromotionReport
    source_files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def must_publish(self) -> bool:
        """Whether the target publishes something new: with the same content, a foreign state becomes a promoted one."""
        is_taken_over = bool(self.report.foreign_changes) and not self.report.kept_changes
        return self.report.has_changes or is_taken_over


@contextmanager
def plan_promotion(
    source: PromotionSource,
    target_site: Site,
    names: Sequence[str],
    options: PromotionOptions,
    *,
    is_dry_run: bool = True,
) -> Iterator[list[CollectionPlan]]:
    """Compare collections of the source site with those of the target.

    Parameters
    ----------
    source
        The source site.
    target_site
        The target.
    names
        Names of the collections.
    options
        What the promotion may do.
    is_dry_run
        Whether only the difference is wanted.

    Yields
    ------
    plans
        One for each collection; their files are there inside the block.
    """
    directories = []
    try:
        plans = []
        for name in names:
            folder = target_site.settings.directory / pinned_directories.PROMOTED_FOLDER / name
            work_directory = folder / f".work-{create_run_id()}"
            directories.append(work_directory)
            target = read_collection_state(target_site, name)
            origin = source.read_collection(name, target, work_directory, is_dry_run=is_dry_run)
            report = compare_sites(origin, target, compares_contents=options.must_compare_contents)
            column_faults = find_unusable_obscore_columns(origin.required_resource, origin.tables)
            report.warnings += [str(fault) for fault in column_faults if fault.severity == "warning"]
            plan = CollectionPlan(origin=origin, target=target, report=report, source_files=origin.files)
            if options.may_merge and report.foreign_changes and report.has_changes:
                plan.origin = three_way_merge.merge_collection(origin, target, report, work_directory)
            plans.append(plan)
        yield plans
    finally:
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)


def promote_collections(
    source: PromotionSource,
    target_site: Site,
    names: Sequence[str],
    options: PromotionOptions = PromotionOptions(),
) -> list[PromotionReport]:
    """Publish collections on the target as the source site publishes them, all in one transaction.

    Parameters
    ----------
    source
        The source site.
    target_site
        The target.
    names
        Names of the collections.
    options
        What the promotion may do.

    Returns
    -------
    reports
        What differed in each collection; without a run if nothing did.

    Raises
    ------
    ConflictError
        The target is ahead, more people would see a table, or another run changes one of the collections.
    DescriptorError
        A descriptor has faults on the target.
    StorageError
        Rows or files cannot be copied, or the copies differ. The target stays as it is.
    """
    names = sorted(set(names))
    store = target_site.store
    for name in names:
        pinned_directories.check_linkable(target_site.settings, name)
    with ExitStack() as stack:
        leases = {}
        for name in names:  # in the order of their names, so that two promotions do not wait for each other
            lease = store.leases.hold_lease(build_lease_name(name), description=f"the promotion of {name}")
            leases[name] = stack.enter_context(lease)
            store.runs.abandon_unfinished_runs(name)
        publication.delete_ingest_leftovers(target_site)
        plans = stack.enter_context(plan_promotion(source, target_site, names, options, is_dry_run=False))
        for plan in plans:
            for error in list_refusals(plan, target_site, options):
                raise error
        runs = []
        for plan in plans:
            if plan.must_publish:
                runs.append(
                    PromotionRun(plan.origin, plan.target, plan.report, plan.source_files, leases[plan.origin.name])
                )
            else:
                _link_pinned_directory(plan.target)
        if runs:
            _execute_runs(runs, target_site)
        for run in runs:
            name = run.name
            run.report.warnings += _prepare_published_files(target_site, name)
            run.report.warnings += publication.prune_collection_history(target_site, name)
            kept_records = store.list_snapshots(name)
            pinned_directories.delete_unused_directories(target_site.settings, name, kept_records)
        return [plan.report for plan in plans]


def _execute_runs(runs: Sequence[PromotionRun], target_site: Site) -> None:
    """Stage and publish all collections, and record how it ended."""
    with ExitStack() as stack:
        for run in runs:
            summarize = partial(_summarize_report, run.report)
            record = target_site.store.runs.record_run(run.run, run.name, RUN_KIND, summarize=summarize)
            stack.enter_context(record)
        collection_runs.promote_in_one_transaction(runs, target_site)


def _summarize_report(report: PromotionReport) -> dict[str, Any]:
    return {"by": report.by, "tables": [table.to_json() | {"samples": {}} for table in report.tables]}


def _prepare_published_files(target_site: Site, name: str) -> list[str]:
    """Let the target prepare the files of the collection; return what else is to be done there."""
    published_state = target_site.get_published_state()
    warnings = []
    try:
        publication.enqueue_file_preparation(target_site, published_state.resources[name])
    except HvenError as error:
        warnings.append(f"the files of {name} are not prepared: {error}")
    stale_tables = find_stale_table_warnings(target_site.published_records)
    return [*warnings, *(text for text in stale_tables if f" {name}." in text)]


def _link_pinned_directory(target: CollectionState) -> None:
    """Link the directory of the files of the published state; a promotion may have been killed before it did so."""
    if target.pinned_directory is not None:
        pinned_directories.link_current_directory(
            target.site.settings, target.name, target.pinned_directory, create_run_id()
        )


def list_refusals(plan: CollectionPlan, target_site: Site, options: PromotionOptions) -> list[HvenError]:
    """List the reasons for which a collection cannot be promoted.

    Parameters
    ----------
    plan
        What the promotion would do.
    target_site
        The target.
    options
        What the promotion may do.
    """
    origin, report = plan.origin, plan.report
    refusals: list[HvenError] = []
    faults = find_unusable_obscore_columns(origin.required_resource, origin.tables)
    faults = [fault for fault in faults if fault.severity == "error"]
    if faults:
        refusals.append(DescriptorError(faults))
    try:
        _check_source_descriptor(origin, target_site)
    except HvenError as error:
        refusals.append(error)
    if report.conflicts:
        remedy = (
            "make the same change on both sites, or add --overwrite instead of --merge to replace what the target has"
        )
        message = f"the changes of both sites to {origin.name} cannot be merged: {'; '.join(report.conflicts)}"
        refusals.append(ConflictError(message, remedy=remedy))
    if report.foreign_changes and report.has_changes and not (options.may_overwrite or options.may_merge):
        message = (
            f"the target has changes to {origin.name} that the source site lacks: {'; '.join(report.foreign_changes)}"
        )
        remedy = (
            "add --merge to keep what only the target changed, or --overwrite to replace it; --back restores that state"
        )
        refusals.append(ConflictError(message, remedy=remedy))
    wider_rights = [
        difference
        for difference in report.metadata.rights
        if difference.is_wider and difference.table not in options.widened_tables
    ]
    if wider_rights and not options.may_widen:
        texts = ", ".join(f"{item.table} ({item.before} -> {item.after})" for item in wider_rights)
        words = " ".join(f"--widen {item.table}" for item in wider_rights)
        remedy = f"correct the descriptor, or add --widen (hven promote: {words}) if you intend this"
        refusals.append(ConflictError(f"more people could see {texts}", remedy=remedy))
    return refusals


def _check_source_descriptor(origin: SourceCollection, target_site: Site) -> None:
    """Check the descriptor as the target reads it, so that faults have their lines in the file of the source site.

    Raises
    ------
    DescriptorError
        It has faults.
    UserError
        It describes the columns in another way, because the sites have other defaults or standards.
    """
    source_resource = origin.required_resource
    source_digests = origin.compute_description_digests()
    with select_packages_of(target_site.settings):
        resource = descriptor.load_descriptor(source_resource.path, target_site.settings)
        digests = compute_description_digests(resource)
    for table_name, digest in digests.items():
        if digest != source_digests.get(table_name):
            raise UserError(
                f"with the settings of the target, {source_resource.path} describes {table_name} differently",
                remedy="give both sites the same [defaults] in hven.toml, and the same files in standards/",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnReport:
    """What a return to an earlier publication did.

    Attributes
    ----------
    state
        Qualified table -> id of the snapshot that is published again.
    tables
        Qualified table -> number of rows, and whether their digest is that of the promotion; None: none is recorded.
        Without tables, the first promotion was taken back: the target does not publish the collection.
    """

    state: Mapping[str, str]
    tables: Mapping[str, tuple[int, bool | None]]


def return_collections(target_site: Site, names: Sequence[str]) -> dict[str, ReturnReport]:
    """Publish what the target published before the last promotion: rows, metadata, rights and files, all at once.

    A collection whose first promotion this was is not published any more.

    Parameters
    ----------
    target_site
        The target.
    names
        Names of the collections: all that were promoted together.

    Returns
    -------
    reports
        One for each collection.

    Raises
    ------
    ConflictError
        The published state does not come from a promotion, others were promoted with it, or a run changes a collection.
    NotFoundError
        The state before the last promotion is not kept, or the target has returned from the first one already.
    """
    names = sorted(set(names))
    store = target_site.store
    with ExitStack() as stack:
        states = []
        for name in names:  # nothing changes before all of them can return
            lease = store.leases.hold_lease(build_lease_name(name), description=f"the return of {name}")
            held_lease = stack.enter_context(lease)
            target = read_collection_state(target_site, name)
            _check_returnable(target, names)
            states.append((target, _find_earlier_records(target), held_lease))
        run = create_run_id()
        withdrawn_states = [target for target, records, _ in states if not records]
        with (
            store.runs.record_run(run, names[0], RETURN_RUN_KIND),
            publication.acquire_files_lease(target_site, wait_seconds=publication.SWEEP_TIMEOUT_SECONDS),
        ):
            # links first: servers do not read them, and a return that is killed here can be repeated
            for target in withdrawn_states:
                execute_steps_before_removal(target_site, target.name)
                promotion_run = str((target.last_promotion or {}).get("run", ""))
                pinned_directories.remove_current_link(target_site.settings, target.name, promotion_run)
            try:
                publications = [(target.name, records, lease) for target, records, lease in states]
                store.publish_collections(publications, run_id=run, action=RETURN_RUN_KIND)
            except BaseException:
                for target in withdrawn_states:
                    _link_pinned_directory(target)
                raise
        restored_states = {name: read_collection_state(target_site, name) for name in names}
        for restored in restored_states.values():
            _link_pinned_directory(restored)
        return {name: _report_return(restored) for name, restored in restored_states.items()}


def _check_returnable(target: CollectionState, names: Sequence[str]) -> None:
    name = target.name
    unpromoted = [table for table, record in target.records.items() if PROMOTION_KEY not in record.provenance]
    if not target.records or unpromoted:
        what = f"{', '.join(unpromoted)} does not come from a promotion" if unpromoted else "it publishes no rows of it"
        raise ConflictError(
            f"the target cannot return to what it published before the last promotion of {name}: {what}",
            remedy="run `hven history` and `hven rollback` on the target",
        )
    promotion = target.last_promotion or {}
    missing_names = []
    for other_name in set(promotion.get("together", ())) - {*names}:
        other_promotion = read_collection_state(target.site, other_name).last_promotion or {}
        if other_promotion.get("group") == promotion["group"]:
            missing_names.append(other_name)
    if missing_names:
        raise ConflictError(
            f"{name} was promoted together with {', '.join(sorted(missing_names))}",
            remedy=f"return all of them at once: name {' '.join(sorted({*names, *missing_names}))}",
        )


def _find_earlier_records(target: CollectionState) -> list[SnapshotRecord]:
    """Find the records that were published directly before the last promotion; none if it was the first one.

    Raises
    ------
    NotFoundError
        The target has returned from the first promotion already, or the state before the last one is not kept.
    """
    current_state = {name: record.id for name, record in target.records.items()}
    events = list_events_newest_first(target)
    position = next(
        (
            number
            for number, event in enumerate(events)
            if event.action == "publish" and dict(event.state) == current_state
        ),
        len(events),
    )
    earlier_events = [event for event in events[position + 1 :] if dict(event.state) != current_state]
    if not earlier_events or not earlier_events[0].state:
        is_last_change = all(dict(event.state) == current_state for event in events[:position])
        if position < len(events) and is_last_change:
            return []
        raise NotFoundError(
            f"{target.name}: the target has already returned to its first promotion, and published nothing before it",
            remedy=f"to publish nothing of it, run `hven remove {target.name}` on the target",
        )
    stored_records = {record.id: record for record in target.site.store.list_snapshots(target.name)}
    wanted_event, *older_events = earlier_events
    if stored_records.keys() >= set(wanted_event.state.values()):
        return [stored_records[snapshot_id] for snapshot_id in wanted_event.state.values()]
    remedy = "keep_snapshots in the hven.toml of the target sets how many are kept"
    for event in older_events:
        is_kept = event.state and stored_records.keys() >= set(event.state.values())
        if event.action == "publish" and is_kept:
            command = f"hven rollback {target.name} {event.run or next(iter(event.state.values()))}"
            remedy = f"{remedy}; to publish the state of {event.at} instead, run `{command}` on the target"
            break
    raise NotFoundError(
        f"{target.name}: the state that was published at {wanted_event.at}, before the last promotion, is not kept",
        remedy=remedy,
    )


def _report_return(restored: CollectionState) -> ReturnReport:
    """Report for each table whether it has the rows that were promoted then."""
    tables = {}
    for table_name, record in restored.records.items():
        promotion = record.provenance.get(PROMOTION_KEY)
        hashes = restored.open_rows(record).compute_hashes()
        is_same = None
        if promotion is not None:
            is_same = hashes.digest == promotion["digest"]
        tables[table_name] = (hashes.row_count, is_same)
    state = {table_name: record.id for table_name, record in restored.records.items()}
    return ReturnReport(state=state, tables=tables)
