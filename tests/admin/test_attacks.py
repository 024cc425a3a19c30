"""What staff may not do, they can't do by any address; and no input of theirs breaks a page."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import resolve

from live_push.admin.shared.base import LivePushAdmin
from live_push.models import ClientEndpoint, Delivery, UserProfile
from tests.support import OK

from .conftest import Staff
from .pages import all_pages, url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("world")]

HUGE = ["9" * 19, "9" * 30, "9" * 5000, "\u0663" * 30]


@pytest.mark.parametrize("number", HUGE, ids=["19 digits", "30 digits", "5000 digits", "30 Arabic digits"])
def test_no_number_is_too_long_for_a_search(boss: Client, number: str) -> None:
    for page in ("delivery_changelist", "userprofile_changelist", "clientendpoint_changelist"):
        assert boss.get(url(page), {"q": number}).status_code == 200
    action = {"action": "cancel", "chosen": f"{number},{number}"}
    assert boss.post(url("delivery_bulk"), action).status_code == 302
    form = {"member": number}
    endpoint = ClientEndpoint.objects.earliest("pk")
    assert boss.get(url("clientendpoint_test", endpoint.pk), form).status_code == 200


# Actions, and the permission that each asks for beside that to see its object.


def actions() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Every POST that changes or sends something: what it is, the permission, the address, the data."""
    endpoint, profile = ClientEndpoint.objects.get(name="acme"), UserProfile.objects.earliest("pk")
    paused = ClientEndpoint.objects.get(name="globex")
    delivery = Delivery.objects.filter(status="pending").earliest("pk")
    pages: dict[str, tuple[str, str, dict[str, Any]]] = {
        "test": ("send_test_push", url("clientendpoint_test", endpoint.pk), {}),
        "pause": ("pause_clientendpoint", url("clientendpoint_switch", endpoint.pk), {"to": "pause"}),
        "resume": ("pause_clientendpoint", url("clientendpoint_switch", paused.pk), {"to": "resume"}),
        "audience": ("change_clientendpoint", url("clientendpoint_audience", endpoint.pk), {"confirmed": '["north"]'}),
        "sign": ("change_endpoint_credentials", url("clientendpoint_signing", endpoint.pk), {"overlap_hours": 0}),
        "stop signing": ("change_endpoint_credentials", url("clientendpoint_signing", endpoint.pk), {"remove": "1"}),
        "catch up": ("resend_delivery", url("clientendpoint_catch_up", endpoint.pk), {"whom": "behind"}),
        "resend members": ("resend_delivery", url("userprofile_resend"), {"chosen": profile.pk}),
        "push a member": ("resend_delivery", url("userprofile_push", profile.pk), {"endpoints": [endpoint.pk]}),
        "erase a member's log": ("erase_delivery_content", url("userprofile_erase", profile.pk), {}),
        "override": (
            "change_tiermembership",
            url("userprofile_override", profile.pk),
            {"tier": _other_tier(profile), "reason": "ticket"},
        ),
    }
    for action, permission in DELIVERY_ACTIONS.items():
        data = {"action": action, "chosen": delivery.pk, "confirmed": "1"}
        pages[action] = (permission, url("delivery_action", delivery.pk), data)
        pages[f"{action} many"] = (permission, url("delivery_bulk"), data)
    return pages


DELIVERY_ACTIONS = {
    "redeliver": "resend_delivery",
    "resend": "resend_delivery",
    "cancel": "cancel_delivery",
    "erase_content": "erase_delivery_content",
}
LIST_ACTIONS = {
    "clientendpoint": {
        "send_test_push": "send_test_push",
        "pause": "pause_clientendpoint",
        "resume": "pause_clientendpoint",
    },
    "delivery": DELIVERY_ACTIONS,
    "userprofile": {"resend": "resend_delivery", "delete_selected": "delete_userprofile"},
}
SEES = ["view_clientendpoint", "view_delivery", "view_userprofile", "view_tierprogram", "view_tiermembership"]
EVERYTHING = [
    *SEES,
    "view_delivery_content",
    "resend_delivery",
    "cancel_delivery",
    "send_test_push",
    "pause_clientendpoint",
    "change_clientendpoint",
    "change_endpoint_credentials",
    "change_third_party_id",
    "erase_delivery_content",
    "change_tiermembership",
    "delete_userprofile",
]


def _other_tier(profile: UserProfile) -> int:
    tiers = profile.tier_membership.tier.program.tiers
    return int(tiers.exclude(pk=profile.tier_membership.tier_id).values_list("pk", flat=True)[0])


def everything() -> list[Any]:
    """All rows of the app, without what a mere look changes."""
    rows = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith("live_push_"):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
                rows += [(table, *map(str, row)) for row in cursor.fetchall()]
    return sorted(rows)


def without(permission: str) -> list[str]:
    return [codename for codename in EVERYTHING if codename != permission]


LOOKS = {"overview", "clientendpoint_preview", "userprofile_preview"}


def test_every_page_of_ours_that_does_something_is_among_the_actions() -> None:
    addresses = [address for _permission, address, _data in actions().values()]
    names = {resolve(address).url_name.removeprefix("live_push_") for address in addresses}
    ours = {
        str(page.name).removeprefix("live_push_")
        for registered in site._registry.values()
        if isinstance(registered, LivePushAdmin)
        for page in registered.own_urls()
    }
    assert ours - LOOKS == names


def test_each_action_needs_its_own_permission_whatever_else_one_may(staff: Staff, answers: Any) -> None:
    transport = answers(OK)
    for name, (permission, address, data) in actions().items():
        before = everything()
        assert staff(*without(permission)).post(address, data).status_code == 403, name
        assert everything() == before, name
    assert transport.requests == []


def test_each_action_needs_that_its_object_may_be_seen(staff: Staff, answers: Any) -> None:
    transport = answers(OK)
    client = staff(*(set(EVERYTHING) - {"view_clientendpoint", "view_delivery", "view_userprofile"} - CHANGES))
    for name, (_permission, address, data) in actions().items():
        before = everything()
        assert client.post(address, data).status_code == 403, name
        assert everything() == before, name
    assert transport.requests == []


# To change is to see.
CHANGES = {"change_clientendpoint", "delete_userprofile"}


def test_each_action_can_be_done_with_its_permission(staff: Staff, answers: Any) -> None:
    answers(OK)
    for name, (permission, address, data) in actions().items():
        cache.clear()
        assert staff(*SEES, permission).post(address, data).status_code in (200, 302), name


def both(*names: str) -> set[str]:
    """These actions, for one and for many."""
    return {*names, *(f"{name} many" for name in names)}


SENDS_AGAIN = {"catch up", *both("redeliver", "resend", "cancel")}
ROLES: dict[str, tuple[list[str], set[str]]] = {
    "viewer": ([], set()),
    "support": (["view_delivery_content", "resend_delivery", "cancel_delivery"], SENDS_AGAIN),
    "operator": (
        ["resend_delivery", "cancel_delivery", "send_test_push", "pause_clientendpoint", "change_third_party_id"],
        SENDS_AGAIN | {"test", "pause", "resume"},
    ),
    "endpoint admin": (
        [
            *("resend_delivery", "cancel_delivery", "send_test_push", "pause_clientendpoint"),
            *("change_clientendpoint", "change_endpoint_credentials"),
        ],
        SENDS_AGAIN | {"test", "pause", "resume", "audience", "sign", "stop signing"},
    ),
    "privacy officer": (["view_delivery_content", "erase_delivery_content"], both("erase_content")),
}


@pytest.mark.parametrize(("permissions", "may"), ROLES.values(), ids=ROLES)
def test_each_role_does_what_is_its_own_and_nothing_else(
    staff: Staff, answers: Any, permissions: list[str], may: set[str]
) -> None:
    answers(OK)
    client = staff("view_clientendpoint", "view_delivery", *permissions)
    found = {name: client.post(address, data).status_code for name, (_own, address, data) in actions().items()}
    assert {name for name, status in found.items() if status != 403} == may
    assert set(found.values()) <= {200, 302, 403}


def test_an_action_can_not_be_called_by_its_name(staff: Staff, answers: Any) -> None:
    transport = answers(OK)
    for model, actions in LIST_ACTIONS.items():
        for action, permission in actions.items():
            before = everything()
            chosen = list(ClientEndpoint.objects.values_list("pk", flat=True))
            data = {"action": action, "_selected_action": chosen, "post": "yes", "select_across": "1"}
            response = staff(*without(permission)).post(url(f"{model}_changelist"), data, follow=True)
            assert "No action selected" in response.content.decode() or response.status_code == 403, (model, action)
            assert everything() == before, (model, action)
    assert transport.requests == []


def test_a_look_changes_nothing(boss: Client, answers: Any) -> None:
    transport = answers(OK)
    before = everything()
    for name, address in all_pages().items():
        for query in ("", "?to=pause", "?remove=1&overlap_hours=0", "?whom=behind", "?action=cancel&confirmed=1"):
            boss.get(address.partition("?")[0] + query)
        assert everything() == before, name
    for _permission, address, data in actions().values():
        boss.get(address, data)
    assert everything() == before
    assert transport.requests == []


def test_an_action_from_another_site_is_refused_everywhere(answers: Any) -> None:
    transport = answers(OK)
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("boss"))
    before = everything()
    for name, (_permission, address, data) in actions().items():
        assert client.post(address, data).status_code == 403, name
    assert everything() == before
    assert transport.requests == []


@pytest.mark.parametrize(
    "lookup",
    [
        "profile__email_address__startswith",
        "profile__last_name__contains",
        "push__payload__contains",
        "push__digest__startswith",
        "attempts__answer__contains",
        "endpoint__password__startswith",
        "endpoint__url__contains",
        "endpoint__username__startswith",
    ],
)
def test_nothing_can_be_guessed_through_a_list_s_address(boss: Client, lookup: str) -> None:
    assert boss.get(url("delivery_changelist"), {lookup: "a"}).status_code == 400


@pytest.mark.parametrize("column", ["password", "api_key", "signing_secret", "previous_signing_secret"])
@pytest.mark.parametrize("how", ["", "__startswith", "__contains", "__regex", "__gt", "__in", "__length"])
def test_no_secret_can_be_guessed_through_a_list_s_address(boss: Client, column: str, how: str) -> None:
    response = boss.get(url("clientendpoint_changelist"), {f"{column}{how}": "a"})
    assert response.status_code in (302, 400)
