"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from rights_matrix import FILES

QUERY_STRINGS = {"/collections/{name}/preview/{path:path}": ["", "size=64&beside=zqembargo.fits"]}
ROUTE_CHOICES = {"/collections/{name}/preview/{path:path}": ("path:path", FILES)}
FILE_ADDRESSES = {"previews": "/collections/{collection}/preview/data/one.fits"}
KEPT_DIRECTORIES = {"previews": "pictures of files, asked as the file itself: test_states_and_files_are_asked_anew"}
