"""HAPI: the service, and the derived data sets that it offers."""
