"""Jobs: UWS job types, the job service that clients talk to, and the supervisor and workers that run jobs.

A job type is a module of this package, or one that the entry-point group ``hven.jobs`` names; it has `JOB`, a
:class:`JobDefinition`.
"""

from __future__ import annotations

from hven.jobs._job_types import ACCESS_RULES_KEY, JobDefinition, JobTypeLimits, RunningJob

__all__ = ["ACCESS_RULES_KEY", "JobDefinition", "JobTypeLimits", "RunningJob"]
