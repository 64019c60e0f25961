"""Tables of a PostgreSQL database that are read in place: the source ``live``, and the engine of such a database."""
