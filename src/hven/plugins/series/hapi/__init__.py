"""HAPI: the service with its derived data sets, and the source that reads other servers."""
