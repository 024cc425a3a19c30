"""The setting: what each key takes, what it refuses, and that it is read live."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from live_push import checks, conf
from live_push.secrets.keyring import SECRET_KEYRING

ROOT = Path(__file__).parents[1]

RIGHT = {
    "ENGINE": ["shop.engines.Own"],
    "AUTOSTART_WORKER": [None, True, False],
    "SECRET_KEYS": [None, ["sixteen letters!"], ("sixteen letters!", "and another sixteen")],
    "CONNECT_TIMEOUT_SECONDS": [1, 0.5],
    "TOTAL_TIMEOUT_SECONDS": [1, 120.0],
    "ALLOWED_PRIVATE_NETWORKS": [[], ["10.0.0.0/8"], ("127.0.0.1", "fd00::/8")],
    "EXTRA_BLOCKED_NETWORKS": [[], ["203.0.113.0/24"]],
    "ALLOWED_PORTS": [None, [], [443], (1, 65535)],
    "CA_BUNDLE": [None, "/etc/ssl/own.pem"],
    "TRANSPORT": ["shop.transport.Own"],
    "PAYLOAD_SERIALIZER": ["shop.payload.Own"],
    "RETRY_POLICIES": [{}, {"quick": [0, 1.5]}, {"quick": (5,)}],
    "USER_FIELDS": [{}, {"first_name": "given_name"}],
    "ENCRYPT_PAYLOADS": [True, False],
    "ADMIN_BASE": ["shop.admin.Base"],
    "NOTIFY_WORKERS": [True, False],
    "RETENTION_SUCCEEDED_DAYS": [0, 7],
    "RETENTION_FAILED_DAYS": [0, 90],
    "RETENTION_SUCCEEDED_BODIES_DAYS": [None, 0, 2],
    "RETENTION_FAILED_BODIES_DAYS": [None, 0, 14],
}
WRONG: dict[str, list[Any]] = {
    "ENGINE": ["", None, 1],
    "AUTOSTART_WORKER": ["yes", 1, 0],
    "SECRET_KEYS": [
        *([], (), "", "sixteen letters!", b"sixteen letters!", {"sixteen letters!"}, {"sixteen letters!": 1}, 5, True),
        *(["short"], [""], [None], [5], [b"sixteen letters!"], [["sixteen letters!"]], ["short" + 20 * " "]),
        *(["sixteen letters!", None], ["sixteen letters!", ""], ("sixteen letters!", "short")),
    ],
    "CONNECT_TIMEOUT_SECONDS": [0, -1, "5", None, True, float("nan"), float("inf")],
    "TOTAL_TIMEOUT_SECONDS": [0, -0.1, "15", None, True, float("nan"), float("inf")],
    "ALLOWED_PRIVATE_NETWORKS": [None, "10.0.0.0/8", {"10.0.0.0/8"}, ["10.0.0.1/8"], ["localhost"], [10], [""]],
    "EXTRA_BLOCKED_NETWORKS": [None, "10.0.0.0/8", {"10.0.0.0/8"}, ["300.0.0.0/8"], [None]],
    "ALLOWED_PORTS": [443, "443", "443,8443", ["443"], [0], [65536], [True], {443}],
    "CA_BUNDLE": ["", False, 1],
    "TRANSPORT": ["", None],
    "PAYLOAD_SERIALIZER": ["", None],
    "RETRY_POLICIES": [
        *(None, {"": [1]}, {1: [1]}),
        *({"quick": waits} for waits in (5, [], [-1], ["1"], [False], [float("inf")], [float("nan")], [1e10])),
    ],
    "USER_FIELDS": [None, ["first_name"], {"first_name": ""}, {"first_name": None}],
    "ENCRYPT_PAYLOADS": [None, 1, "yes"],
    "ADMIN_BASE": ["", None],
    "NOTIFY_WORKERS": [None, 1, "no"],
    "RETENTION_SUCCEEDED_DAYS": [-1, 1.5, None, True, "7", 1_000_000],
    "RETENTION_FAILED_DAYS": [-1, 1.5, None, True, "90", 1_000_000],
    "RETENTION_SUCCEEDED_BODIES_DAYS": [-1, 1.5, True, "2", 1_000_000],
    "RETENTION_FAILED_BODIES_DAYS": [-1, 1.5, True, "14", 1_000_000],
}


def table(values: dict[str, list[Any]]) -> list[Any]:
    return [pytest.param(key, value, id=f"{key}={value!r}") for key in values for value in values[key]]


def run_with(folder: Path, setting: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with ``LIVE_PUSH`` as written in ``setting``."""
    (folder / "wrong_settings.py").write_text(f"from tests.settings import *\nLIVE_PUSH = {setting}\n")
    paths = os.pathsep.join([str(ROOT), str(folder)])
    return subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "wrong_settings", "PYTHONPATH": paths},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


def test_every_key_is_in_the_tables() -> None:
    known = [item.name for item in fields(conf.Settings)]
    assert [*RIGHT] == known
    assert [*WRONG] == known


@pytest.mark.parametrize(("key", "value"), table(RIGHT))
def test_a_right_value_is_taken_as_it_is(key: str, value: object) -> None:
    assert conf.problems({key: value}) == []
    with override_settings(LIVE_PUSH={key: value}):
        assert getattr(conf.current(), key) == value


@pytest.mark.parametrize(("key", "value"), table(WRONG))
def test_a_wrong_value_is_one_sentence_that_names_the_key(key: str, value: object) -> None:
    (sentence,) = conf.problems({key: value})
    assert sentence.startswith(f"LIVE_PUSH['{key}'] must be ")
    assert f"found {type(value).__name__}" in sentence


@pytest.mark.parametrize(("key", "value"), table(WRONG))
def test_a_wrong_value_stops_every_process_at_the_first_use(key: str, value: object) -> None:
    # Of any key, so that nothing is sent or stored with settings that their author did not mean.
    with override_settings(LIVE_PUSH={key: value}), pytest.raises(ImproperlyConfigured) as refusal:
        _ = conf.current().ENGINE
    assert [str(refusal.value)] == conf.problems({key: value})


@pytest.mark.parametrize(
    "keys",
    ["[os.environ.get('NO_SUCH_VARIABLE')]", "'a text, where a list of texts belongs'"],
    ids=["an unset variable", "a text instead of a list"],
)
def test_a_web_process_encrypts_nothing_with_a_key_that_can_be_guessed(keys: str, tmp_path: Path) -> None:
    # A process of its own, because a WSGI server does not run the checks.
    program = (
        "from django.core.wsgi import get_wsgi_application; get_wsgi_application()\n"
        "from live_push.models import ClientEndpoint\n"
        "endpoint = ClientEndpoint(url='https://push.example.com/', api_key='k')\n"
        "try: endpoint._meta.get_field('api_key').pre_save(endpoint, add=True)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    run = run_with(tmp_path, f"{{'SECRET_KEYS': {keys}}}", "-c", program)
    assert run.stdout.startswith("ImproperlyConfigured LIVE_PUSH['SECRET_KEYS'] must be a list of one or more texts")


def test_the_checks_run_and_list_every_fault_where_the_settings_are_wrong(tmp_path: Path) -> None:
    # Django imports the admin first; an error there would hide the list.
    run = run_with(tmp_path, "{'SECRET_KEYS': 'a text', 'ALLOWED_PORTS': '443'}", "manage.py", "check")
    assert run.returncode == 1
    assert run.stderr.count("(live_push.E001)") == 2


def test_the_sentence_about_keys_holds_no_key() -> None:
    (sentence,) = conf.problems({"SECRET_KEYS": ["short", "a long enough secret"]})
    assert "short" not in sentence
    assert "secret" not in sentence


def test_every_default_is_right() -> None:
    with override_settings(LIVE_PUSH={}):
        current = conf.current()
    assert conf.problems({item.name: getattr(current, item.name) for item in fields(current)}) == []


def test_an_unknown_key_is_told_with_those_that_are_known() -> None:
    (sentence,) = conf.problems({"ENGIN": "x"})
    assert "unknown key 'ENGIN'" in sentence
    assert "ENGINE, AUTOSTART_WORKER" in sentence


def test_all_problems_are_told_at_once() -> None:
    assert len(conf.problems({"ENGIN": "x", "ENGINE": None, "ALLOWED_PORTS": 443})) == 3


@pytest.mark.parametrize("value", [None, [], "ENGINE", 5], ids=repr)
def test_anything_but_a_dictionary_is_refused(value: object) -> None:
    (sentence,) = conf.problems(value)
    assert "must be a dictionary" in sentence


@pytest.mark.parametrize("value", [None, {"ENGIN": "x"}, {1: 2}], ids=repr)
def test_what_can_not_be_read_raises_the_same_sentences(value: Any) -> None:
    with override_settings(LIVE_PUSH=value), pytest.raises(ImproperlyConfigured) as refusal:
        conf.current()
    assert str(refusal.value) == " ".join(conf.problems(value))


def test_without_the_setting_all_is_default() -> None:
    with override_settings():
        from django.conf import settings

        if hasattr(settings, "LIVE_PUSH"):
            del settings.LIVE_PUSH
        assert conf.configured() == {}
        assert conf.current().ENGINE == "live_push.engines.worker.WorkerEngine"


def test_the_setting_is_read_live() -> None:
    for days in (1, 2):
        with override_settings(LIVE_PUSH={"RETENTION_FAILED_DAYS": days}):
            found = conf.current().RETENTION_FAILED_DAYS
        assert found == days


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ALLOWED_PRIVATE_NETWORKS", lambda networks: networks.append("10.0.0.0/8")),
        ("USER_FIELDS", lambda names: names.clear()),
    ],
)
def test_a_default_can_not_be_changed_in_place(name: str, change: Callable[[Any], object]) -> None:
    with override_settings(LIVE_PUSH={}):
        before = conf.current()
        with pytest.raises(AttributeError):
            change(getattr(before, name))
        assert conf.current() is before


def test_keys_are_those_of_the_setting_newest_first() -> None:
    with override_settings(LIVE_PUSH={"SECRET_KEYS": ["the newest of keys", "the oldest of keys"]}):
        assert conf.secret_keys() == ("the newest of keys", "the oldest of keys")


def test_without_keys_the_projects_own_serve_with_their_fallbacks() -> None:
    with override_settings(LIVE_PUSH={}, SECRET_KEY="the present one", SECRET_KEY_FALLBACKS=["the one before"]):
        assert conf.secret_keys() == ("the present one", "the one before")


def test_no_key_shows_in_a_report_of_local_variables() -> None:
    with override_settings(LIVE_PUSH={"SECRET_KEYS": ["the newest of keys", "the oldest of keys"]}):
        assert repr(conf.secret_keys()) == "(***, ***)"


def test_a_key_of_bytes_stays_the_same_key_when_it_becomes_a_fallback() -> None:
    key = b"\xff\xfe bytes that are no UTF-8"
    with override_settings(LIVE_PUSH={}, SECRET_KEY=key):
        token = SECRET_KEYRING.encrypt(b"kept")
    with override_settings(LIVE_PUSH={}, SECRET_KEY="a new one", SECRET_KEY_FALLBACKS=[key]):
        assert SECRET_KEYRING.decrypt(token) == b"kept"


@pytest.mark.parametrize("fallbacks", ["the one before", None, {"the one before"}, [None], [""], ["x", 5]], ids=repr)
def test_fallbacks_that_can_be_guessed_are_no_keys(fallbacks: Any) -> None:
    with override_settings(LIVE_PUSH={}, SECRET_KEY="the present one", SECRET_KEY_FALLBACKS=fallbacks):
        with pytest.raises(ImproperlyConfigured, match="SECRET_KEY_FALLBACKS"):
            SECRET_KEYRING.decrypt(b"a token that somebody wrote into the database")
        assert {message.id for message in checks.settings_are_right(None)} == {"live_push.E001"}
    own = {"SECRET_KEYS": ["sixteen letters!"]}
    with override_settings(LIVE_PUSH=own, SECRET_KEY_FALLBACKS=fallbacks):
        assert conf.secret_keys() == ("sixteen letters!",)
        assert checks.settings_are_right(None) == []
