"""Model Context Protocol: tools with which AI assistants search and query the site."""
