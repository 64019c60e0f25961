"""What tests of the core need to know of this package (`tests/plugin_needs.py`)."""

#: Pages whose YAML is a part of the options of a source.
OTHER_YAML_PAGES = {"match-catalogues": "options of a match", "match-source": "options of a match"}
