"""Show the rows of tables on maps of the sky, of bodies and of the disc of the Sun."""
