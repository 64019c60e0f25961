"""Files in directories, archives and on servers, with their facts."""
