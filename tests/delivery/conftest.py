from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .lab import Lab


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A small internet on this machine. Ask for it with the mark ``allow_hosts(["127.0.0.0/8", "::1"])``."""
    with ExitStack() as stack:
        yield Lab(stack, monkeypatch)
