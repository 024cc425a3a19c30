"""What happens once a transaction is committed."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction


def after_commit(act: Callable[..., object], *given: object, using: str) -> None:
    """Call it with these once the transaction is committed, or now where none is open; what it raises is logged."""

    # A function, because Django names a hook that raised by what a partial does not have.
    def hook() -> None:
        act(*given)

    transaction.on_commit(hook, using=using, robust=True)
