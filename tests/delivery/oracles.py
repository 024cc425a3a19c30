"""What must hold of the transport, each as a question to the world outside of it.

An oracle sends through the real transport to real servers and asks them, and Python's own audit events, what happened;
it raises :class:`AssertionError` where the promise is broken. That each of them can is shown by the mutants.
"""

from __future__ import annotations

import gzip
import http.client
import io
import logging
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import aiohttp

from live_push.certificate_authority import CertificateAuthority
from live_push.delivery.result import Result
from live_push.https_server import Answer, EndpointServer, Reset
from tests import faults
from tests.faults import Drip, Flood, Raw, sequence

from .lab import INSIDE, OUTSIDE, Lab, dialled

SECONDS = 0.3
# Later than a busy machine may be, sooner than a server that drips would stop.
SOON = 1.8

Oracle = Callable[[Lab], None]
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
def the_judged_address_is_the_one_connected_to(lab: Lab) -> None:
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
    begin = aiohttp.ClientSession.__init__

    async def add(session: Any, context: Any, request: Any) -> None:
        request.headers["sentry-trace"] = "0123"

    def init(self: Any, **options: Any) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(add)
        begin(self, **options, trace_configs=[trace])

    lab.monkeypatch.setattr(aiohttp.ClientSession, "__init__", init)
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
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    server.script([Raw(head + b"x: y\r\n" * 100_000 + b"\r\n")])
    assert not lab.send(server.url).body_complete


@oracle
def headers_are_read_up_to_their_limit(lab: Lab) -> None:
    server = lab.server()
    server.script([Raw(b"HTTP/1.1 200 OK\r\n" + (b"x: " + b"y" * 4000 + b"\r\n") * 90 + b"\r\n")])
    assert lab.send(server.url).error_code == "protocol_error"


@oracle
def interim_answers_are_read_up_to_their_limit(lab: Lab) -> None:
    server = lab.server()
    server.script([sequence(Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50_000, "keep"), Answer(200))])
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
    server.script([200, Reset(), faults.hang_up])
    assert [_code(lab.send(server.url)) for _ in range(3)] == [200, "reset", "reset"]
    assert len(server.received) == 3


@oracle
def stray_bytes_are_no_answer(lab: Lab) -> None:
    stray = b"HTTP/1.1 500 Stray\r\nContent-Length: 0\r\n\r\n"
    server = lab.server()
    # So long that the stray bytes stay inside TLS, where no polling of the socket sees them.
    server.script([Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 12000\r\n\r\n" + b"a" * 12_000 + stray * 20, "keep")])
    assert [_code(lab.send(server.url)) for _ in range(2)] == [200, 200]


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


def _both(server: EndpointServer, other: EndpointServer) -> str:
    bundle = Path(server.ca_bundle).with_name("both.pem")
    bundle.write_bytes(Path(server.ca_bundle).read_bytes() + Path(other.ca_bundle).read_bytes())
    return str(bundle)


def _code(result: Result) -> int | str:
    return result.error_code if result.status_code is None else result.status_code
