"""Read, map, validate, stage, swap: from a source to a served snapshot."""
