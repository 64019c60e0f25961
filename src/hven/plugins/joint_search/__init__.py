"""Search several tables with one form: observation logs and files, for example."""
