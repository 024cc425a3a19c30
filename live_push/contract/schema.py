"""The contract as data: JSON Schema of the body, OpenAPI of the request, the golden sample."""

from __future__ import annotations

from .json_schema import body_schema
from .openapi import openapi
from .sample import sample

__all__ = ["body_schema", "openapi", "sample"]
