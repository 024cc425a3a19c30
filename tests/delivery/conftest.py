from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .lab import KINDS, Lab


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A small internet on this machine. Ask for it with the mark ``allow_hosts(["127.0.0.0/8", "::1"])``.

    Its transport is that on ``requests``, and each of ours in turn with the mark ``EACH_TRANSPORT``.
    """
    with ExitStack() as stack:
        yield Lab(stack, monkeypatch, KINDS[getattr(request, "param", "requests")]())
