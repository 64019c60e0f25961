"""The files behind the rows: locate, byte ranges, previews, cuts. Built in *Products*."""
