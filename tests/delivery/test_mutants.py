"""The promises of the transport hold; and each way to break them is noticed by the promise that it breaks."""

from __future__ import annotations

import http.client
import logging
import os
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection

from live_push.delivery import answer, dialling, guard, tls, transport
from live_push.delivery.guard import AddressGuard
from live_push.delivery.resolver import resolver
from live_push.delivery.watchdog import Deadline
from live_push.rules import networks

from . import oracles
from .lab import EACH_TRANSPORT, Lab, OpenFirst
from .oracles import ORACLES, Oracle

pytestmark = pytest.mark.allow_hosts(["127.0.0.0/8"])

Mutant = Callable[[pytest.MonkeyPatch], None]


def only_the_first_answer_is_judged(patch: pytest.MonkeyPatch) -> None:
    def resolve(self: AddressGuard, host: str, port: int, seconds: float) -> Any:
        found = resolver().begin(host, port).result(seconds)
        if not self.permits(found[0].sockaddr[0]):
            raise guard.DestinationRefused
        return found

    patch.setattr(AddressGuard, "resolve", resolve)


def the_client_resolves_after_the_guard(patch: pytest.MonkeyPatch) -> None:
    def new_conn(self: Any) -> Any:
        attempt = transport._attempt.get()
        attempt.guard.resolve(self.host, self.port, 5)
        return HTTPSConnection._new_conn(self)

    patch.setattr(transport.GuardedConnection, "_new_conn", new_conn)


def a_name_is_judged_once_and_for_all(patch: pytest.MonkeyPatch) -> None:
    original = AddressGuard.resolve
    known: dict[str, Any] = {}

    def resolve(self: AddressGuard, host: str, port: int, seconds: float) -> Any:
        if host not in known:
            known[host] = original(self, host, port, seconds)
        return known[host]

    patch.setattr(AddressGuard, "resolve", resolve)


def there_is_no_table(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(networks, "_REFUSED", ())
    patch.setattr(networks, "_ALWAYS_REFUSED", ())


def every_allowed_network_is_allowed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(networks, "is_always_refused", lambda address: False)


def redirects_are_followed(patch: pytest.MonkeyPatch) -> None:
    original = HTTPAdapter.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        response = original(self, request, **options)
        location = response.raw.headers.get("Location")
        if location is None:
            return response
        request.url = location
        return original(self, request, **options)

    patch.setattr(transport.GuardedAdapter, "send", send)


def proxies_of_the_environment_are_used(patch: pytest.MonkeyPatch) -> None:
    original = HTTPAdapter.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        return original(self, request, proxies=requests.utils.get_environ_proxies(request.url), **options)

    patch.setattr(transport.GuardedAdapter, "send", send)
    patch.setattr(transport.GuardedAdapter, "proxy_manager_for", HTTPAdapter.proxy_manager_for)


def any_header_goes_out(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(transport.GuardedConnection, "putheader")


def netrc_is_read(patch: pytest.MonkeyPatch) -> None:
    # Its header would not pass the second wall.
    any_header_goes_out(patch)
    original = HTTPAdapter.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        request.prepare_auth(requests.utils.get_netrc_auth(request.url))
        return original(self, request, **options)

    patch.setattr(transport.GuardedAdapter, "send", send)


def the_usual_context_is_used(patch: pytest.MonkeyPatch) -> None:
    def make(ca_bundle: str | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=ca_bundle)
        made.load_verify_locations(tls.certifi.where())
        return made

    patch.setattr(tls, "_make", make)


def authorities_of_the_environment_are_trusted(patch: pytest.MonkeyPatch) -> None:
    original = tls._make
    patch.setattr(tls, "_make", lambda bundle: original(bundle or os.environ.get("REQUESTS_CA_BUNDLE")))
    patch.setattr(tls, "_contexts", {})


def nothing_is_verified(patch: pytest.MonkeyPatch) -> None:
    def make(ca_bundle: str | None) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        return made

    patch.setattr(tls, "_make", make)
    patch.setattr(
        transport.GuardedAdapter,
        "build_connection_pool_key_attributes",
        lambda self, request, verify, cert=None: (
            HTTPAdapter.build_connection_pool_key_attributes(self, request, True)[0],
            {"cert_reqs": "CERT_NONE", "assert_hostname": False},
        ),
    )
    patch.setattr(urllib3.connectionpool.HTTPSConnectionPool, "_validate_conn", lambda self, conn: conn.connect())


def names_of_certificates_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        transport.GuardedAdapter,
        "build_connection_pool_key_attributes",
        lambda self, request, verify, cert=None: (
            HTTPAdapter.build_connection_pool_key_attributes(self, request, True)[0],
            {"cert_reqs": "CERT_REQUIRED", "assert_hostname": False},
        ),
    )


def names_outside_of_the_list_of_names_count(patch: pytest.MonkeyPatch) -> None:
    original = tls._make

    def make(ca_bundle: str | None) -> ssl.SSLContext:
        made = original(ca_bundle)
        made.hostname_checks_common_name = True
        return made

    patch.setattr(tls, "_make", make)
    patch.setattr(tls, "_contexts", {})


def debugging_shows_the_requests(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(transport.GuardedConnection, "debuglevel")


def there_is_no_watchdog(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Deadline, "expire", lambda self: None)


def there_is_no_clock(patch: pytest.MonkeyPatch) -> None:
    # The watchdog alone is not enough to break this promise: Python bounds a handshake by the socket's own timeout.
    there_is_no_watchdog(patch)
    patch.setattr(Deadline, "seconds_left", 60.0)


def answers_have_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer, "MOST_BODY_BYTES", 2**20)


def headers_have_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer, "MOST_HEADER_BYTES", 2**30)
    # A second wall, of the standard library's own.
    patch.setattr(http.client, "_MAXLINE", 2**30)


def framing_has_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer, "MOST_FRAMING_BYTES", 2**30)


def answers_are_unpacked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transport, "read_body", lambda raw: (raw.read(decode_content=True), True))


def the_standard_library_reads_the_headers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transport.GuardedConnection, "response_class", http.client.HTTPResponse)


def a_broken_connection_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    original = HTTPAdapter.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        try:
            return original(self, request, **options)
        except transport.NoAnswer:
            return original(self, request, **options)

    patch.setattr(transport.GuardedAdapter, "send", send)


def bytes_inside_tls_are_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transport.GuardedConnection, "is_connected", HTTPSConnection.is_connected)


def errors_are_logged_in_full(patch: pytest.MonkeyPatch) -> None:
    original = transport.RequestsTransport._send

    def send(self: Any, *arguments: Any) -> Any:
        try:
            return original(self, *arguments)
        except Exception:
            logging.getLogger("live_push.delivery").exception("A push could not be sent.")
            raise

    patch.setattr(transport.RequestsTransport, "_send", send)


def headers_are_not_tidied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer.StrictResponse, "_tidy", lambda self: None)


def a_stale_connection_is_a_failure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transport.GuardedConnection, "has_answered", property(lambda self: False, lambda self, value: None))


def another_idle_connection_is_used_instead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transport.GuardedPool, "QueueCls", OpenFirst)
    patch.setattr(transport._Progress, "must_dial", property(lambda self: False, lambda self, value: None))


def the_deadline_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dialling, "refuse_if_late", lambda not_after: None)
    patch.setattr(transport, "refuse_if_late", lambda not_after: None)


def only_the_dial_looks_at_the_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transport.GuardedConnection, "_write", lambda self, attempt: self.sock.sendall(self._unwritten))


def only_the_first_write_looks_at_the_deadline(patch: pytest.MonkeyPatch) -> None:
    def write(self: Any, attempt: Any) -> None:
        transport.refuse_if_late(attempt.request.not_after)
        self.sock.sendall(self._unwritten)

    patch.setattr(transport.GuardedConnection, "_write", write)


def the_standard_library_counts_the_headers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        answer._HeaderReader,
        "_read",
        lambda self: iter(self._line, None),
    )


def a_body_of_unknown_length_is_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer.StrictResponse, "read1", http.client.HTTPResponse.read1)


def three_addresses_are_tried(patch: pytest.MonkeyPatch) -> None:
    original = transport.dial
    patch.setattr(transport, "dial", lambda destinations, **options: original(destinations[:3], **options))


REGISTER: list[tuple[Mutant, Oracle]] = [
    (only_the_first_answer_is_judged, oracles.one_internal_answer_is_enough_to_refuse),
    (the_client_resolves_after_the_guard, oracles.the_checked_address_is_the_one_connected_to),
    (a_name_is_judged_once_and_for_all, oracles.every_new_connection_is_judged_anew),
    (there_is_no_table, oracles.addresses_that_python_calls_global_are_refused_by_the_table),
    (every_allowed_network_is_allowed, oracles.metadata_is_refused_even_where_everything_is_allowed),
    (redirects_are_followed, oracles.redirects_are_not_followed),
    (proxies_of_the_environment_are_used, oracles.the_environment_is_not_asked),
    (netrc_is_read, oracles.the_environment_is_not_asked),
    (the_usual_context_is_used, oracles.the_environment_is_not_asked),
    (authorities_of_the_environment_are_trusted, oracles.the_environment_adds_no_authority),
    (nothing_is_verified, oracles.certificates_are_verified),
    (names_of_certificates_do_not_matter, oracles.certificates_are_verified),
    (names_outside_of_the_list_of_names_count, oracles.a_common_name_is_no_host_name),
    (debugging_shows_the_requests, oracles.nothing_is_printed),
    (any_header_goes_out, oracles.instruments_add_nothing),
    (there_is_no_watchdog, oracles.an_attempt_ends_in_time),
    (there_is_no_clock, oracles.a_handshake_ends_in_time),
    (answers_have_no_limit, oracles.an_answer_is_read_up_to_its_limit),
    (headers_have_no_limit, oracles.headers_are_read_up_to_their_limit),
    (headers_have_no_limit, oracles.interim_answers_are_read_up_to_their_limit),
    (framing_has_no_limit, oracles.what_surrounds_the_body_is_read_up_to_its_limit),
    (answers_are_unpacked, oracles.a_packed_answer_stays_packed),
    (the_standard_library_reads_the_headers, oracles.a_cut_header_block_is_no_answer),
    (the_standard_library_reads_the_headers, oracles.a_hint_is_no_answer),
    (a_broken_connection_is_tried_again, oracles.a_push_is_sent_once),
    (a_stale_connection_is_a_failure, oracles.a_stale_connection_costs_no_attempt),
    (another_idle_connection_is_used_instead, oracles.a_new_connection_is_dialled_where_many_are_stale),
    (the_deadline_is_ignored, oracles.nothing_is_dialled_past_the_deadline),
    (only_the_dial_looks_at_the_deadline, oracles.nothing_is_written_past_the_deadline),
    (only_the_dial_looks_at_the_deadline, oracles.a_kept_connection_is_not_used_past_the_deadline),
    (only_the_first_write_looks_at_the_deadline, oracles.the_last_bytes_are_not_written_past_the_deadline),
    (the_deadline_is_ignored, oracles.no_second_connection_is_dialled_past_the_deadline),
    (the_standard_library_counts_the_headers, oracles.many_header_lines_are_read),
    (a_body_of_unknown_length_is_read, oracles.an_unknown_length_delays_no_attempt),
    (three_addresses_are_tried, oracles.every_address_is_tried),
    (bytes_inside_tls_are_not_looked_for, oracles.stray_bytes_are_no_answer),
    (errors_are_logged_in_full, oracles.nothing_secret_is_logged),
    (headers_are_not_tidied, oracles.nothing_secret_is_logged),
]


@EACH_TRANSPORT
@pytest.mark.parametrize("promise", ORACLES, ids=lambda promise: promise.__name__)
def test_the_promise_holds(lab: Lab, promise: Oracle) -> None:
    promise(lab)


@pytest.mark.parametrize(
    ("mutant", "promise"), REGISTER, ids=[f"{mutant.__name__}-{promise.__name__}" for mutant, promise in REGISTER]
)
def test_a_mutant_is_detected(lab: Lab, monkeypatch: pytest.MonkeyPatch, mutant: Mutant, promise: Oracle) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        promise(lab)


def test_every_promise_can_be_broken() -> None:
    assert {promise for _, promise in REGISTER} == set(ORACLES)
