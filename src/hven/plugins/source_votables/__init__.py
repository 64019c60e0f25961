"""VOTables as they came in: with the metadata of the source, and in older versions of the standard."""
