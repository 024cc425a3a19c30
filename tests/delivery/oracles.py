"""What must hold of the transport, each as a question to the world outside of it.

An oracle sends through the real transport to real servers and asks them, and Python's own audit events, what happened;
it raises :class:`AssertionError` where the promise is broken. That each of them can is shown by the mutants.
"""

from __future__ import annotations

import gzip
import http.client
import io
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

from live_push.rules.local_clock import local_now
from live_push.rules.result import Result
from live_push.testing.certificate_authority import CertificateAuthority, server_context
from live_push.testing.https_server import Answer, Behaviour, EndpointServer, Exchange, Hold, Reset
from tests import faults
from tests.faults import Drip, Flood, Listening, Raw, sequence

from .lab import INSIDE, OUTSIDE, Lab, dialled

SECONDS = 0.3
# A deadline for each: a busy machine may let the first pass before it has dialled, and then nothing was tried.
LONGER_AND_LONGER = (SECONDS, 10 * SECONDS, 30 * SECONDS)
# Later than a busy machine may be, sooner than a server that drips would stop.
SOON = 1.8

Oracle = Callable[[Lab], None]
Pause = Literal["ready", "hungry"]
ORACLES: list[Oracle] = []


def oracle(question: Oracle) -> Oracle:
    """Enter it in the register."""
    ORACLES.append(question)
    return question


def _outside(lab: Lab) -> EndpointServer:
    """A receiver on the internet, while this machine's own address is refused like anybody's internal one."""
    server = lab.server(host=OUTSIDE, names=["client.test"])
    lab.configure(ALLOWED_PRIVATE_NETWORKS=[f"{OUTSIDE}/32"])
    return server


@oracle
def one_internal_answer_is_enough_to_refuse(lab: Lab) -> None:
    server = _outside(lab)
    victim = lab.tcp(port=server.port)
    for answers in ([OUTSIDE, INSIDE], [INSIDE, OUTSIDE], [OUTSIDE, "10.0.0.1"]):
        lab.dns.answer("client.test", answers)
        with dialled() as addresses:
            result = lab.send(f"https://client.test:{server.port}/")
        assert result.error_code == "address_refused"
        assert addresses == []
    assert (victim.connections, server.connections) == (0, 0)


@oracle
def the_checked_address_is_the_one_connected_to(lab: Lab) -> None:
    server = _outside(lab)
    victim = lab.tcp(port=server.port)
    # Rebinding: harmless for whoever looks first, internal for whoever looks again.
    lab.dns.answer("client.test", [OUTSIDE], [INSIDE])
    with dialled() as addresses:
        result = lab.send(f"https://client.test:{server.port}/")
    assert addresses == [(OUTSIDE, server.port)]
    assert result.status_code == 200
    assert len(lab.dns.asked) == 1
    assert victim.connections == 0


@oracle
def every_new_connection_is_judged_anew(lab: Lab) -> None:
    server = _outside(lab)
    server.answer(200, b"", {"Connection": "close"})
    victim = lab.tcp(port=server.port)
    lab.dns.answer("client.test", [OUTSIDE], [INSIDE])
    assert lab.send(f"https://client.test:{server.port}/").status_code == 200
    with dialled() as addresses:
        assert lab.send(f"https://client.test:{server.port}/").error_code == "address_refused"
    assert addresses == []
    assert victim.connections == 0


@oracle
def addresses_that_python_calls_global_are_refused_by_the_table(lab: Lab) -> None:
    lab.configure(ALLOWED_PORTS=None)
    # WireServer; AS112; metadata behind NAT64.
    for address in ("168.63.129.16", "192.175.48.1", "64:ff9b::a9fe:a9fe"):
        lab.dns.answer("client.test", [address])
        with dialled() as addresses:
            assert lab.send("https://client.test/").error_code == "address_refused"
        assert addresses == []


@oracle
def metadata_is_refused_even_where_everything_is_allowed(lab: Lab) -> None:
    lab.configure(ALLOWED_PORTS=None, ALLOWED_PRIVATE_NETWORKS=["0.0.0.0/0", "::/0"])
    with dialled() as addresses:
        assert lab.send("https://169.254.169.254/latest/").error_code == "address_refused"
    assert addresses == []


@oracle
def redirects_are_not_followed(lab: Lab) -> None:
    target = lab.server()
    server = lab.server()
    lab.configure(CA_BUNDLE=_both(server, target))
    for status in (301, 302, 303, 307, 308):
        server.script([Answer(status, b"", {"Location": target.url})])
        assert lab.send(server.url).status_code == status
    assert target.connections == 0


@oracle
def the_environment_is_not_asked(lab: Lab) -> None:
    server = lab.server()
    proxy = lab.tcp()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for spelling in (name, name.lower()):
            lab.monkeypatch.setenv(spelling, f"http://127.0.0.1:{proxy.port}")
    lab.monkeypatch.delenv("NO_PROXY", raising=False)
    lab.monkeypatch.delenv("no_proxy", raising=False)
    netrc = Path(server.ca_bundle).with_name("netrc")
    netrc.write_text("machine 127.0.0.1 login jane password hunter2\n")
    lab.monkeypatch.setenv("NETRC", str(netrc))
    key_log = Path(server.ca_bundle).with_name("keys")
    lab.monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
    assert lab.send(server.url).status_code == 200
    assert proxy.connections == 0
    assert "authorization" not in server.received[0].headers
    assert not key_log.exists()


@oracle
def the_environment_adds_no_authority(lab: Lab) -> None:
    stranger = CertificateAuthority("a stranger")
    server = lab.server(authority=stranger)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        lab.monkeypatch.setenv(name, server.ca_bundle)
    lab.configure(CA_BUNDLE=None)
    assert lab.send(server.url).error_code == "tls_unknown_issuer"
    assert server.received == []


@oracle
def certificates_are_verified(lab: Lab) -> None:
    for flaw in (faults.from_a_stranger, faults.self_signed, faults.expired, faults.for_another_name):
        authority = CertificateAuthority()
        server = lab.server(authority=authority, context=flaw(authority))
        assert lab.send(server.url).error_code.startswith("tls_")
        assert server.received == []


@oracle
def a_common_name_is_no_host_name(lab: Lab) -> None:
    authority = CertificateAuthority()
    server = lab.server(authority=authority, context=faults.by_common_name_only(authority))
    lab.dns.answer("client.test", [INSIDE])
    assert lab.send(f"https://client.test:{server.port}/").error_code == "tls_wrong_name"
    assert server.received == []


@oracle
def nothing_is_printed(lab: Lab) -> None:
    lab.monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    server = lab.server()
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert lab.send(server.url, headers={"x-api-key": "hunter2"}).status_code == 200
    assert printed.getvalue() == ""


@oracle
def instruments_add_nothing(lab: Lab) -> None:
    original = http.client.HTTPConnection.putrequest

    def putrequest(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.putheader("sentry-trace", "0123")
        self.putheader(b"Baggage", b"sentry-public_key=hunter2")

    lab.monkeypatch.setattr(http.client.HTTPConnection, "putrequest", putrequest)
    server = lab.server()
    assert lab.send(server.url, headers={"x-api-key": "k"}).status_code == 200
    assert set(server.received[0].headers) == {"host", "content-length", "accept-encoding", "x-api-key"}


@oracle
def an_attempt_ends_in_time(lab: Lab) -> None:
    server = lab.server()
    lab.configure(TOTAL_TIMEOUT_SECONDS=SECONDS)
    for behaviour in (Drip(b"HTTP/1.1 200 OK\r\n", b"x"), Drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x")):
        server.script([behaviour])
        started = time.monotonic()
        lab.send(server.url)
        # The server would go on for two seconds.
        assert time.monotonic() - started < SOON


@oracle
def a_handshake_ends_in_time(lab: Lab) -> None:
    server = lab.tcp(faults.drip_handshake)
    lab.configure(ALLOWED_PRIVATE_NETWORKS=["127.0.0.0/8"], ALLOWED_PORTS=None, TOTAL_TIMEOUT_SECONDS=SECONDS)
    started = time.monotonic()
    assert lab.send(server.url).error_code == "timeout"
    assert time.monotonic() - started < SOON


@oracle
def an_answer_is_read_up_to_its_limit(lab: Lab) -> None:
    server = lab.server()
    server.script([Flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 8192)])
    result = lab.send(server.url)
    assert len(result.body) == 64 * 1024
    assert not result.body_complete


@oracle
def what_surrounds_the_body_is_read_up_to_its_limit(lab: Lab) -> None:
    server = lab.server()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    # Chunks of one byte, each with an extension.
    server.script([Raw(head + (b"1;" + b"e" * 10_000 + b"\r\nx\r\n") * 60 + b"0\r\n\r\n")])
    assert not lab.send(server.url).body_complete


@oracle
def headers_are_read_up_to_their_limit(lab: Lab) -> None:
    server = lab.server()
    server.script([Raw(b"HTTP/1.1 200 OK\r\n" + (b"x: " + b"y" * 4000 + b"\r\n") * 30 + b"\r\n")])
    assert lab.send(server.url).error_code == "protocol_error"


@oracle
def interim_answers_are_read_up_to_their_limit(lab: Lab) -> None:
    server = lab.server()
    server.script([sequence(Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5_000, "keep"), Answer(200))])
    assert lab.send(server.url).error_code == "protocol_error"


@oracle
def a_packed_answer_stays_packed(lab: Lab) -> None:
    server = lab.server()
    packed = gzip.compress(b"0" * 10**6)
    server.script([Answer(200, packed, {"Content-Encoding": "gzip"})])
    assert lab.send(server.url).body == packed


@oracle
def a_cut_header_block_is_no_answer(lab: Lab) -> None:
    server = lab.server()
    server.script([Raw(b"HTTP/1.1 200 OK\r\nContent-Le")])
    assert lab.send(server.url).status_code is None


@oracle
def a_hint_is_no_answer(lab: Lab) -> None:
    server = lab.server()
    server.script([Raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")])
    assert lab.send(server.url).status_code == 200


@oracle
def a_push_is_sent_once(lab: Lab) -> None:
    server = lab.server()
    server.script([Reset(), faults.hang_up, 200, Raw(b"H")])
    codes = [_code(lab.send(server.url)) for _ in range(4)]
    assert codes == ["reset", "reset", 200, "protocol_error"]
    assert len(server.received) == 4


@oracle
def a_stale_connection_costs_no_attempt(lab: Lab) -> None:
    for behaviour in (Reset(), faults.hang_up):
        server = lab.server()
        server.script([200, behaviour])
        assert [_code(lab.send(server.url)) for _ in range(2)] == [200, 200]
        assert [received.connection for received in server.received] == [1, 1, 2]


@oracle
def a_new_connection_is_dialled_where_many_are_stale(lab: Lab) -> None:
    server = lab.server()
    hold = Hold()
    server.behave(hold)
    with ThreadPoolExecutor(4) as threads:
        burst = [threads.submit(lab.send, server.url) for _ in range(4)]
        server.wait_for(4)
        hold.release()
        assert [_code(one.result(10)) for one in burst] == [200] * 4
    server.behave(_answer_once_on_each_connection(server))
    assert _code(lab.send(server.url)) == 200


@oracle
def nothing_is_dialled_past_the_deadline(lab: Lab) -> None:
    server = lab.server()
    assert _code(lab.send(server.url, not_after=local_now() - 1)) == "too_late"
    assert server.connections == 0


@oracle
def nothing_is_written_past_the_deadline(lab: Lab) -> None:
    # Whatever holds the thread between the dial and the write: here, it is the handshake.
    peer, result = _pass_the_deadline(lab, "ready")
    assert (_code(result), result.request_written) == ("too_late", False)
    assert peer.wait() == b""


@oracle
def the_last_bytes_are_not_written_past_the_deadline(lab: Lab) -> None:
    # More than the buffers of two sockets hold.
    body = b"x" * 24_000_000
    peer, result = _pass_the_deadline(lab, "hungry", body)
    assert (_code(result), result.request_written) == ("too_late", False)
    assert len(peer.wait()) < len(body)


@oracle
def a_kept_connection_is_not_used_past_the_deadline(lab: Lab) -> None:
    server = lab.server()
    assert _code(lab.send(server.url, not_after=local_now() + 60)) == 200
    assert _code(lab.send(server.url, not_after=local_now() - 1)) == "too_late"
    assert (len(server.received), server.connections) == (1, 1)


@oracle
def no_second_connection_is_dialled_past_the_deadline(lab: Lab) -> None:
    for seconds in LONGER_AND_LONGER:
        server = lab.server()
        assert _code(lab.send(server.url)) == 200
        not_after = local_now() + seconds
        server.script([_reset_after(not_after)])
        result = lab.send(server.url, not_after=not_after)
        if len(server.received) >= 2:
            break
    # The stale connection's server may have processed what it read.
    assert (_code(result), result.request_written) == ("too_late", True)
    assert (len(server.received), server.connections) == (2, 1)


@oracle
def many_header_lines_are_read(lab: Lab) -> None:
    server = lab.server()
    for count in (120, 4900):
        head = b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * count + b"Retry-After: 7\r\nContent-Length: 3\r\n\r\n"
        server.script([Raw(head + b"abc", "keep")])
        result = lab.send(server.url)
        assert (_code(result), result.body, result.body_complete, result.retry_after) == (200, b"abc", True, "7")
    assert server.connections == 1


@oracle
def an_unknown_length_delays_no_attempt(lab: Lab) -> None:
    server = lab.server()
    closed = threading.Event()

    def disagree(exchange: Exchange) -> None:
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\nabc")
        # Returns once the other side has hung up.
        if exchange._connection.recv(1) == b"":
            closed.set()

    server.script([disagree])
    result = lab.send(server.url)
    assert (_code(result), result.body, result.body_complete) == (200, b"", False)
    assert closed.wait(5)


@oracle
def every_address_is_tried(lab: Lab) -> None:
    server = lab.server(names=["client.test"])
    # Nobody listens there, so that each refuses at once.
    lab.dns.answer("client.test", [*(f"127.0.0.{number}" for number in range(10, 16)), INSIDE])
    assert _code(lab.send(f"https://client.test:{server.port}/")) == 200


@oracle
def stray_bytes_are_no_answer(lab: Lab) -> None:
    stray = b"HTTP/1.1 500 Stray\r\nContent-Length: 0\r\n\r\n"
    server = lab.server()
    for length in (12_000, 30_000):
        # So long that the stray bytes stay inside TLS, where no polling of the socket sees them.
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
        server.script([Raw(head + b"a" * length + stray * 20, "keep")])
        assert [_code(lab.send(server.url)) for _ in range(2)] == [200, 200]
    assert len(server.received) == 4


@oracle
def nothing_secret_is_logged(lab: Lab) -> None:
    server = lab.server()
    lines = _Lines()
    logger = logging.getLogger()
    logger.addHandler(lines)
    try:
        server.script([Raw(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n")])
        lab.send(server.url + "?token=hunter2")
        lab.send(server.url + "?token=hunter2", headers={"x-api-key": "hunter2\r\nx: y"})
    finally:
        logger.removeHandler(lines)
    assert not any("hunter2" in line for line in lines.seen)
    assert lines.seen


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(logging.Formatter().format(record))


def _pass_the_deadline(lab: Lab, pause: Pause, body: bytes = b"{}") -> tuple[Listening, Result]:
    """Send to a peer that agrees on encryption, or reads the request, only once the deadline is over."""
    authority = CertificateAuthority()
    context = server_context(authority.issue(faults.NAMES))
    lab.configure(CA_BUNDLE=lab.server(authority=authority).ca_bundle)
    for seconds in LONGER_AND_LONGER:
        not_after = local_now() + seconds
        peer = Listening(context, **{pause: _is_over(not_after)}, hangs_up=True)
        server = lab.tcp(peer)
        result = lab.send(server.url, body, not_after=not_after)
        if server.connections:
            break
    return peer, result


def _is_over(deadline: float) -> Callable[[], bool]:
    return lambda: local_now() > deadline


def _reset_after(deadline: float) -> Behaviour:
    def reset_late(exchange: Exchange) -> None:
        while local_now() <= deadline:
            exchange.wait(seconds=0.01)
        exchange.reset()

    return reset_late


def _answer_once_on_each_connection(server: EndpointServer) -> Behaviour:
    """Answer the first request on a connection, and reset the connection at the second."""

    def behave(exchange: Exchange) -> None:
        connection = exchange.received.connection
        if sum(received.connection == connection for received in server.received) == 1:
            exchange.respond()
        else:
            exchange.reset()

    return behave


def _both(server: EndpointServer, other: EndpointServer) -> str:
    bundle = Path(server.ca_bundle).with_name("both.pem")
    bundle.write_bytes(Path(server.ca_bundle).read_bytes() + Path(other.ca_bundle).read_bytes())
    return str(bundle)


def _code(result: Result) -> int | str:
    return result.error_code if result.status_code is None else result.status_code
