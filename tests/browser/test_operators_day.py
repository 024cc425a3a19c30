"""An operator's day, told in a browser against a client over real TLS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import override_settings

from live_push.engines.base import run_once
from live_push.https_server import EndpointServer
from live_push.models import ClientEndpoint, Delivery, EndpointHour
from live_push.models.clock import db_now
from tests.admin.pages import all_pages, url
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory

from .conftest import NARROW, Hire, Operator


@pytest.fixture
def client_server() -> Iterator[EndpointServer]:
    """The client's side."""
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        yield server


def work() -> None:
    """What a worker does: deliver all that is due."""
    run_once("default", threads=1, dice=lambda: 0.0)


def set_up_endpoint(operator: Operator, server: EndpointServer) -> None:
    operator.open(url("clientendpoint_add"))
    page = operator.page
    page.locator("[name=name]").fill("Acme")
    page.locator("[name=url]").fill(server.url)
    page.get_by_label("Basic: user name and password").check()
    page.get_by_role("textbox", name="User name").fill("live-push")
    page.get_by_label("New password").fill("correct horse")
    page.locator("input[name=_continue]").click()
    page.wait_for_load_state()


def test_an_endpoint_is_set_up_tested_broken_understood_repaired_and_caught_up(
    hire: Hire, client_server: EndpointServer
) -> None:
    TierProgramFactory()
    operator = hire()

    # In the morning the client's endpoint is set up, and tested before anybody is sent to it.
    set_up_endpoint(operator, client_server)
    assert operator.reads("active")
    operator.press("Send test push")
    assert operator.reads("Basic ••••")
    operator.take_picture("test-push")
    operator.press("Send test push")
    assert operator.reads("accepted")
    assert operator.reads("status 200")
    (test,) = client_server.received
    assert (test.headers["live-push-test"], test.json()["id"]) == ("1", 0)

    # Members join, and arrive there.
    members = UserProfileFactory.create_batch(3, city="Vienna")
    work()
    operator.open(url("overview"))
    assert operator.reads("1 of 1 endpoint is well.")

    # At noon the client breaks. A member moves; the push fails.
    client_server.answer(500, b'{"error": "disk full"}')
    members[0].city = "Graz"
    members[0].save()
    work()
    operator.open(url("overview"))
    assert operator.reads("Needs attention")

    # The operator follows the cause to the delivery and reads what happened.
    operator.page.get_by_role("link", name="server_error").click()
    operator.page.locator("#result_list a").first.click()
    operator.page.wait_for_load_state()
    for told in ("pending, retried", "status 500", "must look into its log", "disk full", "Vienna", "Graz"):
        assert operator.reads(told), told
    operator.take_picture("delivery")

    # The endpoint is paused while the client repairs; meanwhile another member moves.
    endpoint = ClientEndpoint.objects.get()
    operator.open(url("clientendpoint_change", endpoint.pk))
    operator.take_picture("endpoint")
    operator.press("Pause")
    operator.press("Pause")
    assert operator.reads("Paused by anna.")
    members[1].city = "Linz"
    members[1].save()

    # Repaired, tested, resumed: everybody's current state arrives.
    client_server.answer(200)
    client_server.clear()
    operator.open(url("clientendpoint_change", endpoint.pk))
    operator.press("Resume")
    assert operator.reads("is active again")
    work()
    latest = {received.json()["id"]: received.json()["city"] for received in client_server.received}
    assert latest[members[0].pk] == "Graz"
    assert latest[members[1].pk] == "Linz"

    # In the evening a client asks for one member once more.
    client_server.clear()
    operator.open(url("userprofile_change", members[2].pk))
    assert operator.reads("confirmed")
    operator.take_picture("member")
    operator.press("Resend current profile")
    work()
    (again,) = client_server.received
    assert again.json()["id"] == members[2].pk
    operator.open(url("overview"))
    assert operator.reads("1 of 1 endpoint is well.")


def test_many_failed_deliveries_are_sent_again_after_a_page_that_says_how_many(
    hire: Hire, client_server: EndpointServer
) -> None:
    operator = hire()
    set_up_endpoint(operator, client_server)
    client_server.answer(413)
    UserProfileFactory.create_batch(3)
    work()
    client_server.answer(200)
    operator.open(url("delivery_changelist") + "?status__exact=failed")
    operator.take_picture("deliveries")
    operator.page.locator("#action-toggle").check()
    operator.page.locator("select[name=action]").select_option(value="redeliver")
    operator.page.locator("#changelist-form button[type=submit], .actions button").first.click()
    operator.page.wait_for_load_state()
    operator.press("Redeliver 3 deliveries")
    assert operator.reads("3 deliveries are sent again.")
    work()
    assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}


HOSTILE = (
    b"</pre><script>document.title='taken over'</script><img src=x onerror=\"document.title='taken over'\">"
    b'<a href="javascript:alert(1)">click</a>\x1b[31m\xe2\x80\xaegnp.exe'
)


def test_a_hostile_answer_is_text_and_nothing_else(hire: Hire, client_server: EndpointServer) -> None:
    operator = hire()
    set_up_endpoint(operator, client_server)
    client_server.answer(500, HOSTILE)
    UserProfileFactory(user_name="<b>bold</b>", city="<script>document.title='taken over'</script>")
    work()
    endpoint, delivery = ClientEndpoint.objects.get(), Delivery.objects.get()
    operator.open(url("clientendpoint_test", endpoint.pk))
    operator.press("Send test push")
    assert operator.reads("<script>document.title='taken over'</script>")
    for address in (
        url("delivery_change", delivery.pk),
        url("userprofile_changelist"),
        url("userprofile_change", delivery.profile_id),
        url("userprofile_preview", delivery.profile_id) + f"?endpoint={endpoint.pk}",
    ):
        operator.open(address)
        assert "taken over" not in operator.page.title()
        assert operator.page.locator("main a[href^=javascript], main img[src=x]").count() == 0
    # The reordering mark and the terminal's escape are made visible.
    operator.open(url("delivery_change", delivery.pk))
    assert "\\u202e" in operator.page.content()
    assert "\\x1b" in operator.page.content()


def test_the_keyboard_is_enough(hire: Hire, client_server: EndpointServer) -> None:
    operator = hire()
    set_up_endpoint(operator, client_server)

    def tab_to(name: str) -> None:
        for _ in range(60):
            operator.page.keyboard.press("Tab")
            focused = operator.page.evaluate(
                "({text: document.activeElement.textContent.trim(), width: getComputedStyle(document.activeElement)"
                ".outlineStyle})"
            )
            if focused["text"] == name:
                assert focused["width"] != "none", f"{name} has no visible focus"
                return
        pytest.fail(f"{name} can't be reached with the Tab key")

    tab_to("Pause")
    operator.page.keyboard.press("Enter")
    operator.page.wait_for_url("**/switch/")
    tab_to("Pause")
    operator.page.keyboard.press("Enter")
    operator.page.wait_for_url("**/change/")
    assert operator.reads("Paused by anna.")


def test_only_the_fields_of_the_chosen_login_are_shown_also_without_scripts(
    hire: Hire, client_server: EndpointServer
) -> None:
    operator = hire(scripts=False)
    operator.open(url("clientendpoint_add"))
    page = operator.page

    def shown() -> dict[str, bool]:
        names = ("username", "new_password", "new_api_key")
        return {name: page.locator(f"[name={name}]").is_visible() for name in names}

    assert not any(shown().values())
    page.get_by_label("Basic: user name and password").check()
    assert shown() == {"username": True, "new_password": True, "new_api_key": False}
    page.get_by_label("API key in the header x-api-key").check()
    assert shown() == {"username": False, "new_password": False, "new_api_key": True}
    # What is wrong is shown, whatever is chosen.
    page.locator("input[name=_save]").click()
    assert operator.reads("API key authentication needs a key.")


def test_everything_works_without_scripts(hire: Hire, client_server: EndpointServer) -> None:
    operator = hire(scripts=False)
    set_up_endpoint(operator, client_server)
    operator.press("Send test push")
    operator.press("Send test push")
    assert operator.reads("status 200")


def test_a_new_signing_secret_is_copied_from_the_one_page_that_shows_it(
    hire: Hire, client_server: EndpointServer
) -> None:
    operator = hire()
    set_up_endpoint(operator, client_server)
    operator.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    operator.press("Signing secret")
    operator.press("Generate a signing secret")
    operator.press("Copy")
    operator.page.get_by_role("button", name="Copied").wait_for()
    copied = operator.page.evaluate("navigator.clipboard.readText()")
    assert copied == ClientEndpoint.objects.get().reveal("signing_secret")
    operator.open(url("clientendpoint_signing", ClientEndpoint.objects.get().pk))
    assert not operator.reads(copied)


def test_dark_is_dark_whether_the_system_asks_for_it_or_the_operator(hire: Hire) -> None:
    colours = "[document.body, document.querySelector('.lp-banner')].map(one => getComputedStyle(one).backgroundColor)"
    banner = "const one = document.createElement('p'); one.className = 'lp-banner'; document.body.append(one)"
    seen = []
    for dark, chosen in ((False, ""), (True, ""), (False, "dark"), (True, "light")):
        User.objects.all().delete()
        operator = hire(dark=dark)
        operator.open(url("overview"))
        operator.page.evaluate(f"() => {{ {banner}; document.documentElement.dataset.theme = '{chosen or 'auto'}'; }}")
        seen.append(operator.page.evaluate(colours))
    light, dark_by_system, dark_by_choice, light_by_choice = seen
    assert dark_by_system == dark_by_choice
    assert light == light_by_choice
    assert all(one != other for one, other in zip(light, dark_by_system, strict=True))


def test_no_page_scrolls_sideways_on_a_narrow_screen(hire: Hire, client_server: EndpointServer) -> None:
    TierProgramFactory()
    operator = hire(NARROW)
    set_up_endpoint(operator, client_server)
    client_server.answer(500, b"x" * 20_000)
    UserProfileFactory(email_address=f"{'a' * 60}@{'b' * 60}.example.com", last_name="W" * 200)
    work()
    for name, address in all_pages().items():
        operator.open(address)
        assert not operator.overflows, name


def test_a_busy_day_is_drawn_and_told(hire: Hire) -> None:
    acme, globex = ClientEndpointFactory(name="Acme"), ClientEndpointFactory(name="Globex", is_active=False)
    now = db_now("default").replace(minute=0, second=0, microsecond=0)
    EndpointHour.objects.bulk_create(
        EndpointHour(
            endpoint=endpoint,
            hour=now - timedelta(hours=hours),
            error_code=error_code,
            within_ms=within_ms,
            attempts=attempts * (12 - abs(hours - 12)) + 3,
        )
        for hours in range(25)
        for endpoint, error_code, within_ms, attempts in (
            (acme, "", 100, 40),
            (acme, "", 500, 3),
            (globex, "", 200, 20),
            (globex, "timeout", 20_000, hours % 5),
            (globex, "server_error", 100, hours % 3),
        )
    )
    operator = hire()
    operator.open(url("overview"))
    heights = operator.page.evaluate(
        "[...document.querySelectorAll('.lp-chart rect')].map(one => +one.getAttribute('height'))"
    )
    assert len(heights) == 2 * 25
    assert max(heights) > 100
    for told in ("≤ 100 ms", "≤ 500 ms", "Switched off.", "Connected, but no complete answer came in time"):
        assert operator.reads(told), told
    operator.take_picture("overview")
    operator.page.emulate_media(color_scheme="dark")
    operator.take_picture("overview-dark")
