"""Every page of the app, judged by axe-core: WCAG 2.2 A and AA, and its best practices."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources, util
from typing import Any

import pytest

from live_push.models import ClientEndpoint, Delivery
from live_push.testing.https_server import EndpointServer
from tests.admin.conftest import world as world
from tests.admin.pages import all_pages, url
from tests.conftest import need

from .conftest import HOW_TO_GET_IT, NARROW, WIDE, Hire, Operator

pytestmark = pytest.mark.usefixtures("world")

# Django's own furniture, on every page of its admin, which this app neither draws nor mends.
NOT_OURS = [
    "#header",
    "#nav-sidebar",
    "#toggle-nav-sidebar",
    ".breadcrumbs",
    "#changelist-filter",
    "#changelist-search",
    ".actions",
    ".paginator",
    ".selector",
    ".messagelist",
    "th.original",
    ".delete-confirmation #content ul",
]


def axe_source() -> str:
    """The script, which a package of the browser extra ships."""
    need(util.find_spec("axe_playwright_python"), HOW_TO_GET_IT)
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text()


def violations(operator: Operator, *, colours_only: bool) -> list[str]:
    """What axe finds wrong with the open page, each with the element."""
    operator.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    heard = list(operator.complaints)
    # The one rule of WCAG 2.2 has to be asked for.
    rules = {"runOnly": ["color-contrast"]} if colours_only else {"rules": {"target-size": {"enabled": True}}}
    found: dict[str, Any] = operator.page.evaluate(
        "([exclude, options]) => axe.run({exclude}, options)",
        [[[selector] for selector in NOT_OURS], {"resultTypes": ["violations"], **rules}],
    )
    # To measure, axe styles elements inline, which the page's policy forbids and the browser tells.
    operator.complaints[:] = heard
    return [
        f"{violation['id']}: {node['target'][0]} ({node['failureSummary']})"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def reached_by_pressing(operator: Operator) -> Iterator[str]:
    """The pages without an address of their own, because a button makes them: yields each by name."""
    page = operator.page
    endpoint = ClientEndpoint.objects.get(name="acme")
    operator.open(url("clientendpoint_test", endpoint.pk))
    operator.press("Send test push")
    operator.sees("What came back")
    yield "a test push, sent"

    operator.open(url("clientendpoint_signing", endpoint.pk))
    operator.press("Generate a signing secret")
    operator.sees("Copy it now")
    yield "a new signing secret"
    operator.open(url("clientendpoint_signing", endpoint.pk))
    operator.press("Rotate")
    operator.sees("Copy it now")
    operator.open(url("clientendpoint_signing", endpoint.pk))
    operator.sees("Two secrets sign now.")
    yield "a signing secret within its overlap"

    operator.open(url("clientendpoint_add"))
    page.locator("input[name=_save]").click()
    page.locator(".errornote").wait_for()
    yield "an endpoint that is refused"

    waiting = Delivery.objects.filter(status="pending").latest("pk")
    operator.open(url("delivery_change", waiting.pk))
    operator.press("Cancel: do not send")
    operator.sees("Cancel 1 delivery")
    yield "a cancelling to confirm"
    for action, button in (("redeliver", "Redeliver"), ("resend", "Resend"), ("erase_content", "Erase the content of")):
        operator.open(url("delivery_changelist"))
        page.locator("#action-toggle").check()
        page.locator("select[name=action]").select_option(value=action)
        page.locator("#changelist-form .actions button").first.click()
        operator.sees("What will happen", f"{button} ")
        yield f"a bulk to confirm: {action}"

    for action, seen in (("resend", "form.lp-form button.lp-submit-once"), ("delete_selected", ".delete-confirmation")):
        operator.open(url("userprofile_changelist"))
        page.locator("#action-toggle").check()
        page.locator("select[name=action]").select_option(value=action)
        page.locator("#changelist-form .actions button").first.click()
        page.locator(seen).wait_for()
        yield f"some members to confirm: {action}"


def test_the_pages_of_every_day_have_no_violation(hire: Hire) -> None:
    source = axe_source()
    operator = hire(NARROW)
    operator.page.add_init_script(source)
    for name in ("overview", "an endpoint", "deliveries", "a member"):
        operator.open(all_pages()[name])
        assert violations(operator, colours_only=False) == [], name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("viewport", "dark", "language"),
    [
        pytest.param(WIDE, False, "en-US", id="light, and zoomed to 200 %"),
        pytest.param(WIDE, True, "en-US", id="dark"),
        pytest.param(NARROW, False, "en-US", id="narrow"),
        pytest.param(WIDE, False, "ar", id="from right to left, and zoomed to 200 %"),
    ],
)
def test_no_page_has_a_violation(
    hire: Hire, viewport: dict[str, int], dark: bool, language: str, client_server: EndpointServer
) -> None:
    source = axe_source()
    endpoint = ClientEndpoint.objects.get(name="acme")
    endpoint.url, endpoint.password = client_server.url, "typed again"
    endpoint.save()
    operator = hire(viewport, dark=dark, language=language)
    # The page's policy forbids it to add scripts; the judge comes in beside the page.
    operator.page.add_init_script(source)
    found: dict[str, list[str]] = {}
    direction = "rtl" if language == "ar" else "ltr"

    def judge(name: str) -> None:
        # Dark differs in nothing but its colours.
        wrong = violations(operator, colours_only=dark)
        if operator.overflows:
            wrong.append("scrolls sideways")
        if operator.page.evaluate("getComputedStyle(document.querySelector('#content')).direction") != direction:
            wrong.append(f"does not read {direction}")
        if viewport == WIDE and not dark:
            said = operator.content
            with operator.zoomed():
                if operator.overflows:
                    wrong.append("scrolls sideways at 200 %")
                if operator.content != said:
                    wrong.append("says something else at 200 %")
        if wrong:
            found[name] = wrong

    for name, address in all_pages().items():
        operator.open(address)
        judge(name)
    for name in reached_by_pressing(operator):
        judge(name)
    assert found == {}, "\n".join(f"{name}: {one}" for name, wrong in found.items() for one in wrong)
