"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

REMOTE_TABLE = "/search/{kind}/tables/{remote}/{table}"
QUERY_STRINGS = {
    f"{REMOTE_TABLE}/film": ["", "target_name=Mars"],
    f"{REMOTE_TABLE}/film.mp4": ["", "target_name=Mars&_width=256"],
    "/collections/{name}/{table}/film": ["", "_difference=running"],
    "/collections/{name}/{table}/film.mp4": ["", "_width=256"],
}
REFUSED_WAYS = {
    **dict.fromkeys(
        [f"{REMOTE_TABLE}/film", f"{REMOTE_TABLE}/film.mp4"],
        "it asks services that the site file names, and shows pictures of other sites",
    ),
    "/collections/{name}/{table}/film.mp4": "no images with times here: test_films.py tries files that a reader may not take",
}
KEPT_DIRECTORIES = {"films": "films by the entity tags of their images, which are found with the reader's rights"}
