"""Maintenance of stored secrets: key rotation and signing secrets."""
