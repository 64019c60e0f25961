"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

QUERY_STRINGS = {"/tap/user_tables/{table}": [""], "/tap/load": [""]}
ROUTE_CHOICES = {"/tap/user_tables/{table}": ("table", ("tap_user.yours", "yours", "obs.main"))}
