"""``hven check`` of the engine hats: the cluster's version, the Python and the Hven of its workers, who does not see the roots; and what is wrong with catalogues of others."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import hven
from hven.engines.hats.adopting import adopted
from hven.engines.hats.reading import Reader
from hven.engines.hats.servers import NAME
from hven.engines.hats.settings import of
from hven.formats.hats_layout import on_web
from hven.model import plugins
from hven.model.errors import Fault, HvenError, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.engines.hats.cluster import Facts
    from hven.model.settings import Settings
    from hven.model.table import Table


def check(settings: Settings) -> Iterator[Fault | str]:
    """Ask the cluster that ``[hats]`` names, if it names one.

    Parameters
    ----------
    settings
        Of the site.

    Yields
    ------
    said
        What is wrong; a text says what is there.
    """
    said = of(settings)
    if said.spark is None:
        return
    place = Place(file="hven.toml")
    try:
        cluster = plugins.imported("hven.engines.hats.cluster", "the cluster").Cluster(settings.resolved(said.spark))
        try:
            facts = cluster.look([str(settings.directory / root) for root in said.roots])
        finally:
            cluster.close()
    except HvenError as error:  # it may be away today: the site is right nevertheless
        yield Fault(message=error.message, remedy=error.remedy or "", place=place, severity="warning")
        return
    yield f"the cluster at {cluster.where}: {NAME} {facts.version}{_workers(facts)}"
    yield from (Fault(message=text, remedy=remedy, place=place, severity="warning") for text, remedy in doubts(facts))


def _workers(facts: Facts) -> str:
    """Tell of the workers, if they said something."""
    hosts = sorted({host for some in facts.pythons.values() for host in some})
    if not hosts:
        return ""
    versions = " and ".join(f"Python {one}" for one in sorted(facts.pythons))
    ours = " and ".join(f"Hven {one}" if one else "no Hven" for one in sorted(facts.hvens))
    return f", {versions} with {ours} on {len(hosts)} host{'s' * (len(hosts) != 1)}"


def doubts(facts: Facts) -> Iterator[tuple[str, str]]:
    """Say what of a cluster will fail queries: text and remedy of each.

    Parameters
    ----------
    facts
        Of the cluster.
    """
    if facts.fault:
        yield (
            f"the workers of the cluster cannot compute functions of ours: {facts.fault}",
            "plain SQL goes on without them",
        )
    here = ".".join(map(str, sys.version_info[:2]))
    for python, hosts in facts.pythons.items():
        if python.rpartition(".")[0] != here:
            yield (
                f"the workers {_listed(hosts)} have Python {python}, and here is {here}",
                "give them the same minor version (spark.pyspark.python)",
            )
    for version, hosts in facts.hvens.items():
        if version != hven.__version__:
            yield (
                f"the workers {_listed(hosts)} have {f'Hven {version}' if version else 'no Hven'}, and here is {hven.__version__}: functions of ours fail there",
                f"pip install hven=={hven.__version__} in their Python; plain SQL goes on without it",
            )
    for root, hosts in facts.unseen.items():
        yield (
            f"the root {root} of [hats] is not seen by {_listed(hosts)} of the cluster",
            "mount it at the same path on all nodes, readable for who runs Spark",
        )


def _listed(hosts: Sequence[str], most: int = 5) -> str:
    return ", ".join(hosts[:most]) + (f" and {len(hosts) - most} more" if len(hosts) > most else "")


def adoptable(table: Table, place: str, columns: Mapping[str, str]) -> None:
    """Look at a catalogue of others, down to the footers of its files; what is behind an address is left to the ingest.

    Parameters
    ----------
    table
        As the descriptor has it.
    place
        Its directory, or its address.
    columns
        What columns of the table are called there.

    Raises
    ------
    SourceError
        It cannot be served where it is.
    """
    if on_web(place):
        return
    reader = Reader(None)
    try:
        adopted(table, place, reader, columns)
    finally:
        reader.close()


__all__ = ["adoptable", "check", "doubts"]
