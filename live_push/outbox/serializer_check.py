"""Report what is wrong with the host project's payload serializer before the first push fails.

The serializer builds the bodies of synthetic members, which no table holds. ``manage.py check --database`` and the
start of a worker report the findings. A fault that real members may not have is a warning: synthetic members have no
rows in the project's tables, and the values of the further columns are invented.
"""

from __future__ import annotations

import logging
import sys
import traceback
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.core.exceptions import FieldError
from django.db import connections, models, transaction

from live_push import conf
from live_push.contract import conformity, encoding
from live_push.contract.payload import ProfilePayload
from live_push.contract.sample import ROW
from live_push.exceptions import PayloadError
from live_push.models import UserProfile
from live_push.models.databases import has_table
from live_push.rules.messages import Message, message_of

from . import member_rows, snapshots

logger = logging.getLogger("live_push.outbox")

SERIALIZER_SETTING: Final = "LIVE_PUSH['PAYLOAD_SERIALIZER']"
"""The ``obj`` of each finding about the serializer."""

_FAULTS_OF_VALUES: Final = frozenset(
    {
        *("value_required", "value_empty", "value_length", "value_negative", "value_numeric", "value_choice"),
        *("value_flag", "value_text_flag", "value_moment", "value_years", "title_differs", "scores_differ"),
        *("null_together", "null_without_tier", "tier_time_zone", "tier_timeframe"),
    }
)
"""Codes of messages about a value, and not about its type. Another member may have another value."""

_MOST_KEYS: Final = 10
_MOST_KEY_CHARACTERS: Final = 60

# "1" is text, and also the text of a number and of a JSON document.
_VALUES: Final[tuple[tuple[type[models.Field[Any, Any]], Any], ...]] = (
    (models.AutoField, 0),
    (models.BooleanField, True),
    (models.IntegerField, 1),
    (models.DecimalField, Decimal(1)),
    (models.FloatField, 1.0),
    (models.DateTimeField, ROW["now"]),
    (models.DateField, ROW["now"].date()),
    (models.TimeField, ROW["now"].time()),
    (models.DurationField, timedelta(days=1)),
    (models.UUIDField, uuid.UUID(int=0)),
    (models.GenericIPAddressField, "192.0.2.1"),
    (models.EmailField, "live-push-test@example.com"),
    (models.CharField, "1"),
    (models.TextField, "1"),
    (models.BinaryField, b"1"),
)
"""The synthetic value of a field, by the first class in this order that the field is an instance of.

Other fields are ``None``: the values of a JSON field and of the project's own classes can't be guessed.
"""


@dataclass
class _Trial:
    """What one call of the serializer did. ``error`` is ``None`` if it returned a body."""

    body: Any = None
    error: Exception | None = None
    queries: int = 0


def unusable_serializer() -> list[CheckMessage]:
    """Return E009 if the serializer can't be made, or names columns that no profile has. Asks no database."""
    path = conf.current().PAYLOAD_SERIALIZER
    try:
        serializer = snapshots.payload_serializer()
        missing = [column for column in _further_columns(serializer) if not _exists(column)]
        problem = f"no profile has the column {', '.join(map(repr, missing))}" if missing else ""
        if isinstance(serializer.columns, str):
            problem = "its columns are a text instead of a tuple"
    except Exception as error:  # noqa: BLE001  (code of the host project may raise anything)
        problem = f"{type(error).__name__}: {error}"[:200]
    if not problem:
        return []
    sentence = f"{path} can't be used: {problem}."
    hint = (
        "Subclass live_push.contract.payload.ProfilePayload. Name columns as ORM paths from the profile: "
        "columns = ('user__email',)"
    )
    return [Error(sentence, hint=hint, obj=SERIALIZER_SETTING, id="live_push.E009")]


def serializer_findings(*, using: str) -> list[CheckMessage]:
    """Return what is wrong with the bodies that the serializer of the host project builds.

    The result is empty for our own serializer, for one that can't be used (:func:`unusable_serializer`), and before the
    first migration. What the serializer writes to this database is rolled back.
    """
    if unusable_serializer() or type(serializer := snapshots.payload_serializer()) is ProfilePayload:
        return []
    if not has_table(UserProfile, using):
        return []
    further = _further_columns(serializer)
    row = {**_synthetic_row(), **{path: _value(member_rows.field_at(path)) for path in further}}
    trial = _try(serializer, row, using=using)
    is_certain = not further and not trial.queries
    if trial.error is not None:
        return [_failure(serializer, trial.error, is_certain=is_certain)]
    # Queries of the first call may fill a cache for all members. Another id, because a cache may be by member.
    queries = _try(serializer, {**row, "id": -1}, using=using).queries
    body, unknown = conformity.without_unknown_keys(trial.body)
    findings = [*_queries_per_member(queries), *_unknown_keys(unknown)]
    try:
        conformity.check_snapshot(body)
        encoding.dump(body)
    except PayloadError as error:
        findings.append(_failure(serializer, error, is_certain=is_certain))
    return findings


def log_serializer_findings(*, using: str) -> None:
    """Log all findings. Never raises, because a worker must start although the serializer or the database fails."""
    try:
        findings = unusable_serializer() or serializer_findings(using=using)
    except Exception as error:  # noqa: BLE001  (the worker's loop logs the same error when it needs the database)
        logger.warning("The payload serializer could not be checked: %s.", type(error).__name__)
        return
    for finding in findings:
        if not finding.is_silenced():
            logger.log(finding.level, "%s %s (%s)", finding.msg, finding.hint, finding.id)


def _further_columns(serializer: ProfilePayload) -> list[str]:
    known = {*member_rows.row_fields(), *ROW}
    return [column for column in serializer.columns if column not in known]


def _exists(column: str) -> bool:
    try:
        member_rows.field_at(column)
    except FieldError:
        return False
    return True


def _synthetic_row() -> dict[str, Any]:
    """Return the row of a member with the id 0, which no real member has."""
    return {**{name: _value(field) for name, field in member_rows.row_fields().items()}, **ROW, "id": 0}


def _value(field: Any) -> Any:
    """Return a value of the field's type; ``None`` if no type is known."""
    field = getattr(field, "target_field", field)
    return next((value for kind, value in _VALUES if isinstance(field, kind)), None)


def _try(serializer: ProfilePayload, row: Mapping[str, Any], *, using: str) -> _Trial:
    trial = _Trial()

    def count(execute: Any, sql: Any, *arguments: Any) -> Any:
        # psycopg also takes objects as SQL.
        trial.queries += not str(sql).startswith(("SAVEPOINT", "RELEASE", "ROLLBACK"))
        return execute(sql, *arguments)

    with transaction.atomic(using=using):
        try:
            with ExitStack() as counted:
                for connection in connections.all():
                    counted.enter_context(connection.execute_wrapper(count))
                trial.body = serializer.snapshot(row)
        except Exception as error:  # noqa: BLE001  (code of the host project may raise anything)
            trial.error = error
        transaction.set_rollback(True, using=using)
    return trial


def _failure(serializer: ProfilePayload, error: Exception, *, is_certain: bool) -> CheckMessage:
    path, message = conf.current().PAYLOAD_SERIALIZER, message_of(error)
    # Only our own sentences are shown. Others may hold personal data.
    code = message.code if isinstance(error, PayloadError) and isinstance(message, Message) else ""
    if code:
        fault = f"{path} builds a body that breaks the contract: {message}"
    else:
        fault = f"{path} raised {type(error).__name__} for a synthetic member, at {_place(serializer, error)}."
    if not is_certain and (not code or code in _FAULTS_OF_VALUES):
        hint = (
            "Run `manage.py migrate` if a table is missing. Handle members without rows in your tables, and every "
            "value that your columns may have. If no real member is like this: "
            "SILENCED_SYSTEM_CHECKS = ['live_push.W008']"
        )
        sentence = f"{fault} If this happens for a real member, the push fails."
        return Caution(sentence, hint=hint, obj=SERIALIZER_SETTING, id="live_push.W008")
    sentence = f"{fault} A push whose body can't be built fails."
    if code:
        hint = "Return what the contract asks for. `manage.py live_push_contract` prints it."
        return Error(sentence, hint=hint, obj=SERIALIZER_SETTING, id="live_push.E014")
    module, _, name = path.rpartition(".")
    hint = (
        "Correct the code at this place. `manage.py shell` shows the whole error: "
        f"from {module} import {name}; from live_push.contract.sample import ROW; {name}().snapshot(ROW)"
    )
    return Error(sentence, hint=hint, obj=SERIALIZER_SETTING, id="live_push.E015")


def _place(serializer: ProfilePayload, error: Exception) -> str:
    """Return the last place in the serializer's file that the error came through, or else where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules[type(serializer).__module__], "__file__", None)
    frame = ([frame for frame in frames if frame.filename == file] or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _queries_per_member(queries: int) -> list[CheckMessage]:
    if not queries:
        return []
    sentence = (
        f"{conf.current().PAYLOAD_SERIALIZER} makes {queries} database quer{'y' if queries == 1 else 'ies'} for each "
        "member. Each save waits for them, and each member of a bulk update or resend."
    )
    hint = "Name what it reads as columns, which one query reads for all members: columns = ('user__email',)"
    return [Caution(sentence, hint=hint, obj=SERIALIZER_SETTING, id="live_push.W007")]


def _unknown_keys(unknown: list[str]) -> list[CheckMessage]:
    if not unknown:
        return []
    shown = ", ".join(repr(key[:_MOST_KEY_CHARACTERS]) for key in unknown[:_MOST_KEYS])
    more = f" and {len(unknown) - _MOST_KEYS} more" if len(unknown) > _MOST_KEYS else ""
    sentence = (
        f"{conf.current().PAYLOAD_SERIALIZER} adds {shown}{more} to the body. The contract allows no further keys, so "
        "every push would fail."
    )
    hint = (
        "Put values of your own into custom_data, which is sent as customData: super().snapshot({**row, 'custom_data': "
        "{**(row['custom_data'] or {}), 'team': row['user__team']}})"
    )
    return [Error(sentence, hint=hint, obj=SERIALIZER_SETTING, id="live_push.E013")]
