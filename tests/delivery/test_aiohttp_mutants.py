"""Each protection of the transport on ``aiohttp``, taken away, is noticed by the promise that it keeps."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from live_push.delivery import address_guard, aiohttp_connection, aiohttp_transport, tls
from live_push.delivery.address_guard import AddressGuard
from live_push.delivery.resolver import resolver

from . import oracles
from .lab import Lab
from .oracles import Oracle
from .test_mutants import (
    authorities_of_the_environment_are_trusted,
    names_outside_of_the_list_of_names_count,
    the_usual_context_is_used,
    there_is_no_table,
    whatever_is_allowed_is_allowed,
)

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.0/8", "::1"]),
    pytest.mark.parametrize("lab", ["aiohttp"], indirect=True),
]

Mutant = Callable[[pytest.MonkeyPatch], None]


def only_the_first_answer_is_judged(patch: pytest.MonkeyPatch) -> None:
    def judged(self: AddressGuard, found: Any) -> Any:
        if not self.judge(found[0].sockaddr[0]):
            raise address_guard.DestinationRefused
        return found

    patch.setattr(AddressGuard, "_judged", judged)


def the_client_resolves_after_the_guard(patch: pytest.MonkeyPatch) -> None:
    original = AddressGuard.resolve_async

    async def resolve(self: AddressGuard, host: str, port: int) -> Any:
        await original(self, host, port)
        return resolver().lookup(host, port, 5)

    patch.setattr(AddressGuard, "resolve_async", resolve)


def a_name_is_judged_once_and_for_all(patch: pytest.MonkeyPatch) -> None:
    original = AddressGuard.resolve_async
    known: dict[str, Any] = {}

    async def resolve(self: AddressGuard, host: str, port: int) -> Any:
        if host not in known:
            known[host] = await original(self, host, port)
        return known[host]

    patch.setattr(AddressGuard, "resolve_async", resolve)


def _posting(patch: pytest.MonkeyPatch, **options: Any) -> None:
    original = aiohttp.ClientSession.post
    patch.setattr(aiohttp.ClientSession, "post", lambda self, *args, **given: original(self, *args, **given | options))


def _with_sessions(patch: pytest.MonkeyPatch, **options: Any) -> None:
    original = aiohttp.ClientSession
    patch.setattr(aiohttp_transport.aiohttp, "ClientSession", lambda **given: original(**given | options))


def redirects_are_followed(patch: pytest.MonkeyPatch) -> None:
    _posting(patch, allow_redirects=True)


def the_environment_is_asked(patch: pytest.MonkeyPatch) -> None:
    _with_sessions(patch, trust_env=True)
    patch.setattr(aiohttp_connection.GuardedConnector, "allowed_protocol_schema_set", {"http", "https"})


def any_header_goes_out(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(aiohttp_connection.GuardedRequest, "update_headers")


def there_is_no_clock(patch: pytest.MonkeyPatch) -> None:
    original = asyncio.timeout
    patch.setattr(asyncio, "timeout", lambda seconds: original(2 * oracles.SOON))


def answers_have_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_transport, "MOST_BODY_BYTES", 2**20)


def headers_have_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_transport, "_check", lambda answer: None)


def what_comes_has_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_connection, "MOST_BYTES", 2**30)


def answers_are_unpacked(patch: pytest.MonkeyPatch) -> None:
    _with_sessions(patch, auto_decompress=True)


def stray_bytes_are_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_connection.GuardedHandler, "is_connected", ResponseHandler.is_connected)
    patch.setattr(aiohttp_connection.GuardedHandler, "should_close", False)


def errors_are_logged_in_full(patch: pytest.MonkeyPatch) -> None:
    original = aiohttp_transport._no_answer

    def told(error: Any, *more: Any) -> Any:
        logging.getLogger("live_push.delivery").error("A push could not be sent: %s.", error)
        return original(error, *more)

    patch.setattr(aiohttp_transport, "_no_answer", told)


def nothing_is_verified(patch: pytest.MonkeyPatch) -> None:
    original = tls._make

    def make(ca_bundle: str | None) -> ssl.SSLContext:
        made = original(ca_bundle)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made

    patch.setattr(tls, "_make", make)
    patch.setattr(tls, "_contexts", {})


REGISTER: list[tuple[Mutant, Oracle]] = [
    (only_the_first_answer_is_judged, oracles.one_internal_answer_is_enough_to_refuse),
    (the_client_resolves_after_the_guard, oracles.the_judged_address_is_the_one_connected_to),
    (a_name_is_judged_once_and_for_all, oracles.every_new_connection_is_judged_anew),
    (there_is_no_table, oracles.addresses_that_python_calls_global_are_refused_by_the_table),
    (whatever_is_allowed_is_allowed, oracles.metadata_is_refused_even_where_everything_is_allowed),
    (redirects_are_followed, oracles.redirects_are_not_followed),
    (the_environment_is_asked, oracles.the_environment_is_not_asked),
    (the_usual_context_is_used, oracles.the_environment_is_not_asked),
    (authorities_of_the_environment_are_trusted, oracles.the_environment_adds_no_authority),
    (nothing_is_verified, oracles.certificates_are_verified),
    (names_outside_of_the_list_of_names_count, oracles.a_common_name_is_no_host_name),
    (any_header_goes_out, oracles.instruments_add_nothing),
    (there_is_no_clock, oracles.an_attempt_ends_in_time),
    (there_is_no_clock, oracles.a_handshake_ends_in_time),
    (answers_have_no_limit, oracles.an_answer_is_read_up_to_its_limit),
    (headers_have_no_limit, oracles.headers_are_read_up_to_their_limit),
    (what_comes_has_no_limit, oracles.interim_answers_are_read_up_to_their_limit),
    (answers_are_unpacked, oracles.a_packed_answer_stays_packed),
    (stray_bytes_are_not_looked_for, oracles.stray_bytes_are_no_answer),
    (errors_are_logged_in_full, oracles.nothing_secret_is_logged),
]


@pytest.mark.parametrize(
    ("mutant", "promise"), REGISTER, ids=[f"{mutant.__name__}-{promise.__name__}" for mutant, promise in REGISTER]
)
def test_whoever_breaks_the_promise_is_found(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, mutant: Mutant, promise: Oracle
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        promise(lab)
