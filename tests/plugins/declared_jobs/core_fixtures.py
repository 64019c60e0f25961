"""What tests of the core need to know of this package."""

#: Pages whose YAML is no descriptor, and what it is.
OTHER_YAML_PAGES = {"job-types": "files of job types"}
