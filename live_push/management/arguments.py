"""How commands read what they are given."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from datetime import UTC, datetime

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from live_push.ids import MOST_DIGITS, as_id
from live_push.models import ClientEndpoint

WRONG_CALL = 2
"""Exit code of a call that makes no sense."""

INTERRUPTED = 130
"""Exit code where Ctrl-C ended it, as shells have it."""


def row_id(text: str) -> int:
    """The id of a row, for ``add_argument(type=…)``."""
    found = as_id(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no id; write a whole number of at most {MOST_DIGITS} digits.")
    return found


def moment(option: str, text: str) -> datetime:
    """A date or moment as an aware datetime; without an offset it is in the current time zone."""
    try:
        found = parse_datetime(text) or parse_datetime(f"{text}T00:00:00")
        if found is not None:
            found = found if timezone.is_aware(found) else timezone.make_aware(found)
            # Raises where the offset leads out of the calendar.
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise CommandError(f"{option} is {text!r}; write a moment such as 2026-11-20T00:00Z.", returncode=WRONG_CALL)


def endpoints_named(words: Sequence[str], *, using: str) -> list[ClientEndpoint]:
    """The endpoints of these names or ids; a wrong call where one is unknown."""
    known = ClientEndpoint.objects.using(using)
    chosen = list(known.named(words))
    for word in words:
        if not any(word in (endpoint.name, str(endpoint.pk)) for endpoint in chosen):
            names = ", ".join(known.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no endpoint {word!r}. There are: {names}.", returncode=WRONG_CALL)
    return chosen
