"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/collections/{name}/{table}/film": ["", "_difference=running"],
    "/collections/{name}/{table}/film.mp4": ["", "_width=256"],
}
REFUSED_WAYS = {
    "/collections/{name}/{table}/film.mp4": "no images with times here: test_films.py tries files that a reader may not take"
}
KEPT_DIRECTORIES = {"films": "films by the entity tags of their images, which are found with the reader's rights"}
