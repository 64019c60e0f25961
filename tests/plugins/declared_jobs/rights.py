"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

KEPT_DIRECTORIES = {"job-types": "declarations of job types, which only the server reads: test_live_types.py"}
