"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/packages/{name}": ["", "FORM=ro-crate"], "/handover": [""], "/handover/seal": [""]}
KEPT_DIRECTORIES = {"packages": "test_package_service.py: a journal is of no use to another account"}
ACCOUNT_ROUTES = {"/packages/{name}": "a package names its reader, and its checksums follow"}
DIFFERING_ROUTES = {
    "/packages/": "times and checksums of what is packed: test_packages.py tries what readers get",
    "/handover": "directories, times and problems of the site, for operators only",
}
