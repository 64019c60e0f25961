"""The checks of ``hven check`` that need the published rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hven.app._cli.context import open_site
from hven.app._cli.dead_links import check_collection_links
from hven.ingest.api.runs import run_collection_examples, run_collection_tests
from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Collection

    import typer

    from hven.model.errors import Fault
    from hven.portal.panes import TablePane


def check_published_collections(
    context: typer.Context,
    panes: Collection[TablePane],
    collections: list[str],
    *,
    run_descriptor_tests: bool,
    run_example_queries: bool,
    follow_links: bool,
    destination: str | None,
) -> list[Fault]:
    """Check panes, tests, example queries, links and deliveries on the rows that are published."""
    faults: list[Fault] = []
    delivery_checks = plugins.load_extensions("check.deliveries") if destination else ()
    with open_site(context) as site:
        for pane in panes:
            faults += pane.find_pane_faults(site)
        for collection_name in collections:
            if run_descriptor_tests:
                faults += run_collection_tests(site, collection_name)
            if run_example_queries:
                faults += run_collection_examples(site, collection_name)
            if follow_links:
                link_faults, link_summary = check_collection_links(site, collection_name)
                for module in plugins.load_extensions("hven.link_checks"):
                    module.record_link_check(site, collection_name, link_faults)
                faults += link_faults
                print(link_summary, file=sys.stderr)
            for module in delivery_checks:
                faults += module.find_delivery_faults(site, collection_name, destination)
    return faults
