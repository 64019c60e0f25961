"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

STORE = {"running_servers": "servers of the site, for operators: plugins/deployment/test_running_servers.py"}
