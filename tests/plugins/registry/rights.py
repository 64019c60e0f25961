"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/oai": ["verb=ListRecords&metadataPrefix=ivo_vor", "verb=ListRecords&metadataPrefix=oai_dc", "verb=Identify"],
    "/oai/capabilities": [""],
    "/oai/availability": [""],
}
STORE = {
    "registered": "what everybody is told of collections: plugins/registry/test_oai_service.py",
    "registered_parts": "the same",
}
