"""The key `series` of tables in descriptors."""
