"""Tell plug-in packages of the queries that run in this process."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from hven.model import plugins
from hven.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.query._planning import PlannedQuery
    from hven.query._query_result import QueryResult

log = logging.getLogger("hven")


class QueryObserver(ABC):
    """What a plug-in package does with the queries of services, pages and jobs.

    Records of packages name such classes (`hven.model.plugins.PluginPackage.query_observers`). A process has one object
    of each class for a site. Both methods are called in the thread of the query and take some microseconds at most.
    Queries whose answers are ready at once, such as those that an index answers, are not reported.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    @abstractmethod
    def start_query(self, result: QueryResult, planned: PlannedQuery) -> None:
        """Note that a query begins to run, or to wait for its turn.

        Parameters
        ----------
        result
            Its result, which has no rows yet.
        planned
            The query with its plan.
        """

    @abstractmethod
    def end_query(self, result: QueryResult, planned: PlannedQuery, duration_seconds: float) -> None:
        """Note that a query has ended.

        Parameters
        ----------
        result
            Its result, with the number of rows and the failure.
        planned
            The query with its plan.
        duration_seconds
            Seconds since it began, with waits for its turn and for its client.
        """


@plugins.cache_until_selection
def _load_query_observers() -> tuple[type[QueryObserver], ...]:
    return tuple(observer for _, observer in plugins.iterate_package_objects("query_observers"))


class QueryObserverGroup:
    """The query observers of a site in this process; errors of observers go to the log.

    Parameters
    ----------
    site
        The open site. An ingest queries its staged tables through a part of a site, which has no observers.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._classes: tuple[type[QueryObserver], ...] = ()
        self._observers: list[QueryObserver] = []

    def update_observers(self) -> Self:
        """Use the observers of the packages in use; return this group."""
        classes = _load_query_observers() if isinstance(self._site, Site) else ()
        if classes is not self._classes:
            observers = []
            for observer_class in classes:
                with _log_observer_errors():
                    observers.append(self._site.get_or_create(observer_class, self._site))
            self._observers, self._classes = observers, classes
        return self

    def report_start(self, planned: PlannedQuery, result: QueryResult) -> None:
        """Report a query that begins."""
        for observer in self._observers:
            with _log_observer_errors():
                observer.start_query(result, planned)

    def report_end(self, planned: PlannedQuery, result: QueryResult, duration_seconds: float) -> None:
        """Report a query that has ended."""
        for observer in self._observers:
            with _log_observer_errors():
                observer.end_query(result, planned, duration_seconds)


@contextmanager
def _log_observer_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        where = plugins.describe_error_origin(error)
        log.exception("a query could not be recorded (error in %s)", where)
