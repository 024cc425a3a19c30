"""live_push: each update of a loyalty member's profile, pushed to every client's endpoint."""

__version__ = "0.1.0"
