"""The entry of a site in HAPI's list of servers (https://github.com/hapi-server/servers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.series import sample_sets
from hven.plugins.series.reader_view import ReaderView
from hven.plugins.series.time_texts import format_instant
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from hven.site import Site

LIST_NAME = "hapi"
TARGET_SAMPLES = 100  # samples of the test request, about; maintainers of HAPI's list use it to monitor servers


def build_server_entry(site: Site) -> dict[str, Any]:
    """Describe the server as its own /about does, with a test request that it must be able to answer.

    Raises
    ------
    UserError
        The site has no public address, no contact, or no public data set with samples.
    """
    settings = site.settings
    if not settings.public_url:
        raise UserError("the public address of the site is not set", remedy="set public_url in hven.toml")
    test_query = _build_test_request(site)
    contact = settings.contact_name or settings.contact_email
    if not contact:
        raise UserError("the contact of the site is not set", remedy="set contact_name and contact_email in hven.toml")
    entry: dict[str, Any] = {
        "x_url": f"{str(settings.public_url).rstrip('/')}/hapi",
        "id": settings.authority or settings.name,
        "title": settings.title or settings.name,
        "contact": contact,
    }
    if settings.contact_email:
        entry["contactID"] = settings.contact_email
    if settings.description:
        entry["description"] = settings.description
    entry["dataTest"] = {"name": "Last samples", "query": test_query}
    return entry


def _build_test_request(site: Site) -> dict[str, str]:
    """Build a request for about the last hundred samples of the first public data set.

    Raises
    ------
    UserError
        There is no public data set with samples.
    """
    service_context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    view = ReaderView(service_context, ANONYMOUS_PRINCIPAL, site.get_published_state())
    for data_set in sample_sets.list_data_sets(view, "hapi").values():
        extent = sample_sets.find_time_extent(view, data_set)
        if extent is None or not data_set.parameters:
            continue
        sample_span = extent.span * TARGET_SAMPLES // max(extent.row_count, 1) + 1
        start = extent.stop - min(sample_span, extent.span)
        return {
            "dataset": data_set.id,
            "start": format_instant(start),
            "stop": format_instant(extent.stop),
            "parameters": data_set.parameters[0].name,
        }
    raise UserError("there is no public data set with samples", remedy="add `series` to a descriptor")
