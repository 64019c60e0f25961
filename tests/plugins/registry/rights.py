"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from hven.plugins.registry.datacite import CITATION_KINDS

QUERY_STRINGS = {
    "/oai": ["verb=ListRecords&metadataPrefix=ivo_vor", "verb=ListRecords&metadataPrefix=oai_dc", "verb=Identify"],
    "/oai/capabilities": [""],
    "/oai/availability": [""],
    "/collections/{name}/cite/{kind}": [""],
    "/collections/{name}/releases/{label}/cite/{kind}": [""],
}
ROUTE_CHOICES = {path: ("kind", tuple(CITATION_KINDS)) for path in QUERY_STRINGS if path.endswith("/cite/{kind}")}
STORE = {
    "citations": "what everybody was told of a DOI: plugins/registry/test_landing_pages.py",
    "registered": "what everybody is told of collections: plugins/registry/test_oai_service.py",
    "registered_parts": "the same",
}
