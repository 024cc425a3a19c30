"""The programs and ladders that the tests of the tiers work with."""

from __future__ import annotations

from tests.tiers.conftest import announcements, at, endpoint, make_program, member

__all__ = ["announcements", "at", "endpoint", "make_program", "member"]
