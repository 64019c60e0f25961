"""The ASGI application: mounts the faces, one table error -> status, streams."""
