"""Pure rules: no rows, no sockets, no clock, no settings."""
