"""Reading profiles back from the database and turning them into snapshots."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db import transaction
from django.utils.module_loading import import_string

from live_push import conf
from live_push.contract import payload
from live_push.exceptions import PayloadError
from live_push.models import UserProfile, clock

from .compiled import IDS, Compiled

logger = logging.getLogger("live_push.outbox")

ERROR_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a profile looked like: stored bytes and digest, or the sentence why they could not be built."""

    sequence: int
    payload: bytes | None
    digest: str
    error: str
    tier_event: str | None


def read(profile_ids: Sequence[int], *, using: str) -> dict[int, Mapping[str, Any]]:
    """The rows that the payload serializer reads, by profile id: one statement, in the caller's transaction.

    Read back instead of taken from the instance: with ``update_fields`` or ``F()`` what is in memory is not what was
    written.
    """
    # A clock that is stopped is part of the query's text.
    prepare = _select.__wrapped__ if clock.is_stopped() else _select
    try:
        select = prepare(using, tuple(_serializer().columns))
    except Exception:
        # build() says so in the log of deliveries: a save must not fail for the sake of a serializer.
        logger.exception("The payload serializer can't be used.")
        select = prepare(using, ())
    rows = [dict(zip(select.names, row, strict=True)) for row in select.fetch([*profile_ids])]
    return {row["id"]: row for row in rows}


def build(row: Mapping[str, Any], *, using: str, tier_event: str | None = None) -> Snapshot:
    """Turn one row into a snapshot; never raises, because a save must not fail for the sake of a payload.

    ``tier_event`` replaces the row's own, where the same commit already saw a weightier one.
    """
    if tier_event is not None:
        row = {**row, "tier_assigned_by_event": tier_event}
    try:
        body = _serialize(row, using)
        stored, checksum, error = payload.store(body), payload.digest(body), ""
    except PayloadError as refusal:
        stored, checksum, error = None, "", str(refusal)
    except Exception as fault:
        stored, checksum, error = (
            None,
            "",
            f"The payload serializer raised {type(fault).__name__}; see the server's log.",
        )
        logger.exception("The payload of profile %s could not be built.", row["id"])
    if error:
        logger.error("Nothing can be sent for profile %s: %s", row["id"], error)
    return Snapshot(row["push_sequence"], stored, checksum, error[:ERROR_LENGTH], row["tier_assigned_by_event"])


def serializer_problem() -> str:
    """Why the payload serializer can't be used, as far as that shows without a profile; empty where it can."""
    try:
        UserProfile.objects.snapshot_rows(tuple(_serializer().columns))
    except Exception as error:  # noqa: BLE001  (the host's code, and the check tells)
        return f"{type(error).__name__}: {error}"
    return ""


def digest(row: Mapping[str, Any], *, using: str, ignore_third_party_id: bool) -> str:
    """The digest of a row's snapshot, to compare with what an endpoint accepted; empty where it can't be built."""
    try:
        return payload.digest(_serialize(row, using), ignore_third_party_id=ignore_third_party_id)
    except Exception:
        logger.exception("The payload of profile %s could not be built.", row["id"])
        return ""


def _serialize(row: Mapping[str, Any], using: str) -> dict[str, Any]:
    serializer = _serializer()
    if type(serializer) is payload.ProfilePayload:
        return serializer.snapshot(row)
    if missing := [column for column in serializer.columns if column not in row]:
        raise PayloadError(f"The payload serializer asks for {missing[0]!r}, which no profile has.")
    # It may query, and a query that fails would take the whole transaction with it.
    with transaction.atomic(using=using):
        body = serializer.snapshot(row)
    payload.check(body)
    return body


def _serializer() -> payload.ProfilePayload:
    return _load(conf.current().PAYLOAD_SERIALIZER)


@lru_cache(maxsize=8)
def _select(using: str, columns: tuple[str, ...]) -> Compiled:
    rows = UserProfile.objects.filter(pk__in=IDS).snapshot_rows(columns).order_by()
    return Compiled(rows, IDS, using=using)


@lru_cache(maxsize=8)
def _load(path: str) -> payload.ProfilePayload:
    serializer: payload.ProfilePayload = import_string(path)()
    return serializer
