"""The contract as data, for clients: JSON Schema of the body, OpenAPI of the request, and a sample body."""

from __future__ import annotations

from .json_schema import body_schema
from .openapi import openapi
from .sample import sample

__all__ = ["body_schema", "openapi", "sample"]
