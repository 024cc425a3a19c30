"""A host's app with a data migration; what that does, a test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What the migration does, with the historical models that Django gives it.
work: Callable[[Any], object] = print
