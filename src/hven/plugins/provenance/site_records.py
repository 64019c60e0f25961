"""Records of what a site publishes: collections, tables, snapshots, releases, and their runs, files and people."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hven.engines import Snapshot
from hven.model.errors import ParamError
from hven.plugins.provenance.prov_records import ACTIVITY, AGENT, ENTITY, ProvRecord, ProvRelation
from hven.plugins.provenance.provenance_search import MAX_MEMBERS, ProvStep, StepList
from hven.plugins.provenance.reader_site import strip_private_name_parts
from hven.portal.api.page_rows import build_table_address
from hven.sources.kind_traits import is_made_by_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.model.resource import CollectionSpec, DoiRecord, Person
    from hven.plugins.provenance.reader_site import ReaderSite, SnapshotOrigin
    from hven.site import PublishedTable

RUN_TITLES = {
    "ingest": "Ingest",
    "sync": "Synchronisation",
    "push": "Push by a client",
    "move": "Move to another engine",
}
CHANGE_RUN_KINDS = frozenset({"sync", "push"})  # runs that change the rows of the previous snapshot


def step_to_target(kind: str, origin: str, target: str, **details: Any) -> ProvStep:
    """Build a step from the origin of a relation to its target.

    Parameters
    ----------
    kind, origin, target
        The relation.
    details
        Further attributes of the relation.
    """
    return ProvStep(ProvRelation(kind=kind, origin=origin, target=target, **details), target)


def build_step_to_origin(kind: str, origin: str, target: str, **details: Any) -> ProvStep:
    """Build a step from the target of a relation to its origin.

    Parameters
    ----------
    kind, origin, target
        The relation.
    details
        Further attributes of the relation.
    """
    return ProvStep(ProvRelation(kind=kind, origin=origin, target=target, **details), origin)


def limit_steps(steps: Sequence[ProvStep]) -> StepList:
    """Return at most `MAX_MEMBERS` steps.

    Parameters
    ----------
    steps
        All steps.
    """
    return StepList(steps[:MAX_MEMBERS], max(len(steps) - MAX_MEMBERS, 0))


class SiteRecords:
    """Records of what a reader may know of a site, by the kind that begins their ids.

    Parameters
    ----------
    reader_site
        The tables that the reader may know of.
    """

    def __init__(self, reader_site: ReaderSite) -> None:
        self.reader_site = reader_site
        self.finders: dict[str, Callable[[str], ProvRecord | None]] = {
            "collection": self._find_collection,
            "table": self._find_table,
            "snapshot": self._find_snapshot,
            "release": self._find_release,
            "registration": self._find_registration,
            "run": self._find_run,
            "task": self._find_task,
            "source": self._find_source,
            "file": self._find_file,
            "descriptor": self._find_descriptor,
            "person": self._find_person,
            "organization": self._find_organization,
            "software": self._find_software,
            "account": self._find_account,
        }
        self.backward_steps: dict[str, Callable[[str], StepList]] = {
            "collection": self._list_collection_origins,
            "table": self._list_table_origins,
            "snapshot": self._list_snapshot_origins,
            "release": self._list_release_members,
            "registration": self._list_registration_origins,
            "run": self._list_run_origins,
            "task": self._list_task_origins,
            "source": self._list_source_files,
        }
        self.forward_steps: dict[str, Callable[[str], StepList]] = {
            "collection": self._list_collection_products,
            "table": self._list_table_views,
            "snapshot": self._list_snapshot_products,
            "release": self._list_release_products,
            "run": self._list_run_products,
            "task": self._list_task_products,
            "source": self._list_source_uses,
        }
        self._file_facts: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._run_plans: set[str] = set()

    # --- collections and people ------------------------------------------------------------------------------

    def _find_collection(self, name: str) -> ProvRecord | None:
        resource = self.reader_site.collections.get(name)
        if resource is None:
            return None
        authority = self.reader_site.site.settings.find_collection_authority(name)
        return ProvRecord(
            id=f"collection/{name}",
            kind=ENTITY,
            label=resource.title or name,
            w3c_type="Collection",
            ivoa_type="Collection",
            attributes={
                "identifier": f"https://doi.org/{resource.doi}" if resource.doi else f"ivo://{authority}/{name}",
                "licence": resource.licence_url or resource.licence,
            },
            url=self.reader_site.build_url("collections", name),
        )

    def _list_collection_origins(self, name: str) -> StepList:
        record_id = f"collection/{name}"
        names = self.reader_site.tables_by_collection[name]
        members = limit_steps([step_to_target("hadMember", record_id, f"table/{table}") for table in names])
        agents = self._list_attribution_steps(record_id, self.reader_site.collections[name])
        return StepList([*agents, *members.steps], members.left_out_count)

    def _list_attribution_steps(self, record_id: str, resource: CollectionSpec) -> list[ProvStep]:
        steps = [
            step_to_target("wasAttributedTo", record_id, f"person/{person.name}", role="creator")
            for person in resource.creators
        ]
        if resource.publisher:
            target = f"organization/{resource.publisher}"
            steps.append(step_to_target("wasAttributedTo", record_id, target, role="publisher"))
        return steps

    @cached_property
    def _people(self) -> dict[str, Person]:
        resources = self.reader_site.collections.values()
        return {person.name: person for resource in resources for person in resource.creators}

    def _find_person(self, name: str) -> ProvRecord | None:
        person = self._people.get(name)
        if person is None:
            return None
        url = f"https://orcid.org/{person.orcid.rpartition('/')[2]}" if person.orcid else person.url
        return ProvRecord(
            id=f"person/{name}",
            kind=AGENT,
            label=name,
            w3c_type="Person",
            ivoa_type="Agent",
            attributes={"affiliation": person.affiliation, "url": url},
            url=url or "",
        )

    def _find_organization(self, name: str) -> ProvRecord | None:
        resources = self.reader_site.collections.values()
        if not any(resource.publisher == name for resource in resources):
            return None
        record_id = f"organization/{name}"
        return ProvRecord(id=record_id, kind=AGENT, label=name, w3c_type="Organization", ivoa_type="Agent")

    def _find_software(self, name: str) -> ProvRecord | None:
        if not self._has_made_known_snapshot(f"software/{name}"):
            return None
        label = name.replace("/", " ")
        return ProvRecord(id=f"software/{name}", kind=AGENT, label=label, w3c_type="SoftwareAgent", ivoa_type="Agent")

    def _find_account(self, name: str) -> ProvRecord | None:
        account, _, collection = name.partition("/")
        if not self.reader_site.can_see_account(account, collection):
            return None
        return ProvRecord(id=f"account/{name}", kind=AGENT, label=account, w3c_type="Person", ivoa_type="Agent")

    # --- tables and snapshots --------------------------------------------------------------------------------

    def _find_table(self, name: str) -> ProvRecord | None:
        published = self.reader_site.tables.get(name)
        if published is None:
            return None
        comment = None
        if published.relation is not None and not isinstance(published.relation, Snapshot):
            comment = "Hven reads its rows in place."
        return ProvRecord(
            id=f"table/{name}",
            kind=ENTITY,
            label=published.table.title or name,
            ivoa_type="DatasetEntity",
            attributes={"identifier": name, "comment": comment},
            url=build_table_address(self.reader_site.base_url, published.table),
        )

    def _list_table_origins(self, name: str) -> StepList:
        published = self.reader_site.tables[name]
        record_id = f"table/{name}"
        steps = []
        if published.resource is not None:
            steps += self._list_attribution_steps(record_id, self._get_reader_resource(published.resource))
        if isinstance(published.relation, Snapshot):
            steps.append(build_step_to_origin("specializationOf", f"snapshot/{published.relation.id}", record_id))
            return StepList(steps)
        names = published.members or published.read_tables
        read_names = [read_name for read_name in names if read_name in self.reader_site.tables]
        reads = limit_steps([step_to_target("wasDerivedFrom", record_id, f"table/{read}") for read in read_names])
        return StepList([*steps, *reads.steps], reads.left_out_count)

    def _get_reader_resource(self, resource: CollectionSpec) -> CollectionSpec:
        """Return a collection as the reader may know it: without people if they review it blind."""
        return self.reader_site.published_state.resources.get(resource.name, resource)

    def _list_table_views(self, name: str) -> StepList:
        views = []
        for view_name, published in self.reader_site.tables.items():
            if name in published.read_tables or (published.members and name in set(published.members)):
                views.append(build_step_to_origin("wasDerivedFrom", f"table/{view_name}", f"table/{name}"))
        return limit_steps(views)

    def _find_snapshot(self, snapshot_id: str) -> ProvRecord | None:
        origin = self.reader_site.find_origin(snapshot_id)
        if origin is None:
            return None
        comment = None
        if origin.is_whole and origin.row_count is not None:
            comment = "1 row" if origin.row_count == 1 else f"{origin.row_count:,} rows"
        published_tables = self.reader_site.tables_by_snapshot.get(snapshot_id, ())
        url = ""
        if published_tables:
            url = build_table_address(self.reader_site.base_url, published_tables[0].table)
        return ProvRecord(
            id=f"snapshot/{snapshot_id}",
            kind=ENTITY,
            label=f"{origin.table_name}, state of {origin.created[:16].replace('T', ' ')}",
            ivoa_type="DatasetEntity",
            attributes={"created": origin.created, "comment": comment, "identifier": snapshot_id},
            url=url,
        )

    def _list_snapshot_origins(self, snapshot_id: str) -> StepList:
        origin = self._get_origin(snapshot_id)
        record_id = f"snapshot/{snapshot_id}"
        is_made_here = self._is_made_from_site_tables(origin)
        activity = f"task/{snapshot_id}" if is_made_here else f"run/{origin.run_id}"
        steps = [step_to_target("wasGeneratedBy", record_id, activity, role="rows", time=origin.created)]
        if not is_made_here:
            steps.append(step_to_target("wasDerivedFrom", record_id, f"source/{snapshot_id}"))
        steps += [
            step_to_target("wasDerivedFrom", record_id, f"snapshot/{name}")
            for name in self._list_input_snapshots(origin)
        ]
        run = self.reader_site.find_stored_run(origin.run_id)
        if run is not None and run.kind in CHANGE_RUN_KINDS:
            previous_id = self.reader_site.find_previous_snapshot(origin)
            if previous_id is not None:
                step = step_to_target("wasDerivedFrom", record_id, f"snapshot/{previous_id}", is_revision=True)
                steps.append(step)
        return limit_steps(steps)

    def _get_origin(self, snapshot_id: str) -> SnapshotOrigin:
        origin = self.reader_site.find_origin(snapshot_id)
        if origin is None:  # the search only expands records that it has found
            raise ParamError(f"there is no snapshot {snapshot_id!r:.80}", name="ID")
        return origin

    def _list_input_snapshots(self, origin: SnapshotOrigin) -> Iterable[str]:
        """List the snapshots that a snapshot was made from, and of which the reader may know."""
        inputs: Mapping[str, str] = origin.provenance.get("inputs") or {}
        return [snapshot for table, snapshot in inputs.items() if table in self.reader_site.tables]

    def _is_made_from_site_tables(self, origin: SnapshotOrigin) -> bool:
        """Return whether a snapshot was made from other tables of the site alone."""
        spec = self.reader_site.find_table_spec(origin.table_name)
        if spec is None or not origin.provenance.get("inputs") or not spec.sources:
            return False
        return all(map(is_made_by_queries, spec.sources))

    def _list_snapshot_products(self, snapshot_id: str) -> StepList:
        record_id = f"snapshot/{snapshot_id}"
        steps = []
        for published in self.reader_site.tables_by_snapshot.get(snapshot_id, ()):
            if published.release is None:
                target = f"table/{published.table.qualified_name}"
                steps.append(step_to_target("specializationOf", record_id, target))
            else:
                steps.append(build_step_to_origin("hadMember", _write_release_id(published), record_id))
        for product_id in self.reader_site.snapshots_by_input.get(snapshot_id, ()):
            steps.append(build_step_to_origin("wasDerivedFrom", f"snapshot/{product_id}", record_id))
            if self._is_made_from_site_tables(self._get_origin(product_id)):
                steps.append(build_step_to_origin("used", f"task/{product_id}", record_id))
        return limit_steps(steps)

    # --- releases --------------------------------------------------------------------------------------------

    @cached_property
    def releases(self) -> Mapping[str, list[PublishedTable]]:
        """The tables of each release by the id of its record."""
        released_tables_by_name: dict[str, list[PublishedTable]] = {}
        for published in self.reader_site.tables.values():
            if published.release is not None:
                released_tables_by_name.setdefault(_write_release_id(published), []).append(published)
        return released_tables_by_name

    def _find_release(self, name: str) -> ProvRecord | None:
        published_tables = self.releases.get(f"release/{name}")
        if not published_tables or published_tables[0].release is None:
            return None
        release = published_tables[0].release
        doi = self.reader_site.site.identifiers.map_dois().get((release.collection, release.label))
        return ProvRecord(
            id=f"release/{name}",
            kind=ENTITY,
            label=f"Release {release.label} of {release.collection}",
            w3c_type="Collection",
            ivoa_type="Collection",
            attributes={
                "created": release.created,
                "comment": release.description,
                "identifier": f"https://doi.org/{doi}" if doi else None,
            },
            url=self.reader_site.build_url("collections", release.collection, "releases", release.label),
        )

    def _list_release_members(self, name: str) -> StepList:
        record_id = f"release/{name}"
        snapshots = [item.relation.id for item in self.releases[record_id] if isinstance(item.relation, Snapshot)]
        return limit_steps([step_to_target("hadMember", record_id, f"snapshot/{snapshot}") for snapshot in snapshots])

    # --- DOIs ------------------------------------------------------------------------------------------------

    @cached_property
    def registrations(self) -> Mapping[str, DoiRecord]:
        """The registered DOIs of collections and releases, by the ids of their registrations."""
        identifiers = self.reader_site.site.identifiers
        subjects = [*(f"collection/{name}" for name in self.reader_site.collections), *self.releases]
        known_dois = identifiers.map_dois()
        registrations = {}
        for subject in subjects:
            collection, _, label = subject.partition("/")[2].partition("/")
            if (collection, label) in known_dois:
                doi_record = identifiers.find_doi_record(collection, label)
                if doi_record is not None:
                    registrations[f"registration/{subject}"] = doi_record
        return registrations

    def _find_registration(self, name: str) -> ProvRecord | None:
        doi_record = self.registrations.get(f"registration/{name}")
        if doi_record is None:
            return None
        url = f"https://doi.org/{doi_record.doi}"
        return ProvRecord(
            id=f"registration/{name}",
            kind=ACTIVITY,
            label=f"Registration of DOI {doi_record.doi}",
            ivoa_type="Activity",
            attributes={"identifier": url, "comment": "withdrawn" if doi_record.state == "withdrawn" else None},
            ended=doi_record.changed or None,
            url=url,
        )

    def _list_registration_origins(self, name: str) -> StepList:
        record_id = f"registration/{name}"
        steps = [step_to_target("used", record_id, name, role="resource")]
        resource = self.reader_site.collections.get(self.registrations[record_id].collection)
        if resource is not None and resource.publisher:
            target = f"organization/{resource.publisher}"
            steps.append(step_to_target("wasAssociatedWith", record_id, target, role="publisher"))
        return StepList(steps)

    def _add_registration(self, subject: str, step_list: StepList) -> StepList:
        registration = f"registration/{subject}"
        if registration not in self.registrations:
            return step_list
        step = build_step_to_origin("used", registration, subject, role="resource")
        return StepList([step, *step_list.steps], step_list.left_out_count)

    def _list_collection_products(self, name: str) -> StepList:
        return self._add_registration(f"collection/{name}", self._list_collection_origins(name))

    def _list_release_products(self, name: str) -> StepList:
        return self._add_registration(f"release/{name}", self._list_release_members(name))

    # --- runs ------------------------------------------------------------------------------------------------

    def _find_run(self, run_id: str) -> ProvRecord | None:
        snapshot_ids = self.reader_site.list_run_snapshots(run_id)
        if not snapshot_ids:
            return None
        run = self.reader_site.find_stored_run(run_id)
        kind = "ingest" if run is None else run.kind
        collection = self._get_origin(snapshot_ids[0]).collection_name
        return ProvRecord(
            id=f"run/{run_id}",
            kind=ACTIVITY,
            label=f"{RUN_TITLES.get(kind, kind.capitalize())} of {collection}",
            ivoa_type="Activity",
            attributes={"comment": f"run {run_id}"},
            started=None if run is None else run.started,
            ended=None if run is None else run.ended,
        )

    def _list_run_origins(self, run_id: str) -> StepList:
        record_id = f"run/{run_id}"
        origins = [self._get_origin(snapshot_id) for snapshot_id in self.reader_site.list_run_snapshots(run_id)]
        steps = [
            step_to_target("used", record_id, f"source/{origin.id}", role=origin.table_name)
            for origin in origins
            if not self._is_made_from_site_tables(origin)
        ]
        steps.append(self._record_software_step(record_id, origins[0]))
        run = self.reader_site.find_stored_run(run_id)
        account = None
        if run is not None:
            account = run.summary.get("by")
        if run is not None and account:
            target = f"account/{account}/{run.collection}"
            steps.append(step_to_target("wasAssociatedWith", record_id, target, role="operator"))
        return limit_steps(steps)

    def _record_software_step(self, record_id: str, origin: SnapshotOrigin) -> ProvStep:
        software = str(origin.provenance.get("software", "hven")).replace(" ", "/")
        plan = f"descriptor/{origin.collection_name}/{compute_descriptor_digest(origin)}"
        target = f"software/{software}"
        self._run_plans |= {plan, target}
        return step_to_target("wasAssociatedWith", record_id, target, role="software", plan=plan)

    def _has_made_known_snapshot(self, record_id: str) -> bool:
        """Return whether a descriptor or software made a snapshot of which the reader knows."""
        if record_id not in self._run_plans:
            for snapshot_id in self.reader_site.tables_by_snapshot:
                self._record_software_step("", self._get_origin(snapshot_id))
        return record_id in self._run_plans

    def _list_run_products(self, run_id: str) -> StepList:
        record_id = f"run/{run_id}"
        steps = []
        for snapshot_id in self.reader_site.list_run_snapshots(run_id):
            if self._is_made_from_site_tables(self._get_origin(snapshot_id)):
                steps.append(build_step_to_origin("wasInformedBy", f"task/{snapshot_id}", record_id))
            else:
                steps.append(self._build_generation_step(snapshot_id, record_id))
        return limit_steps(steps)

    def _build_generation_step(self, snapshot_id: str, activity: str) -> ProvStep:
        created = self._get_origin(snapshot_id).created
        return build_step_to_origin("wasGeneratedBy", f"snapshot/{snapshot_id}", activity, role="rows", time=created)

    def _find_task(self, snapshot_id: str) -> ProvRecord | None:
        origin = self.reader_site.find_origin(snapshot_id)
        if origin is None or not self._is_made_from_site_tables(origin):
            return None
        spec = self.reader_site.find_table_spec(origin.table_name)
        kinds = []
        if spec is not None:
            kinds = list(dict.fromkeys(source.kind for source in spec.sources))
        kind_text = ", ".join(kinds)
        run = self.reader_site.find_stored_run(origin.run_id)
        return ProvRecord(
            id=f"task/{snapshot_id}",
            kind=ACTIVITY,
            label=f"{kind_text.capitalize()}: {origin.table_name}",
            ivoa_type="Activity",
            started=None if run is None else run.started,
            ended=origin.created,
        )

    def _list_task_origins(self, snapshot_id: str) -> StepList:
        origin = self._get_origin(snapshot_id)
        record_id = f"task/{snapshot_id}"
        inputs = self._list_input_snapshots(origin)
        steps = [
            step_to_target("used", record_id, f"snapshot/{name}", role=self._get_origin(name).table_name)
            for name in inputs
            if self.reader_site.find_origin(name) is not None
        ]
        steps.append(self._record_software_step(record_id, origin))
        steps.append(step_to_target("wasInformedBy", record_id, f"run/{origin.run_id}"))
        return limit_steps(steps)

    def _list_task_products(self, snapshot_id: str) -> StepList:
        return StepList([self._build_generation_step(snapshot_id, f"task/{snapshot_id}")])

    # --- what runs read --------------------------------------------------------------------------------------

    def _find_source(self, snapshot_id: str) -> ProvRecord | None:
        origin = self.reader_site.find_origin(snapshot_id)
        if origin is None or self._is_made_from_site_tables(origin):
            return None
        run = self.reader_site.find_stored_run(origin.run_id)
        files = origin.files
        record_id = f"source/{snapshot_id}"
        if run is not None and run.kind == "push":
            return ProvRecord(id=record_id, kind=ENTITY, label="Rows that clients sent", ivoa_type="DatasetEntity")
        if len(files) == 1:
            return _build_file_record(record_id, files[0])
        return ProvRecord(
            id=record_id,
            kind=ENTITY,
            label=f"{len(files):,} source files" if files else "Source",
            w3c_type="Collection",
            ivoa_type="Collection",
        )

    def _list_source_files(self, snapshot_id: str) -> StepList:
        files = self._get_origin(snapshot_id).files
        if len(files) < 2:
            return StepList()
        record_id = f"source/{snapshot_id}"
        steps = [
            step_to_target("hadMember", record_id, f"file/{snapshot_id}/{strip_private_name_parts(str(facts['name']))}")
            for facts in files[:MAX_MEMBERS]
        ]
        return StepList(steps, len(files) - len(steps))

    def _list_source_uses(self, snapshot_id: str) -> StepList:
        origin = self._get_origin(snapshot_id)
        record_id, run = f"source/{snapshot_id}", f"run/{origin.run_id}"
        derivation = build_step_to_origin("wasDerivedFrom", f"snapshot/{snapshot_id}", record_id)
        return StepList([build_step_to_origin("used", run, record_id, role=origin.table_name), derivation])

    def _find_file(self, name: str) -> ProvRecord | None:
        snapshot_id, _, file_name = name.partition("/")
        if snapshot_id not in self._file_facts:
            origin = self.reader_site.find_origin(snapshot_id)
            files = () if origin is None else origin.files
            self._file_facts[snapshot_id] = {strip_private_name_parts(str(facts["name"])): facts for facts in files}
        facts = self._file_facts[snapshot_id].get(file_name)
        if facts is None:
            return None
        return _build_file_record(f"file/{name}", facts)

    def _find_descriptor(self, name: str) -> ProvRecord | None:
        collection, _, digest = name.partition("/")
        if not self._has_made_known_snapshot(f"descriptor/{name}"):
            return None
        return ProvRecord(
            id=f"descriptor/{name}",
            kind=ENTITY,
            label=f"Descriptor of {collection}",
            w3c_type="Plan",
            ivoa_type="ActivityDescription",
            attributes={"checksum": digest},
        )


def _write_release_id(published: PublishedTable) -> str:
    release = published.release
    if release is None:
        return ""
    return f"release/{release.collection}/{release.label}"


def compute_descriptor_digest(origin: SnapshotOrigin) -> str:
    """Compute a digest of the descriptor that made a snapshot, with its function and lookup files.

    Parameters
    ----------
    origin
        Origin of the snapshot.
    """
    hashes = sorted((origin.provenance.get("hashes") or {}).items())
    return hashlib.sha256(repr(hashes).encode()).hexdigest()[:16]


def _build_file_record(record_id: str, facts: Mapping[str, Any]) -> ProvRecord:
    name = strip_private_name_parts(str(facts["name"]))
    return ProvRecord(
        id=record_id,
        kind=ENTITY,
        label=name,
        ivoa_type="DatasetEntity",
        attributes={
            "location": name,
            "bytes": facts.get("bytes"),
            "modified": facts.get("modified"),
            "checksum": facts.get("sha256"),
        },
    )
