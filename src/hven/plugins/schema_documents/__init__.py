"""Documents in which other servers describe their tables: schemas of Felis, and data sets of ERDDAP."""
