"""``manage.py redeliver``."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from live_push import api
from live_push.models import Delivery
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, command, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)


run = partial(command, "redeliver")


def failed(name: str = "crm") -> Delivery:
    ClientEndpointFactory(name=name)
    UserProfileFactory()
    deliver(status(413))
    return Delivery.objects.get(endpoint__name=name)


def pending() -> set[int]:
    return set(Delivery.objects.filter(status="pending").values_list("pk", flat=True))


def test_by_id() -> None:
    delivery = failed()
    out, _err = run(delivery.pk)
    assert "1 of 1 deliveries are sent again" in out
    assert pending() == {delivery.pk}


def test_of_one_endpoint() -> None:
    delivery = failed()
    run("--endpoint", "crm")
    assert pending() == {delivery.pk}


def test_of_a_time_range() -> None:
    ClientEndpointFactory()
    for day in range(3):
        with stopped(START + timedelta(days=day)):
            UserProfileFactory()
            deliver(status(413))
    run("--since", "2026-03-02", "--until", "2026-03-03")
    assert len(pending()) == 1


def test_of_cancelled_ones_where_asked_for() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    with stopped(START):
        Delivery.objects.update(status="cancelled", next_attempt_at=None, ended_at=START)
    run("--since", "2026-01-01")
    assert not pending()
    run("--since", "2026-01-01", "--status", "cancelled")
    assert len(pending()) == 1
    assert profile.pk


def test_what_is_skipped_is_told_and_the_exit_code_is_one() -> None:
    delivery = failed()
    _out, err = run(delivery.pk, 999_999, code=1)
    assert "Delivery 999999 was skipped: there is no such delivery." in err
    assert pending() == {delivery.pk}


def test_as_json_has_stable_keys() -> None:
    delivery = failed()
    out, _err = run(delivery.pk, 7_000_000, "--json", code=1)
    assert json.loads(out) == {
        "dry_run": False,
        "found": 2,
        "redelivered": 1,
        "skipped": [{"delivery": 7_000_000, "why": "there is no such delivery"}],
    }


def test_an_interrupted_run_says_so_and_goes_on_when_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory(name="crm")
    UserProfileFactory.create_batch(3)
    deliver(status(413))
    calls = []

    def interrupted(ids: list[int]) -> Any:
        calls.append(ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return api.redeliver(ids)

    with monkeypatch.context() as patch:
        patch.setattr("live_push.management.commands.redeliver.DELIVERIES_PER_STEP", 1)
        patch.setattr("live_push.management.commands.redeliver.api", SimpleNamespace(redeliver=interrupted))
        out, err = run("--endpoint", "crm", code=130)
    assert "1 of 3 deliveries are sent again" in out
    assert "Interrupted. To continue, run the same command again" in err
    run("--endpoint", "crm")
    assert len(pending()) == 3


def test_a_dry_run_redelivers_nothing() -> None:
    failed()
    out, _err = run("--endpoint", "crm", "--dry-run")
    assert "1 of 1 deliveries would be redelivered (dry run, nothing sent)" in out
    assert not pending()


def test_a_dry_run_says_what_would_be_skipped_and_why() -> None:
    delivery = failed()
    assert delivery.profile is not None
    delivery.profile.save()
    deliver(OK)
    out, err = run(delivery.pk, "--dry-run")
    assert "0 of 1 deliveries would be redelivered" in out
    assert f"Delivery {delivery.pk} would be skipped: a newer state was accepted; use resend." in err
    out, _err = run(delivery.pk, "--dry-run", "--json")
    assert (json.loads(out)["redelivered"], len(json.loads(out)["skipped"])) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "Nothing selected"),
        (("--endpoint", "nobody"), "no endpoint"),
        (("--since", "once"), "--since is 'once'"),
        (("1", "--endpoint", "nobody"), "can't be combined"),
        (("1", "--status", "cancelled"), "can't be combined"),
    ],
)
def test_a_wrong_call_says_what_to_do(arguments: tuple[str, ...], word: str) -> None:
    _out, sentence = run(*arguments, code=2)
    assert word in sentence
