"""Turn sources into published snapshots: read, map, validate, stage, publish.

Its modules are imported one by one: most commands need few of them.
"""
