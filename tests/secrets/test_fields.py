"""Encrypted columns: what is stored, what it is bound to, and every way around them that is closed."""

from __future__ import annotations

import copy
import io
import json
import pickle
import traceback
from base64 import b64decode
from collections.abc import Callable

import pytest
from django.core import serializers
from django.core.exceptions import FieldError
from django.core.management import call_command
from django.db import connection, models, transaction
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from live_push.exceptions import SecretMisuse, SecretUnreadable
from live_push.models import ClientEndpoint, Push
from live_push.rules.masking import Secret
from live_push.secrets.fields import EncryptedTextField, StoredBytesField
from live_push.secrets.keyring import BYTES_KEYRING, SECRET_KEYRING, Keyring, UnreadableBytes
from tests.factories import ClientEndpointFactory, UserProfileFactory

KEY = "GRscvhg53SsDg1gxxsDgcsf123"
OLD, NEW = "the key of last year, long enough", "the key of this year, long enough"
SITE_KEYS = {"SECRET_KEYS": [OLD]}


def stored(endpoint: ClientEndpoint, column: str = "api_key") -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM live_push_clientendpoint WHERE id = %s", [endpoint.pk])  # noqa: S608
        return cursor.fetchone()[0]


def overwrite(endpoint: ClientEndpoint, column: str, token: str) -> ClientEndpoint:
    """What somebody does who can write to the database."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE live_push_clientendpoint SET {column} = %s WHERE id = %s", [token, endpoint.pk])  # noqa: S608
    return ClientEndpoint.objects.get(pk=endpoint.pk)


@pytest.mark.django_db
class TestASecretAtRest:
    def test_it_comes_back_as_it_was_set(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key") == KEY

    def test_it_can_be_read_before_it_is_stored(self) -> None:
        assert ClientEndpoint(url="https://example.com/", api_key=KEY).reveal("api_key") == KEY

    def test_its_column_holds_no_part_of_it(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        assert KEY[:8] not in stored(endpoint)

    def test_equal_secrets_of_two_rows_do_not_look_equal(self) -> None:
        one, other = ClientEndpointFactory.create_batch(2, api_key_auth=True)
        assert stored(one) != stored(other)

    def test_saving_again_does_not_encrypt_the_ciphertext(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        before = stored(endpoint)
        endpoint.save()
        ClientEndpoint.objects.get(pk=endpoint.pk).save()
        assert stored(endpoint) == before

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_nothing_is_stored_as_null(self, nothing: str | None) -> None:
        endpoint = ClientEndpointFactory(auth_method="basic", username="test", password=nothing)
        assert stored(endpoint, "password") is None
        assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("password") is None

    def test_text_that_looks_like_a_token_is_text(self) -> None:
        token = stored(ClientEndpointFactory(api_key_auth=True))
        endpoint = ClientEndpointFactory(auth_method="basic", username="test", password=token)
        assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("password") == token

    def test_a_deferred_secret_is_read_when_it_is_asked_for(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        assert ClientEndpoint.objects.defer("api_key").get(pk=endpoint.pk).reveal("api_key") == KEY

    def test_the_class_s_attribute_is_no_secret(self) -> None:
        assert not isinstance(ClientEndpoint.api_key, str | Secret)

    def test_a_pickled_endpoint_carries_the_ciphertext(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        assert KEY.encode() not in pickle.dumps(endpoint)
        assert pickle.loads(pickle.dumps(endpoint)).reveal("api_key") == KEY  # noqa: S301

    def test_a_copied_endpoint_still_has_its_secret(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        assert copy.deepcopy(endpoint).reveal("api_key") == KEY

    def test_a_history_that_copies_columns_copies_the_ciphertext(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)

        class EndpointHistory(models.Model):  # noqa: DJ008
            uid = models.UUIDField()
            api_key = ClientEndpoint._meta.get_field("api_key").clone()

            class Meta:
                app_label = "history"
                managed = False

        record = EndpointHistory(uid=endpoint.uid, api_key=endpoint.api_key)
        field = EndpointHistory._meta.get_field("api_key")
        assert field.get_db_prep_save(field.pre_save(record, add=True), connection) == stored(endpoint)

    def test_an_endpoint_with_a_new_secret_is_validated(self) -> None:
        ClientEndpoint(name="new", url="https://example.com/", auth_method="api_key", api_key=KEY).full_clean()

    def test_an_endpoint_with_a_stored_secret_is_validated(self) -> None:
        ClientEndpoint.objects.get(pk=ClientEndpointFactory(api_key_auth=True).pk).full_clean()

    def test_it_is_decrypted_once_for_all_requests_of_a_row_in_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        endpoint = ClientEndpoint.objects.get(pk=ClientEndpointFactory(api_key_auth=True).pk)
        decrypt, calls = Keyring.decrypt, []
        monkeypatch.setattr(Keyring, "decrypt", lambda *given: calls.append(given) or decrypt(*given))
        assert {str(endpoint.reveal("api_key")) for _ in range(5)} == {KEY}
        assert len(calls) == 1
        endpoint.api_key = "another"
        endpoint.save()
        assert endpoint.reveal("api_key") == "another"

    def test_rows_inserted_in_bulk_are_encrypted(self) -> None:
        endpoint = ClientEndpoint(name="bulk", url="https://example.com/", auth_method="api_key", api_key=KEY)
        ClientEndpoint.objects.bulk_create([endpoint])
        row = ClientEndpoint.objects.get(name="bulk")
        assert KEY not in stored(row)
        assert row.reveal("api_key") == KEY


@pytest.mark.django_db
class TestItsPlace:
    def test_another_row_can_not_use_it(self) -> None:
        one, other = ClientEndpointFactory.create_batch(2, api_key_auth=True, url="https://example.com/push")
        with pytest.raises(SecretUnreadable, match="another row"):
            overwrite(other, "api_key", stored(one)).reveal("api_key")

    def test_another_column_can_not_use_it(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        with pytest.raises(SecretUnreadable):
            overwrite(endpoint, "signing_secret", stored(endpoint)).reveal("signing_secret")

    @pytest.mark.parametrize(
        "url",
        [
            pytest.param("https://other.example.com/push", id="another-host"),
            pytest.param("https://client.example.com:8443/push", id="another-port"),
            pytest.param("https://client.example.com.evil.example/push", id="a-longer-name"),
        ],
    )
    def test_a_credential_does_not_follow_the_url_to_another_origin(self, url: str) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True, url="https://client.example.com/push")
        endpoint.url = url
        endpoint.save()
        with pytest.raises(SecretUnreadable, match="another address"):
            ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key")

    @pytest.mark.parametrize(
        "url",
        [
            pytest.param("https://client.example.com/elsewhere?v=2", id="another-path"),
            pytest.param("https://CLIENT.example.com/push", id="another-case"),
            pytest.param("https://client.example.com:443/push", id="the-default-port-written-out"),
        ],
    )
    def test_a_credential_stays_within_its_origin(self, url: str) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True, url="https://client.example.com/push")
        endpoint.url = url
        endpoint.save()
        assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key") == KEY

    def test_a_signing_secret_outlives_a_move(self) -> None:
        endpoint = ClientEndpointFactory(signing_secret="whsec_AAAA")
        endpoint.url = "https://moved.example.com/"
        endpoint.save()
        assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("signing_secret") == "whsec_AAAA"

    def test_a_payload_s_ciphertext_is_no_secret(self) -> None:
        forged = BYTES_KEYRING.encrypt(b'{"place": ["api_key"], "text": "x"}').decode()
        with pytest.raises(SecretUnreadable):
            overwrite(ClientEndpointFactory(api_key_auth=True), "api_key", f"live_push:1:{forged}").reveal("api_key")

    def test_a_secret_s_ciphertext_is_no_payload(self) -> None:
        token = stored(ClientEndpointFactory(api_key_auth=True)).removeprefix("live_push:1:")
        opened = StoredBytesField().from_db_value(StoredBytesField.MARK + token.encode(), None, connection)
        assert opened == b""
        assert isinstance(opened, UnreadableBytes)

    def test_a_field_without_a_place_is_an_error_of_the_check(self) -> None:
        class Loose(models.Model):  # noqa: DJ008
            secret = EncryptedTextField()

            class Meta:
                app_label = "loose"
                managed = False

        assert [found.id for found in Loose._meta.get_field("secret").check()] == ["live_push.E020"]


@pytest.mark.django_db
class TestKeys:
    def test_a_lost_key_raises_instead_of_giving_the_ciphertext(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        with override_settings(LIVE_PUSH=SITE_KEYS), pytest.raises(SecretUnreadable, match="SECRET_KEYS"):
            ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key")

    def test_an_older_key_still_reads(self) -> None:
        with override_settings(LIVE_PUSH=SITE_KEYS):
            endpoint = ClientEndpointFactory(api_key_auth=True)
        with override_settings(LIVE_PUSH={"SECRET_KEYS": [NEW, OLD]}):
            assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key") == KEY

    def test_the_newest_key_writes(self) -> None:
        with override_settings(LIVE_PUSH={"SECRET_KEYS": [NEW, OLD]}):
            endpoint = ClientEndpointFactory(api_key_auth=True)
        with override_settings(LIVE_PUSH={"SECRET_KEYS": [NEW]}):
            assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key") == KEY

    def test_without_keys_of_their_own_secrets_follow_the_secret_key(self) -> None:
        with override_settings(SECRET_KEY=OLD):
            endpoint = ClientEndpointFactory(api_key_auth=True)
        with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=[OLD]):
            assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key") == KEY
        with override_settings(SECRET_KEY=NEW), pytest.raises(SecretUnreadable):
            ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key")

    def test_a_secret_key_of_bytes_serves_as_well(self) -> None:
        with override_settings(SECRET_KEY=OLD.encode()):
            token = SECRET_KEYRING.encrypt(b"secret")
        with override_settings(SECRET_KEY=OLD):
            assert SECRET_KEYRING.decrypt(token) == b"secret"

    def test_plain_text_in_the_column_is_no_secret(self) -> None:
        endpoint = overwrite(ClientEndpointFactory(api_key_auth=True), "api_key", "typed-into-the-database")
        with pytest.raises(SecretUnreadable):
            endpoint.reveal("api_key")

    @given(st.text())
    def test_whatever_stands_in_the_column_is_unreadable_or_ours(self, token: str) -> None:
        endpoint = ClientEndpoint.from_db("default", ["uid", "url", "api_key"], [None, "https://example.com/", None])
        field: EncryptedTextField = ClientEndpoint._meta.get_field("api_key")
        endpoint.api_key = field.from_db_value(token)
        with pytest.raises(SecretUnreadable):
            endpoint.reveal("api_key")

    @given(st.text(min_size=1))
    def test_any_text_comes_back(self, text: str) -> None:
        endpoint = ClientEndpoint(url="https://example.com/", password=text)
        field: EncryptedTextField = ClientEndpoint._meta.get_field("password")
        assert field.pre_save(endpoint, add=True).token is not None
        assert endpoint.reveal("password") == text


@pytest.mark.django_db
class TestWaysAround:
    @pytest.mark.parametrize(
        "write",
        [
            pytest.param(lambda rows: rows.update(api_key=KEY), id="update"),
            pytest.param(lambda rows: rows.update(api_key=models.F("signing_secret")), id="update-from-a-column"),
            pytest.param(lambda rows: rows.update(api_key=None), id="update-to-nothing"),
            pytest.param(lambda rows: rows.update(api_key=rows.get().api_key), id="update-to-a-ciphertext"),
            pytest.param(lambda rows: rows.bulk_update(rows, ["api_key"]), id="bulk-update"),
        ],
    )
    def test_a_secret_is_written_by_save_only(self, write: Callable[[models.QuerySet[ClientEndpoint]], object]) -> None:
        before = stored(endpoint := ClientEndpointFactory(api_key_auth=True))
        with pytest.raises(SecretMisuse, match="save"), transaction.atomic():
            write(ClientEndpoint.objects.all())
        assert stored(endpoint) == before

    def test_even_the_base_manager_does_not_write_plain_text(self) -> None:
        before = stored(endpoint := ClientEndpointFactory(api_key_auth=True))
        with pytest.raises(SecretMisuse), transaction.atomic():
            ClientEndpoint._base_manager.update(api_key=KEY)
        endpoint.api_key = KEY
        with pytest.raises(SecretMisuse), transaction.atomic():
            ClientEndpoint._base_manager.bulk_update([endpoint], ["api_key"])
        assert stored(endpoint) == before

    @pytest.mark.parametrize("lookup", ["api_key", "api_key__startswith", "api_key__in", "api_key__gt"])
    def test_a_secret_is_no_filter(self, lookup: str) -> None:
        with pytest.raises(FieldError):
            list(ClientEndpoint.objects.filter(**{lookup: KEY}))

    def test_whether_there_is_one_may_be_asked(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        ClientEndpointFactory()
        assert list(ClientEndpoint.objects.filter(api_key__isnull=False)) == [endpoint]


@pytest.mark.django_db
class TestFixtures:
    @pytest.mark.parametrize("form", ["json", "jsonl", "xml"])
    def test_a_fixture_carries_the_ciphertext_and_brings_it_back(self, form: str) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        token = stored(endpoint)
        out = io.StringIO()
        call_command("dumpdata", "live_push.clientendpoint", format=form, stdout=out)
        assert KEY not in out.getvalue()
        ClientEndpoint.objects.all().delete()
        for row in serializers.deserialize(form, out.getvalue()):
            row.save()
        assert stored(endpoint) == token
        assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key") == KEY

    def test_an_unsaved_secret_is_not_written_into_a_fixture(self) -> None:
        endpoint = ClientEndpointFactory(auth_method="api_key", api_key="another")
        endpoint.api_key = KEY
        assert KEY not in serializers.serialize("json", [endpoint])


def below_this_test(error: BaseException) -> str:
    """The error's traceback with the local variables of each frame but the test's own."""
    assert error.__traceback__ is not None
    frames = error.__traceback__.tb_next
    return "".join(traceback.TracebackException(type(error), error, frames, capture_locals=True).format())


@pytest.mark.django_db
class TestTracebacks:
    @pytest.mark.parametrize("url", ["https://moved.example.com/", "not a URL at all"])
    def test_a_secret_that_may_not_be_used_here_shows_in_no_frame(self, url: str) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        endpoint.url = url
        with pytest.raises(Exception) as caught:
            endpoint.reveal("api_key")
        assert KEY not in below_this_test(caught.value)

    @pytest.mark.parametrize("password", ["tab\tinside-the-marker", "colon-is-fine:marker\x00"])
    def test_a_credential_that_can_not_be_sent_shows_in_no_frame(self, password: str) -> None:
        endpoint = ClientEndpointFactory(auth_method="basic", username="test", password=password)
        with pytest.raises(ValueError, match="control characters") as caught:
            ClientEndpoint.objects.get(pk=endpoint.pk).auth()
        assert "marker" not in below_this_test(caught.value)


ENCRYPTED = {"ENCRYPT_PAYLOADS": True}


def raw_payload(push: Push) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM live_push_push WHERE id = %s", [push.pk])
        return bytes(cursor.fetchone()[0])


@pytest.mark.django_db
class TestStoredBytes:
    def a_push(self) -> Push:
        ClientEndpointFactory()
        UserProfileFactory(last_name="Zephyr")
        return Push.objects.get()

    @pytest.mark.parametrize(("live_push", "plain"), [({}, True), (ENCRYPTED, False)], ids=["by-default", "if-asked"])
    def test_a_payload_is_encrypted_where_the_site_says_so(self, live_push: dict[str, bool], plain: bool) -> None:
        with override_settings(LIVE_PUSH=live_push):
            push = self.a_push()
            assert (b"Zephyr" in raw_payload(push)) is plain
            assert json.loads(push.payload)["lastName"] == "Zephyr"

    @pytest.mark.parametrize("before", [{}, ENCRYPTED], ids=["plain", "encrypted"])
    @pytest.mark.parametrize("after", [{}, ENCRYPTED], ids=["setting-now-off", "setting-now-on"])
    def test_both_forms_are_read_whatever_the_setting_is_now(
        self, before: dict[str, bool], after: dict[str, bool]
    ) -> None:
        with override_settings(LIVE_PUSH=before):
            push = self.a_push()
        with override_settings(LIVE_PUSH=after):
            assert json.loads(Push.objects.get(pk=push.pk).payload)["lastName"] == "Zephyr"

    def test_a_lost_key_spoils_no_other_row_of_the_query(self) -> None:
        with override_settings(LIVE_PUSH={**ENCRYPTED, **SITE_KEYS}):
            lost = self.a_push()
        UserProfileFactory(last_name="Breeze")
        first, second = Push.objects.order_by("pk")
        assert (first, isinstance(first.payload, UnreadableBytes)) == (lost, True)
        assert json.loads(second.payload)["lastName"] == "Breeze"

    def test_what_can_not_be_read_is_not_overwritten(self) -> None:
        with override_settings(LIVE_PUSH=ENCRYPTED):
            push = self.a_push()
        with override_settings(LIVE_PUSH=SITE_KEYS):
            unreadable = Push.objects.get(pk=push.pk)
            with pytest.raises(SecretMisuse):
                unreadable.save()
            with pytest.raises(SecretMisuse):
                serializers.serialize("json", [unreadable])

    @pytest.mark.parametrize("live_push", [{}, ENCRYPTED], ids=["plain", "encrypted"])
    def test_a_fixture_is_as_readable_as_the_database(self, live_push: dict[str, bool]) -> None:
        with override_settings(LIVE_PUSH=live_push):
            push = self.a_push()
            before = bytes(push.payload)
            fixture = serializers.serialize("json", Push.objects.all())
            opened = StoredBytesField().to_python(json.loads(fixture)[0]["fields"]["payload"])
            for row in serializers.deserialize("json", fixture):
                row.save()
            assert bytes(Push.objects.get().payload) == opened == before

    def test_a_fixture_of_an_encrypted_payload_is_encrypted(self) -> None:
        with override_settings(LIVE_PUSH=ENCRYPTED):
            push = self.a_push()
            text = StoredBytesField.value_to_string(Push._meta.get_field("payload"), push)
        assert push.payload not in b64decode(text)

    @given(st.binary())
    def test_any_bytes_come_back(self, data: bytes) -> None:
        field = StoredBytesField()
        for live_push in ({}, ENCRYPTED):
            with override_settings(LIVE_PUSH=live_push):
                assert field.from_db_value(field.stored(data), None, connection) == data
