"""What holds for every page of the app."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from django.test import Client, override_settings

from live_push.templatetags.live_push import TAKES_ATTRIBUTES
from tests.settings import MIDDLEWARE, TEMPLATES

from .pages import all_pages

PROCESSORS: list[str] = TEMPLATES[0]["OPTIONS"]["context_processors"]  # type: ignore[index]

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


def test_every_page_has_one_title(boss: Client) -> None:
    for name, address in all_pages().items():
        assert len(re.findall(r"<h1(?! id=.site-name)", boss.get(address).content.decode())) == 1, name


def test_every_page_wears_our_styles(boss: Client) -> None:
    for name, address in all_pages().items():
        assert 'href="/static/live_push/live_push.css"' in boss.get(address).content.decode(), name


@pytest.mark.skipif(not TAKES_ATTRIBUTES, reason="Django gives its own styles a nonce from 6.1 on.")
def test_every_style_and_script_has_the_nonce_of_a_policy_that_asks_for_one(boss: Client) -> None:
    template = {
        **TEMPLATES[0],
        "OPTIONS": {"context_processors": [*PROCESSORS, "django.template.context_processors.csp"]},
    }
    with override_settings(
        MIDDLEWARE=["django.middleware.csp.ContentSecurityPolicyMiddleware", *MIDDLEWARE[1:]],
        TEMPLATES=[template],
        SECURE_CSP={"style-src": ["<CSP_NONCE_SENTINEL>"], "script-src": ["<CSP_NONCE_SENTINEL>"]},
    ):
        for name, address in all_pages().items():
            response = boss.get(address)
            nonce = response["Content-Security-Policy"].partition("'nonce-")[2].partition("'")[0]
            tags = re.findall(r"<script[^>]* src=[^>]*>|<link[^>]* rel=.stylesheet.[^>]*>", response.content.decode())
            assert nonce, name
            assert [tag for tag in tags if f'nonce="{nonce}"' not in tag] == [], name


def test_a_host_without_the_admin_can_still_load_every_template() -> None:
    program = (
        "import django; from django.conf import settings; from django.template import engines;"
        "settings.configure(INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes', 'live_push'],"
        " TEMPLATES=[{'BACKEND': 'django.template.backends.django.DjangoTemplates'}]);"
        "django.setup(); engines['django'].from_string('{% load live_push %}')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603  (our own command)


def test_nothing_opens_for_a_stranger(client: Client) -> None:
    for name, address in all_pages().items():
        assert client.get(address).status_code == 302, name


def test_nothing_opens_for_staff_without_permissions(staff: object) -> None:
    client = staff()  # type: ignore[operator]
    for name, address in all_pages().items():
        assert client.get(address).status_code in (403, 404), name
