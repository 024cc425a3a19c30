"""Read the arguments of commands, and name their exit codes."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from datetime import UTC, datetime

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from live_push.models import ClientEndpoint
from live_push.rules.parse_id import MAX_DIGITS, parse_id

WRONG_CALL = 2
"""Exit code of a call with wrong or contradictory arguments."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, by the convention of shells: 128 + SIGINT."""


def row_id(text: str) -> int:
    """Return the id of a row. For ``add_argument(type=…)``: raises ``ArgumentTypeError`` for text that is not an id."""
    pk = parse_id(text)
    if pk is None:
        raise ArgumentTypeError(f"{text!r} is not an id; write a whole number of at most {MAX_DIGITS} digits.")
    return pk


def parse_moment(option: str, text: str) -> datetime:
    """Return a date or time as a datetime in UTC. A time without an offset is in the current time zone.

    Raises ``CommandError``, which names the option, for other text.
    """
    try:
        moment = parse_datetime(text) or parse_datetime(f"{text}T00:00:00")
        if moment is not None:
            moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
            # Raises OverflowError if the offset leads out of the years 1 to 9999.
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise CommandError(f"{option} is {text!r}; write a time such as 2026-11-20T00:00Z.", returncode=WRONG_CALL)


def endpoints_named(names_or_ids: Sequence[str], *, using: str) -> list[ClientEndpoint]:
    """Return the endpoints with these names or ids. Raises ``CommandError`` for an unknown one."""
    endpoints = ClientEndpoint.objects.using(using)
    chosen = list(endpoints.named(names_or_ids))
    for name_or_id in names_or_ids:
        if not any(name_or_id in (endpoint.name, str(endpoint.pk)) for endpoint in chosen):
            names = ", ".join(endpoints.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no endpoint {name_or_id!r}. There are: {names}.", returncode=WRONG_CALL)
    return chosen
