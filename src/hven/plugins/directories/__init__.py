"""Sources that list what others keep: LDAP, Elasticsearch, OAI-PMH and STAC."""
