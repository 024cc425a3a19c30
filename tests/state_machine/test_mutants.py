"""Random play finds what it is there to find: each of these breaks one rule of the outbox, and is caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from live_push.delivery import settle
from live_push.models import Delivery
from live_push.outbox import claim, leases, line

from . import test_state_machine

Patch = Callable[[pytest.MonkeyPatch], None]

MOST_EXAMPLES = 150


def start_what_another_has(patch: pytest.MonkeyPatch) -> None:
    real = leases.start

    def mutant(deliveries: Sequence[Delivery], *, using: str) -> list[Delivery]:
        for delivery in deliveries:
            delivery.refresh_from_db(using=using, fields=["lease_token", "leased_until"])
        return real(deliveries, using=using)

    patch.setattr(leases, "start", mutant)


def forget_what_was_accepted(patch: pytest.MonkeyPatch) -> None:
    def mutant(places: Sequence[line.Place], *, ordering: str, confirmed: int) -> line.Verdict:
        return line.arrange(places, ordering=ordering, confirmed=0)

    patch.setattr(claim, "arrange", mutant)


def settle_for_whoever_asks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(settle, "_is_mine", lambda outcome, delivery: delivery.lease_token is not None)


MUTANTS: dict[str, Patch] = {
    "starts what another has": start_what_another_has,
    "sends what is older than what was accepted": forget_what_was_accepted,
    "settles what another has": settle_for_whoever_asks,
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_whoever_breaks_a_rule_is_found(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        test_state_machine.play(MOST_EXAMPLES)
