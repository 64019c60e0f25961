"""ADQL 2.1: text -> tree -> bound tree -> SQL. Pure."""
