"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {
    "/submissions": [""],
    "/submissions/{table}": [""],
    "/submissions/{table}/{number:int}": [""],
    "/submissions/{table}/{number:int}/files": [""],
}
PATH_VALUES = {"number:int": "1"}
STORE = {
    "submissions": "files and rows for their authors, and later moderators: plugins/submissions/test_submissions.py",
    "submission_files": "reports on these files, with the same rights: plugins/submissions/test_submissions.py",
    "submission_rows": "values of these rows, with the same rights: plugins/submissions/test_submissions.py",
}
JOBS_WITHOUT_LIST = {"submission_catalogue": "their submission shows them: plugins/submissions/test_catalogues.py"}
REFUSED_WAYS = {
    path: "no table here takes submissions: test_submissions.py" for path in QUERY_STRINGS if "{table}" in path
}
