"""Tell plug-in packages of the requests that a server of the site has answered."""

from __future__ import annotations

import logging
from itertools import starmap
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from hven.model import plugins

if TYPE_CHECKING:
    from hven.model.table import Table
    from hven.site._request_usage import AnsweredRequest
    from hven.site._site import Site

log = logging.getLogger("hven")


class _CountedAnswerFacts(NamedTuple):
    """What is kept of a `CountedAnswer` after it was sent: the answer itself holds a query's plan."""

    tables: tuple[Table, ...]
    row_count: int
    row_limit: int | None


_get_facts = attrgetter(*_CountedAnswerFacts._fields)


class RequestObserver:
    """What a plug-in package does with the requests that a server of the site has answered.

    Records of packages name such classes (`hven.model.plugins.PluginPackage.request_observers`). A process that serves
    a site has one object of each class, `site.get_or_create(Observer, site)`.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    @staticmethod
    def reserve_shared_memory() -> None:
        """Prepare what the processes of a server share; called once, before they are forked."""

    def start(self) -> None:
        """Start what works beside requests, such as a thread; called in the processes of a server."""

    def stop(self) -> None:
        """Stop it, and write what is still to be written; the store of the site is open."""

    def record_request(self, request: AnsweredRequest) -> None:
        """Record a request after its answer was sent as a whole.

        It is called on the event loop, so that it may take some microseconds at most. Requests of services whose
        `hven.services.face.ServiceFace.is_usage_counted` is False are not reported.

        Parameters
        ----------
        request
            The request, and what it used.
        """


class RequestObserverGroup:
    """The request observers of a site in this process.

    Parameters
    ----------
    site
        The open site.

    Attributes
    ----------
    has_observers
        Whether a package in use has an observer that records requests.
    """

    def __init__(self, site: Site) -> None:
        self.has_observers = False
        self._site = site
        self._observers: tuple[RequestObserver, ...] = ()
        self._recorders: tuple[RequestObserver, ...] = ()
        self._is_started = False

    def update_observers(self) -> None:
        """Use the observers of the packages in use, and stop those of packages that the settings now leave out."""
        previous_observers = self._observers
        site = self._site
        self._observers = tuple(site.get_or_create(observer, site) for observer in load_request_observers())
        base_method = RequestObserver.record_request
        self._recorders = tuple(one for one in self._observers if type(one).record_request is not base_method)
        self.has_observers = bool(self._recorders)
        for observer in previous_observers:
            if observer not in self._observers:
                observer.stop()
        if self._is_started:
            for observer in self._observers:
                if observer not in previous_observers:
                    observer.start()

    def record_request(self, request: AnsweredRequest) -> None:
        """Report a request to all observers; an error of one goes to the log.

        Parameters
        ----------
        request
            The request.
        """
        usage = request.usage  # observers may keep it
        usage.answers = tuple(starmap(_CountedAnswerFacts, map(_get_facts, usage.answers)))
        for observer in self._recorders:
            try:
                observer.record_request(request)
            except Exception as error:
                where = plugins.describe_error_origin(error)
                log.exception("a request could not be recorded (error in %s)", where)

    def start(self) -> None:
        """Start what works beside requests."""
        self._is_started = True
        for observer in self._observers:
            observer.start()

    def stop(self) -> None:
        """Stop all observers, before the site is closed."""
        for observer in self._observers:
            observer.stop()


def load_request_observers() -> list[type[RequestObserver]]:
    """Load the observers of the packages in use; one that cannot be loaded is left out, and goes to the log."""
    return [observer for _, observer in plugins.iterate_package_objects("request_observers")]


def reserve_request_observer_memory() -> None:
    """Prepare what the processes of a server share for their observers; called once, before they are forked."""
    for observer in load_request_observers():
        observer.reserve_shared_memory()
