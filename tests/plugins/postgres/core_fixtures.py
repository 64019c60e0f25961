"""What tests of the core use for the verbs of this package (`plugin_needs.load_core_fixtures`)."""

# verb -> heavy modules that it loads beside those of services
VERB_MODULES = {"fdw": frozenset({"psycopg"}), "reclaim": frozenset({"psycopg"}), "adopt": frozenset({"psycopg"})}
