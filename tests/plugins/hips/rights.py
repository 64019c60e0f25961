"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/hipslist": [""],
    "/collections/{name}/hips/{hips}": [""],
    "/collections/{name}/hips/{hips}/{path:path}": [""],
}
PATH_VALUES = {"hips": "nothing"}
OPERATOR_JOBS = {"hips": {"NAME": "maps"}}
KEPT_DIRECTORIES = {"hips": "tiles, for whoever may take all images: plugins/hips/test_surveys.py"}
REFUSED_WAYS = {
    "/collections/{name}/hips/{hips}": "HiPS are made by a job: test_surveys.py and test_hips_files.py",
    "/collections/{name}/hips/{hips}/{path:path}": "HiPS are made by a job: test_surveys.py and test_hips_files.py",
}
