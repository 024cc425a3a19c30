"""An operator's day, told in a browser against a client over real TLS."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache

from live_push.engines.run import run_once
from live_push.models import ClientEndpoint, Delivery, EndpointHour
from live_push.models.clock import db_now
from live_push.testing.https_server import EndpointServer
from tests.admin.pages import all_pages, url
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory

from .conftest import NARROW, Hire, Operator


def work() -> None:
    """What a worker does: deliver all that is due."""
    run_once("default", threads=1, random=lambda: 0.0)


def set_up_endpoint(operator: Operator, server: EndpointServer) -> None:
    operator.open(url("clientendpoint_add"))
    page = operator.page
    page.locator("[name=name]").fill("Acme")
    page.locator("[name=url]").fill(server.url)
    page.get_by_label("Basic: user name and password").check()
    page.get_by_role("textbox", name="User name").fill("live-push")
    page.get_by_label("New password").fill("correct horse")
    page.locator("input[name=_continue]").click()
    operator.sees("was added successfully")


def send_test_push(operator: Operator) -> None:
    operator.press("Send test push")
    operator.sees("What will be sent")
    operator.press("Send test push")
    operator.sees("What came back")


def test_an_endpoint_is_set_up_tested_broken_understood_repaired_and_caught_up(
    hire: Hire, client_server: EndpointServer
) -> None:
    TierProgramFactory()
    operator = hire()

    # In the morning the client's endpoint is set up, and tested before anybody is sent to it.
    set_up_endpoint(operator, client_server)
    operator.sees("active")
    send_test_push(operator)
    operator.sees("accepted", "issued by live_push throw-away authority, valid until", "status 200", "Basic ••••")
    operator.take_picture("test-push")
    (test,) = client_server.received
    assert (test.headers["live-push-test"], test.json()["id"]) == ("1", 0)

    # Members join, and arrive there.
    members = UserProfileFactory.create_batch(3, city="Vienna")
    work()
    operator.open(url("overview"))
    operator.sees("1 of 1 endpoint is well.")

    # At noon the client breaks. A member moves; the push fails.
    client_server.answer(500, b'{"error": "disk full"}')
    members[0].city = "Graz"
    members[0].save()
    work()
    operator.open(url("overview"))
    operator.sees("Needs attention")

    # The operator follows the cause to the delivery and reads what happened.
    operator.page.get_by_role("link", name="server_error").click()
    operator.page.locator("#result_list .field-event a").first.click()
    operator.sees("pending, retried", "status 500", "Ask the client to check its logs", "disk full", "Vienna", "Graz")
    operator.take_picture("delivery")

    # The endpoint is paused while the client repairs; meanwhile another member moves.
    endpoint = ClientEndpoint.objects.get()
    operator.open(url("clientendpoint_change", endpoint.pk))
    operator.take_picture("endpoint")
    operator.press("Pause")
    operator.sees("Nothing is recorded or sent for it while it is paused.")
    operator.press("Pause")
    operator.sees("Paused by anna.")
    members[1].city = "Linz"
    members[1].save()

    # Repaired, tested while it is still paused, resumed from there: everybody's current state arrives.
    client_server.answer(200)
    client_server.clear()
    cache.clear()
    send_test_push(operator)
    operator.press("Resume the endpoint")
    operator.sees("is active again")
    work()
    latest = {received.json()["id"]: received.json()["city"] for received in client_server.received}
    assert latest[members[0].pk] == "Graz"
    assert latest[members[1].pk] == "Linz"

    # What was given up in the meantime leaves a member behind; catching up finds and sends exactly that.
    members[2].city = "Wels"
    members[2].save()
    Delivery.objects.filter(status="pending").update(status="cancelled", next_attempt_at=None)
    client_server.clear()
    cache.clear()
    operator.open(url("clientendpoint_change", endpoint.pk))
    operator.press("Catch up")
    operator.sees("Behind: an older state was accepted")
    operator.press("Resend 1 profile")
    operator.sees("The current state of 1 member is sent again.")
    work()
    assert [received.json()["city"] for received in client_server.received] == ["Wels"]

    # In the evening a client asks for one member once more.
    client_server.clear()
    operator.open(url("userprofile_change", members[2].pk))
    operator.sees("confirmed")
    operator.take_picture("member")
    operator.press("Resend current profile")
    operator.sees("that sends it automatically.", "Acme")
    operator.press("Resend current profile")
    operator.sees("1 delivery was recorded.")
    work()
    (again,) = client_server.received
    assert again.json()["id"] == members[2].pk
    operator.open(url("overview"))
    operator.sees("1 of 1 endpoint is well.")


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
    operator.page.locator("#changelist-form .actions button").first.click()
    operator.press("Redeliver 3 deliveries")
    operator.sees("3 deliveries are sent again.")
    work()
    assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}


HOSTILE = (
    b"</pre><script>document.title='taken over'</script><img src=x onerror=\"document.title='taken over'\">"
    b'<a href="javascript:alert(1)">click</a><svg/onload=alert(1)>{{ 7|add:7 }}\x1b[31m\xe2\x80\xaegnp.exe'
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
    operator.sees("<script>document.title='taken over'</script>", "{{ 7|add:7 }}")
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
    page = operator.page

    def tab_to(name: str) -> None:
        """With the Tab key alone, to what is called so; where the keyboard stands must be seen."""
        for _ in range(120):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                """() => {
                    const one = document.activeElement, style = getComputedStyle(one);
                    const named = one.labels?.length ? one.labels[0].textContent : one.textContent || one.value;
                    const seen = style.outlineStyle !== "none" || style.boxShadow !== "none" || !!one.labels?.length;
                    return {name: named.trim().replace(/:$/, ""), seen};
                }"""
            )
            if focused["name"] == name:
                assert focused["seen"], f"{name} has no visible focus"
                return
        pytest.fail(f"{name} can't be reached with the Tab key")

    def press(name: str) -> None:
        tab_to(name)
        page.keyboard.press("Enter")

    # Set up, without a mouse; the radio buttons are one stop, and the arrow chooses.
    operator.open(url("clientendpoint_add"))
    tab_to("Name")
    page.keyboard.type("Acme")
    tab_to("URL")
    page.keyboard.type(client_server.url)
    tab_to("no authentication")
    page.keyboard.press("ArrowDown")
    tab_to("User name")
    page.keyboard.type("live-push")
    tab_to("New password")
    page.keyboard.type("correct horse")
    page.keyboard.press("Enter")
    operator.sees("was added successfully")
    endpoint = ClientEndpoint.objects.get()
    assert (endpoint.auth_method, endpoint.reveal("password")) == ("basic", "correct horse")

    # Tested.
    operator.open(url("clientendpoint_change", endpoint.pk))
    press("Send test push")
    operator.sees("What will be sent")
    press("Send test push")
    operator.sees("What came back")

    # A failure is found, read and sent again.
    client_server.answer(413)
    UserProfileFactory()
    work()
    delivery = Delivery.objects.get()
    operator.open(url("delivery_changelist"))
    press(f"{delivery.push.short_id}{endpoint.name}")
    operator.sees("What happened")
    page.wait_for_url("**/change/")
    press("Redeliver: the same event again")
    operator.sees("1 delivery is sent again.")

    # Paused, and resumed.
    operator.open(url("clientendpoint_change", endpoint.pk))
    press("Pause")
    operator.sees("Nothing is recorded or sent for it while it is paused.")
    press("Pause")
    operator.sees("Paused by anna.")
    press("Resume")
    operator.sees("is active again")


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
    operator.sees("API key authentication needs a key.")


def test_everything_works_without_scripts(hire: Hire, client_server: EndpointServer) -> None:
    operator = hire(scripts=False)
    set_up_endpoint(operator, client_server)
    send_test_push(operator)
    operator.sees("status 200")


def test_a_new_signing_secret_is_copied_from_the_one_page_that_shows_it(
    hire: Hire, client_server: EndpointServer
) -> None:
    operator = hire()
    set_up_endpoint(operator, client_server)
    operator.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    operator.press("Signing secret")
    operator.press("Generate a signing secret")
    operator.sees("Copy it now")
    operator.press("Copy")
    operator.page.get_by_role("button", name="Copied").wait_for()
    copied = operator.page.evaluate("navigator.clipboard.readText()")
    assert copied == ClientEndpoint.objects.get().reveal("signing_secret")
    operator.open(url("clientendpoint_signing", ClientEndpoint.objects.get().pk))
    operator.sees("The secret can't be shown again")
    operator.sees_no(copied)


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


def test_the_banner_leaves_lists_and_forms_their_place(hire: Hire) -> None:
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    operator = hire()
    widths = "['#changelist', '#content-main > form'].map(one => document.querySelector(one)?.offsetWidth)"
    pages = (url("userprofile_changelist"), url("clientendpoint_change", endpoint.pk))
    seen = []
    for due_at in (db_now("default"), db_now("default") - timedelta(hours=1)):
        Delivery.objects.update(next_attempt_at=due_at)
        for page in pages:
            operator.open(page)
            tools, below = (
                operator.page.locator(one).first.bounding_box()
                for one in (".object-tools a", "#changelist, #content-main > form")
            )
            assert tools["y"] + tools["height"] <= below["y"]
            seen.append((operator.page.locator(".lp-banner").count(), operator.page.evaluate(widths)))
    assert [banners for banners, _ in seen] == [0, 0, 1, 1]
    assert seen[0][1] == seen[2][1]
    assert seen[1][1] == seen[3][1]


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
    operator.sees("≤ 100 ms", "≤ 500 ms", "Switched off.", "Connected, but no complete answer came in time")
    operator.take_picture("overview")
    operator.page.emulate_media(color_scheme="dark")
    operator.take_picture("overview-dark")
