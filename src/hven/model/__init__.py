"""The nouns: types, tables, units, UCDs, parameters. No I/O."""
