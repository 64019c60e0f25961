"""Records of jobs, their parameters and their results, for the users who may read them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.engines import Snapshot
from hven.jobs import ACCESS_RULES_KEY, QUERY_JOB_TYPE, build_job_path
from hven.jobs.job_service import JobRequester, JobService
from hven.jobs.type_catalogue import find_served_job_type
from hven.model.errors import HvenError
from hven.plugins.provenance.prov_records import ACTIVITY, AGENT, ENTITY, ProvRecord
from hven.plugins.provenance.provenance_search import MAX_MEMBERS, ProvStep, StepList
from hven.plugins.provenance.site_records import build_step_to_origin, limit_steps, step_to_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.plugins.provenance.reader_site import ReaderSite
    from hven.site.store import JobRecord

MAX_VALUE_CHARACTERS = 2_000  # of a parameter


class JobRecords:
    """Records of jobs, by the kind that begins their ids.

    Parameters
    ----------
    reader_site
        The tables that the reader may know of.
    requester
        The reader, as the service of jobs knows them.
    """

    def __init__(self, reader_site: ReaderSite, requester: JobRequester) -> None:
        self.reader_site = reader_site
        self.requester = requester
        self.finders: dict[str, Callable[[str], ProvRecord | None]] = {
            "job": self._find_job_record,
            "result": self._find_result,
            "parameter": self._find_parameter,
            "owner": self._find_owner,
            "jobtype": self._find_job_type,
        }
        self.backward_steps: dict[str, Callable[[str], StepList]] = {
            "job": self._list_job_origins,
            "result": self._list_result_origins,
        }
        self.forward_steps: dict[str, Callable[[str], StepList]] = {"job": self._list_job_products}
        self._jobs: dict[str, JobRecord | None] = {}
        self._known_types: set[str] = set()

    def find_job(self, job_id: str) -> JobRecord | None:
        """Return a job; None: there is none that the reader may read.

        Parameters
        ----------
        job_id
            Id of the job.
        """
        if job_id not in self._jobs:
            try:
                job_type = self.reader_site.site.store.jobs.get_job(job_id).type
                job_service = JobService(self.reader_site.site, job_type)
                self._jobs[job_id] = job_service.get_job(job_id, self.requester)
            except HvenError:
                self._jobs[job_id] = None
        return self._jobs[job_id]

    def _build_job_url(self, job: JobRecord) -> str:
        return self.reader_site.base_url + build_job_path(job.type, job.id)

    def _find_job_record(self, job_id: str) -> ProvRecord | None:
        job = self.find_job(job_id)
        if job is None:
            return None
        title = "Query"
        if job.type != QUERY_JOB_TYPE:
            title = job.type.capitalize()
        return ProvRecord(
            id=f"job/{job_id}",
            kind=ACTIVITY,
            label=f"{title} {job.run_id or job_id}",
            ivoa_type="Activity",
            attributes={
                "comment": f"phase {job.phase}",
                "url": self._build_job_url(job),
                "environment": job.progress.get("environment"),
            },
            started=job.started,
            ended=job.ended,
            url=self._build_job_url(job),
        )

    def _list_job_origins(self, job_id: str) -> StepList:
        job = self.find_job(job_id)
        if job is None:
            return StepList()
        record_id = f"job/{job_id}"
        steps = [
            step_to_target("used", record_id, f"parameter/{job_id}/{number}", role=name)
            for number, (name, _) in enumerate(job.parameters)
        ]
        table_names = dict.fromkeys([*job.progress.get(ACCESS_RULES_KEY, ()), *job.progress.get("tables", ())])
        steps += [self._build_table_use_step(job, name) for name in table_names if name in self.reader_site.tables]
        related_ids = [job.parent, *job.depends_on] if job.parent else job.depends_on
        steps += [step_to_target("wasInformedBy", record_id, f"job/{related_id}") for related_id in related_ids]
        if job.owner:
            plan = f"jobtype/{job.type}"
            self._known_types.add(plan)
            steps.append(step_to_target("wasAssociatedWith", record_id, f"owner/{job_id}", role="owner", plan=plan))
        return limit_steps(steps)

    def _build_table_use_step(self, job: JobRecord, table_name: str) -> ProvStep:
        """Build the use of a table, in the state that was published when the job began."""
        published = self.reader_site.tables[table_name]
        target = f"table/{table_name}"
        started = job.started or job.created
        if isinstance(published.relation, Snapshot):
            target = f"snapshot/{published.relation.id}"
            if published.updated > started and published.release is None:
                for event in self.reader_site.site.store.list_publication_events(published.table.schema):
                    if event.at <= started and table_name in event.state:
                        target = f"snapshot/{event.state[table_name]}"
                        break
        return step_to_target("used", f"job/{job.id}", target, role=table_name, time=job.started)

    def _list_job_products(self, job_id: str) -> StepList:
        job = self.find_job(job_id)
        if job is None:
            return StepList()
        record_id = f"job/{job_id}"
        steps = [
            build_step_to_origin("wasGeneratedBy", f"result/{job_id}/{result['id']}", record_id, role=result["id"])
            for result in job.results
        ]
        child_ids = self.reader_site.site.store.jobs.list_children(job_id)
        steps += [
            build_step_to_origin("wasInformedBy", f"job/{child_id}", record_id) for child_id in child_ids[:MAX_MEMBERS]
        ]
        return StepList(steps, max(len(child_ids) - MAX_MEMBERS, 0))

    def _find_result(self, name: str) -> ProvRecord | None:
        job_id, _, result_name = name.partition("/")
        job = self.find_job(job_id)
        for result in () if job is None else job.results:
            if job is not None and result["id"] == result_name:
                url = f"{self._build_job_url(job)}/results/{quote(result_name)}"
                return ProvRecord(
                    id=f"result/{name}",
                    kind=ENTITY,
                    label=f"Result {result_name}",
                    ivoa_type="DatasetEntity",
                    attributes={"location": url, "bytes": result["bytes"], "media_type": result["media_type"]},
                    url=url,
                )
        return None

    def _list_result_origins(self, name: str) -> StepList:
        job_id, _, result_name = name.partition("/")
        return StepList([step_to_target("wasGeneratedBy", f"result/{name}", f"job/{job_id}", role=result_name)])

    def _find_parameter(self, name: str) -> ProvRecord | None:
        job_id, _, number_text = name.partition("/")
        job = self.find_job(job_id)
        if job is None or not number_text.isdecimal() or int(number_text) >= len(job.parameters):
            return None
        parameter_name, value = job.parameters[int(number_text)]
        comment = None
        if len(value) > MAX_VALUE_CHARACTERS:
            comment = f"The value has {len(value):,} characters; these are the first {MAX_VALUE_CHARACTERS:,}."
        return ProvRecord(
            id=f"parameter/{name}",
            kind=ENTITY,
            label=parameter_name,
            ivoa_type="Parameter",
            attributes={"value": value[:MAX_VALUE_CHARACTERS], "comment": comment},
        )

    def _find_owner(self, job_id: str) -> ProvRecord | None:
        job = self.find_job(job_id)
        if job is None or not job.owner:
            return None
        return ProvRecord(id=f"owner/{job_id}", kind=AGENT, label=job.owner, w3c_type="Person", ivoa_type="Agent")

    def _find_job_type(self, name: str) -> ProvRecord | None:
        record_id = f"jobtype/{name}"
        is_known = record_id in self._known_types
        if not is_known and find_served_job_type(self.reader_site.site.settings, name) is None:
            return None
        return ProvRecord(
            id=record_id,
            kind=ENTITY,
            label=f"Jobs of the type {name}",
            w3c_type="Plan",
            ivoa_type="ActivityDescription",
        )
