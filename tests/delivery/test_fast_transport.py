"""What is particular to the transport on libcurl: one thread, its connections, its limits, its seams."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

import pycurl
import pytest

from live_push.delivery import fast
from live_push.delivery.fast import FastTransport, client, missing_seams, transfer
from live_push.delivery.fast.answer import AnswerParser
from live_push.delivery.fast.loop import Loop
from live_push.delivery.fast.transfer import Transfer
from live_push.delivery.request import ConnectionInfo, Request, ThreadlessTransport
from live_push.delivery.resolver import Resolver
from live_push.delivery.transport import RequestsTransport
from live_push.rules.local_clock import local_now
from live_push.rules.result import Result
from live_push.testing.certificate_authority import CertificateAuthority, server_context
from live_push.testing.https_server import Answer, EndpointServer, Exchange, Hold, Reset
from tests import faults
from tests.faults import Raw, sequence, silence

from .lab import Lab, dialled

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.0/8", "::1"]),
    pytest.mark.parametrize("lab", ["fast"], indirect=True),
]


def begin(lab: Lab, url: str, number: int = 1, **details: Any) -> SimpleQueue[Result]:
    """Begin so many attempts at once; their results, as they come."""
    results: SimpleQueue[Result] = SimpleQueue()
    for _ in range(number):
        lab.transport.begin(Request(url, {}, b"{}", **details), results.put)
    return results


def own_loop(lab: Lab) -> Loop:
    return lab.transport._client[1].loop  # type: ignore[no-any-return]


# Many at once


def test_it_needs_no_thread_for_each_attempt(lab: Lab) -> None:
    server = lab.server()
    hold = Hold()
    server.script([hold] * 50)
    begin_with = threading.active_count()
    results = begin(lab, server.url, 50)
    server.wait_for(50)
    # Its own, and those of the server for its connections.
    assert threading.active_count() - begin_with - 50 <= 1
    hold.release()
    assert {results.get(timeout=10).status_code for _ in range(50)} == {200}


def test_a_pipeline_recognizes_that_it_needs_no_threads(lab: Lab) -> None:
    assert isinstance(lab.transport, ThreadlessTransport)
    assert not isinstance(RequestsTransport(), ThreadlessTransport)


def test_an_error_before_the_attempt_is_returned_as_its_result(lab: Lab) -> None:
    assert begin(lab, "http://127.0.0.1/").get(timeout=10).error_code == "url_refused"


def test_a_large_body_arrives(lab: Lab) -> None:
    server = lab.server()
    body = bytes(range(256)) * 8192
    for _ in range(2):
        assert lab.send(server.url, body).status_code == 200
    assert [received.body == body for received in server.received] == [True, True]
    assert server.received[0].headers["content-length"] == str(len(body))
    assert server.connections == 1


def test_an_unreachable_address_takes_no_thread_and_delays_no_other_attempt(lab: Lab) -> None:
    server = lab.server()
    lab.configure(CONNECT_TIMEOUT_SECONDS=30, TOTAL_TIMEOUT_SECONDS=30)
    threads = threading.active_count()
    with faults.unreachable() as port:
        waiting = begin(lab, f"https://127.0.0.1:{port}/", 20)
        assert lab.send(server.url).status_code == 200
        assert waiting.empty()
        # Its own, the server's for its connection; a lookup of a literal address is over at once.
        assert threading.active_count() - threads <= 2
        own_loop(lab).call(_break)
        assert {waiting.get(timeout=10).error_code for _ in range(20)} == {"unexpected"}


def _break() -> None:
    raise LookupError("hunter2")


@pytest.mark.parametrize(
    "flood",
    [
        # As much as is read at all.
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2200, id="interim-answers"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4900, id="headers"),
    ],
)
def test_an_endless_answer_delays_no_other_attempt(lab: Lab, flood: bytes) -> None:
    server, sick = lab.server(), lab.server()
    lab.configure(CA_BUNDLE=_both(server, sick))
    going, enough = threading.Event(), threading.Event()

    def flood_and_wait(exchange: Exchange) -> None:
        exchange.write(flood)
        going.set()
        exchange.wait(enough)
        exchange.close()

    sick.behave(flood_and_wait)
    waiting = begin(lab, sick.url, 8)
    assert going.wait(10)
    for _ in range(20):
        assert lab.send(server.url).status_code == 200
    assert waiting.empty()
    enough.set()
    assert {waiting.get(timeout=10).status_code for _ in range(8)} == {None}


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000, id="interim-answers"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4000, id="headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 4000, id="chunks"),
    ],
)
def test_an_answer_in_thousands_of_pieces_lets_others_go_first(lab: Lab, flood: bytes) -> None:
    seen: list[str] = []

    def note(call: Callable[[AnswerParser, bytes], int | None]) -> Callable[[AnswerParser, bytes], int | None]:
        return lambda parser, piece: seen.append("piece") or call(parser, piece)  # type: ignore[func-returns-value]

    for name in ("take_header", "take_body"):
        lab.monkeypatch.setattr(AnswerParser, name, note(getattr(AnswerParser, name)))

    server = lab.server()
    server.script([Answer(), sequence(Raw(flood), Exchange.close)])
    lab.send(server.url)
    is_over = threading.Event()

    def take_turns() -> None:
        seen.append("turn")
        if not is_over.is_set():
            own_loop(lab).call(take_turns)

    own_loop(lab).call(take_turns)
    lab.send(server.url)
    is_over.set()
    runs = [len(list(run)) for what, run in groupby(seen) if what == "piece"]
    assert sum(runs) >= 2000
    # A hundred at the turn's beginning, a hundred at its end.
    assert max(runs) <= 200


def _both(server: EndpointServer, other: EndpointServer) -> str:
    bundle = Path(server.ca_bundle).with_name("both.pem")
    bundle.write_bytes(Path(server.ca_bundle).read_bytes() + Path(other.ca_bundle).read_bytes())
    return str(bundle)


# Connections


def test_a_connection_that_was_closed_while_idle_costs_no_attempt(lab: Lab) -> None:
    server = lab.server()
    server.script([sequence(Answer(), Exchange.close)])
    assert lab.send(server.url).status_code == 200
    assert lab.send(server.url).status_code == 200
    assert server.received[-1].connection == 2


def test_a_connection_is_not_used_after_it_was_idle_for_long(lab: Lab) -> None:
    lab.monkeypatch.setattr(transfer, "MOST_IDLE_SECONDS", 1)
    server = lab.server()
    for _ in range(2):
        lab.send(server.url)
    assert server.connections == 1
    # libcurl's own clock can't be moved.
    threading.Event().wait(1.1)
    lab.send(server.url)
    assert server.connections == 2


def test_a_busy_connection_is_made_anew_in_the_end(lab: Lab) -> None:
    lab.monkeypatch.setattr(transfer, "MOST_AGE_SECONDS", 1)
    server = lab.server()
    started = monotonic()
    while server.connections < 2 and monotonic() - started < 10:
        assert lab.send(server.url).status_code == 200
    assert server.connections == 2
    assert monotonic() - started >= 1


def test_only_one_kept_connection_is_tried(lab: Lab) -> None:
    server = lab.server()
    hold = Hold()
    server.script([hold, hold, hold])
    results = begin(lab, server.url, 3)
    server.wait_for(3)
    hold.release()
    for _ in range(3):
        results.get(timeout=10)
    server.script([Reset()])
    assert lab.send(server.url).status_code == 200
    assert server.received[-1].connection == 4
    assert len(server.received) == 5


def test_close_lets_go_of_connections_and_the_transport_stays_usable(lab: Lab) -> None:
    server = lab.server()
    closed = threading.Event()

    def answer_and_see_the_end(exchange: Exchange) -> None:
        exchange.respond()
        with suppress(OSError):
            if exchange._connection.recv(1) == b"":
                closed.set()
        exchange.close()

    server.script([answer_and_see_the_end])
    lab.send(server.url)
    thread = own_loop(lab)._thread
    lab.transport.close()
    assert closed.wait(10)
    assert not thread.is_alive()
    assert lab.send(server.url).status_code == 200
    assert server.connections == 2


def test_attempts_in_flight_continue_after_close(lab: Lab) -> None:
    server = lab.server()
    hold = Hold()
    server.script([hold])
    results = begin(lab, server.url)
    server.wait_for(1)
    lab.monkeypatch.setattr(fast, "CLOSING_SECONDS", 0)
    thread = own_loop(lab)._thread
    lab.transport.close()
    hold.release()
    assert results.get(timeout=10).status_code == 200
    thread.join(10)
    assert not thread.is_alive()


def test_settings_that_change_leave_no_thread_behind(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    thread = own_loop(lab)._thread
    lab.configure(EXTRA_BLOCKED_NETWORKS=["10.0.0.0/8"])
    lab.send(server.url)
    thread.join(10)
    assert not thread.is_alive()
    assert server.connections == 2


def test_a_forked_process_shares_no_connection(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    child = os.fork()
    if not child:
        # Leave at once: what pytest would do at its end is for the parent.
        code = 1
        with suppress(BaseException):
            code = int(lab.send(server.url).status_code != 200)
            lab.transport.close()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert server.connections == 2
    assert lab.send(server.url).status_code == 200
    # The child has not said goodbye on the parent's connection.
    assert [received.connection for received in server.received] == [1, 2, 1]


def test_a_forked_process_frees_nothing_that_the_parent_uses(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    child = os.fork()
    if not child:
        lab.transport = None
        os._exit(0)
    os.waitpid(child, 0)
    assert lab.send(server.url).status_code == 200
    assert server.connections == 1


# When this machine is in trouble


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Only Linux tells which descriptors are open.")
def test_attempts_that_fail_leave_nothing_open(lab: Lab) -> None:
    server, refusing = lab.server(), lab.tcp()
    refusing.stop()
    lab.send(server.url)
    lab.configure(CONNECT_TIMEOUT_SECONDS=0.1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    lab.dns.answer("client.test", ["127.0.0.1"])
    with faults.unreachable() as port:
        urls = [refusing.url, f"https://127.0.0.1:{port}/", f"https://client.test:{server.port}/"]
        codes = [lab.send(url).error_code for url in urls]
        assert codes == ["connect_refused", "connect_timeout", "tls_wrong_name"]
    assert lab.send(f"https://localhost:{server.port}/", not_after=local_now() - 1).error_code == "too_late"
    # The server, in this process too, closes its side of the refused handshake when it notices.
    ends_at = monotonic() + 10
    while len(list(Path("/proc/self/fd").iterdir())) > before:
        assert monotonic() < ends_at


def test_a_thread_that_cannot_be_started_is_reported(lab: Lab) -> None:
    server = lab.server()

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with lab.monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert lab.send(server.url).error_code == "unexpected"
    assert lab.send(server.url).status_code == 200


def test_a_lookup_that_cannot_be_started_is_reported(lab: Lab) -> None:
    server = lab.server(names=["client.test"])
    lab.dns.answer("client.test", ["127.0.0.1"])

    def begin_lookup(self: Resolver, host: str, port: int) -> None:
        raise RuntimeError("can't start new thread")

    with lab.monkeypatch.context() as patch:
        patch.setattr(Resolver, "begin", begin_lookup)
        assert lab.send(f"https://client.test:{server.port}/").error_code == "unexpected"
    assert lab.send(f"https://client.test:{server.port}/").status_code == 200


def test_a_loop_that_breaks_down_ends_its_attempts_and_the_next_push_goes_out(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    server = lab.server()
    server.script([silence])
    results = begin(lab, server.url)
    server.wait_for(1)
    own_loop(lab).call(_break)
    result = results.get(timeout=10)
    assert (result.error_code, result.request_written) == ("unexpected", True)
    assert "LookupError" in caplog.text
    assert "hunter2" not in caplog.text
    assert lab.send(server.url).status_code == 200


def test_the_callback_for_the_result_may_raise(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    server = lab.server()

    taken = threading.Event()

    def done(result: Result) -> None:
        taken.set()
        raise LookupError("hunter2")

    lab.transport.begin(Request(server.url, {}, b"{}"), done)
    assert taken.wait(10)
    assert lab.send(server.url).status_code == 200
    assert "LookupError" in caplog.text
    assert "hunter2" not in caplog.text


# Certificates


def test_a_test_push_shows_the_certificate_although_a_connection_is_kept(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    info = ConnectionInfo()
    assert begin(lab, server.url, connection_info=info).get(timeout=10).status_code == 200
    assert info.certificate is not None
    assert info.certificate.issuer == "live_push throw-away authority"
    seen = ConnectionInfo()
    RequestsTransport().send(Request(server.url, {}, b"{}", connection_info=seen))
    assert info.certificate == seen.certificate


def test_a_connection_whose_name_is_a_common_name_is_not_kept(lab: Lab) -> None:
    authority = CertificateAuthority()
    server = lab.server(authority=authority, context=faults.by_common_name_only(authority))
    lab.dns.answer("client.test", ["127.0.0.1"])
    for _ in range(2):
        assert lab.send(f"https://client.test:{server.port}/").error_code == "tls_wrong_name"
    assert server.received == []
    assert server.connections == 2


def test_an_intermediate_authority_is_not_trusted_without_its_root(lab: Lab, tmp_path: Path) -> None:
    intermediate = faults.Intermediate(CertificateAuthority("a root"))
    server = lab.server(context=server_context(intermediate.issue(faults.NAMES)))
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(intermediate.pem)
    lab.configure(CA_BUNDLE=str(bundle))
    assert lab.send(server.url).error_code == "tls_unknown_issuer"


def test_without_files_in_memory_private_authorities_are_trusted_too(lab: Lab) -> None:
    lab.monkeypatch.delattr(os, "memfd_create")
    server = lab.server()
    assert lab.send(server.url).status_code == 200


def test_the_authorities_of_the_system_are_not_trusted_beside_ours(lab: Lab) -> None:
    options = dict(client.common_options(fast.current_conditions("https://client.example/").context))
    assert options[pycurl.CAPATH] is None


WITH_A_KEY_LOG = """
import sys
if sys.argv[1] == "before":
    import pycurl
import django; django.setup()
from django.test import override_settings
from live_push.delivery.fast import FastTransport
from live_push.delivery.request import Request
from live_push.testing.https_server import EndpointServer
with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
    transport = FastTransport()
    print(transport.send(Request(server.url, {}, b"{}")).error_code or "sent")
    transport.close()
"""


@pytest.mark.parametrize(("imported", "outcome"), [("after", "sent"), ("before", "misconfigured")])
def test_libcurl_writes_no_keys_to_a_file(lab: Lab, tmp_path: Path, imported: str, outcome: str) -> None:
    keys = tmp_path / "keys"
    environment = {**os.environ, "SSLKEYLOGFILE": str(keys), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", WITH_A_KEY_LOG, imported], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == outcome
    # OpenSSL's server in the same process is Python's, which does not log.
    assert not keys.exists() or keys.read_text() == ""


# What goes out


def test_the_bytes_are_those_of_the_transport_on_requests(lab: Lab) -> None:
    heads: list[list[bytes]] = []
    authority = CertificateAuthority()
    trusted = lab.server(authority=authority)
    context = server_context(authority.issue(faults.NAMES))
    headers: dict[str, str | bytes] = {
        "Content-Type": "application/json",
        "User-Agent": "live-push/1",
        "Authorization": b"Basic Zm9vOmLDpHI=",
        "webhook-id": "e-1",
        "X-Shop": "Zo\xeb; a=b, c",
        "X-Empty": "",
    }
    body = b'{"a": 1}'

    def keep_the_head(connection: socket.socket, stopping: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            read = b""
            while not read.endswith(body):
                read += encrypted.recv(65536)
            # An empty value is the same with and without a space before it.
            heads.append([line.rstrip() for line in read.split(b"\r\n")])
            encrypted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = lab.tcp(keep_the_head)
    lab.configure(CA_BUNDLE=trusted.ca_bundle)
    for transport in (RequestsTransport(), lab.transport):
        request = Request(server.url + "push?client=7&x=%20", headers, body)
        assert transport.send(request).status_code == 200
        transport.close()
    (line, *others), (same_line, *same_others) = heads
    assert (line, sorted(others)) == (same_line, sorted(same_others))


# What comes back


def test_more_than_five_thousand_header_lines_are_too_many_for_libcurl(lab: Lab) -> None:
    server = lab.server()
    server.script([Raw(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 6000 + b"Content-Length: 0\r\n\r\n")])
    assert lab.send(server.url).error_code == "protocol_error"


def test_an_answer_that_overtakes_the_body_counts(lab: Lab) -> None:
    authority = CertificateAuthority()
    trusted = lab.server(authority=authority)
    context = server_context(authority.issue(faults.NAMES))

    def refuse_early(connection: Any, stopping: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(1000)
            encrypted.sendall(b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno")
            stopping.wait(10)

    server = lab.tcp(refuse_early)
    lab.configure(CA_BUNDLE=trusted.ca_bundle)
    result = lab.send(server.url, b"x" * 20_000_000)
    assert (result.status_code, result.body) == (413, b"no")


# The seams


def test_the_installed_library_has_all_the_seams(lab: Lab) -> None:
    assert missing_seams() == []


def test_a_seam_that_is_gone_is_named(lab: Lab) -> None:
    lab.monkeypatch.delattr(pycurl, "PREREQFUNCTION")
    lab.monkeypatch.setattr(pycurl, "version_info", lambda: (9, "7.88.1", 0x075801, "Linux", 0, "GnuTLS/3.7.9", 0))
    assert missing_seams() == ["pycurl.PREREQFUNCTION", "libcurl 8.23 (it is 7.88.1)", "OpenSSL (it has GnuTLS/3.7.9)"]


def test_every_new_connection_passes_our_seam(lab: Lab) -> None:
    server = lab.server()
    opened: list[int] = []
    original = Transfer._open_socket

    def counted(self: Any, purpose: int, address: Any) -> int:
        opened.append(original(self, purpose, address))
        return opened[-1]

    lab.monkeypatch.setattr(Transfer, "_open_socket", counted)
    lab.send(server.url)
    assert len([descriptor for descriptor in opened if descriptor >= 0]) == server.connections == 1


def test_libcurl_never_resolves_a_name(lab: Lab) -> None:
    server = lab.server(names=["client.test"])
    lab.dns.answer("client.test", ["127.0.0.1"])
    # Whatever libcurl asked for would be refused, and our own resolver is asked through Python.
    with dialled() as addresses:
        assert lab.send(f"https://client.test:{server.port}/").status_code == 200
    assert lab.dns.asked == ["client.test"]
    assert addresses == [("127.0.0.1", server.port)]


def test_the_address_that_libcurl_names_is_judged_too(lab: Lab) -> None:
    server = lab.server()
    lab.monkeypatch.setattr("live_push.delivery.guard.AddressGuard.permits", lambda self, text: False)
    lab.monkeypatch.setattr(
        "live_push.delivery.guard.AddressGuard.checked", lambda self, answer, seconds=0: answer.result()
    )
    assert lab.send(server.url).error_code == "address_refused"
    assert server.received == []


def test_a_transport_that_was_never_used_closes(lab: Lab) -> None:
    FastTransport().close()
