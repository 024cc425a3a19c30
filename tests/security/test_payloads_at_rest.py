"""``ENCRYPT_PAYLOADS``: whoever steals a copy of the database reads neither bodies nor answers in it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from live_push.contract.payload import ProfilePayload
from live_push.models import Attempt, Push
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import deliver, status

from .marker import looks

pytestmark = pytest.mark.django_db(transaction=True)

# In the body and the answer alone: what stands in the profile's own row is the host's to encrypt.
IN_THE_BODY, IN_THE_ANSWER = "MarkerOfTheBody", "MarkerOfTheAnswer"


class Marking(ProfilePayload):
    """Writes into the body what no column holds."""

    def snapshot(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().snapshot(row), "region": IN_THE_BODY}


def stolen() -> bytes:
    """All bytes of the log; on SQLite those of the whole file, with what was deleted but not overwritten."""
    with connection.cursor() as cursor:
        copied = b""
        for column, table in (("payload", "push"), ("answer", "attempt")):
            cursor.execute(f"SELECT {column} FROM live_push_{table} WHERE {column} IS NOT NULL")  # noqa: S608
            copied += b"".join(bytes(value) for (value,) in cursor.fetchall())
    if connection.vendor == "sqlite":
        file = Path(str(connection.settings_dict["NAME"]))
        copied += file.read_bytes() + file.with_name(file.name + "-wal").read_bytes()
    return copied


def pushed_and_refused(*, encrypted: bool) -> None:
    serializer = f"{Marking.__module__}.Marking"
    with override_settings(LIVE_PUSH={"ENCRYPT_PAYLOADS": encrypted, "PAYLOAD_SERIALIZER": serializer}):
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(status(500, f"No, {IN_THE_ANSWER}!".encode()))
        profile.save()
        (request,) = deliver(status(200, f"Yes, {IN_THE_ANSWER}!".encode()))
        assert IN_THE_BODY.encode() in request.body


def test_no_byte_of_a_body_or_an_answer_is_stored_in_plain() -> None:
    pushed_and_refused(encrypted=True)
    copy = stolen()
    assert (IN_THE_BODY.encode() in copy, IN_THE_ANSWER.encode() in copy) == (False, False)


def test_without_the_setting_both_can_be_read() -> None:
    pushed_and_refused(encrypted=False)
    copy = stolen()
    assert (IN_THE_BODY.encode() in copy, IN_THE_ANSWER.encode() in copy) == (True, True)


def test_who_has_the_keys_reads_them_as_ever() -> None:
    pushed_and_refused(encrypted=True)
    assert all(IN_THE_BODY.encode() in push.payload for push in Push.objects.all())
    answers = sorted(Attempt.objects.values_list("answer", flat=True))
    assert answers == [f"{word}, {IN_THE_ANSWER}!".encode() for word in ("No", "Yes")]


def test_a_fixture_of_the_log_is_encrypted_too() -> None:
    pushed_and_refused(encrypted=True)
    out = io.StringIO()
    with override_settings(LIVE_PUSH={"ENCRYPT_PAYLOADS": True}):
        call_command("dumpdata", "live_push.push", "live_push.attempt", stdout=out)
    for marker in (IN_THE_BODY, IN_THE_ANSWER):
        assert [look for look in looks(marker.encode()) if look in out.getvalue().encode()] == []
