"""What tests of the core need to know of this package (`tests/plugin_needs.py`)."""

#: Pages whose YAML is no descriptor, and what it is.
OTHER_YAML_PAGES = {"job-lists": "files of list types"}
