"""Secrets at rest and in memory: masking, encryption keys, encrypted columns."""
