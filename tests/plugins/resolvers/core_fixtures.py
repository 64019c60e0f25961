"""What tests of the core need to try the plug-ins of this package (`plugin_needs.load_core_fixtures`)."""

TRANSLATED_MODULES = {"plugins/resolvers": "messages about names that a search form cannot find"}
