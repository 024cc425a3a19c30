"""A module whose import fails."""

from __future__ import annotations

raise RuntimeError("This module checks its own settings when it is imported.")
