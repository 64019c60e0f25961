"""Check what an ingest needs apart from files, before there is one.

These are the secrets that sources name, the databases and services that they read, and the options that only the source
itself can parse.
"""

from __future__ import annotations

import re
import socket
from concurrent.futures import Future
from functools import partial
from threading import Lock, Semaphore, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hven.model import plugins
from hven.model.errors import Fault, HvenError, SourceError
from hven.model.settings import resolve_secret
from hven.sources import SourceContext, file_kinds, http_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hven.model.errors import TextPlace
    from hven.model.resource import CollectionSpec, SourceSpec
    from hven.model.settings import Settings
    from hven.sources import DatabaseSignature

CONNECT_TIMEOUT_SECONDS = 3.0
PROBE_TIMEOUT_SECONDS = 8.0  # of all probes of a collection together; they run at the same time
MAX_CONCURRENT_PROBES = 16  # several, because some may wait for servers that are away
_SECRET_PATTERN = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
_DOLLAR_OPTIONS = {"fields", "each", "query", "null"}  # in these options a dollar sign has another meaning
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ServerProbes:
    """Probe servers: send one request to each address, to a few addresses at a time.

    All collections of an archive may name one database, which accepts only some connections.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._free_slots = Semaphore(MAX_CONCURRENT_PROBES)
        self._futures: dict[tuple[str, str], Future[str | None]] = {}

    def start_probe(self, server: tuple[str, str], probe: Callable[[], str | None]) -> Future[str | None]:
        """Start the probe of a server in a daemon thread, unless there is one.

        Parameters
        ----------
        server
            Label and address.
        probe
            Returns why the server does not respond, or None. A resolver or a driver may take minutes.

        Returns
        -------
        future
            Has what `probe` returns.
        """
        with self._lock:
            future = self._futures.get(server)
            if future is None:
                future = self._futures[server] = Future()
                Thread(target=self._run_probe, args=(future, probe), daemon=True, name="check").start()
        return future

    def _run_probe(self, future: Future[str | None], probe: Callable[[], str | None]) -> None:
        with self._free_slots:
            try:
                result = probe()
            except BaseException as error:  # noqa: BLE001  (the caller gets it)
                future.set_exception(error)
            else:
                future.set_result(result)


def find_source_faults(
    resource: CollectionSpec, directory: Path, settings: Settings, server_probes: ServerProbes | None = None
) -> Iterator[Fault]:
    """Yield the faults of the sources of a collection.

    It is an error if a secret that a source names is not set, or if the source of a service cannot parse an option. It
    is a warning if a server does not respond.

    Parameters
    ----------
    resource
        The collection.
    directory
        The directory of its descriptor.
    settings
        The settings of the site.
    server_probes
        Probes that collections share; None: those of this collection.
    """
    server_probes = server_probes or ServerProbes()
    probes: dict[tuple[str, str], tuple[SourceSpec, Future[str | None]]] = {}
    for spec in resource.tables:
        for source in spec.sources:
            unset_secret_faults = list(_find_unset_secrets(source, settings))
            yield from unset_secret_faults
            if unset_secret_faults:
                continue
            yield from _find_service_open_faults(source, directory, settings)
            for server_label, address in _list_server_addresses(source):
                if (server_label, address) not in probes:
                    probe = partial(_probe_server, source, address, directory, settings)
                    probes[server_label, address] = source, server_probes.start_probe((server_label, address), probe)
    deadline = monotonic() + PROBE_TIMEOUT_SECONDS
    for (server_label, _), (source, future) in probes.items():
        try:
            timeout = max(0.0, deadline - monotonic())
            reason = future.result(timeout=timeout)
        except TimeoutError:
            reason = f"no response within {PROBE_TIMEOUT_SECONDS:g} s"
        if reason is not None:
            yield Fault(
                message=f"{server_label} does not respond: {reason}",
                place=source.place,
                remedy="check the address, the network and the account; ingests fail until the server responds",
                severity="warning",
            )


def _find_unset_secrets(source: SourceSpec, settings: Settings) -> Iterator[Fault]:
    secrets = _find_secret_names([dict(source.options), dict(source.additions)])
    for name in dict.fromkeys(secrets):
        try:
            resolve_secret(settings.directory, name)
        except SourceError as error:
            yield Fault(message=error.message, place=source.place, remedy=error.remedy)


def _find_secret_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key not in _DOLLAR_OPTIONS:
                yield from _find_secret_names(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _find_secret_names(member)
    elif isinstance(value, str) and _SECRET_PATTERN.fullmatch(value):
        yield str(value)


def _find_service_open_faults(source: SourceSpec, directory: Path, settings: Settings) -> Iterator[Fault]:
    """Open the source of a service, as an ingest does, and yield the reason if it cannot be opened.

    Opening sends no request yet: it reads the options, and the files beside the descriptor that they name. Other checks
    open the sources of files.
    """
    module = plugins.load_plugin("sources", source.kind)
    fields = module.Options.model_fields
    if _find_database(source) is not None or "url" not in fields or "files" in fields:
        return
    secret_resolver = partial(resolve_secret, settings.directory)
    context = SourceContext(
        directory=directory,
        resolve_secret=secret_resolver,
        allow_private=settings.allow_private,
        is_inspection=True,
    )
    try:
        module.open(module.Options.model_validate(dict(source.options)), context)
    except SourceError as error:
        yield build_source_fault(error, source.place)


def build_source_fault(error: SourceError, place: TextPlace) -> Fault:
    """Build the fault of a source that cannot be read.

    Parameters
    ----------
    error
        The reason; if it has a place in a file, the message begins with it.
    place
        The place in the descriptor.

    Returns
    -------
    fault
        An error at the place in the descriptor.
    """
    if error.place.file:
        message = f"{error.place}: {error.message}"
    else:
        message = error.message
    return Fault(message=message, place=place, remedy=error.remedy)


def _list_server_addresses(source: SourceSpec) -> Iterator[tuple[str, str]]:
    """Yield the database or the service of a source: a label without a password, and the address."""
    address = source.options.get("url")
    if not isinstance(address, str) or not address:
        return
    if _find_database(source) is not None:
        is_secret = _SECRET_PATTERN.fullmatch(address) is not None
        shown_address = address if is_secret else _extract_host_and_port(address)
        yield f"the database {shown_address}", address
        return
    is_service = file_kinds.find_service_signature(source.kind) is not None
    if is_service and address.startswith(("http://", "https://")):
        yield f"the service {_extract_host_and_port(address)}", address


def _find_database(source: SourceSpec) -> DatabaseSignature | None:
    return file_kinds.find_database_signature(source.kind)


def _extract_host_and_port(address: str) -> str:
    parts = urlsplit(address)
    host = parts.hostname or address.partition(";")[0]
    if parts.port:
        return f"{host}:{parts.port}"
    return str(host)


def _probe_server(source: SourceSpec, address: str, directory: Path, settings: Settings) -> str | None:
    """Connect to a server, and with a database also read the columns; return why this failed, or None."""
    secret_resolver = partial(resolve_secret, settings.directory)
    try:
        resolved_address = address
        if _SECRET_PATTERN.fullmatch(address):
            resolved_address = secret_resolver(address)
        database = _find_database(source)
        if database is None:
            _check_service_connection(resolved_address, settings)
        elif not database.copying_kind:  # the engine's own check asks the database of a live table
            context = SourceContext(
                directory=directory,
                resolve_secret=secret_resolver,
                allow_private=settings.allow_private,
                is_inspection=True,
            )
            module = plugins.load_plugin("sources", source.kind)
            options = module.Options.model_validate(dict(source.options))
            module.open(options, context).list_columns()
    except HvenError as error:
        return error.message
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)
    return None


def _check_service_connection(address: str, settings: Settings) -> None:
    _, ip_address = http_client.resolve_url(address, allow_private=settings.allow_private)
    if ip_address is None:
        return  # requests go through a proxy, which accepts a connection even if the service is down
    parts = urlsplit(address)
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    connection = socket.create_connection((ip_address, port), timeout=CONNECT_TIMEOUT_SECONDS)
    connection.close()
