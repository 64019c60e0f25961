"""Read requests for provenance: the parameters of ProvSAP, and the graph that answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from hven.jobs.job_service import JobRequester
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.plugins.provenance.job_records import JobRecords
from hven.plugins.provenance.prov_records import ID_PREFIX, IVOA_MODEL, W3C_MODEL
from hven.plugins.provenance.provenance_search import (
    UNLIMITED_DEPTH,
    ProvenanceSearchOptions,
    StepList,
    search_provenance,
)
from hven.plugins.provenance.reader_site import ReaderSite
from hven.plugins.provenance.row_records import RowRecords
from hven.plugins.provenance.site_records import SiteRecords
from hven.services.addresses import get_client_address
from hven.services.params import parse_values
from hven.site.auth.session import compute_visitor_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.params import RequestParams
    from hven.plugins.provenance.prov_records import ProvGraph, ProvRecord
    from hven.portal.api.pages import PageContext

ALL_DEPTHS = "ALL"
MAX_ID_CHARACTERS = 4_000
MAX_IDS = 100  # of a request
FORWARD_DIRECTION, BACKWARD_DIRECTION = "FORTH", "BACK"
FLAG_VALUES = ("0", "1")
PROV_PARAMS = (
    Param(
        name="ID",
        many=True,
        description="id of a collection, table, row, snapshot, run, release or job; default: the whole site",
    ),
    Param(name="DEPTH", description=f"number of activities and derivations to follow, or {ALL_DEPTHS} (default: 1)"),
    Param(
        name="DIRECTION",
        default=BACKWARD_DIRECTION,
        allowed=(BACKWARD_DIRECTION, FORWARD_DIRECTION),
        description="BACK: origins of the item; FORTH: what was made from the item",
    ),
    Param(
        name="MODEL",
        default=IVOA_MODEL,
        allowed=(IVOA_MODEL, W3C_MODEL),
        description="model of types and attributes: IVOA adds those of ProvenanceDM 1.0",
    ),
    Param(name="AGENTS", default="1", allowed=FLAG_VALUES, description="1: with people, institutes and software"),
    Param(name="MEMBERS", default="1", allowed=FLAG_VALUES, description="1: with the members of collections"),
    Param(name="DESCRIPTIONS", default="0", allowed=("0", "1", "2"), description="1 or 2: with plans of activities"),
    Param(name="CONFIGURATION", default="1", allowed=FLAG_VALUES, description="1: with parameters of jobs"),
)


class ReaderProvenance:
    """Finds all records that a reader may know of.

    Parameters
    ----------
    page_context
        Context of the request.
    """

    def __init__(self, page_context: PageContext) -> None:
        self.reader_site = ReaderSite(page_context)
        request = page_context.request
        requester = JobRequester(
            principal=page_context.principal,
            address=get_client_address(request),
            visitor=compute_visitor_hash(request.headers),
        )
        self.site_records = SiteRecords(self.reader_site)
        self.row_records = RowRecords(self.reader_site)
        self.job_records = JobRecords(self.reader_site, requester)
        parts = (self.site_records, self.row_records, self.job_records)
        self._finders = {kind: find for part in parts for kind, find in part.finders.items()}
        self._backward_steps = {kind: steps for part in parts for kind, steps in part.backward_steps.items()}
        self._forward_steps = {kind: steps for part in parts for kind, steps in part.forward_steps.items()}

    def find_record(self, record_id: str) -> ProvRecord | None:
        """Return a record; None: there is none that the reader may know of.

        Parameters
        ----------
        record_id
            Its id.
        """
        if len(record_id) > MAX_ID_CHARACTERS or not record_id.isprintable():
            return None
        kind, _, name = record_id.partition("/")
        find = self._finders.get(kind)
        if find is None:
            return None
        return find(name)

    def list_steps(self, record_id: str, *, is_forward: bool) -> StepList:
        """List the steps from a record that was found.

        Parameters
        ----------
        record_id
            Its id.
        is_forward
            Whether to list what was made of it, or else its origins.
        """
        kind, _, name = record_id.partition("/")
        list_kind_steps = (self._forward_steps if is_forward else self._backward_steps).get(kind)
        if list_kind_steps is None:
            return StepList()
        return list_kind_steps(name)

    def list_start_ids(self) -> list[str]:
        """List the ids from which a graph of the whole site begins."""
        collection_ids = [f"collection/{name}" for name in self.reader_site.collections]
        return [*collection_ids, *self.site_records.releases, *self.site_records.registrations]

    def resolve_id(self, text: str) -> str:
        """Return the id of the record that a text names: an id, an address, a dataset identifier, or a name.

        Parameters
        ----------
        text
            The text of the client.
        """
        for prefix in (self.reader_site.namespace, f"{ID_PREFIX}:"):
            if text.startswith(prefix):
                text = unquote(text.removeprefix(prefix))
        is_id = text.partition("/")[0] in self._finders
        if is_id or len(text) > MAX_ID_CHARACTERS or not text.isprintable():
            return text
        if text.startswith("ivo://"):
            row_name = self.row_records.find_row_name(text)
            return f"row/{row_name}" if row_name is not None else f"collection/{text.rpartition('/')[2]}"
        name = unquote(text.rstrip("/").rpartition("/")[2])  # an address of a collection, a table or a job
        if name in self.reader_site.collections:
            return f"collection/{name}"
        collection = unquote(text.rstrip("/").rpartition("/")[0].rpartition("/")[2])
        for table_name in (name, f"{collection}.{name}"):
            if table_name in self.reader_site.tables:
                return f"table/{table_name}"
        return text if self.job_records.find_job(name) is None else f"job/{name}"


def build_requested_graph(page_context: PageContext, params: RequestParams) -> tuple[ProvGraph, str]:
    """Build the graph that a request names.

    Parameters
    ----------
    page_context
        Context of the request.
    params
        Its parameters.

    Returns
    -------
    graph, model
        The graph, and the model of its attributes.

    Raises
    ------
    NotFoundError
        There is no such record that the reader may know of.
    ParamError
        A parameter is invalid.
    """
    given = parse_values(params, PROV_PARAMS)
    texts: Sequence[str] = [text for text in given["ID"] or () if text]
    if len(texts) > MAX_IDS:
        raise ParamError(f"ID occurs {len(texts)} times", name="ID", remedy=f"send at most {MAX_IDS} ids in a request")
    provenance = ReaderProvenance(page_context)
    default_depth = "1" if texts else ALL_DEPTHS
    options = ProvenanceSearchOptions(
        depth=_parse_depth(given["DEPTH"] or default_depth),
        is_forward=given["DIRECTION"] == FORWARD_DIRECTION,
        has_agents=given["AGENTS"] == "1",
        has_members=given["MEMBERS"] == "1",
        has_descriptions=given["DESCRIPTIONS"] != "0",
        has_configuration=given["CONFIGURATION"] == "1",
    )
    if texts:
        start_ids = [provenance.resolve_id(text) for text in texts]
    else:
        start_ids = provenance.list_start_ids()
    graph = search_provenance(provenance, start_ids, options, provenance.reader_site.namespace)
    return graph, given["MODEL"]


def _parse_depth(text: str) -> int:
    """Parse DEPTH; a number beyond all graphs is as good as ALL."""
    if text.strip().upper() == ALL_DEPTHS:
        return UNLIMITED_DEPTH - 1
    if not (text.strip().isascii() and text.strip().isdecimal()):
        raise ParamError(
            f"DEPTH={text!r:.40} is not a number of steps", name="DEPTH", remedy=f"write 0, 1, 2 .., or {ALL_DEPTHS}"
        )
    return min(int(text[:12]), UNLIMITED_DEPTH - 1)
