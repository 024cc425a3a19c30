"""A real browser before a real server: what an operator sees."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import override_settings

from live_push.testing.https_server import EndpointServer
from tests.conftest import need

HOW_TO_GET_IT = "No Chromium here. Get it: apt-get install chromium, and pip install 'live-push[browser]'."
CHROMIUM = os.environ.get("CHROMIUM", shutil.which("chromium") or "")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 320, "height": 800}
# What a zoom of 200 % leaves of a wide screen.
HALF = {"width": 640, "height": 450}
# What a README shows at once without growing heavy.
PICTURED = {"width": 1120, "height": 760}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, one for all tests; each gets a fresh context."""
    need(CHROMIUM and util.find_spec("playwright"), HOW_TO_GET_IT)
    from playwright import sync_api as api

    # Playwright runs an event loop in this thread, which Django takes for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Operator:
    """A person at the browser: logged in, and strict about what the page does behind the scenes."""

    def __init__(self, page: Any, server: str) -> None:
        self.page, self.server = page, server
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append("a dialog opened"), dialog.dismiss()))

    def _hear(self, message: Any) -> None:
        # A missing favicon is no fault of ours.
        source = message.location["url"]
        if message.type == "error" and not source.endswith("favicon.ico"):
            self.complaints.append(f"{message.text} ({source} on {self.page.url})")

    def open(self, path: str) -> None:
        """Go to a page of this server."""
        self.page.goto(self.server + path)

    def log_in(self) -> None:
        """As a superuser, by the login form."""
        User.objects.create_superuser("anna", "anna@example.com", "secret")
        self.open("/admin/login/?next=/admin/live_push/")
        self.page.locator("[name=username]").fill("anna")
        self.page.locator("[name=password]").fill("secret")
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"{self.server}/admin/live_push/")

    def press(self, name: str) -> None:
        """Press the button or follow the link of this name. Say with :meth:`sees` what must come of it."""
        button, link = (self.page.get_by_role(role, name=name, exact=True) for role in ("button", "link"))
        button.or_(link).first.click()

    def sees(self, *texts: str) -> None:
        """Waits until the page shows all of this; what is folded away is not seen."""
        from playwright.sync_api import expect

        for text in texts:
            expect(self.page.locator("body")).to_contain_text(text, use_inner_text=True)

    def sees_no(self, text: str) -> None:
        """The page, which must stand already, does not show it."""
        assert text not in self.page.locator("body").inner_text()

    @property
    def overflows(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(
            self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1")
        )

    @property
    def content(self) -> str:
        """What the page says below Django's own head, however it is laid out."""
        return " ".join(self.page.locator("#content").inner_text().split())

    @contextmanager
    def zoomed(self) -> Iterator[None]:
        """The same page at 200 %: half as wide, in the units of its styles."""
        before = self.page.viewport_size
        self.page.set_viewport_size(HALF)
        yield
        self.page.set_viewport_size(before)

    def take_picture(self, name: str) -> None:
        """Keep a screenshot for the documentation, where it is asked for: a plain run leaves no file changed."""
        if os.environ.get("LIVE_PUSH_SCREENSHOTS"):
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            before = self.page.viewport_size
            self.page.set_viewport_size(PICTURED)
            # The page alone: Django's own list of apps says nothing of this one.
            self.page.evaluate("document.querySelector('#nav-sidebar')?.remove(); window.scrollTo(0, 0)")
            self.page.screenshot(path=SCREENSHOTS / f"{name}.png")
            self.page.set_viewport_size(before)


Hire = Callable[..., Operator]


@pytest.fixture
def client_server() -> Iterator[EndpointServer]:
    """The client's side."""
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        yield server


@pytest.fixture
def hire(chromium: Any, live_server: Any) -> Iterator[Hire]:
    """Makes operators: ``hire(width, dark=…, scripts=…, language=…)``. Who saw faults complains at the end."""
    cache.clear()
    contexts: list[Any] = []
    hired: list[Operator] = []

    def make(
        viewport: dict[str, int] | None = None, *, dark: bool = False, scripts: bool = True, language: str = "en-US"
    ) -> Operator:
        context = chromium.new_context(
            viewport=viewport or WIDE,
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            locale=language,
            reduced_motion="reduce",
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        operator = Operator(context.new_page(), live_server.url)
        hired.append(operator)
        operator.log_in()
        return operator

    yield make
    for context in contexts:
        context.close()
    assert [operator.complaints for operator in hired if operator.complaints] == []
