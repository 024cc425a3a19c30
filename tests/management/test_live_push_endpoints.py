"""``manage.py live_push_endpoints``."""

from __future__ import annotations

import json
import logging
import re
import threading
import tomllib
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.signals import pre_save
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from live_push.admin.endpoints.credential_age import set_when
from live_push.admin.endpoints.form import EndpointFormWithCredentials
from live_push.admin.shared.history import history_in_words
from live_push.housekeeping.endpoint_file import OPTIONS, endpoints_as_toml
from live_push.models import AuthMethod, ClientEndpoint, EndpointHealth
from live_push.models.endpoints import Ordering
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.readme import ROOT, snippets
from tests.support import command

pytestmark = pytest.mark.django_db

run = partial(command, "live_push_endpoints")

KEY = "GRscvhg53SsDg1gxxsDgcsf123"
URL = 'url = "https://crm.example.com/push"\n'
CRM = f'[[endpoint]]\nname = "crm"\n{URL}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "endpoints.toml"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_API_KEY", KEY)


def apply(file: Path, text: str, *options: object, code: int = 0) -> str:
    """Apply a file with this text, and return all that was printed."""
    file.write_text(text)
    return "".join(run("--apply", file, *options, code=code))


def crm() -> ClientEndpoint:
    return ClientEndpoint.objects.get(name="crm")


def rows() -> list[dict[str, Any]]:
    return list(ClientEndpoint.objects.order_by("pk").values())


class TestApply:
    def test_an_endpoint_that_is_missing_is_added(self, file: Path) -> None:
        printed = apply(file, f'{CRM}ordering = "strict"\nrate_limit_per_second = 5\nextra_headers = {{ X-A = "b" }}\n')

        assert crm().url == "https://crm.example.com/push"
        assert (crm().ordering, crm().rate_limit_per_second, crm().extra_headers) == ("strict", 5.0, {"X-A": "b"})
        assert (crm().is_active, crm().max_in_flight) == (True, 8)
        assert EndpointHealth.objects.filter(endpoint=crm()).exists()
        assert printed.startswith('+ crm: added\n    url: "https://crm.example.com/push"\n')
        assert "1 added, 0 changed" in printed

    def test_what_differs_is_changed_and_shown_with_old_and_new_value(self, file: Path) -> None:
        endpoint = ClientEndpointFactory(name="crm", max_in_flight=3, contact_email="ops@example.com")

        printed = apply(file, f"{CRM}max_in_flight = 4\nrate_limit_per_second = 0.5\n")

        assert crm().pk == endpoint.pk
        assert (crm().max_in_flight, crm().rate_limit_per_second) == (4, 0.5)
        assert "~ crm: changed\n    max_in_flight: 3 -> 4\n    rate_limit_per_second: inf -> 0.5\n" in printed
        assert crm().contact_email == "ops@example.com", "an option that the file leaves out is left as it is"

    def test_applied_again_it_changes_nothing(self, file: Path) -> None:
        apply(file, CRM)
        before = rows()

        printed = apply(file, CRM)

        assert rows() == before
        assert "  crm: unchanged\n" in printed

    def test_a_url_that_is_only_written_in_another_way_is_the_same(self, file: Path) -> None:
        apply(file, CRM)
        apply(file, CRM.replace("https://crm.example.com/", "HTTPS://CRM.example.com:443/"), "--check")

    def test_an_endpoint_that_the_file_does_not_have_is_left_alone(self, file: Path) -> None:
        ClientEndpointFactory(name="other")
        assert "  other: left alone\n" in apply(file, CRM)
        assert ClientEndpoint.objects.get(name="other").is_active

    def test_an_audience_is_a_list_of_brandings_or_everyone(self, file: Path) -> None:
        UserProfileFactory(client_branding_id="north")
        assert '+ crm: added\n    url: "https://crm.example.com/push"\n    audience: ["north"]\n' in apply(
            file, f'{CRM}audience = ["north", "north"]\n'
        )
        assert crm().brandings == ["north"]
        assert "  crm: unchanged\n" in apply(file, f'{CRM}audience = ["north"]\n')
        assert "  crm: unchanged\n" in apply(file, CRM)
        assert 'audience: ["north"] -> "all"' in apply(file, f'{CRM}audience = "all"\n')
        assert (crm().audience, crm().brandings) == ("all", [])

    def test_brandings_that_no_member_has_are_named_and_listed_all_the_same(self, file: Path) -> None:
        UserProfileFactory(client_branding_id="north")
        printed = apply(file, f'{CRM}audience = ["north", "nroth"]\n')
        assert "Endpoint crm: no member has the branding 'nroth' yet." in printed
        assert "'north'" not in printed
        assert crm().brandings == ["north", "nroth"]
        assert "Endpoint crm receives no member: its audience is empty." in apply(file, f"{CRM}audience = []\n")
        assert crm().brandings == []

    @pytest.mark.parametrize(
        "audience", ['"north"', "[1]", '[""]', r'["a\u0000"]', '[["north"]]', "true", f'["{"x" * 256}"]']
    )
    def test_what_is_no_audience_is_refused_and_nothing_is_changed(self, file: Path, audience: str) -> None:
        printed = apply(file, f"{CRM}audience = {audience}\n", code=2)
        assert 'Write "all", or a list of brandings: texts of 1 to 255 characters.' in printed
        assert not ClientEndpoint.objects.exists()

    def test_a_rate_limit_is_removed_by_infinity(self, file: Path) -> None:
        ClientEndpointFactory(name="crm", rate_limit_per_second=2)
        assert "rate_limit_per_second: 2.0 -> inf" in apply(file, f"{CRM}rate_limit_per_second = inf\n")
        assert crm().rate_limit_per_second is None

    def test_an_endpoint_that_is_switched_off_and_on_says_why_and_no_longer(self, file: Path) -> None:
        apply(file, CRM)
        apply(file, f"{CRM}is_active = false\n")
        assert crm().disabled_reason == "Switched off by the endpoint file."
        assert EndpointHealth.objects.get(endpoint=crm()).inactive_since is not None

        apply(file, f"{CRM}is_active = true\n")
        assert (crm().is_active, crm().disabled_reason) == (True, "")

    def test_a_paused_endpoint_stays_paused_if_the_file_does_not_say_otherwise(self, file: Path) -> None:
        ClientEndpointFactory(name="crm", is_active=False, disabled_reason="No success for five days.")
        apply(file, f"{CRM}max_in_flight = 2\n")
        assert (crm().is_active, crm().disabled_reason) == (False, "No success for five days.")

    def test_the_query_of_a_url_is_not_printed(self, file: Path) -> None:
        for text in (CRM.replace("/push", "/push?token=first"), CRM.replace("/push", "/push?token=second")):
            printed = apply(file, text)
            assert "/push?token=••••" in printed
            assert "first" not in printed + apply(file, text, "--json")

    def test_ids_are_captured_by_another_endpoint_from_now_on(self, file: Path) -> None:
        ClientEndpointFactory(name="old", capturing=True)
        # The one that gives it up stands behind the one that takes it.
        text = f'{CRM}capture_third_party_id = true\n[[endpoint]]\nname = "old"\ncapture_third_party_id = false\n'

        apply(file, text, "--check", code=1)
        assert not ClientEndpoint.objects.filter(name="crm").exists()
        assert ClientEndpoint.objects.get(name="old").capture_third_party_id
        apply(file, text)

        assert list(ClientEndpoint.objects.filter(capture_third_party_id=True)) == [crm()]

    def test_all_is_done_or_nothing(self, file: Path) -> None:
        def refuse_b(instance: ClientEndpoint, **kwargs: Any) -> None:
            if instance.name == "b":
                raise RuntimeError("The host does not want b.")

        pre_save.connect(refuse_b, sender=ClientEndpoint)
        try:
            with pytest.raises(RuntimeError, match="does not want b"):
                apply(file, f'{CRM}[[endpoint]]\nname = "b"\n{URL}')
        finally:
            pre_save.disconnect(refuse_b, sender=ClientEndpoint)
        assert rows() == []

    def test_quiet_prints_nothing(self, file: Path) -> None:
        assert "crm" not in apply(file, CRM, "--verbosity", "0")

    def test_as_json(self, file: Path) -> None:
        ClientEndpointFactory(name="crm", url="https://crm.example.com/push", max_in_flight=3)
        file.write_text(f"{CRM}max_in_flight = 4\nrate_limit_per_second = inf\n")

        out, _err = run("--apply", file, "--json")

        crm_changes = {"max_in_flight": {"old": 3, "new": 4}}
        endpoint = {"name": "crm", "outcome": "changed", "changes": crm_changes, "secrets": {}}
        assert json.loads(out) == {"applied": True, "endpoints": [endpoint]}


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_apply_the_same_file_add_each_endpoint_once(file: Path) -> None:
    file.write_text(CRM)
    both_have_read = threading.Barrier(2)
    has_waited = threading.local()

    def wait_for_the_other(**kwargs: Any) -> None:
        # SQLite has one writer at a time, so the other could not have read yet.
        if connection.vendor != "sqlite" and not hasattr(has_waited, "once"):
            has_waited.once = True
            both_have_read.wait(timeout=60)

    def process(_number: int) -> str:
        try:
            return "".join(run("--apply", file))
        finally:
            connection.close()

    pre_save.connect(wait_for_the_other, sender=ClientEndpoint)
    try:
        with ThreadPoolExecutor(2) as pool:
            printed = sorted(pool.map(process, range(2)))
    finally:
        pre_save.disconnect(wait_for_the_other, sender=ClientEndpoint)

    assert [text.split("\n")[0] for text in printed] == ["  crm: unchanged", "+ crm: added"]
    assert len(rows()) == 1


class TestCheck:
    def test_differences_are_shown_and_nothing_is_changed(self, file: Path) -> None:
        ClientEndpointFactory(name="crm", max_in_flight=3)
        before = rows()

        printed = apply(file, f'{CRM}max_in_flight = 4\n[[endpoint]]\nname = "new"\n{URL}', "--check", code=1)

        assert rows() == before
        assert "max_in_flight: 3 -> 4" in printed
        assert "+ new: added" in printed
        assert printed.endswith("Nothing was written.\n")

    def test_without_a_difference_it_succeeds(self, file: Path) -> None:
        ClientEndpointFactory(name="other")
        apply(file, CRM)
        apply(file, CRM, "--check")

    def test_what_would_be_pruned_is_a_difference(self, file: Path) -> None:
        ClientEndpointFactory(name="other")
        apply(file, CRM)
        assert "- other: switched off" in apply(file, CRM, "--check", "--prune", code=1)
        assert ClientEndpoint.objects.get(name="other").is_active


class TestPrune:
    def test_what_is_not_in_the_file_is_switched_off_and_not_deleted(self, file: Path) -> None:
        ClientEndpointFactory(name="other")

        printed = apply(file, CRM, "--prune")

        other = ClientEndpoint.objects.get(name="other")
        assert (other.is_active, other.disabled_reason) == (False, "Switched off by the endpoint file.")
        assert "- other: switched off" in printed
        assert crm().is_active

    def test_what_is_off_already_is_left_alone(self, file: Path) -> None:
        ClientEndpointFactory(name="other", is_active=False, disabled_reason="Paused by boss.")
        assert "other: left alone" in apply(file, CRM, "--prune")
        assert ClientEndpoint.objects.get(name="other").disabled_reason == "Paused by boss."

    def test_a_file_without_an_endpoint_switches_nothing_off(self, file: Path) -> None:
        ClientEndpointFactory(name="other")
        assert "would switch off every endpoint" in apply(file, "# empty\n", "--prune", code=2)
        assert ClientEndpoint.objects.get().is_active


API_KEY = 'auth_method = "api_key"\napi_key = { env = "CRM_API_KEY" }\n'


class TestSecrets:
    def test_from_the_environment(self, file: Path) -> None:
        printed = apply(file, CRM + API_KEY)
        assert crm().reveal("api_key") == KEY
        assert "    api_key: set\n" in printed
        apply(file, CRM + API_KEY, "--check")

    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"], ids=["bare", "line break", "line break of Windows"])
    def test_from_a_file_beside_it(self, file: Path, ending: str) -> None:
        (file.parent / "crm.key").write_bytes(f" {KEY} {ending}".encode())
        apply(file, f'{CRM}auth_method = "basic"\nusername = "shop"\npassword = {{ file = "crm.key" }}\n')
        assert crm().reveal("password") == f" {KEY} "

    def test_from_a_file_with_a_full_path(self, file: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_text(KEY)
        reference = f"{{ file = '{tmp_path / 'elsewhere'}' }}"
        apply(file, f'{CRM}auth_method = "api_key"\napi_key = {reference}\n')
        assert crm().reveal("api_key") == KEY

    def test_another_secret_is_only_called_changed(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        apply(file, CRM + API_KEY)
        monkeypatch.setenv("CRM_API_KEY", "another-key")
        assert "    api_key: changed\n" in apply(file, CRM + API_KEY, "--check", code=1)
        assert crm().reveal("api_key") == KEY
        apply(file, CRM + API_KEY)
        assert crm().reveal("api_key") == "another-key"

    def test_a_secret_that_the_file_leaves_out_is_left_as_it_is(self, file: Path) -> None:
        ClientEndpointFactory(name="crm", url="https://crm.example.com/push", api_key_auth=True)
        apply(file, f'{CRM}auth_method = "api_key"\n', "--check")
        apply(file, f"{CRM}max_in_flight = 2\n")
        assert crm().reveal("api_key") == KEY

    def test_another_method_removes_what_it_does_not_use(self, file: Path) -> None:
        ClientEndpointFactory(name="crm", basic=True)
        printed = apply(file, CRM + API_KEY)
        assert (crm().auth_method, crm().username, crm().password) == (AuthMethod.API_KEY, "", None)
        assert "    password: removed\n    api_key: changed\n" in printed

    def test_a_new_host_gets_the_secret_only_if_the_file_names_it(self, file: Path) -> None:
        apply(file, CRM + API_KEY)
        moved = CRM.replace("crm.example.com", "new.example.com")

        printed = apply(file, moved, code=2)
        assert "auth_method: " in printed
        assert crm().url == "https://crm.example.com/push"

        assert "api_key: changed" in apply(file, moved + API_KEY)
        assert crm().reveal("api_key") == KEY

    def test_one_whose_key_was_lost_is_written_again(self, file: Path, settings: Any) -> None:
        apply(file, CRM + API_KEY)
        settings.SECRET_KEY = "another key that protects nothing at all"
        apply(file, CRM + API_KEY)
        assert crm().reveal("api_key") == KEY

    @pytest.mark.parametrize("options", [(), ("--json",), ("--check",)], ids=["apply", "json", "check"])
    def test_none_shows_in_output_log_history_or_reason(
        self, file: Path, options: tuple[str, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        User.objects.create(username="ada")
        ClientEndpointFactory(name="crm", basic=True)
        code = 1 if "--check" in options else 0

        printed = apply(file, CRM + API_KEY, "--user", "ada", *options, code=code)

        exported, _err = run("--export")
        told = "".join(f"{entry.change_message}{entry.object_repr}" for entry in LogEntry.objects.all())
        for secret in (KEY, "password123"):
            assert secret not in printed + exported + told + caplog.text
        assert "api_key" in printed

    def test_none_shows_in_the_local_variables_of_an_error(self, file: Path) -> None:
        def fail(**kwargs: Any) -> None:
            raise RuntimeError

        pre_save.connect(fail, sender=ClientEndpoint)
        try:
            apply(file, CRM + API_KEY)
        except RuntimeError as error:
            report = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        finally:
            pre_save.disconnect(fail, sender=ClientEndpoint)

        assert "_write" in report
        assert "described" in report
        assert KEY not in report


FAULTS = [
    pytest.param("name = ", "endpoints.toml:1: This is not valid TOML: ", id="no TOML"),
    pytest.param('a = "\\q"', "endpoints.toml:1: This is not valid TOML: ", id="a wrong escape"),
    pytest.param(f"a = {'9' * 5000}", "endpoints.toml: This is not valid TOML: ", id="an endless number"),
    pytest.param(f"a = {'[' * 20_000}", "endpoints.toml: This is not valid TOML: ", id="brackets without an end"),
    pytest.param("endpiont = 1", "endpoints.toml:1: endpiont: There is no such key.", id="an unknown key at the top"),
    pytest.param('"\\u001b" = 1', "endpoints.toml:1: '\\x1b': There is no such key.", id="one that plays tricks"),
    pytest.param('[endpoint]\nname = "crm"', "endpoints.toml:1: endpoint: Begin each", id="single brackets"),
    pytest.param("endpoint = [1]", "endpoints.toml:1: endpoint: Begin each endpoint", id="a list of numbers"),
    pytest.param(f"\n[[endpoint]]\n{URL}", "endpoints.toml:2: name: The endpoint has no name.", id="no name"),
    pytest.param("[[endpoint]]\nname = 1", "endpoints.toml:2: name: Write a text in quotes; found a whole", id="1"),
    pytest.param(f'[[endpoint]]\nname = ""\n{URL}', "endpoints.toml:2: name: This field cannot be blank.", id="blank"),
    pytest.param('[[endpoint]]\nname = "crm"', "endpoints.toml:1: endpoint 'crm', url: This field can", id="no URL"),
    pytest.param(f"{CRM}{CRM}", "endpoints.toml:5: endpoint 'crm', name: An endpoint above has the same", id="twice"),
    pytest.param(f"{CRM}colour = 1", "endpoints.toml:4: endpoint 'crm', colour: There is no such option.", id="colour"),
    pytest.param(f"{CRM}id = 1", "endpoints.toml:4: endpoint 'crm', id: There is no such option.", id="an id"),
    pytest.param(
        f"{CRM}max_in_flight = true",
        "endpoints.toml:4: endpoint 'crm', max_in_flight: Write a whole number; found true or false.",
        id="a boolean as number",
    ),
    pytest.param(f'{CRM}is_active = "no"', "is_active: Write true or false; found a text in quotes.", id="a text"),
    pytest.param(f"{CRM}ordering = 2026-11-28", "ordering: Write a text in quotes; found a date or a time.", id="day"),
    pytest.param(f"{CRM}rate_limit_per_second = nan", "rate_limit_per_second: Write a number; found nan.", id="nan"),
    pytest.param(f"{CRM}rate_limit_per_second = -inf", "rate_limit_per_second: Ensure this value is", id="-inf"),
    pytest.param(
        f"{CRM}rate_limit_per_second = 1{'0' * 400}", "Write a number; found a number that is too large.", id="huge"
    ),
    pytest.param(f"{CRM}max_in_flight = 0", "endpoints.toml:4: endpoint 'crm', max_in_flight: Ensure", id="zero"),
    pytest.param(f'{CRM}ordering = "fifo"', "endpoints.toml:4: endpoint 'crm', ordering: Value 'fifo'", id="fifo"),
    pytest.param(f'{CRM}retry_policy = "never"', "endpoints.toml:4: endpoint 'crm', retry_policy: ", id="no policy"),
    pytest.param(f'{CRM}contact_email = "me"', "endpoints.toml:4: endpoint 'crm', contact_email: ", id="no address"),
    pytest.param(f'{CRM}withheld_fields = ["id"]', "endpoints.toml:4: endpoint 'crm', withheld_fields: ", id="the id"),
    pytest.param(
        f'{CRM}ignored_keys = ["dateLastLogon"]',
        "endpoints.toml:4: endpoint 'crm', ignored_keys: 'dateLastLogon' is not a top-level key of the body, so it "
        "can't be ignored. The nearest is 'dateLastLogin'.",
        id="an unknown ignored key",
    ),
    pytest.param(f"{CRM}withheld_fields = [1]", "endpoints.toml:4: endpoint 'crm', withheld_fields: ", id="a number"),
    pytest.param(
        f'{CRM}[endpoint.extra_headers]\nHost = "a"',
        "endpoints.toml:4: endpoint 'crm', extra_headers: ",
        id="a reserved header",
    ),
    pytest.param(
        f"{CRM}extra_headers = {{ X-A = 2026-11-28 }}", "endpoints.toml:4: endpoint 'crm', extra_headers: ", id="date"
    ),
    pytest.param(
        CRM.replace("https", "http"), "endpoints.toml:3: endpoint 'crm', url: The URL does not begin", id="plain http"
    ),
    pytest.param(CRM.replace("crm.example.com", "10.0.0.1"), "endpoints.toml:3: endpoint 'crm', url: ", id="internal"),
    pytest.param(f'{CRM}username = "a"', "endpoints.toml:1: endpoint 'crm', auth_method: User name", id="no method"),
    pytest.param(
        f"{CRM}{API_KEY}capture_third_party_id = true",
        "endpoints.toml:6: endpoint 'crm', capture_third_party_id: ",
        id="captured ids with a login",
    ),
    pytest.param(
        f"{CRM}capture_third_party_id = true\n{CRM.replace('crm', 'b')}capture_third_party_id = true",
        "endpoints.toml:8: endpoint 'b', capture_third_party_id: Another active endpoint of the file",
        id="ids captured twice",
    ),
    pytest.param(f'{CRM}api_key = "{KEY}"', "endpoints.toml:4: endpoint 'crm', api_key: This is a secret", id="clear"),
    pytest.param(f"{CRM}api_key = 1", "api_key: This is a secret, so the file must only say where it is", id="key 1"),
    pytest.param(f'{CRM}password = {{ env = "A", file = "b" }}', "password: This is a secret", id="two places"),
    pytest.param(f"{CRM}password = {{ env = 1 }}", "password: This is a secret", id="a number as variable"),
    pytest.param(f'{CRM}password = {{ vault = "a" }}', "password: This is a secret", id="an unknown place"),
    pytest.param(
        f'{CRM}api_key = {{ env = "{KEY}" }}',
        "endpoints.toml:4: endpoint 'crm', api_key: The environment variable named here is not set.",
        id="the secret in place of a variable's name",
    ),
    pytest.param(
        f'{CRM}api_key = {{ env = "EMPTY" }}', "api_key: The environment variable named here is empty.", id="''"
    ),
    pytest.param(
        f'{CRM}api_key = {{ file = "{KEY}" }}',
        "endpoints.toml:4: endpoint 'crm', api_key: The file named here can't be read: No such file",
        id="the secret in place of a file's name",
    ),
    pytest.param(
        f'{CRM}api_key = {{ file = "." }}', "api_key: The file named here can't be read: Is a directory", id="."
    ),
    pytest.param(
        f'{CRM}api_key = {{ file = "binary" }}', "api_key: The file named here can't be read: its", id="binary"
    ),
    pytest.param(f'{CRM}api_key = {{ file = "\\u0000" }}', "api_key: The file named here can't be read: its", id="NUL"),
    pytest.param(
        f'{CRM}api_key = {{ file = "line" }}', "api_key: The file named here is empty.", id="only a line break"
    ),
    pytest.param(f'{CRM}signing_secret = "whsec_x"', "signing_secret: Signing secrets are generated", id="signing"),
]


class TestFaults:
    @pytest.fixture(autouse=True)
    def _secrets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "binary").write_bytes(b"\xff")
        (tmp_path / "line").write_text("\n")
        monkeypatch.setenv("EMPTY", "")

    @pytest.mark.parametrize(("text", "sentence"), FAULTS)
    def test_a_fault_is_named_with_its_place_and_nothing_is_changed(self, file: Path, text: str, sentence: str) -> None:
        ClientEndpointFactory(name="other")
        before = rows()

        printed = apply(file, text, "--prune", code=2)

        assert sentence in printed
        assert printed.endswith("\nNothing was changed.")
        assert KEY not in printed
        assert rows() == before

    def test_all_are_shown_together_in_their_order(self, file: Path) -> None:
        text = f'{CRM}max_in_flight = "many"\ncolour = 1\n[[endpoint]]\nname = "b"\npassword = "secret"\n'
        printed = apply(file, text, code=2)
        assert [line.split(": ")[0].rsplit(":")[-1] for line in printed.splitlines()[:-1]] == ["4", "5", "8"]

    def test_so_are_all_that_the_model_finds(self, file: Path) -> None:
        text = f'{CRM}max_in_flight = 0\n[[endpoint]]\nname = "b"\nurl = "http://b.example.com"\n'
        printed = apply(file, text, code=2)
        assert "max_in_flight: " in printed
        assert "'b', url: " in printed

    @pytest.mark.parametrize("content", [None, b"\xff"], ids=["missing", "not UTF-8"])
    def test_a_file_that_can_not_be_read_is_named(self, file: Path, content: bytes | None) -> None:
        if content is not None:
            file.write_bytes(content)
        _out, err = run("--apply", file, code=2)
        assert err.startswith(f"{file}: The file ")

    def test_as_json(self, file: Path) -> None:
        file.write_text(f"{CRM}colour = 1")
        out, _err = run("--apply", file, "--json", code=2)
        fault = {
            "file": str(file),
            "line": 4,
            "endpoint": "crm",
            "key": "colour",
            "message": "There is no such option.",
        }
        assert json.loads(out) == {"errors": [fault]}

    def test_a_sentence_is_english_in_every_language(self, file: Path, settings: Any) -> None:
        settings.LANGUAGE_CODE = "de"
        assert "Ensure this value" in apply(file, f"{CRM}max_in_flight = 0", code=2)

    @pytest.mark.parametrize("option", [["--check"], ["--prune"], ["--json"], ["--user", "ada"]], ids=" ".join)
    def test_an_export_takes_no_other_option(self, option: list[str]) -> None:
        _out, err = run("--export", *option, code=2)
        assert "no other options" in err


class TestHistory:
    def test_each_change_enters_it_under_the_user(self, file: Path) -> None:
        ada = User.objects.create(username="ada")
        ClientEndpointFactory(name="other")
        apply(file, CRM, "--user", "ada", "--prune")
        apply(file, f"{CRM}{API_KEY}max_in_flight = 3\n", "--user", "ada")
        apply(file, f"{CRM}{API_KEY}max_in_flight = 3\n", "--user", "ada")

        entries = LogEntry.objects.order_by("pk")
        assert [(entry.user, entry.object_repr, entry.action_flag) for entry in entries] == [
            (ada, "crm", ADDITION),
            (ada, "other", CHANGE),
            (ada, "crm", CHANGE),
        ]
        assert [history_in_words(entry) for entry in entries] == [
            "Added.",
            "Paused.",
            "Changed Authentication, Requests at the same time and New API key.",
        ]
        assert set_when(crm()).endswith("by ada.")

    def test_without_a_user_it_is_said_that_nothing_enters_it(self, file: Path) -> None:
        assert "not in the admin's history" in apply(file, CRM)
        assert "history" not in apply(file, CRM), "nothing was changed this time"
        assert not LogEntry.objects.exists()

    def test_a_check_enters_nothing(self, file: Path) -> None:
        User.objects.create(username="ada")
        apply(file, CRM, "--user", "ada", "--check", code=1)
        assert not LogEntry.objects.exists()

    def test_an_unknown_user_is_refused(self, file: Path) -> None:
        assert "There is no user 'bob'" in apply(file, CRM, "--user", "bob", code=2)
        assert rows() == []


class TestExport:
    def test_what_is_exported_is_what_is_there(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ClientEndpointFactory(name="plain", rate_limit_per_second=0.5, withheld_fields=["dateOfBirth"])
        ClientEndpointFactory(name="crm", api_key_auth=True, extra_headers={"X-A": 'say "ü"'}, is_active=False)
        ClientEndpointFactory(name="shop", basic=True).set_audience(["north", 'so"uth'])
        exported, _err = run("--export")

        monkeypatch.setenv("SHOP_PASSWORD", "password123")
        assert "3 unchanged" in apply(file, exported, "--check", "--prune")
        assert 'password = { env = "SHOP_PASSWORD" }' in exported
        assert 'api_key = { env = "CRM_API_KEY" }' in exported
        assert 'audience = ["north", "so\\"uth"]' in exported

    def test_a_variable_that_was_not_set_yet_is_named(self, file: Path) -> None:
        ClientEndpointFactory(name="shop", basic=True)
        exported, _err = run("--export")
        assert "The environment variable named here is not set." in apply(file, exported, "--check", code=2)

    def test_from_the_export_an_empty_database_gets_the_same_endpoints(self, file: Path) -> None:
        ClientEndpointFactory(name="crm", api_key_auth=True, ordering="strict", retry_policy="standard_webhooks")
        exported, _err = run("--export")
        left_out = ["id", "uid", "version", "content_version", "api_key", "created_at", "credentials_changed_at"]
        before = {key: value for key, value in rows()[0].items() if key not in left_out}
        ClientEndpoint.objects.all().delete()

        apply(file, exported)

        assert {key: value for key, value in rows()[0].items() if key not in left_out} == before
        assert crm().reveal("api_key") == KEY

    def test_each_secret_has_a_variable_of_its_own_with_a_valid_name(self) -> None:
        for name in ("crm a", "crm-a", "1st", "Ünïcode", "日本"):
            ClientEndpointFactory(name=name, url="https://a.example.com", api_key_auth=True)
        exported, _err = run("--export")
        assert [endpoint["api_key"]["env"] for endpoint in tomllib.loads(exported)["endpoint"]] == [
            "ENDPOINT_1ST_API_KEY",
            "CRM_A_API_KEY",
            "CRM_A_2_API_KEY",
            "N_CODE_API_KEY",
            "ENDPOINT_API_KEY",
        ]

    def test_without_an_endpoint_it_is_a_file_that_can_be_applied(self, file: Path) -> None:
        exported, _err = run("--export")
        apply(file, exported, "--check")


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30)
HEADERS = st.dictionaries(st.from_regex(r"X-[a-z]{1,5}", fullmatch=True), st.from_regex(r"[!-~]{0,9}", fullmatch=True))
COLUMNS = st.fixed_dictionaries(
    {
        "is_active": st.booleans(),
        "ordering": st.sampled_from(Ordering.values),
        "max_in_flight": st.integers(1, 1000),
        "rate_limit_per_second": st.none() | st.floats(0.001, 1e9),
        "timeframe_score_alias": st.booleans(),
        "withheld_fields": st.lists(st.sampled_from(["city", "state", "dateOfBirth"]), unique=True),
        "only_changes": st.booleans(),
        "ignored_keys": st.lists(st.sampled_from(["city", "tierInfo", "dateLastLogin"]), unique=True),
        "extra_headers": HEADERS,
    }
)


class TestRoundTrip(TestCase):
    @settings(max_examples=25)
    @given(st.dictionaries(NAMES, COLUMNS, min_size=1, max_size=3))
    def test_whatever_is_exported_differs_in_nothing(self, endpoints: dict[str, dict[str, Any]]) -> None:
        for name, columns in endpoints.items():
            ClientEndpointFactory(name=name, url="https://a.example.com", **columns)
        path = Path(self.enterContext(TemporaryDirectory())) / "endpoints.toml"
        path.write_text(endpoints_as_toml(ClientEndpoint.objects.all()), encoding="utf-8")
        run("--apply", path, "--check", "--prune")


def test_the_file_offers_what_the_form_offers() -> None:
    assert {"name", *OPTIONS} == set(EndpointFormWithCredentials.Meta.fields)


def test_the_file_on_the_page_can_be_applied(file: Path) -> None:
    (snippet,) = snippets("docs/endpoints_as_code.md", "toml")
    (file.parent / "shop").write_text("password\n")

    apply(file, snippet.code.replace("/run/secrets/", ""))

    assert crm().reveal("api_key") == KEY
    assert ClientEndpoint.objects.get(name="shop").reveal("password") == "password"


def test_the_page_names_every_option() -> None:
    page = (ROOT / "docs" / "endpoints_as_code.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert named == ["name", *OPTIONS, "password", "api_key"]
