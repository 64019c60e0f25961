"""Run waiting jobs in other processes, beside a server or without one."""

from __future__ import annotations

from hven.jobs.child_processes import fork_process, send_signal
from hven.jobs.job_supervisor import run_job_supervisor

__all__ = ["fork_process", "run_job_supervisor", "send_signal"]
