"""Jobs: UWS job types, the job service that clients talk to, and the supervisor and workers that run jobs.

A job type is a module of this package, or one that the entry-point group ``hven.jobs`` names; it has `JOB`, a
:class:`JobDefinition`. Packages can make further types of what a site declares (:class:`JobTypeProvider`).
"""

from __future__ import annotations

from hven.jobs._job_types import (
    ACCESS_RULES_KEY,
    INPUT_FILES_DIRECTORY,
    QUERY_JOB_TYPE,
    JobDefinition,
    JobFailedError,
    JobTypeLimits,
    RunningJob,
    build_job_path,
)
from hven.jobs.type_catalogue import JobTypeProvider

__all__ = [
    "ACCESS_RULES_KEY",
    "INPUT_FILES_DIRECTORY",
    "QUERY_JOB_TYPE",
    "JobDefinition",
    "JobFailedError",
    "JobTypeLimits",
    "JobTypeProvider",
    "RunningJob",
    "build_job_path",
]
