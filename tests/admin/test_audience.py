"""The page that says which members an endpoint receives."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from live_push.admin.endpoints import audience
from live_push.admin.shared.history import history_in_words
from live_push.models import ClientEndpoint
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK

from .conftest import Staff
from .forms import confirm_twice, submit
from .pages import url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def endpoint() -> ClientEndpoint:
    for branding, members in (("north", 3), ("south", 2), ("west", 1), (None, 1)):
        UserProfileFactory.create_batch(members, client_branding_id=branding)
    made: ClientEndpoint = ClientEndpointFactory(name="acme")
    return made


def text(response: Any) -> str:
    """What a page says, without its tags."""
    return unescape(re.sub(r"<[^>]+>|\s+", " ", response.content.decode()))


def choose(client: Client, endpoint: ClientEndpoint, *brandings: str, further: str = "", to: str = "listed") -> str:
    """Fill the form in, and return the page that asks for a confirmation."""
    data = {"audience": to, "brandings": brandings, "further": further}
    response = client.post(url("clientendpoint_audience", endpoint.pk), data)
    assert response.status_code == 200
    return response.content.decode()


def stored(endpoint: ClientEndpoint) -> tuple[str, list[str]]:
    row = ClientEndpoint.objects.get(pk=endpoint.pk)
    return row.audience, row.brandings


def test_the_form_offers_the_brandings_in_use_with_their_members(boss: Client, endpoint: ClientEndpoint) -> None:
    endpoint.set_audience(["south", "east"])
    page = boss.get(url("clientendpoint_audience", endpoint.pk)).content.decode()
    offered = re.findall(r'value="(\w+)"[^>]*name="brandings"|name="brandings"[^>]*value="(\w+)"([^>]*)>', page)
    ticked = {value for _, value, rest in offered if "checked" in rest}
    assert ticked == {"south", "east"}
    assert re.findall(r'(\w+) <span class="lp-quiet">(\d+)</span>', page) == [
        *(("east", "0"), ("south", "2"), ("north", "3"), ("west", "1")),
    ]


def test_it_says_how_many_members_enter_and_leave_before_anything_is_changed(
    boss: Client, endpoint: ClientEndpoint
) -> None:
    endpoint.set_audience(["north"])
    page = unescape(choose(boss, endpoint, "south", "west"))
    assert "3 members enter," in page
    assert "3 members leave." in page
    assert "The endpoint then receives 3 members." in page
    assert stored(endpoint) == ("listed", ["north"])


@pytest.mark.parametrize(
    ("before", "after", "numbers"),
    [
        pytest.param(None, ["north"], (0, 4, 3), id="narrowed from everyone"),
        pytest.param(["north"], None, (4, 0, 7), id="widened to everyone"),
        pytest.param(["north"], ["north", "west"], (1, 0, 4), id="widened"),
        pytest.param(["north"], ["north"], (0, 0, 3), id="unchanged"),
        pytest.param(None, None, (0, 0, 7), id="everyone still"),
        pytest.param(["south"], [], (0, 2, 0), id="emptied"),
    ],
)
@pytest.mark.usefixtures("endpoint")
def test_the_numbers_are_those_of_the_members(
    before: list[str] | None, after: list[str] | None, numbers: tuple[int, int, int]
) -> None:
    change = audience.audience_change(before, after, using="default")
    assert (change.entering, change.leaving, change.held) == numbers


def test_several_brandings_that_no_member_has_are_named_together(boss: Client, endpoint: ClientEndpoint) -> None:
    page = unescape(choose(boss, endpoint, further="nroth\nsuoth"))
    assert "No member has one of the brandings “nroth”, “suoth”. Check their spelling." in page


def test_the_confirmation_changes_the_audience_once_and_enters_it_in_the_history(
    boss: Client, endpoint: ClientEndpoint
) -> None:
    page = unescape(choose(boss, endpoint, "south", further=" new brand \n\n"))
    address = url("clientendpoint_audience", endpoint.pk)
    first, second = confirm_twice(boss, page, address)
    assert "The audience was changed." in text(first)
    assert "done only once" in text(second)
    assert stored(endpoint) == ("listed", ["new brand", "south"])
    (entry,) = LogEntry.objects.all()
    assert history_in_words(entry) == "Audience: only members with these brandings: new brand, south."
    assert "new brand, south" in text(boss.get(url("clientendpoint_change", endpoint.pk)))


def test_an_audience_that_no_member_has_is_named_and_not_refused(boss: Client, endpoint: ClientEndpoint) -> None:
    page = unescape(choose(boss, endpoint, further="nroth"))
    assert "No member has the branding “nroth”. Check its spelling." in page
    assert "No member enters." in page
    assert "The endpoint then receives 0 members." in page
    assert stored(endpoint) == ("all", [])
    confirm_twice(boss, page, url("clientendpoint_audience", endpoint.pk))
    assert stored(endpoint) == ("listed", ["nroth"])


def test_a_typed_branding_that_is_too_long_is_refused_with_a_sentence(boss: Client, endpoint: ClientEndpoint) -> None:
    page = choose(boss, endpoint, further="x" * 256)
    assert "A branding has at most 255 characters." in page
    assert "Change the audience" not in page


def test_back_to_everyone(boss: Client, endpoint: ClientEndpoint) -> None:
    endpoint.set_audience(["north"])
    confirm_twice(
        boss, unescape(choose(boss, endpoint, "north", to="all")), url("clientendpoint_audience", endpoint.pk)
    )
    assert stored(endpoint) == ("all", [])


@pytest.mark.parametrize(
    "confirmed", ["", "[", "7", '"north"', '[""]', r'["a\u0000"]', "[[]]", '{"a": 1}', f'["{"x" * 300}"]']
)
def test_what_no_page_of_ours_posts_changes_nothing(boss: Client, endpoint: ClientEndpoint, confirmed: str) -> None:
    endpoint.set_audience(["north"])
    response = boss.post(url("clientendpoint_audience", endpoint.pk), {"confirmed": confirmed}, follow=True)
    assert "nothing was changed" in text(response)
    assert stored(endpoint) == ("listed", ["north"])


def test_a_new_endpoint_for_listed_members_receives_nobody_until_they_are_chosen(boss: Client) -> None:
    made = {"name": "acme", "url": "https://acme.example.com/", "audience": "listed"}
    response = submit(boss, url("clientendpoint_add"), "clientendpoint_form", **made)
    endpoint = ClientEndpoint.objects.get()
    assert stored(endpoint) == ("listed", [])
    assert response.headers["Location"] == url("clientendpoint_audience", endpoint.pk)


def test_the_form_of_an_endpoint_leaves_the_audience_alone(boss: Client, endpoint: ClientEndpoint) -> None:
    endpoint.set_audience(["north"])
    submit(boss, url("clientendpoint_change", endpoint.pk), "clientendpoint_form", contact_email="ops@example.com")
    assert stored(endpoint) == ("listed", ["north"])


def test_the_list_says_that_an_endpoint_receives_only_some(boss: Client, endpoint: ClientEndpoint) -> None:
    assert "only listed members" not in text(boss.get(url("clientendpoint_changelist")))
    endpoint.set_audience(["north"])
    assert "only listed members" in text(boss.get(url("clientendpoint_changelist")))


def test_who_may_not_change_endpoints_has_no_button(staff: Staff, endpoint: ClientEndpoint) -> None:
    client = staff("view_clientendpoint")
    assert (
        url("clientendpoint_audience", endpoint.pk)
        not in client.get(url("clientendpoint_change", endpoint.pk)).content.decode()
    )
    assert client.get(url("clientendpoint_audience", endpoint.pk)).status_code == 403


def test_a_member_outside_is_not_sent_as_a_test_push(boss: Client, endpoint: ClientEndpoint, answers: Any) -> None:
    transport = answers(OK)
    endpoint.set_audience(["north"])
    member = UserProfileFactory(client_branding_id="south")
    data = {"member": member.pk, "reason": "ticket"}
    response = boss.post(url("clientendpoint_test", endpoint.pk), data)
    assert "The member is outside this endpoint's audience, so nothing is sent." in text(response)
    assert transport.requests == []
    preview = boss.get(url("userprofile_preview", member.pk), {"endpoint": endpoint.pk})
    assert "The member is outside this endpoint's audience: nothing is sent." in text(preview)


def test_catching_up_counts_and_resends_only_members_inside(boss: Client, endpoint: ClientEndpoint) -> None:
    endpoint.set_audience(["north"])
    page = boss.get(url("clientendpoint_catch_up", endpoint.pk))
    assert (page.context["behind"], page.context["never_sent"]) == (0, 3)
