"""A real browser before a real server: what an operator sees."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache

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
MOST_PIXELS = 1000
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 320, "height": 800}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, one for all tests; each gets a fresh context."""
    api = pytest.importorskip("playwright.sync_api", reason=HOW_TO_GET_IT)
    if not CHROMIUM:
        pytest.skip(HOW_TO_GET_IT)
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
        """Press the button or follow the link of this name."""
        button, link = (self.page.get_by_role(role, name=name, exact=True) for role in ("button", "link"))
        button.or_(link).first.click()
        self.page.wait_for_load_state()

    def reads(self, text: str) -> bool:
        """Whether the page says so."""
        return text in self.page.locator("body").inner_text()

    @property
    def overflows(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(
            self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1")
        )

    def take_picture(self, name: str) -> None:
        """Keep a screenshot for the documentation, where it is asked for."""
        if os.environ.get("LIVE_PUSH_SCREENSHOTS"):
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            height = min(self.page.evaluate("document.documentElement.scrollHeight"), MOST_PIXELS)
            part = {"x": 0, "y": 0, "width": WIDE["width"], "height": height}
            self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, clip=part)


Hire = Callable[..., Operator]


@pytest.fixture
def hire(chromium: Any, live_server: Any) -> Iterator[Hire]:
    """Makes operators: ``hire(width, dark=…, scripts=…)``. Whoever saw the page misbehave complains at the end."""
    cache.clear()
    contexts: list[Any] = []
    hired: list[Operator] = []

    def make(viewport: dict[str, int] | None = None, *, dark: bool = False, scripts: bool = True) -> Operator:
        context = chromium.new_context(
            viewport=viewport or WIDE,
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            locale="en-US",
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
