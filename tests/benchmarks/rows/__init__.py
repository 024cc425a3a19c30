"""What live_push's own rows are compared with."""
