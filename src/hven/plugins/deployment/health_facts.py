"""What operators see on ``/health`` about the system state, the directories, and all servers of the site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import HvenError
from hven.plugins.deployment.running_servers import get_running_servers, group_servers_by_variant, sum_connections

if TYPE_CHECKING:
    from hven.site import Site


def describe_health(site: Site) -> dict[str, Any]:
    """Describe the system state, the directories, and the servers that use the state now.

    Parameters
    ----------
    site
        The open site.
    """
    settings = site.settings
    kind = "sqlite"
    if (settings.store or "").startswith("postgresql"):
        kind = "postgresql"
    facts: dict[str, Any] = {
        "store": {"kind": kind},
        "directories": {
            "site": str(settings.directory),
            "var": str(settings.var_directory),
            "data": str(settings.data_directory),
        },
        "processes": site.counters.sum_process_counters().process_count,
    }
    try:
        running_servers = get_running_servers(site)
        facts["store"] |= running_servers.read_state_formats()
        servers = running_servers.list_servers()
    except HvenError:  # the health check of the store says so
        return facts
    return {**facts, "variants": group_servers_by_variant(servers), "connections": sum_connections(servers)}
