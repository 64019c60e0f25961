"""Sources that read records of JSON and XML: files, and services that send pages of JSON."""
