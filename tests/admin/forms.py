"""Filling in a form as a browser does: what the page holds, with some of it changed."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from django.test import Client


class _Fields(HTMLParser):
    """The fields of the form of one id, as they would be submitted."""

    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.form_id, self.inside = form_id, False
        self.values: dict[str, Any] = {}
        self._select: str | None = None
        self._textarea: str | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "form":
            self.inside = given.get("id") == self.form_id
        name = given.get("name")
        if tag == "option" and self.inside and self._select and "selected" in given:
            self.values[self._select] = given.get("value") or ""
        if not self.inside or not name:
            return
        if tag == "select":
            self._select = name
            self.values.setdefault(name, "")
        elif tag == "textarea":
            self._textarea = name
            self.values[name] = ""
        elif tag == "input" and given.get("type") in ("checkbox", "radio"):
            if "checked" in given:
                self.values[name] = given.get("value") or "on"
        elif tag == "input" and given.get("type") != "submit":
            self.values[name] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._select = None if tag == "select" else self._select
        self._textarea = None if tag == "textarea" else self._textarea

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.values[self._textarea] += data.removeprefix("\n")


def fields(client: Client, address: str, form_id: str) -> dict[str, Any]:
    """What a browser would submit if nothing was changed."""
    parser = _Fields(form_id)
    parser.feed(client.get(address).content.decode())
    return parser.values


def submit(client: Client, address: str, form_id: str, **changes: Any) -> Any:
    """Change some fields of a page's form and press *Save*; ``None`` leaves a box unticked."""
    values = {**fields(client, address, form_id), **changes}
    return client.post(address, {name: value for name, value in values.items() if value is not None})


def confirm_twice(client: Client, page: str, address: str = "", **chosen: Any) -> list[Any]:
    """Press the button of a confirmation twice, as a double click without scripts does: both answers.

    ``chosen`` is what else stands in the form; ``address`` is needed where the form goes to its own page.
    """
    form = re.findall(r'<form method="post"[^>]* class="lp-form">.*?</form>', page, re.DOTALL)[0]
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)">', form))
    target = "".join(re.findall(r'^<form[^>]* action="(.*?)"', form)) or address
    return [client.post(target, {**hidden, **chosen}, follow=True) for _ in range(2)]
