"""The German translation: complete, compiled, true to its placeholders, and on every page."""

from __future__ import annotations

import ast
import gettext
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

import live_push
from live_push.contract.fields import BODY
from tests.admin.conftest import boss as boss
from tests.admin.conftest import world as world
from tests.admin.pages import all_pages
from tests.conftest import need

HOUSE = Path(live_push.__file__).parent
GERMAN = HOUSE / "locale" / "de" / "LC_MESSAGES"
HOW_TO_GET_IT = "No gettext here. Get it: apt-get install gettext."
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sd%]|</?code>")


@pytest.fixture(autouse=True)
def _language_stays_here() -> Iterator[None]:
    # A request leaves its language behind in the thread, for whatever test comes next.
    with translation.override(translation.get_language()):
        yield


@dataclass(frozen=True)
class Entry:
    """One message; ``plural`` and the second of ``german`` are for those that count."""

    context: str
    text: str
    plural: str
    german: tuple[str, ...]


def entries(file: Path) -> Iterator[Entry]:
    """The messages of a catalogue's source."""
    for block in file.read_text().split("\n\n")[1:]:
        lines = [line for line in block.replace('"\n"', "").splitlines() if not line.startswith("#")]
        fields = {key: ast.literal_eval(text) for key, text in (line.split(" ", 1) for line in lines)}
        german = tuple(text for key, text in fields.items() if key.startswith("msgstr"))
        yield Entry(fields.get("msgctxt", ""), fields["msgid"], fields.get("msgid_plural", ""), german)


def keys(file: Path) -> set[tuple[str, str, str]]:
    return {(entry.context, entry.text, entry.plural) for entry in entries(file)}


def test_every_message_of_the_source_is_translated_and_no_other_is(tmp_path: Path) -> None:
    need(shutil.which("xgettext"), HOW_TO_GET_IT)
    copy = Path(shutil.copytree(HOUSE, tmp_path / "live_push", ignore=shutil.ignore_patterns("__pycache__")))
    command = [sys.executable, "-m", "django", "makemessages", "-l", "de", "--no-location", "--no-wrap"]
    # Settings of a project would only get in the way.
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=copy, env=environment, check=True, capture_output=True)  # noqa: S603
    extracted = copy / "locale" / "de" / "LC_MESSAGES" / "django.po"
    assert keys(extracted) == keys(GERMAN / "django.po")
    assert "fuzzy" not in extracted.read_text()
    assert [entry for entry in entries(extracted) if "" in entry.german] == []


def test_what_is_compiled_is_what_is_written() -> None:
    with (GERMAN / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for entry in entries(GERMAN / "django.po"):
        if entry.plural:
            found = tuple(compiled.ngettext(entry.text, entry.plural, number) for number in (1, 2))
        elif entry.context:
            found = (compiled.pgettext(entry.context, entry.text),)
        else:
            found = (compiled.gettext(entry.text),)
        assert found == entry.german


def test_placeholders_are_the_same_in_each_pair() -> None:
    for entry in entries(GERMAN / "django.po"):
        originals = (entry.text, entry.plural or entry.text)
        for original, german in zip(originals, entry.german, strict=False):
            assert sorted(PLACEHOLDER.findall(original)) == sorted(PLACEHOLDER.findall(german)), original


def test_no_message_hides_inside_an_f_string_where_it_is_not_found() -> None:
    hidden = [
        f"{path.relative_to(HOUSE)}:{call.lineno}"
        for path in HOUSE.rglob("*.py")
        for text in ast.walk(ast.parse(path.read_text()))
        if isinstance(text, ast.JoinedStr)
        for call in ast.walk(text)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "_" and isinstance(call.args[0], ast.Constant)
    ]
    assert hidden == []


class _Texts(HTMLParser):
    """What a page says: its texts and the attributes that are read aloud or shown."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.texts |= {value or "" for name, value in attributes if name in ("aria-label", "title", "placeholder")}

    def handle_data(self, data: str) -> None:
        self.texts.add(" ".join(data.split()).rstrip(":"))


def said(page: Any) -> set[str]:
    parser = _Texts()
    parser.feed(page.content.decode())
    # Django writes the first letter of a heading or a label large.
    return {form for text in parser.texts for form in (text, text[:1].lower() + text[1:])}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("world")
def test_no_page_says_in_english_what_there_is_german_for(boss: Client) -> None:
    catalogue = list(entries(GERMAN / "django.po"))
    # What German says by the same word is no finding, nor is a key of the body that is chosen by its name.
    german = {text.casefold() for entry in catalogue for text in entry.german} | {"start"}
    keys_of_the_body = {field.key for field in BODY}
    english = {entry.text.rstrip(":") for entry in catalogue if entry.text.casefold() not in german} - keys_of_the_body
    found = {
        name: both
        for name, address in all_pages().items()
        if (both := english & said(boss.get(address, headers={"accept-language": "de"})))
    }
    assert found == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("world")
def test_pages_speak_the_language_that_the_browser_asks_for(boss: Client) -> None:
    for language, heading in (("de", "Braucht Aufmerksamkeit"), ("en", "Needs attention"), ("fr", "Needs attention")):
        page = boss.get(all_pages()["overview"], headers={"accept-language": language})
        assert f">{heading}</h2>" in page.content.decode()
