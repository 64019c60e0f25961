"""Contract suites and a tiny site in memory, for plugin authors and for ourselves."""
