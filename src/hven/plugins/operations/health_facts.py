"""What operators see on ``/health`` about queries that run for long; their texts are on ``/operations``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.plugins.operations.query_log import read_running_slow_queries

if TYPE_CHECKING:
    from hven.site import Site

SHOWN_KEYS = ("seconds", "service", "user", "time")  # with the setting health.open, everybody sees them


def describe_health(site: Site) -> dict[str, Any]:
    """Describe the queries that run for long in all processes of this machine.

    Parameters
    ----------
    site
        The open site.
    """
    queries = read_running_slow_queries(site.settings)
    return {"slow_queries": [{key: query.get(key) for key in SHOWN_KEYS} for query in queries]}
