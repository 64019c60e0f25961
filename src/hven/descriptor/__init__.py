"""The file a curator writes -> a Resource, all mistakes at once with file:line:column."""
