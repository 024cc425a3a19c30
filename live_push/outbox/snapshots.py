"""Read profiles from the database and turn them into snapshots with the payload serializer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db import router, transaction
from django.utils.module_loading import import_string

from live_push import conf
from live_push.contract import conformity, encoding, payload
from live_push.exceptions import PayloadError
from live_push.models import UserProfile
from live_push.rules.messages import Message, message_of

from . import member_rows

logger = logging.getLogger("live_push.outbox")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The snapshot of a profile, as it is stored with a push.

    ``sequence``
        The sequence of the push.
    ``payload``
        The encoded snapshot; ``None`` if it could not be built.
    ``digest``
        The digest of the snapshot; empty if it could not be built.
    ``error``
        Why the snapshot could not be built; empty if it was.
    """

    sequence: int
    payload: bytes | None
    digest: str
    error: str


def read_rows(profile_ids: Sequence[int], *, using: str) -> dict[int, Mapping[str, Any]]:
    """Return the rows for the payload serializer by profile id.

    One statement reads them, and a second one the further columns of a serializer of the host project.

    The rows are read from the database in the caller's transaction. The saved instance would not do, because after a
    save with ``update_fields`` or ``F()`` its attributes are not the stored values.
    """
    rows: dict[int, Mapping[str, Any]] = {**member_rows.read_members(profile_ids, using=using)}
    try:
        further = member_rows.further_columns(profile_ids, payload_serializer().columns, using=using)
    except Exception:
        # A save must not fail because of the serializer. build_snapshot() stores the error with the push.
        logger.exception("The payload serializer can't be used.")
        return rows
    if further is None:
        return rows
    # A profile may have been inserted or deleted since the first statement.
    return {row["pk"]: {**rows[row["pk"]], **row} for row in further if row["pk"] in rows}


def build_snapshot(row: Mapping[str, Any], *, using: str, tier_event: str | None = None) -> Snapshot:
    """Return the snapshot of one row. Never raises, because a save must not fail because of the serializer.

    ``tier_event`` replaces the event of the row, if an earlier write of the same transaction had a more important one.
    """
    if tier_event is not None:
        row = {**row, "tier_assigned_by_event": tier_event}
    try:
        body = _serialize(row, using)
        stored, checksum, error = encoding.dump(body), encoding.snapshot_digest(body), ""
    except PayloadError as refusal:
        stored, checksum, error = None, "", message_of(refusal)
    except Exception as fault:
        stored, checksum, error = None, "", Message("serializer_raised", kind=type(fault).__name__)
        logger.exception("The payload of profile %s could not be built.", row["id"])
    if error:
        logger.error("Nothing can be sent for profile %s: %s", row["id"], error)
    return Snapshot(row["push_sequence"], stored, checksum, error)


def current_snapshot(profile: UserProfile) -> dict[str, Any]:
    """Return a member's current state as the payload serializer turns it into a snapshot.

    Raises :class:`~live_push.exceptions.PayloadError` if the snapshot can't be built.
    """
    # Do not read from a replica, which may not have this member or this state yet.
    using = router.db_for_write(UserProfile, instance=profile)
    row = read_rows([profile.pk], using=using)[profile.pk]
    snapshot = build_snapshot(row, using=using)
    if snapshot.payload is None:
        raise PayloadError(snapshot.error)
    return encoding.load(snapshot.payload)


def serializer_columns() -> tuple[str, ...]:
    """Return the further columns that the payload serializer reads; none if it can't be used.

    Never raises, because a save must not fail because of the serializer.
    """
    try:
        return tuple(payload_serializer().columns)
    except Exception:  # noqa: BLE001  (read_rows() logs it)
        return ()


def row_digest(row: Mapping[str, Any], *, using: str, ignore_third_party_id: bool) -> str:
    """Return the digest of a row's snapshot, to compare with an accepted one; empty if the snapshot can't be built."""
    try:
        return encoding.snapshot_digest(_serialize(row, using), ignore_third_party_id=ignore_third_party_id)
    except Exception:
        logger.exception("The payload of profile %s could not be built.", row["id"])
        return ""


def _serialize(row: Mapping[str, Any], using: str) -> dict[str, Any]:
    serializer = payload_serializer()
    if type(serializer) is payload.ProfilePayload:
        return serializer.snapshot(row)
    if missing := [column for column in serializer.columns if column not in row]:
        raise PayloadError(Message("serializer_column", column=repr(missing[0])))
    # The serializer of a host project may query the database. A savepoint keeps the transaction usable if this fails.
    with transaction.atomic(using=using):
        body = serializer.snapshot(row)
    conformity.check_snapshot(body)
    return body


def payload_serializer() -> payload.ProfilePayload:
    """Return the serializer that the setting names. Raises what its import and its constructor raise."""
    return _load(conf.current().PAYLOAD_SERIALIZER)


@lru_cache(maxsize=8)
def _load(path: str) -> payload.ProfilePayload:
    serializer: payload.ProfilePayload = import_string(path)()
    return serializer
