"""What the kind of source needs beside the address of a server."""

OPTIONS = {"hats": {}}
