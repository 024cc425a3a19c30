"""Each way to break the transport on ``aiohttp`` is noticed by the promise that it breaks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from live_push.delivery import aiohttp_connection, aiohttp_transport, networks, tls
from live_push.delivery.address_guard import AddressGuard

from . import oracles
from .lab import Lab
from .oracles import Oracle

pytestmark = pytest.mark.allow_hosts(["127.0.0.0/8"])

Mutant = Callable[[pytest.MonkeyPatch], None]


def only_the_first_answer_is_judged(patch: pytest.MonkeyPatch) -> None:
    judged = AddressGuard._judged
    patch.setattr(AddressGuard, "_judged", lambda self, found: [*judged(self, found[:1]), *found[1:]])


def the_client_resolves_after_the_guard(patch: pytest.MonkeyPatch) -> None:
    original = AddressGuard.resolve_async

    async def resolve_again(self: AddressGuard, host: str, port: int) -> Any:
        await original(self, host, port)
        found = await asyncio.get_running_loop().getaddrinfo(host, port)
        return [(family, sockaddr) for family, _, _, _, sockaddr in found]

    patch.setattr(AddressGuard, "resolve_async", resolve_again)


def there_is_no_table(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(networks, "_REFUSED", ())
    patch.setattr(networks, "_ALWAYS_REFUSED", ())


def _with(patch: pytest.MonkeyPatch, **changed: Any) -> None:
    begin = aiohttp.ClientSession.__init__
    patch.setattr(aiohttp.ClientSession, "__init__", lambda self, **options: begin(self, **{**options, **changed}))


def redirects_are_followed(patch: pytest.MonkeyPatch) -> None:
    post = aiohttp.ClientSession.post
    patch.setattr(
        aiohttp.ClientSession,
        "post",
        lambda self, url, **options: post(self, url, **options | {"allow_redirects": True}),
    )


def the_environment_is_trusted(patch: pytest.MonkeyPatch) -> None:
    _with(patch, trust_env=True)


def nothing_is_verified(patch: pytest.MonkeyPatch) -> None:
    def make(ca_bundle: str | None) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        return made

    patch.setattr(tls, "_make", make)
    patch.setattr(tls, "_contexts", {})


def names_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    original = tls._make

    def make(ca_bundle: str | None) -> ssl.SSLContext:
        made = original(ca_bundle)
        made.check_hostname = False
        return made

    patch.setattr(tls, "_make", make)
    patch.setattr(tls, "_contexts", {})


def there_is_no_clock(patch: pytest.MonkeyPatch) -> None:
    original = asyncio.timeout
    # Not for ever, or the mutant would live as long.
    patch.setattr(asyncio, "timeout", lambda seconds: original(2 * oracles.SOON))


def answers_have_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_transport, "MOST_BODY_BYTES", 2**20)
    patch.setattr(aiohttp_connection, "MOST_BYTES", 2**30)


def headers_have_no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_transport, "MOST_HEADER_BYTES", 2**30)
    patch.setattr(aiohttp_connection, "MOST_BYTES", 2**30)


def answers_are_unpacked(patch: pytest.MonkeyPatch) -> None:
    _with(patch, auto_decompress=True)


def any_header_goes_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_transport, "GuardedRequest", aiohttp.ClientRequest)


def waiting_bytes_are_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_connection.GuardedHandler, "is_connected", aiohttp_connection.ResponseHandler.is_connected)
    patch.setattr(aiohttp_connection.GuardedHandler, "should_close", False)


REGISTER: list[tuple[Mutant, Oracle]] = [
    (only_the_first_answer_is_judged, oracles.one_internal_answer_is_enough_to_refuse),
    (the_client_resolves_after_the_guard, oracles.the_judged_address_is_the_one_connected_to),
    (there_is_no_table, oracles.addresses_that_python_calls_global_are_refused_by_the_table),
    (redirects_are_followed, oracles.redirects_are_not_followed),
    (the_environment_is_trusted, oracles.the_environment_is_not_asked),
    (nothing_is_verified, oracles.certificates_are_verified),
    (names_do_not_matter, oracles.certificates_are_verified),
    (there_is_no_clock, oracles.an_attempt_ends_in_time),
    (answers_have_no_limit, oracles.an_answer_is_read_up_to_its_limit),
    (headers_have_no_limit, oracles.headers_are_read_up_to_their_limit),
    (answers_are_unpacked, oracles.a_packed_answer_stays_packed),
    (any_header_goes_out, oracles.instruments_add_nothing),
    (waiting_bytes_are_not_looked_for, oracles.stray_bytes_are_no_answer),
]


@pytest.mark.parametrize("lab", ["aiohttp"], indirect=True)
@pytest.mark.parametrize(
    ("mutant", "promise"), REGISTER, ids=[f"{mutant.__name__}-{promise.__name__}" for mutant, promise in REGISTER]
)
def test_whoever_breaks_the_promise_is_found(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, mutant: Mutant, promise: Oracle
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        promise(lab)
