"""Somebody who uses web pages by their forms, and knows nothing of what is behind them."""

from __future__ import annotations

import urllib.parse
import urllib.request
from html.parser import HTMLParser
from http.cookiejar import CookieJar


class FormUser:
    """Loads pages, fills in the form of the page and sends it; keeps cookies."""

    def __init__(self, site: str) -> None:
        self.site, self.page = site, ""
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def open(self, path: str) -> str:
        """Load a page and return its text."""
        return self._load(urllib.request.Request(self.site + path))  # noqa: S310

    def submit(self, **values: str) -> str:
        """Send the main form of the page as it stands, but for these values; returns the next page."""
        reader = _FormReader()
        reader.feed(self.page)
        data = urllib.parse.urlencode({**reader.values, **values}).encode()
        return self._load(urllib.request.Request(self._address, data, headers={"Referer": self._address}))  # noqa: S310

    def _load(self, request: urllib.request.Request) -> str:
        with self._opener.open(request, timeout=20) as answer:
            self._address = answer.url
            self.page = answer.read().decode()
        return self.page


class _FormReader(HTMLParser):
    """What a browser would send, buttons left out."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._text: str | None = None
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name, value, kind = found.get("name"), found.get("value"), found.get("type") or "text"
        if tag == "input" and name and (kind not in {"submit", "checkbox", "radio", "file"} or "checked" in found):
            self.values[name] = "on" if value is None and kind == "checkbox" else value or ""
        elif tag == "textarea" and name:
            self._text, self.values[name] = name, ""
        elif tag == "select" and name:
            self._select = name
        elif tag == "option" and self._select and "selected" in found:
            self.values[self._select] = value or ""

    def handle_data(self, data: str) -> None:
        if self._text:
            # A browser drops the line break that begins a textarea.
            self.values[self._text] += data.removeprefix("\r\n").removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._text = None
        elif tag == "select":
            self._select = None
