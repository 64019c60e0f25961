"""Manners shared by the faces: HTTP -> Params, RESPONSEFORMAT, MAXREC, error documents, VOSI."""
