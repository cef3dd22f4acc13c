"""The one site on which all ways are measured: same users, sessions, middleware and database."""
