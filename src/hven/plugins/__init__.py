"""Hven's own plug-ins: one package for each subject.

Each package has a module ``plugin`` with the record `PLUGIN`, which lists what the package adds, and a README. Nothing
outside a package names it: a package that is deleted takes its features with it, and nothing else changes.
"""
