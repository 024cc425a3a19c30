"""What holds for every page of the app."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from .pages import all_pages

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("world")]


def test_every_page_opens(boss: Client) -> None:
    for name, address in all_pages().items():
        response = boss.get(address)
        assert response.status_code == 200, name


def test_no_page_has_a_script_or_style_of_its_own(boss: Client) -> None:
    for name, address in all_pages().items():
        page = boss.get(address).content.decode()
        for found in re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son[a-z]+=", page):
            # Django's own: data for its date pickers and the like, which no browser runs.
            assert "application/json" in found, (name, found)


def test_no_page_hands_out_a_file(boss: Client) -> None:
    # No export, no formula in a spreadsheet; and an answer of a client's is never served as what it claims to be.
    for name, address in all_pages().items():
        headers = boss.get(address).headers
        assert (headers["Content-Type"], headers.get("Content-Disposition")) == ("text/html; charset=utf-8", None), name


def test_nothing_opens_for_a_stranger(client: Client) -> None:
    for name, address in all_pages().items():
        assert client.get(address).status_code == 302, name


def test_nothing_opens_for_staff_without_permissions(staff: object) -> None:
    client = staff()  # type: ignore[operator]
    for name, address in all_pages().items():
        assert client.get(address).status_code in (403, 404), name
