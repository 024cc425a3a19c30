"""Each protection of the transport on libcurl, taken away, is noticed by the promise that it keeps."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import pycurl
import pytest

from live_push.delivery.fast import FastTransport, answer, attempt, client, transfer
from live_push.delivery.fast.answer import AnswerParser
from live_push.delivery.fast.attempt import CurlAttempt
from live_push.delivery.fast.transfer import Transfer
from live_push.delivery.guard import AddressGuard
from live_push.delivery.resolver import resolver

from . import oracles
from .lab import Lab
from .oracles import ORACLES, Oracle
from .test_mutants import every_allowed_network_is_allowed, there_is_no_table

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.0/8", "::1"]),
    pytest.mark.parametrize("lab", ["fast"], indirect=True),
]

Mutant = Callable[[pytest.MonkeyPatch], None]


def _with_options(patch: pytest.MonkeyPatch, *changed: tuple[int, Any]) -> None:
    original = client.common_options
    patch.setattr(client, "common_options", lambda context: [*original(context), *changed])


def only_the_first_answer_is_judged(patch: pytest.MonkeyPatch) -> None:
    def checked(self: AddressGuard, answer: Any, seconds: float = 0) -> Any:
        addresses = answer.result()
        if not self.permits(addresses[0].sockaddr[0]):
            raise attempt.connect_failed(OSError())
        return addresses

    patch.setattr(AddressGuard, "checked", checked)


def the_client_resolves_after_the_guard(patch: pytest.MonkeyPatch) -> None:
    original = CurlAttempt._look_up

    def look_up(self: CurlAttempt, host: str, port: int) -> Any:
        yield from original(self, host, port)
        return resolver().begin(host, port).result(5)

    patch.setattr(CurlAttempt, "_look_up", look_up)


def a_name_is_judged_once_and_for_all(patch: pytest.MonkeyPatch) -> None:
    original = AddressGuard.begin
    known: dict[str, Any] = {}

    def begin(self: AddressGuard, host: str, port: int) -> Any:
        if host not in known:
            known[host] = original(self, host, port)
        return known[host]

    patch.setattr(AddressGuard, "begin", begin)


def redirects_are_followed(patch: pytest.MonkeyPatch) -> None:
    _with_options(patch, (pycurl.FOLLOWLOCATION, 1))
    # libcurl gets no connection from us for it, and so makes one by itself.
    patch.setattr(Transfer, "_resolve", lambda self: 0)
    patch.setattr(Transfer, "_open_socket", lambda self, _purpose, address: socket.socket(*address[:2]).detach())
    patch.setattr(Transfer, "_prepare_socket", lambda self, *args: pycurl.SOCKOPT_OK)
    patch.setattr(Transfer, "_may_write", lambda self, *args: pycurl.PREREQFUNC_OK)


def proxies_of_the_environment_are_used(patch: pytest.MonkeyPatch) -> None:
    original = client.common_options
    patch.setattr(client, "common_options", lambda context: [o for o in original(context) if o[0] != pycurl.PROXY])


def netrc_is_read(patch: pytest.MonkeyPatch) -> None:
    original = client.common_options
    patch.setattr(
        client,
        "common_options",
        lambda context: [
            *original(context),
            (pycurl.NETRC, pycurl.NETRC_OPTIONAL),
            (pycurl.NETRC_FILE, os.environ["NETRC"]),
        ],
    )


def authorities_of_the_environment_are_trusted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(client.Client, "_trust", lambda self, bundle: [(pycurl.CAINFO, os.environ["CURL_CA_BUNDLE"])])


def nothing_is_verified(patch: pytest.MonkeyPatch) -> None:
    _with_options(patch, (pycurl.SSL_VERIFYPEER, 0), (pycurl.SSL_VERIFYHOST, 0))


def issuers_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    _with_options(patch, (pycurl.SSL_VERIFYPEER, 0))


def names_of_certificates_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    _with_options(patch, (pycurl.SSL_VERIFYHOST, 0))


def libcurl_alone_compares_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "_TEXT", -1)


def debugging_shows_the_requests(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transfer, "_trace", lambda self, kind, data: print(data))  # noqa: T201


def libcurl_adds_its_headers(patch: pytest.MonkeyPatch) -> None:
    original = transfer.header_lines
    patch.setattr(
        transfer, "header_lines", lambda request: [line for line in original(request) if not line.endswith(b":")]
    )


def there_is_no_clock(patch: pytest.MonkeyPatch) -> None:
    original = Transfer.start

    def start(self: Transfer, request: Any, now: Any, seconds: float, **others: Any) -> None:
        original(self, request, now, 2 * oracles.SOON, **others)

    patch.setattr(Transfer, "start", start)


def answers_have_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer, "MOST_BODY_BYTES", 2**20)


def headers_have_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer, "MOST_HEADER_BYTES", 2**30)


def framing_has_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "MOST_RAW_BYTES", 2**30)


def answers_are_unpacked(patch: pytest.MonkeyPatch) -> None:
    _with_options(patch, (pycurl.ENCODING, "gzip"))


def a_status_line_is_enough(patch: pytest.MonkeyPatch) -> None:
    original = AnswerParser.take_header

    def take_header(self: AnswerParser, line: bytes) -> int | None:
        taken = original(self, line)
        self.status = self.status or self._status_so_far or None
        return taken

    patch.setattr(AnswerParser, "take_header", take_header)


def a_broken_connection_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    original = FastTransport.send

    def send(self: FastTransport, request: Any) -> Any:
        result = original(self, request)
        return original(self, request) if result.error_code else result

    patch.setattr(FastTransport, "send", send)


def an_answer_that_began_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "_HEADER_IN", -1)


def a_stale_connection_is_a_failure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transfer, "wants_new_connection", lambda self, code: not (self._is_new or self._is_writing))


def dialling_does_not_look_at_the_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attempt, "refuse_if_late", lambda not_after: None)


def writing_does_not_look_at_the_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "refuse_if_late", lambda not_after: None)


def nothing_looks_at_the_deadline(patch: pytest.MonkeyPatch) -> None:
    dialling_does_not_look_at_the_deadline(patch)
    writing_does_not_look_at_the_deadline(patch)


def a_hundred_header_lines_are_enough(patch: pytest.MonkeyPatch) -> None:
    original = AnswerParser.take_header

    def take_header(self: AnswerParser, line: bytes) -> int | None:
        self.lines = getattr(self, "lines", 0) + 1  # type: ignore[attr-defined]
        return answer.ABORT if self.lines > 100 else original(self, line)  # type: ignore[attr-defined]

    patch.setattr(AnswerParser, "take_header", take_header)


def an_unusable_length_is_no_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AnswerParser, "take_unusable_length", lambda self: None)


def three_addresses_are_enough(patch: pytest.MonkeyPatch) -> None:
    original = CurlAttempt._dial
    patch.setattr(CurlAttempt, "_dial", lambda self, destinations: original(self, destinations[:3]))


def the_body_is_not_held_back(patch: pytest.MonkeyPatch) -> None:
    original = Transfer._may_write

    def may_write(self: Transfer, *args: Any) -> int:
        decision = original(self, *args)
        self._is_held = False
        return decision

    patch.setattr(Transfer, "_may_write", may_write)


def errors_are_logged_in_full(patch: pytest.MonkeyPatch) -> None:
    def header_lines(request: Any) -> list[bytes]:
        raise ValueError(f"can't send {request.headers}")

    patch.setattr(transfer, "header_lines", header_lines)
    original = attempt.result_of_error

    def result_of_error(error: Exception) -> Any:
        logging.getLogger("live_push.delivery").error("A push could not be sent: %s.", error)
        return original(error)

    patch.setattr(attempt, "result_of_error", result_of_error)


REGISTER: list[tuple[Mutant, Oracle]] = [
    (only_the_first_answer_is_judged, oracles.one_internal_answer_is_enough_to_refuse),
    (the_client_resolves_after_the_guard, oracles.the_checked_address_is_the_one_connected_to),
    (a_name_is_judged_once_and_for_all, oracles.every_new_connection_is_judged_anew),
    (there_is_no_table, oracles.addresses_that_python_calls_global_are_refused_by_the_table),
    (every_allowed_network_is_allowed, oracles.metadata_is_refused_even_where_everything_is_allowed),
    (redirects_are_followed, oracles.redirects_are_not_followed),
    (proxies_of_the_environment_are_used, oracles.the_environment_is_not_asked),
    (netrc_is_read, oracles.the_environment_is_not_asked),
    (authorities_of_the_environment_are_trusted, oracles.the_environment_adds_no_authority),
    (nothing_is_verified, oracles.certificates_are_verified),
    (issuers_do_not_matter, oracles.certificates_are_verified),
    (names_of_certificates_do_not_matter, oracles.certificates_are_verified),
    (libcurl_alone_compares_names, oracles.a_common_name_is_no_host_name),
    (debugging_shows_the_requests, oracles.nothing_is_printed),
    (libcurl_adds_its_headers, oracles.instruments_add_nothing),
    (there_is_no_clock, oracles.an_attempt_ends_in_time),
    (there_is_no_clock, oracles.a_handshake_ends_in_time),
    (answers_have_no_limit, oracles.an_answer_is_read_up_to_its_limit),
    (headers_have_no_limit, oracles.headers_are_read_up_to_their_limit),
    (headers_have_no_limit, oracles.interim_answers_are_read_up_to_their_limit),
    (framing_has_no_limit, oracles.what_surrounds_the_body_is_read_up_to_its_limit),
    (answers_are_unpacked, oracles.a_packed_answer_stays_packed),
    (a_status_line_is_enough, oracles.a_cut_header_block_is_no_answer),
    (a_status_line_is_enough, oracles.a_hint_is_no_answer),
    (a_broken_connection_is_tried_again, oracles.a_push_is_sent_once),
    (an_answer_that_began_is_not_noticed, oracles.a_push_is_sent_once),
    (a_stale_connection_is_a_failure, oracles.a_stale_connection_costs_no_attempt),
    (a_stale_connection_is_a_failure, oracles.a_new_connection_is_dialled_where_many_are_stale),
    (dialling_does_not_look_at_the_deadline, oracles.nothing_is_dialled_past_the_deadline),
    (writing_does_not_look_at_the_deadline, oracles.nothing_is_written_past_the_deadline),
    (writing_does_not_look_at_the_deadline, oracles.the_last_bytes_are_not_written_past_the_deadline),
    (nothing_looks_at_the_deadline, oracles.a_kept_connection_is_not_used_past_the_deadline),
    (dialling_does_not_look_at_the_deadline, oracles.no_second_connection_is_dialled_past_the_deadline),
    (a_hundred_header_lines_are_enough, oracles.many_header_lines_are_read),
    (an_unusable_length_is_no_answer, oracles.an_unknown_length_delays_no_attempt),
    (three_addresses_are_enough, oracles.every_address_is_tried),
    (the_body_is_not_held_back, oracles.stray_bytes_are_no_answer),
    (errors_are_logged_in_full, oracles.nothing_secret_is_logged),
]


@pytest.mark.parametrize(
    ("mutant", "promise"), REGISTER, ids=[f"{mutant.__name__}-{promise.__name__}" for mutant, promise in REGISTER]
)
def test_a_mutant_is_detected(lab: Lab, monkeypatch: pytest.MonkeyPatch, mutant: Mutant, promise: Oracle) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        promise(lab)


def test_every_promise_can_be_broken(lab: Lab) -> None:
    assert {promise for _, promise in REGISTER} == set(ORACLES)
