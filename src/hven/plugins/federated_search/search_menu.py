"""The searches over all tables of a standard that the menu of all pages has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import LruCache
from hven.model.errors import HvenError
from hven.plugins.federated_search.global_search import STANDARD_TITLES
from hven.portal.api.page_rows import classify_table_standard
from hven.portal.api.pages import find_portal_brand

if TYPE_CHECKING:
    from starlette.requests import Request

    from hven.services.face import ServiceContext


def _create_standards_cache() -> LruCache[tuple[tuple[str, str], ...]]:
    return LruCache(1000)


def list_searchable_standards(request: Request, context: ServiceContext) -> tuple[tuple[str, str], ...]:
    """List the standards whose tables the reader can search at once, here or at remote services of the site file.

    Parameters
    ----------
    request
        The request of a page.
    context
        The context of the service.

    Returns
    -------
    standards
        Kinds and titles of the standards.
    """
    brand = find_portal_brand(request, context.site.settings)
    try:
        published_state = context.site.get_published_state()
    except HvenError:  # error pages have a frame, too; the health page shows the error
        return ()
    catalogue = published_state.get_catalogue(context.identify_principal(request), context.policies)
    standards_cache = context.site.get_or_create(_create_standards_cache)
    remote = context.site.settings.remote
    # settings may change while the tables do not
    key = (published_state.version, catalogue.access_key, brand.portal, brand.collections, remote)
    cached_standards = standards_cache.find(key)
    if cached_standards is None:
        present_kinds: set[str] = {service.kind for service in remote}
        for table in catalogue.iterate_tables():
            is_published = table.qualified_name in published_state.tables_by_name
            is_shown = not brand.collections or table.schema in brand.collections
            if is_published and (is_shown or table.schema not in published_state.resources):
                present_kinds.add(classify_table_standard(table))
        cached_standards = tuple((kind, title) for kind, title in STANDARD_TITLES.items() if kind in present_kinds)
        standards_cache.store(key, cached_standards)
    return cached_standards
