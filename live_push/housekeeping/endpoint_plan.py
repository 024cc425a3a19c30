"""Compare an endpoint file with the database, and apply it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from django.apps import apps
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, router, transaction
from django.utils.text import capfirst
from django.utils.translation import override

from live_push.exceptions import EndpointUrlError, SecretUnreadable
from live_push.models import Audience, AuthMethod, ClientEndpoint
from live_push.models.credentials import CREDENTIALS
from live_push.models.transactions import in_transaction, locked
from live_push.rules.masking import Masked
from live_push.rules.messages import Message

from .admin_history import ADDED, CHANGED, write_history
from .endpoint_file import AUDIENCE, OPTIONS, Described, EndpointFile, value_of

USED_BY: Final[Mapping[str, AuthMethod]] = {
    "username": AuthMethod.BASIC,
    "password": AuthMethod.BASIC,
    "api_key": AuthMethod.API_KEY,
}
"""The method that uses each part of a login. Another method clears it, as in the admin's form."""


class Step(StrEnum):
    """What applying a file does with an endpoint."""

    ADD = "added"
    CHANGE = "changed"
    SWITCH_OFF = "switched off"
    KEEP = "unchanged"
    LEAVE = "left alone"


@dataclass
class PlannedStep:
    """What applying a file does with one endpoint.

    ``changes``
        Old and new value by option. ``old`` is ``None`` for an added endpoint.
    ``secrets``
        The names of the credentials that are set, replaced or removed.
    """

    step: Step
    endpoint: ClientEndpoint
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    described: Described | None = None
    captured: bool = False

    @property
    def writes(self) -> bool:
        """Whether the step writes to the database."""
        return self.step in (Step.ADD, Step.CHANGE, Step.SWITCH_OFF)

    @property
    def captures(self) -> bool:
        """Whether the endpoint is the one that captures ids afterwards."""
        return bool(self.endpoint.is_active and self.endpoint.capture_third_party_id)


def apply_endpoints(
    file: EndpointFile, *, prune: bool = False, check: bool = False, user_id: Any = None
) -> list[PlannedStep]:
    """Apply a file in one transaction, and return what was done with each endpoint.

    The endpoints of the file come first, in its order; the others follow by name.

    ``prune``
        Also switch off the active endpoints that the file does not describe.
    ``check``
        Change nothing; return what would be done.
    ``user_id``
        The user under whom the changes enter the admin's history. With ``None`` nothing is entered, because each entry
        belongs to a user.

    Raises :class:`~live_push.housekeeping.endpoint_file.EndpointFileError` if the model's validation or the options
    refuse something; nothing is changed then.
    """
    if prune and not file.endpoints:
        file.faults.add("The file describes no endpoint. To prune would switch off every endpoint.")
    using = router.db_for_write(ClientEndpoint)

    def work() -> list[PlannedStep]:
        rows = {row.name: row for row in locked(ClientEndpoint.objects.using(using).order_by("pk"))}
        steps = [_step(described, rows.pop(described.name, None)) for described in file.endpoints]
        steps += [_without_description(row, prune=prune) for _, row in sorted(rows.items())]
        _validate(steps, using=using)
        file.raise_faults()
        if not check:
            _write(steps, using=using, user_id=user_id)
        return steps

    try:
        return in_transaction(work, using=using)
    except IntegrityError:
        # Another process has added an endpoint of the file since the rows were read. Read them again.
        return in_transaction(work, using=using)


def _write(steps: Sequence[PlannedStep], *, using: str, user_id: Any) -> None:
    # The endpoint that captures ids comes last, because only one may, and another may give it up.
    for step in sorted(steps, key=lambda step: step.captures):
        if step.writes:
            step.endpoint.save(using=using)
            if AUDIENCE in step.changes:
                _, audience = step.changes[AUDIENCE]
                step.endpoint.set_audience(None if audience == Audience.ALL else audience)
            if user_id is not None:
                _write_entry(step, user_id)


def _step(described: Described, row: ClientEndpoint | None) -> PlannedStep:
    endpoint = row or ClientEndpoint(name=described.name)
    before = {option: value_of(endpoint, option) for option in OPTIONS}
    captured = row is not None and endpoint.is_active and endpoint.capture_third_party_id
    stored = {name for name in CREDENTIALS if getattr(endpoint, name) is not None}
    for option, value in described.options.items():
        # set_audience() writes the audience, once the endpoint is saved.
        if option != AUDIENCE:
            setattr(endpoint, option, _column(option).to_python(value))
    _clear_unused_login(endpoint, described)
    secrets: list[str] = [name for name in CREDENTIALS if name in stored and getattr(endpoint, name) is None]
    for name, text in described.secrets.items():
        if _revealed(endpoint, name) != text:
            setattr(endpoint, name, text)
            secrets.append(name)
    after = {option: value_of(endpoint, option) for option in OPTIONS}
    after[AUDIENCE] = described.options.get(AUDIENCE, after[AUDIENCE])
    if row is None:
        changes = {option: (None, after[option]) for option in OPTIONS if option in described.options}
        step = Step.ADD
    else:
        changes = {option: (before[option], after[option]) for option in OPTIONS if before[option] != after[option]}
        step = Step.CHANGE if changes or secrets else Step.KEEP
    if "is_active" in changes:
        endpoint.disabled_reason = "" if endpoint.is_active else Message("disabled_by_file")
    return PlannedStep(step, endpoint, changes, secrets, described, captured)


def _column(name: str) -> Any:
    return ClientEndpoint._meta.get_field(name)


def _clear_unused_login(endpoint: ClientEndpoint, described: Described) -> None:
    method = described.options.get("auth_method")
    for name, user in USED_BY.items():
        if method not in (None, user) and name not in described.options and name not in described.secrets:
            setattr(endpoint, name, "" if name == "username" else None)


def _revealed(endpoint: ClientEndpoint, name: str) -> Masked | None:
    """Return the stored secret; ``None`` if there is none, if its key is lost, or if it belongs to another host."""
    try:
        return endpoint.reveal(name)
    except (SecretUnreadable, EndpointUrlError):
        return None


def _without_description(row: ClientEndpoint, *, prune: bool) -> PlannedStep:
    if not (prune and row.is_active):
        return PlannedStep(Step.LEAVE, row)
    captured = row.capture_third_party_id
    row.is_active, row.disabled_reason = False, Message("disabled_by_file")
    return PlannedStep(Step.SWITCH_OFF, row, {"is_active": (True, False)}, captured=captured)


def _validate(steps: Sequence[PlannedStep], *, using: str) -> None:
    """Add what the model refuses to the faults of the file."""
    giving_up = [step.endpoint.pk for step in steps if step.captured and not step.captures]
    with transaction.atomic(using=using):
        if giving_up:
            # The model looks for another endpoint that captures ids. Let it see the ones that will remain; this update
            # is rolled back below.
            ClientEndpoint._base_manager.using(using).filter(pk__in=giving_up).update(capture_third_party_id=False)
        for step in steps:
            if step.described is not None and step.writes:
                for key, message in _refusals(step.endpoint):
                    step.described.add_fault(message, key)
        transaction.set_rollback(True, using=using)
    starting = [step.described for step in steps if step.described and step.captures and not step.captured]
    for described in starting[1:]:
        described.add_fault(
            "Another active endpoint of the file synchronizes the third-party ID, and a member has only one.",
            "capture_third_party_id",
        )


def _refusals(endpoint: ClientEndpoint) -> Iterator[tuple[str, str]]:
    """Yield field and sentence for everything that ``full_clean()`` refuses. The field is empty for the whole row."""
    # English, like the other output of commands.
    with override(None):
        try:
            endpoint.full_clean()
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                for message in messages:
                    yield "" if name == NON_FIELD_ERRORS else name, message


def history_is_kept() -> bool:
    """Return whether the project has the admin, and with it a history."""
    return apps.is_installed("django.contrib.admin")


def _write_entry(step: PlannedStep, user_id: Any) -> None:
    with override(None):
        # As Django's admin describes the changes of a form, and with the labels of our form.
        labels = [str(capfirst(_column(option).verbose_name)) for option in step.changes]
        labels += [f"New {_column(name).verbose_name}" for name in step.secrets]
    messages: dict[Step, tuple[int, Any]] = {
        Step.ADD: (ADDED, [{"added": {}}]),
        Step.CHANGE: (CHANGED, [{"changed": {"fields": labels}}]),
        Step.SWITCH_OFF: (CHANGED, Message("history_paused")),
    }
    flag, message = messages[step.step]
    write_history(ClientEndpoint, [step.endpoint], message, user_id=user_id, flag=flag)
