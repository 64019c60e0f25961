"""What a bound query says that an engine's indexes may use: constants, shapes, scopes, covers. Shared by the engines.

No driver here.
"""
