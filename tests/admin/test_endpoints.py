"""Endpoints: credentials go in and never come out, and what the contract forbids is refused with a sentence."""

from __future__ import annotations

import re
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client, override_settings

from live_push.admin.endpoints.form import MAY_BE_WITHHELD
from live_push.admin.shared import formatting
from live_push.admin.shared.history import history_in_words
from live_push.contract.encoding import encode
from live_push.contract.payload import ProfilePayload
from live_push.delivery import test_push
from live_push.models import ClientEndpoint, Confirmation, Delivery, EndpointHealth, Push
from live_push.models.clock import db_now, stopped
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, status

from .conftest import Staff
from .forms import fields, submit
from .pages import url

pytestmark = pytest.mark.django_db(transaction=True)

FORM = "clientendpoint_form"
KEY = "a-key-of-theirs-0123456789-k9Qa"
PASSWORD = "correct horse battery"
LATER = START.replace(hour=13)


def change(client: Client, endpoint: ClientEndpoint, **changes: Any) -> Any:
    return submit(client, url("clientendpoint_change", endpoint.pk), FORM, **changes)


def complaints(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200, response.headers
    return {name: list(errors) for name, errors in response.context["adminform"].form.errors.items()}


def fresh(endpoint: ClientEndpoint) -> ClientEndpoint:
    return ClientEndpoint.objects.get(pk=endpoint.pk)


class TestCredentials:
    def test_a_typed_secret_is_stored_and_never_shown(self, boss: Client) -> None:
        add = url("clientendpoint_add")
        made = {"name": "acme", "url": "https://acme.example.com/", "auth_method": "basic", "username": "us"}
        assert submit(boss, add, FORM, **made, new_password=PASSWORD).status_code == 302
        endpoint = ClientEndpoint.objects.get()
        assert (endpoint.username, endpoint.reveal("password")) == ("us", PASSWORD)
        assert PASSWORD not in boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()

    def test_a_typed_secret_is_not_echoed_when_something_else_is_wrong(self, boss: Client) -> None:
        response = change(boss, ClientEndpointFactory(basic=True), name="", new_password=PASSWORD)
        assert "name" in complaints(response)
        assert PASSWORD not in response.content.decode()

    def test_an_empty_field_keeps_what_is_stored(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True, api_key=KEY)
        assert change(boss, endpoint, contact_email="ops@example.com").status_code == 302
        assert fresh(endpoint).reveal("api_key") == KEY

    def test_a_new_secret_replaces_the_stored_one(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        assert change(boss, endpoint, new_api_key=KEY).status_code == 302
        assert fresh(endpoint).reveal("api_key") == KEY

    def test_another_method_forgets_what_the_old_one_needed(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(basic=True)
        assert change(boss, endpoint, auth_method="none").status_code == 302
        assert (fresh(endpoint).username, fresh(endpoint).password) == ("", None)

    def test_a_password_can_be_forgotten_alone(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(basic=True)
        assert change(boss, endpoint, clear_password="on").status_code == 302
        assert (fresh(endpoint).username, fresh(endpoint).password) == ("test", None)

    @pytest.mark.parametrize(
        ("stored", "changes", "field", "sentence"),
        [
            pytest.param({}, {"auth_method": "api_key"}, "new_api_key", "Enter it", id="a method without its key"),
            pytest.param({}, {"new_api_key": KEY}, "new_api_key", "does not use this", id="a key without its method"),
            pytest.param({}, {"username": "us"}, "username", "Basic", id="a user name without its method"),
            pytest.param(
                {"api_key_auth": True}, {"new_api_key": "a b"}, "new_api_key", "without blanks", id="a key with a blank"
            ),
            pytest.param(
                {"api_key_auth": True}, {"clear_api_key": "on"}, "new_api_key", "Enter it", id="forgetting a needed key"
            ),
            pytest.param(
                {"basic": True},
                {"new_password": "new", "clear_password": "on"},
                "new_password",
                "not both",
                id="a new one and forgetting it",
            ),
            pytest.param(
                {"basic": True},
                {"new_password": "a\x07b"},
                "new_password",
                "control characters",
                id="a password that can't be sent",
            ),
            pytest.param(
                {"basic": True},
                {"url": "https://elsewhere.example.com/"},
                "new_password",
                "a new host",
                id="a URL that moved",
            ),
        ],
    )
    def test_what_does_not_fit_is_said_at_the_field(
        self, boss: Client, stored: dict[str, Any], changes: dict[str, Any], field: str, sentence: str
    ) -> None:
        endpoint = ClientEndpointFactory(**stored)
        found = complaints(change(boss, endpoint, **changes))
        assert list(found) == [field]
        assert sentence in found[field][0]

    def test_a_url_that_moved_is_accepted_with_its_secret(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(basic=True)
        moved = change(boss, endpoint, url="https://elsewhere.example.com/", new_password=PASSWORD)
        assert moved.status_code == 302
        assert fresh(endpoint).reveal("password") == PASSWORD

    def test_another_path_on_the_same_host_needs_no_secret(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(basic=True)
        assert change(boss, endpoint, url=endpoint.url + "/other").status_code == 302
        assert fresh(endpoint).reveal("password") == "password123"

    def test_the_owner_of_a_long_key_knows_it_by_its_end(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True, api_key=KEY)
        page = boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()
        assert "…k9Qa" in page
        assert KEY[:-4] not in page

    def test_a_stored_secret_tells_since_when_and_by_whom(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        address = url("clientendpoint_change", endpoint.pk)
        today = formatting.day(endpoint.credentials_changed_at)
        assert f"Set on {today}. It ends in" in boss.get(address).content.decode()
        change(boss, endpoint, new_api_key=KEY)
        change(boss, endpoint, name="another name")
        assert (
            f"Set on {today} by boss. It ends in …k9Qa. Leave empty to keep it." in boss.get(address).content.decode()
        )
        # Long after whatever the history holds: it was set elsewhere.
        later = endpoint.credentials_changed_at + timedelta(days=1)
        ClientEndpoint.objects.update(credentials_changed_at=later)
        assert f"Set on {formatting.day(later)}. It ends" in boss.get(address).content.decode()

    def test_a_new_endpoints_secret_was_set_by_who_added_it(self, boss: Client) -> None:
        made = {"name": "acme", "url": "https://acme.example.com/", "auth_method": "api_key", "new_api_key": KEY}
        submit(boss, url("clientendpoint_add"), FORM, **made)
        page = boss.get(url("clientendpoint_change", ClientEndpoint.objects.get().pk)).content.decode()
        assert "by boss. It ends in …k9Qa." in page

    @pytest.mark.parametrize(
        "stored",
        [
            pytest.param({"api_key_auth": True, "api_key": "short-k9Qa"}, id="a short key would be half told"),
            pytest.param({"basic": True, "password": PASSWORD}, id="a password is typed by people"),
        ],
    )
    def test_no_hint_is_given_of_other_secrets(self, boss: Client, stored: dict[str, Any]) -> None:
        page = boss.get(url("clientendpoint_change", ClientEndpointFactory(**stored).pk)).content.decode()
        assert "Leave empty to keep it." in page
        assert "k9Qa" not in page
        assert "tery" not in page

    def test_who_may_not_change_credentials_has_no_field_for_them(self, staff: Staff) -> None:
        endpoint = ClientEndpointFactory(basic=True)
        client = staff("view_clientendpoint", "change_clientendpoint")
        offered = fields(client, url("clientendpoint_change", endpoint.pk), FORM)
        assert not {"auth_method", "username", "new_password", "is_active"} & set(offered)
        assert change(client, endpoint, auth_method="none", new_password="mine", is_active=None).status_code == 302
        assert fresh(endpoint).reveal("password") == "password123"
        assert fresh(endpoint).is_active

    def test_who_may_only_look_does_not_see_what_stands_in_the_query(self, staff: Staff) -> None:
        endpoint = ClientEndpointFactory(url="https://acme.example.com/hook?v=2&token=T0PSECRET")
        client = staff("view_clientendpoint", "send_test_push", "view_userprofile", "view_delivery_content")
        pages = [
            url("clientendpoint_change", endpoint.pk),
            url("clientendpoint_test", endpoint.pk),
            url("userprofile_preview", UserProfileFactory().pk) + f"?endpoint={endpoint.pk}",
        ]
        for address in pages:
            page = client.get(address).content.decode()
            assert "https://acme.example.com/hook?v=••••&amp;token=••••" in page
            assert "T0PSECRET" not in page

    def test_who_may_not_change_credentials_can_not_send_them_elsewhere(self, staff: Staff) -> None:
        endpoint = ClientEndpointFactory(basic=True)
        client = staff("view_clientendpoint", "change_clientendpoint")
        found = complaints(change(client, endpoint, url="https://evil.example.com/"))
        assert "old host" in found["url"][0]
        assert fresh(endpoint).url == endpoint.url

    def test_the_history_names_what_was_changed_and_no_value(self, boss: Client) -> None:
        change(boss, ClientEndpointFactory(api_key_auth=True), new_api_key=KEY)
        entry = LogEntry.objects.get()
        assert "New API key" in entry.get_change_message()
        assert KEY not in entry.change_message + entry.object_repr


class TestRules:
    @pytest.mark.parametrize(
        ("changes", "field", "sentence"),
        [
            pytest.param({"url": "http://acme.example.com/"}, "url", "https://", id="plain http"),
            pytest.param({"url": "https://10.0.0.1/"}, "url", "public", id="a private address"),
            pytest.param({"extra_headers": "[" * 100_000}, "extra_headers", "valid JSON", id="headers without an end"),
            pytest.param({"extra_headers": '{"x-api-key": "k"}'}, "extra_headers", "reserved", id="our header"),
            pytest.param({"max_in_flight": "0"}, "max_in_flight", "greater", id="nothing at a time"),
            pytest.param(
                {"auth_method": "api_key", "new_api_key": KEY, "capture_third_party_id": "on"},
                "capture_third_party_id",
                "without authentication",
                id="synchronized ids with a login",
            ),
        ],
    )
    def test_what_the_contract_forbids_is_refused_with_a_sentence(
        self, boss: Client, changes: dict[str, Any], field: str, sentence: str
    ) -> None:
        found = complaints(change(boss, ClientEndpointFactory(), **changes))
        assert sentence in found[field][0]

    def test_emptied_headers_are_none(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(extra_headers={"X-Source": "loyalty"})
        assert change(boss, endpoint, extra_headers="").status_code == 302
        assert fresh(endpoint).extra_headers == {}

    def test_a_second_endpoint_can_not_synchronize_ids(self, boss: Client) -> None:
        ClientEndpointFactory(name="first", capturing=True)
        found = complaints(change(boss, ClientEndpointFactory(), capture_third_party_id="on"))
        assert "“first”" in found["capture_third_party_id"][0]

    def test_withheld_fields_are_ticked(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        assert change(boss, endpoint, withheld_fields=["dateOfBirth", "gender"]).status_code == 302
        assert sorted(fresh(endpoint).withheld_fields) == ["dateOfBirth", "gender"]

    @pytest.mark.parametrize(
        ("typed", "keys"),
        [
            pytest.param("dateLastUpdated, dateLastLogin", ["dateLastUpdated", "dateLastLogin"], id="commas"),
            pytest.param("dateLastLogin dateLastLogin\n", ["dateLastLogin"], id="blanks"),
            pytest.param("", [], id="nothing"),
        ],
    )
    def test_ignored_keys_are_typed(self, boss: Client, typed: str, keys: list[str]) -> None:
        endpoint = ClientEndpointFactory()
        page = boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()
        assert 'name="ignored_keys" value="dateLastUpdated"' in page
        assert change(boss, endpoint, only_changes="on", ignored_keys=typed).status_code == 302
        assert (fresh(endpoint).only_changes, fresh(endpoint).ignored_keys) == (True, keys)

    def test_a_save_of_the_form_that_changes_nothing_keeps_what_clients_have_accepted(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(only_changes=True)
        assert change(boss, endpoint, contact_email="ops@example.com").status_code == 302
        assert fresh(endpoint).content_version == endpoint.content_version

    def test_an_unknown_ignored_key_is_refused_with_the_nearest_and_nothing_changes(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        found = complaints(change(boss, endpoint, only_changes="on", ignored_keys="dateLastLogon"))
        sentence = "'dateLastLogon' is not a top-level key of the body, so it can't be ignored. "
        assert found == {"ignored_keys": [f"{sentence}The nearest is 'dateLastLogin'."]}
        assert not fresh(endpoint).only_changes

    def test_the_page_counts_what_held_nothing_new(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(only_changes=True)
        profile = UserProfileFactory()
        deliver()
        for _ in range(3):
            profile.save()
        deliver()
        facts = dict(boss.get(url("clientendpoint_change", endpoint.pk)).context["facts"])
        assert facts["Held nothing new, in 24 hours"] == "3"
        other = boss.get(url("clientendpoint_change", ClientEndpointFactory().pk))
        assert "Held nothing new" not in other.content.decode()

    def test_beside_each_key_that_may_be_withheld_stands_what_a_test_push_would_send(self, boss: Client) -> None:
        page = boss.get(url("clientendpoint_add")).content.decode()
        told = re.findall(r'name="withheld_fields".*?>\s*(\w+) <span class="lp-quiet">(.*?)</span>', page, re.DOTALL)
        assert dict(told).keys() == {field.key for field in MAY_BE_WITHHELD}
        assert dict(told)["firstName"] == "&quot;Test&quot;"
        assert dict(told)["emailAddress"] == "&quot;live-push-test@example.com&quot;"

    @override_settings(LIVE_PUSH={"RETRY_POLICIES": {"gentle": [60, 3600]}})
    def test_every_retry_policy_is_offered_in_words(self, boss: Client) -> None:
        page = boss.get(url("clientendpoint_add")).content.decode()
        assert "gentle: at once, then after 1 min, 1 h" in page
        assert "then every 12 min, for 8 h" in page

    def test_an_endpoint_with_a_log_can_not_be_deleted(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        delete = url("clientendpoint_delete", endpoint.pk)
        assert boss.get(delete).status_code == 200
        UserProfileFactory()
        assert boss.get(delete).status_code == 403


class TestPage:
    def test_it_tells_why_attempts_failed_and_what_went_out_last(self, boss: Client, staff: Staff) -> None:
        acme, other = ClientEndpointFactory(name="acme"), ClientEndpointFactory(name="other")
        UserProfileFactory()
        deliver(status(500), OK)
        page = boss.get(url("clientendpoint_change", acme.pk)).content.decode()
        delivery = Delivery.objects.get(endpoint=acme)
        assert "server_error" in page
        assert "Ask the client to check its logs" in page
        assert url("delivery_change", delivery.pk) in page
        assert f"cause=server_error&amp;endpoint={acme.pk}" in page
        assert "No attempt failed." in boss.get(url("clientendpoint_change", other.pk)).content.decode()
        page = staff("view_clientendpoint").get(url("clientendpoint_change", acme.pk)).content.decode()
        assert "/delivery/" not in page

    def test_it_tells_how_the_week_was_and_what_is_due(self, boss: Client) -> None:
        with stopped(START):
            endpoint = ClientEndpointFactory()
            UserProfileFactory.create_batch(4)
            deliver(*[status(200, duration_ms=15)] * 3, status(500, duration_ms=9000))
        with stopped(START + timedelta(days=2)):
            page = boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()
        assert "<dt>Accepted in 24 hours</dt><dd>nothing sent</dd>" in page
        assert re.search("<dt>Accepted in 7 days</dt><dd>.*75.0 % of 4</span></dd>", page)
        assert "<dt>Took, in 7 days: p99</dt><dd>≤ 20 ms</dd>" in page
        assert re.search('<dt>Oldest due</dt><dd><time [^>]*datetime="2026-03-01T12:00:10', page)

    def test_what_is_wrong_says_since_when_and_what_to_do(self, boss: Client) -> None:
        with stopped(START):
            endpoint = ClientEndpointFactory()
            UserProfileFactory()
            deliver(status(500))
            EndpointHealth.objects.update(rests_until=LATER)
        with stopped(START + timedelta(minutes=5)):
            page = boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()
            assert re.search("Failing since (noon|12[^.]*) UTC. It failed, or its answers asked us to wait.", page)
            assert "Most often in 24 hours: <code>server_error</code>" in page
            ClientEndpoint.objects.update(is_active=False, disabled_reason="No success for five days.")
            page = boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()
        assert re.search(
            "No success for five days. Since 12:05[^.]*[.]m[.] UTC. When the cause is repaired, send a test", page
        )

    def test_it_leads_to_what_failed_so_that_it_can_be_redelivered(self, boss: Client, staff: Staff) -> None:
        endpoint = ClientEndpointFactory()
        UserProfileFactory.create_batch(2)
        deliver(status(413), status(500))
        EndpointHealth.objects.update(failures_in_row=42)
        page = boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()
        assert "<dt>Failures in a row</dt><dd>42</dd>" in page
        (address,) = re.findall(r'href="([^"]+)">Redeliver failed…', page)
        found = boss.get(address.replace("&amp;", "&")).context["cl"].result_list
        assert [delivery.last_status_code for delivery in found] == [413]
        page = staff("view_clientendpoint", "view_delivery").get(url("clientendpoint_change", endpoint.pk))
        assert "Redeliver failed…" not in page.content.decode()

    def test_a_filter_finds_those_whose_credentials_can_not_be_used(self, boss: Client) -> None:
        ClientEndpointFactory()
        lost = ClientEndpointFactory(basic=True)
        lost.url = "https://elsewhere.example.com/push"
        lost.save()
        context = boss.get(url("clientendpoint_changelist"), {"state": "needs_credentials"}).context
        assert [endpoint.pk for endpoint in context["cl"].result_list] == [lost.pk]

    def test_the_list_tells_how_each_is_set_up(self, boss: Client) -> None:
        ClientEndpointFactory(name="acme", basic=True, signing_secret="whsec_" + "A" * 32)
        ClientEndpointFactory(name="globex", capturing=True)
        page = boss.get(url("clientendpoint_changelist")).content.decode()
        for told in ("user name and password", "signed", "no login", "synchronizes the third-party ID"):
            assert told in page, told


class TestPauseAndResume:
    def switch(self, client: Client, endpoint: ClientEndpoint, to: str) -> Any:
        return client.post(url("clientendpoint_switch", endpoint.pk), {"to": to}, follow=True)

    def test_a_paused_endpoint_says_by_whom(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        self.switch(boss, endpoint, "pause")
        assert (fresh(endpoint).is_active, fresh(endpoint).disabled_reason) == (False, "Paused by boss.")
        assert history_in_words(LogEntry.objects.get()) == "Paused."

    def test_looking_at_the_question_pauses_nothing(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        assert boss.get(url("clientendpoint_switch", endpoint.pk)).status_code == 200
        assert fresh(endpoint).is_active

    def test_resuming_sends_what_changed_meanwhile(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(OK)
        self.switch(boss, endpoint, "pause")
        profile.save()
        assert not Delivery.objects.filter(status="pending").exists()
        page = self.switch(boss, endpoint, "resume").content.decode()
        assert "is active again" in page
        assert Delivery.objects.get(status="pending").profile == profile
        assert fresh(endpoint).disabled_reason == ""

    def test_what_can_not_be_active_is_not_resumed(self, boss: Client) -> None:
        ClientEndpointFactory(name="first", capturing=True)
        second = ClientEndpointFactory(is_active=False, capturing=True)
        page = self.switch(boss, second, "resume").content.decode()
        assert "“first” already synchronizes" in page
        assert not fresh(second).is_active

    def test_many_are_paused_and_resumed_from_the_list(self, boss: Client) -> None:
        chosen = [str(endpoint.pk) for endpoint in ClientEndpointFactory.create_batch(2)]
        address = url("clientendpoint_changelist") + "?state=active"
        asked = boss.post(address, {"action": "pause", "_selected_action": chosen})
        assert "Pause 2 endpoints?" in asked.content.decode()
        assert f'href="{address}">Cancel' in asked.content.decode()
        assert ClientEndpoint.objects.filter(is_active=True).count() == 2
        for action, active in (("pause", False), ("resume", True)):
            data = {"action": action, "_selected_action": chosen, "confirmed": "1"}
            boss.post(url("clientendpoint_changelist"), data)
            assert set(ClientEndpoint.objects.values_list("is_active", flat=True)) == {active}

    def test_the_form_switches_too(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        change(boss, endpoint, is_active=None)
        assert fresh(endpoint).disabled_reason == "Paused by boss."
        change(boss, endpoint, is_active="on")
        assert fresh(endpoint).disabled_reason == ""


class TestSigningSecret:
    def post(self, client: Client, endpoint: ClientEndpoint, **data: Any) -> str:
        address = url("clientendpoint_signing", endpoint.pk)
        return str(client.post(address, {"overlap_hours": 24, **data}, follow=True).content.decode())

    def test_a_generated_secret_is_shown_once(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        page = self.post(boss, endpoint)
        secret = fresh(endpoint).reveal("signing_secret")
        assert secret is not None
        assert secret.startswith("whsec_")
        assert secret in page
        assert secret not in boss.get(url("clientendpoint_signing", endpoint.pk)).content.decode()
        assert secret not in boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()

    def test_a_page_with_a_secret_is_kept_by_no_cache(self, boss: Client) -> None:
        response = boss.post(url("clientendpoint_signing", ClientEndpointFactory().pk), {"overlap_hours": 24})
        assert "no-store" in response["Cache-Control"]

    def test_a_second_rotation_is_refused_unless_forced(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        self.post(boss, endpoint)
        self.post(boss, endpoint)
        second = fresh(endpoint).reveal("signing_secret")
        assert "Two secrets sign until" in self.post(boss, endpoint)
        assert fresh(endpoint).reveal("signing_secret") == second
        assert str(fresh(endpoint).reveal("signing_secret")) not in self.post(boss, endpoint)
        self.post(boss, endpoint, force="on")
        assert fresh(endpoint).reveal("previous_signing_secret") == second

    def test_a_removed_secret_signs_nothing(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        self.post(boss, endpoint)
        assert "no longer signed" in self.post(boss, endpoint, remove="1")
        assert fresh(endpoint).signing_secret is None

    def test_the_history_tells_it_without_the_secret(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        for _ in range(2):
            self.post(boss, endpoint)
        told = [history_in_words(entry) for entry in LogEntry.objects.order_by("pk")]
        assert told == ["Generated a signing secret.", "Rotated the signing secret."]


class TestPreview:
    def test_it_shows_what_a_worker_would_send_of_nobody_without_the_secrets(self, boss: Client) -> None:
        secrets = {"basic": True, "signing_secret": "whsec_" + "A" * 32, "extra_headers": {"X-Source": "loyalty"}}
        endpoint = ClientEndpointFactory(**secrets, withheld_fields=["dateOfBirth"])
        page = boss.get(url("clientendpoint_preview", endpoint.pk))
        shown = page.context["shown"]
        body = encode(ProfilePayload().snapshot(test_push.SYNTHETIC), endpoint.options)
        assert (shown["body"], page.context["digest"]) == (body.decode(), sha256(body).hexdigest())
        UserProfileFactory()
        (request,) = deliver(OK)
        assert [name for name, _ in shown["headers"]] == list(request.headers)
        headers = dict(shown["headers"])
        assert (headers["Authorization"], headers["X-Source"]) == ("Basic ••••", "loyalty")
        assert "live-push-test" not in headers
        assert "Withheld from this endpoint:" in page.content.decode()

    def test_whoever_may_see_the_endpoint_may_look_and_nothing_is_sent(self, staff: Staff, answers: Any) -> None:
        transport = answers(OK)
        address = url("clientendpoint_preview", ClientEndpointFactory().pk)
        assert staff("view_clientendpoint").get(address).status_code == 200
        assert staff("view_delivery", "view_userprofile").get(address).status_code == 403
        assert (transport.requests, Push.objects.count()) == ([], 0)

    def test_credentials_that_can_not_be_used_are_told_instead(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(auth_method="api_key")
        assert "no API key yet" in boss.get(url("clientendpoint_preview", endpoint.pk)).content.decode()


class TestCatchUp:
    def counts(self, client: Client, endpoint: ClientEndpoint) -> tuple[int, int]:
        context = client.get(url("clientendpoint_catch_up", endpoint.pk)).context
        return context["behind"], context["never_sent"]

    def test_it_counts_and_resends_to_those_behind_and_those_never_sent(self, boss: Client) -> None:
        first, second = UserProfileFactory.create_batch(2)
        endpoint = ClientEndpointFactory()
        moment = db_now("default")
        Confirmation.objects.create(endpoint=endpoint, profile=first, sequence=1, confirmed_at=moment)
        assert self.counts(boss, endpoint) == (1, 1)
        address = url("clientendpoint_catch_up", endpoint.pk)
        boss.post(address, {"whom": "behind"})
        assert Push.objects.get().profile == first
        boss.post(address, {"whom": "never_sent"})
        assert {push.profile for push in Push.objects.all()} == {first, second}
        assert self.counts(boss, endpoint) == (0, 0)

    def test_each_of_its_two_buttons_works_once(self, boss: Client) -> None:
        first, _ = UserProfileFactory.create_batch(2)
        endpoint = ClientEndpointFactory()
        Confirmation.objects.create(endpoint=endpoint, profile=first, sequence=1, confirmed_at=db_now("default"))
        address = url("clientendpoint_catch_up", endpoint.pk)
        page = boss.get(address).content.decode()
        for pushes, whom in ((1, "behind"), (2, "never_sent")):
            (token,) = re.findall(rf'name="idempotency_key" value="([^"]+-{whom})"', page)
            answers = [boss.post(address, {"whom": whom, "idempotency_key": token}, follow=True) for _ in range(2)]
            assert "but done only once" in answers[1].content.decode()
            assert Push.objects.count() == pushes

    def test_a_paused_endpoint_is_resumed_instead(self, boss: Client) -> None:
        UserProfileFactory()
        endpoint = ClientEndpointFactory(is_active=False)
        page = boss.post(url("clientendpoint_catch_up", endpoint.pk), {"whom": "never_sent"}, follow=True)
        assert "Resume it" in page.content.decode()
        assert not Push.objects.exists()


class TestList:
    def row(self, client: Client) -> str:
        page = client.get(url("clientendpoint_changelist")).content.decode()
        return "".join(re.findall(r"<tbody.*?</tbody>", page, re.DOTALL))

    @pytest.mark.parametrize(
        ("endpoint", "health", "word"),
        [
            pytest.param({}, {}, "active", id="all is well"),
            pytest.param({"is_active": False}, {}, "disabled", id="switched off"),
            pytest.param(
                {}, {"breaker_state": "open", "rests_until": START.replace(hour=13)}, "resting until", id="open"
            ),
            pytest.param({}, {"breaker_state": "half_open"}, "Only one push at a time", id="a probe may go"),
            pytest.param({}, {"failing_since": START}, "Failing since", id="failing"),
            pytest.param({"auth_method": "api_key"}, {}, "needs credentials", id="no key is stored"),
        ],
    )
    def test_the_state_stands_there_in_a_word(
        self, boss: Client, endpoint: dict[str, Any], health: dict[str, Any], word: str
    ) -> None:
        with stopped(START):
            row = ClientEndpointFactory(**endpoint)
            EndpointHealth.objects.filter(endpoint=row).update(**health)
            assert word in self.row(boss)

    def test_the_success_rate_of_a_day_stands_there_as_picture_and_text(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(3)
        deliver(OK, OK, status(500))
        row = self.row(boss)
        assert "66.6 % of 3" in row
        assert '<svg class="lp-bar"' in row

    def test_what_waits_what_of_it_is_retried_and_the_last_failure_stand_there(self, boss: Client) -> None:
        with stopped(START):
            endpoint = ClientEndpointFactory()
            UserProfileFactory.create_batch(2)
            deliver(status(404), status(404))
            UserProfileFactory()
        with stopped(START.replace(minute=5)):
            row = self.row(boss)
        link = f"{url('delivery_changelist')}?endpoint={endpoint.pk}&amp;status__exact=pending"
        assert f'<a href="{link}">3</a>' in row
        assert "2 of them retried" in row
        assert row.split("last failure:")[1].startswith(' <time class="lp-moment" datetime="2026-03-01T12:00')

    def test_its_figures_lead_to_deliveries_only_who_may_see_them(self, staff: Staff) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        assert "/delivery/" not in self.row(staff("view_clientendpoint"))
        assert "/delivery/" in self.row(staff("view_clientendpoint", "view_delivery"))

    def test_ids_of_other_members_stand_there_beside_the_synchronization(self, boss: Client) -> None:
        ClientEndpointFactory(capturing=True)
        UserProfileFactory.create_batch(2)
        assert "ID conflict" not in self.row(boss)
        deliver(status(200, b'{"third_party_id": "T-1"}'))
        assert re.search('synchronizes the third-party ID, <a href="[^"]+">1 ID conflict in 7 days</a>', self.row(boss))

    @pytest.mark.parametrize(
        ("stored", "years", "told"),
        [
            pytest.param({}, 0, "no authentication", id="neither login nor signature"),
            pytest.param({"signing_secret": "whsec_" + "A" * 32}, 0, None, id="a signature proves it too"),
            pytest.param({"basic": True}, 0, None, id="a fresh password"),
            pytest.param({"basic": True}, 2, "unchanged for 731 days", id="an old password"),
            pytest.param({"api_key_auth": True}, 2, "unchanged for 731 days", id="an old key"),
        ],
    )
    def test_a_login_that_is_missing_or_old_is_warned_of_in_words(
        self, boss: Client, stored: dict[str, Any], years: int, told: str | None
    ) -> None:
        with stopped(START):
            ClientEndpointFactory(**stored)
        with stopped(START.replace(year=START.year + years)):
            row = self.row(boss)
        warned = re.findall(r'<span class="lp-badge lp-warn"><svg.*?</svg> (.*?)</span>', row)
        assert warned == ([] if told is None else [told])

    def test_an_international_host_is_shown_as_it_is_sent_and_as_people_write_it(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(url="https://xn--bcher-kva.example/")
        page = boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()
        assert all("xn--bcher-kva.example (bücher.example)" in shown for shown in (self.row(boss), page))

    def test_path_and_query_of_the_url_stay_out(self, boss: Client) -> None:
        ClientEndpointFactory(url="https://acme.example.com/hook?token=T0PSECRET")
        row = self.row(boss)
        assert "acme.example.com" in row
        assert "T0PSECRET" not in row

    @pytest.mark.parametrize("state", ["active", "failing", "resting", "disabled"])
    def test_it_can_be_narrowed_by_state(self, boss: Client, state: str) -> None:
        with stopped(START):
            well, failing, resting = ClientEndpointFactory.create_batch(3)
            disabled = ClientEndpointFactory(is_active=False)
            EndpointHealth.objects.filter(endpoint=failing).update(failing_since=START)
            EndpointHealth.objects.filter(endpoint=resting).update(rests_until=LATER)
            found = boss.get(url("clientendpoint_changelist"), {"state": state}).context["cl"].result_list
        wanted = {
            "active": [well, failing],
            "failing": [failing],
            "resting": [resting],
            "disabled": [disabled],
        }
        assert set(found) == set(wanted[state])

    def test_sorted_by_state_trouble_stands_on_top(self, boss: Client) -> None:
        with stopped(START):
            healths: dict[str, dict[str, Any]] = {
                "well": {},
                "failing": {"failing_since": START},
                "resting": {"failing_since": START, "rests_until": LATER},
                "without credentials": {"needs_credentials": True},
                "off": {},
            }
            for name, health in healths.items():
                row = ClientEndpointFactory(name=name, is_active=name != "off")
                EndpointHealth.objects.filter(endpoint=row).update(**health)
            found = {
                order: [
                    row.name
                    for row in boss.get(url("clientendpoint_changelist"), {"o": order}).context["cl"].result_list
                ]
                for order in ("2", "-2")
            }
        assert found == {"2": list(healths)[::-1], "-2": list(healths)}

    def test_its_queries_do_not_grow_with_the_endpoints(self, boss: Client, django_assert_max_num_queries: Any) -> None:
        UserProfileFactory.create_batch(3)
        ClientEndpointFactory.create_batch(30)
        with django_assert_max_num_queries(12):
            boss.get(url("clientendpoint_changelist"))
