"""Whatever a client's side does, the attempt ends in time and says what happened."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from live_push.delivery.transport import RequestsTransport
from live_push.outbox import lease_times
from live_push.rules.local_clock import local_now
from live_push.testing.certificate_authority import CertificateAuthority, server_context
from live_push.testing.https_server import Answer, Behaviour, Exchange, Reset
from tests import faults
from tests.faults import Drip, Flood, Raw

from .lab import EACH_TRANSPORT, Lab

pytestmark = pytest.mark.allow_hosts(["127.0.0.0/8"])

# Long enough for a handshake on a busy machine, short enough for a test.
TOTAL_SECONDS = 0.4
# How late a machine with much to do may notice that time is up.
GRACE_MS = 1500

# What the buffers of two sockets hold, and a good deal more; far below what a limitless reader would take.
MOST_ON_THE_WAY = 48 * 2**20

OK = b"HTTP/1.1 200 OK\r\n"


def chunked(rest: bytes) -> bytes:
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + rest


NO_ANSWER = [
    pytest.param(faults.silence, "timeout", id="it-never-answers"),
    pytest.param(faults.hang_up, "reset", id="it-hangs-up"),
    pytest.param(Reset(), "reset", id="it-resets"),
    pytest.param(Drip(b"HTTP/1.1 200 O", b"K"), "timeout", id="the-status-line-drips"),
    pytest.param(Drip(OK, b"x"), "timeout", id="a-header-drips"),
    pytest.param(Drip(OK, b"x: y\r\n"), "timeout", id="headers-drip"),
    pytest.param(Drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "timeout", id="interim-answers-drip"),
    pytest.param(Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n", "silence"), "timeout", id="nothing-after-an-interim-answer"),
    pytest.param(Raw(b"HTTP/1.1 200"), "protocol_error", id="the-status-line-is-cut"),
    pytest.param(Raw(OK), "protocol_error", id="no-header-follows-the-status-line"),
    pytest.param(Raw(OK + b"Content-Le"), "protocol_error", id="a-header-is-cut"),
    pytest.param(Raw(OK + b"Content-Length: 0\r\n"), "protocol_error", id="the-block-has-no-end"),
    pytest.param(Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), "protocol_error", id="only-an-interim-answer"),
    pytest.param(Raw(b"\x16\x03\x01garbage\r\n\r\n"), "protocol_error", id="garbage"),
    pytest.param(Raw(b"\r\n\r\n"), "protocol_error", id="empty-lines"),
    pytest.param(Raw(b"SSH-2.0-x\r\n"), "protocol_error", id="another-protocol"),
    pytest.param(Raw(b"HTTP/2 200\r\n\r\n"), "protocol_error", id="a-version-that-nobody-asked-for"),
    pytest.param(Raw(b"HTTP/1.1 abc OK\r\n\r\n"), "protocol_error", id="a-status-in-letters"),
    pytest.param(Raw(b"HTTP/1.1 99 Low\r\n\r\n"), "protocol_error", id="a-status-below-100"),
    pytest.param(Raw(b"HTTP/1.1 1000 High\r\n\r\n"), "protocol_error", id="a-status-above-999"),
    pytest.param(Raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "protocol_error", id="another-protocol-by-101"),
    pytest.param(Flood(b"", b"x" * 8192), "protocol_error", id="an-endless-status-line"),
    pytest.param(Flood(OK + b"x: ", b"y" * 8192), "protocol_error", id="an-endless-header"),
    pytest.param(Flood(OK, b"x: y\r\n" * 1000), "protocol_error", id="endless-headers"),
    pytest.param(Raw(OK + (b"x: " + b"y" * 2000 + b"\r\n") * 40 + b"\r\n"), "protocol_error", id="80-kb-of-headers"),
    pytest.param(Flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "protocol_error", id="endless-interim-answers"),
    pytest.param(Flood(b"", b"HTTP/1.1 103 Hints\r\n\r\n" * 100), "protocol_error", id="endless-hints"),
]

# A complete header block: the status counts, whatever the body does.
BODY_FAULTS = [
    pytest.param(Drip(OK + b"\r\n", b"x"), 12, id="a-body-without-length-drips"),
    pytest.param(Drip(OK + b"Content-Length: 9999\r\n\r\n", b"x"), 12, id="a-body-drips"),
    pytest.param(Drip(chunked(b""), b"1\r\nx\r\n"), 12, id="chunks-drip"),
    pytest.param(Drip(chunked(b""), b"0"), 0, id="a-chunk-size-drips"),
    pytest.param(Drip(chunked(b"0\r\n"), b"x: y\r\n"), 0, id="trailers-drip"),
    pytest.param(Raw(OK + b"Content-Length: 10\r\n\r\nabc"), 3, id="the-body-is-cut"),
    pytest.param(Raw(OK + b"Content-Length: 10\r\n\r\n", "silence"), 0, id="the-body-never-comes"),
    pytest.param(Raw(OK + b"Content-Length: 10\r\n\r\n", "reset"), 0, id="the-body-ends-in-a-reset"),
    pytest.param(Raw(OK + b"\r\nabc", "silence"), 3, id="a-body-without-length-never-ends"),
    pytest.param(Raw(chunked(b"3\r\nabc\r\n")), 3, id="chunks-are-cut"),
    pytest.param(Raw(chunked(b"a\r\nabc")), 3, id="a-chunk-is-cut"),
    pytest.param(Raw(chunked(b"xyz\r\nabc")), 0, id="a-chunk-size-is-no-number"),
    pytest.param(Raw(chunked(b"-3\r\n")), 0, id="a-chunk-size-is-negative"),
    pytest.param(Flood(chunked(b""), b"0" * 8192), 0, id="an-endless-chunk-size"),
    pytest.param(Flood(OK + b"\r\n", b"x" * 8192), 65536, id="an-endless-body"),
    pytest.param(Flood(OK + b"Content-Length: 99999999\r\n\r\n", b"x" * 8192), 65536, id="a-huge-body"),
    pytest.param(Flood(chunked(b""), b"1\r\nx\r\n" * 1000), 65536, id="endless-tiny-chunks"),
    pytest.param(Flood(chunked(b""), b"2000\r\n" + b"x" * 8192 + b"\r\n"), 65536, id="endless-chunks"),
]

# As much as a peer could send within the total time, all of it around the body.
AROUND_THE_BODY = [
    pytest.param(chunked(b"0\r\n"), b"x: y\r\n" * 1000, id="endless-trailers"),
    pytest.param(chunked(b""), b"1;" + b"e" * 60_000 + b"\r\nx\r\n", id="endless-chunk-extensions"),
    pytest.param(chunked(b"0\r\n"), b"x: " + b"y" * 60_000 + b"\r\n", id="endless-long-trailers"),
]

WHOLE_BODIES = [
    pytest.param(Raw(OK + b"\r\nabc"), b"abc", id="a-body-that-ends-with-the-connection"),
    pytest.param(Raw(b"HTTP/1.0 200 OK\r\n\r\nabc"), b"abc", id="http-1.0"),
    pytest.param(Raw(OK + b"Content-Length: 65536\r\n\r\n" + b"x" * 65536), b"x" * 65536, id="just-64-kib"),
    pytest.param(
        Raw(chunked(b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n")), b"x" * 65536, id="just-64-kib-in-chunks"
    ),
    pytest.param(Raw(chunked(b"3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n")), b"abc", id="chunk-extension-and-trailer"),
    pytest.param(Raw(b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc"), b"abc", id="a-status-without-a-phrase"),
    pytest.param(Raw(b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"), b"abc", id="bare-newlines"),
    pytest.param(Raw(OK + b"x: \xff\r\nContent-Length: 3\r\n\r\nabc"), b"abc", id="a-header-beyond-ascii"),
    pytest.param(
        Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        b"abc",
        id="chunks-and-a-length",
    ),
]

# Complete, but not well-formed: what they mean is for the reader to say.
MALFORMED = [
    pytest.param(Raw(OK + b"no colon\r\nContent-Length: 3\r\n\r\nabc"), b"abc", id="a-header-without-a-colon"),
    pytest.param(Raw(OK + b"x: \xff\x00\r\nContent-Length: 3\r\n\r\nabc"), b"abc", id="a-header-with-a-nul"),
]

# The headers say nothing usable about the end of the body, and the server keeps the connection open.
UNUSABLE_LENGTHS = [
    pytest.param(b"Content-Length: 3\r\nContent-Length: 9", id="two-lengths"),
    pytest.param(b"Content-Length: 3, 9", id="two-lengths-in-one-header"),
    pytest.param(b"Content-Length: 0\r\nContent-Length: 3", id="one-of-them-zero"),
    pytest.param(b"Content-Length: three", id="a-length-in-letters"),
    pytest.param(b"Content-Length: -3", id="a-negative-length"),
    pytest.param(b"Content-Length: 3_0", id="a-length-that-only-python-reads"),
    pytest.param(b"Content-Length: " + b"9" * 5000, id="a-length-of-5000-digits"),
    pytest.param(b"Content-Length:", id="an-empty-length"),
]


def attempt(lab: Lab, behaviour: Behaviour, total: float) -> Any:
    server = lab.server()
    server.behave(behaviour)
    lab.configure(TOTAL_TIMEOUT_SECONDS=total)
    result = lab.send(server.url)
    assert result.duration_ms < total * 1000 + GRACE_MS
    return result


@EACH_TRANSPORT
@pytest.mark.parametrize(("behaviour", "code"), NO_ANSWER)
def test_without_a_complete_header_block_there_is_no_status(lab: Lab, behaviour: Behaviour, code: str) -> None:
    result = attempt(lab, behaviour, TOTAL_SECONDS if code == "timeout" else 10)
    assert (result.status_code, result.error_code) == (None, code)
    assert (result.body, result.body_complete, result.retry_after) == (b"", False, None)
    assert result.detail.endswith(".")


@EACH_TRANSPORT
@pytest.mark.parametrize(("behaviour", "at_least"), BODY_FAULTS)
def test_with_a_header_block_the_status_counts_for_any_body(lab: Lab, behaviour: Behaviour, at_least: int) -> None:
    never_ends = isinstance(behaviour, Drip) or getattr(behaviour, "then", "") == "silence"
    result = attempt(lab, behaviour, TOTAL_SECONDS if never_ends else 10)
    assert (result.status_code, result.error_code, result.body_complete) == (200, "", False)
    assert min(at_least, 1) <= len(result.body) <= 65536
    # How much of a drip was read when it was cut off is chance; and of a flood, where reading and parsing take turns.
    takes_turns = not isinstance(lab.transport, RequestsTransport)
    assert len(result.body) == at_least or isinstance(behaviour, Drip) or (takes_turns and isinstance(behaviour, Flood))


@EACH_TRANSPORT
@pytest.mark.parametrize(("behaviour", "body"), WHOLE_BODIES)
def test_odd_but_whole_answers_are_read(lab: Lab, behaviour: Behaviour, body: bytes) -> None:
    result = attempt(lab, behaviour, 10)
    assert (result.status_code, result.body, result.body_complete) == (200, body, True)


@EACH_TRANSPORT
@pytest.mark.parametrize(("behaviour", "body"), MALFORMED)
def test_a_malformed_header_block_is_forgiven_by_one_transport_and_no_answer_to_the_other(
    lab: Lab, behaviour: Behaviour, body: bytes
) -> None:
    result = attempt(lab, behaviour, 10)
    if isinstance(lab.transport, RequestsTransport):
        assert (result.status_code, result.body, result.body_complete) == (200, body, True)
    else:
        assert (result.status_code, result.error_code) == (None, "protocol_error")


@EACH_TRANSPORT
@pytest.mark.parametrize("lengths", UNUSABLE_LENGTHS)
def test_where_the_length_is_unusable_the_status_counts_and_the_body_is_not_read(lab: Lab, lengths: bytes) -> None:
    server = lab.server()
    server.script([Raw(OK + b"Retry-After: 7\r\n" + lengths + b"\r\n\r\nabc", "silence")])
    result = lab.send(server.url)
    assert (result.status_code, result.body, result.body_complete, result.retry_after) == (200, b"", False, "7")
    # The total time is 15 s, and the server would wait for it.
    assert result.duration_ms < GRACE_MS
    assert lab.send(server.url).status_code == 200
    assert [received.connection for received in server.received] == [1, 2]


@EACH_TRANSPORT
@pytest.mark.parametrize("lengths", [b"Content-Length: 3, 3", b"Content-Length: 3\r\nContent-Length: 3"])
def test_the_same_length_twice_is_one_length(lab: Lab, lengths: bytes) -> None:
    result = attempt(lab, Raw(OK + lengths + b"\r\n\r\nabc", "silence"), 10)
    assert (result.status_code, result.body, result.body_complete) == (200, b"abc", True)
    assert result.duration_ms < GRACE_MS


@EACH_TRANSPORT
@pytest.mark.parametrize("count", [101, 150, 4900])
def test_a_header_block_may_have_many_lines(lab: Lab, count: int) -> None:
    result = attempt(lab, Raw(OK + b"x: y\r\n" * count + b"Content-Length: 3\r\n\r\nabc", "silence"), 10)
    assert (result.status_code, result.body, result.body_complete) == (200, b"abc", True)


WRITTEN = [
    pytest.param(faults.silence, "timeout", id="it-never-answers"),
    pytest.param(Reset(), "reset", id="it-resets"),
    pytest.param(faults.hang_up, "reset", id="it-hangs-up"),
    pytest.param(Raw(OK), "protocol_error", id="the-answer-is-cut"),
    pytest.param(Answer(503), "", id="it-answers"),
]


@EACH_TRANSPORT
@pytest.mark.parametrize(("behaviour", "code"), WRITTEN)
def test_after_the_last_byte_the_push_may_have_been_processed(lab: Lab, behaviour: Behaviour, code: str) -> None:
    result = attempt(lab, behaviour, TOTAL_SECONDS if code == "timeout" else 10)
    assert (result.error_code, result.request_written) == (code, True)


@EACH_TRANSPORT
def test_after_the_last_byte_on_a_stale_connection_too_for_any_result_of_the_second(lab: Lab) -> None:
    server = lab.server(names=["client.test"])
    lab.dns.answer("client.test", ["127.0.0.1"], ["10.0.0.1"])
    server.script([200, Reset()])
    url = f"https://client.test:{server.port}/"
    assert lab.send(url).status_code == 200
    result = lab.send(url)
    assert (result.error_code, result.request_written) == ("address_refused", True)


@EACH_TRANSPORT
@pytest.mark.parametrize(
    ("serve", "code"),
    [
        pytest.param(faults.say_nothing, "timeout", id="no-handshake"),
        pytest.param(lambda connection, stopping: None, "reset", id="it-hangs-up"),
        pytest.param(faults.speak_plainly, "tls_failed", id="no-encryption"),
    ],
)
def test_before_the_first_byte_the_push_was_not_processed(lab: Lab, serve: Callable[..., None], code: str) -> None:
    server = lab.tcp(serve)
    allow_loopback(lab, TOTAL_TIMEOUT_SECONDS=TOTAL_SECONDS if code == "timeout" else 10)
    result = lab.send(server.url)
    assert (result.error_code, result.request_written) == (code, False)


@EACH_TRANSPORT
@pytest.mark.parametrize("then", ["silence", "reset"])
def test_before_the_last_byte_the_push_was_not_processed(lab: Lab, then: str) -> None:
    authority = CertificateAuthority()
    trusted = lab.server(authority=authority)
    context = server_context(authority.issue(faults.NAMES))
    server = lab.tcp(faults.deaf(context) if then == "silence" else faults.read_a_little(context))
    lab.configure(CA_BUNDLE=trusted.ca_bundle, TOTAL_TIMEOUT_SECONDS=TOTAL_SECONDS if then == "silence" else 10)
    result = lab.send(server.url, b"x" * 50_000_000)
    assert (result.error_code, result.request_written) == ("timeout" if then == "silence" else "reset", False)


@EACH_TRANSPORT
@pytest.mark.parametrize(("head", "wave"), AROUND_THE_BODY)
def test_what_surrounds_the_body_is_read_up_to_a_limit(lab: Lab, head: bytes, wave: bytes) -> None:
    waves = 0

    def flood(exchange: Exchange) -> None:
        nonlocal waves
        exchange.write(head)
        while len(wave) * waves < MOST_ON_THE_WAY:
            exchange.write(wave)
            waves += 1

    result = attempt(lab, flood, 10)
    assert (result.status_code, result.body_complete) == (200, False)
    assert len(wave) * waves < MOST_ON_THE_WAY


@EACH_TRANSPORT
def test_a_body_in_chunks_of_one_byte_is_read(lab: Lab) -> None:
    result = attempt(lab, Raw(chunked(b"1\r\nx\r\n" * 65_536 + b"0\r\n\r\n")), 10)
    assert (result.body, result.body_complete) == (b"x" * 65_536, True)


@EACH_TRANSPORT
def test_a_failure_with_a_cut_body_keeps_its_status(lab: Lab) -> None:
    result = attempt(lab, Raw(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\nx"), 10)
    assert (result.status_code, result.body_complete, result.retry_after) == (503, False, "7")


@EACH_TRANSPORT
def test_a_packed_answer_is_not_unpacked(lab: Lab) -> None:
    result = attempt(lab, faults.bomb(), 10)
    assert result.status_code == 200
    assert len(result.body) <= 65536
    assert result.body.startswith(gzip.compress(b"")[:2])


@EACH_TRANSPORT
@pytest.mark.parametrize("behaviour", [Raw(OK + b"Content-Length: 10\r\n\r\nabc", "keep"), faults.silence, Reset()])
def test_the_next_push_is_not_harmed(lab: Lab, behaviour: Behaviour) -> None:
    server = lab.server()
    lab.configure(TOTAL_TIMEOUT_SECONDS=TOTAL_SECONDS)
    server.script([behaviour])
    lab.send(server.url)
    result = lab.send(server.url)
    assert (result.status_code, result.body, result.body_complete) == (200, b"", True)
    assert [received.connection for received in server.received] == [1, 2]


# Before there is a request


@EACH_TRANSPORT
@pytest.mark.parametrize(
    ("serve", "code"),
    [
        pytest.param(faults.say_nothing, "timeout", id="no-handshake"),
        pytest.param(faults.drip_handshake, "timeout", id="a-handshake-that-drips"),
        pytest.param(lambda connection, stopping: None, "reset", id="it-hangs-up"),
        pytest.param(faults.speak_plainly, "tls_failed", id="no-encryption"),
        pytest.param(faults.speak_ssh, "tls_failed", id="another-protocol"),
    ],
)
def test_without_encryption_nothing_is_sent(lab: Lab, serve: Callable[..., None], code: str) -> None:
    server = lab.tcp(serve)
    timed = TOTAL_SECONDS if code == "timeout" else 10
    lab.configure(ALLOWED_PRIVATE_NETWORKS=["127.0.0.0/8"], ALLOWED_PORTS=None, TOTAL_TIMEOUT_SECONDS=timed)
    result = lab.send(server.url)
    assert (result.status_code, result.error_code) == (None, code)
    assert result.duration_ms < timed * 1000 + GRACE_MS


@EACH_TRANSPORT
@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        pytest.param(faults.expired, "tls_expired", id="expired"),
        pytest.param(faults.not_yet_valid, "tls_expired", id="not-yet-valid"),
        pytest.param(faults.for_another_name, "tls_wrong_name", id="for-another-name"),
        pytest.param(faults.by_common_name_only, "tls_wrong_name", id="by-common-name-only"),
        pytest.param(faults.for_clients_only, "tls_failed", id="for-clients-only"),
        pytest.param(faults.from_a_stranger, "tls_unknown_issuer", id="from-a-stranger"),
        pytest.param(faults.from_an_unknown_authority, "tls_unknown_issuer", id="from-an-impostor"),
        pytest.param(faults.self_signed, "tls_unknown_issuer", id="self-signed"),
        pytest.param(faults.old_protocol, "tls_failed", id="an-old-protocol"),
        pytest.param(faults.wants_a_client_certificate, "tls_failed", id="it-wants-a-certificate-of-ours"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "client.test"], ids=["by-address", "by-name"])
def test_a_certificate_at_fault_is_named_and_nothing_is_sent(
    lab: Lab, flaw: Callable[[CertificateAuthority], Any], code: str, host: str
) -> None:
    authority = CertificateAuthority()
    server = lab.server(authority=authority, context=flaw(authority))
    lab.dns.answer("client.test", ["127.0.0.1"])
    result = lab.send(f"https://{host}:{server.port}/")
    assert (result.status_code, result.error_code) == (None, code)
    assert server.received == []


@EACH_TRANSPORT
def test_an_intermediate_alone_in_the_bundle_is_refused_and_the_root_asked_for(lab: Lab) -> None:
    server = lab.server(authority=faults.Intermediate(CertificateAuthority()))
    result = lab.send(server.url)
    assert result.error_code == "tls_unknown_issuer"
    assert result.detail.endswith("but not the root, which is needed.")
    assert server.received == []


@EACH_TRANSPORT
def test_a_certificate_for_another_address_is_refused(lab: Lab) -> None:
    server = lab.server(host="127.0.0.3", context=None)
    lab.dns.answer("stranger.test", ["127.0.0.3"])
    assert lab.send(f"https://stranger.test:{server.port}/").error_code == "tls_wrong_name"


@EACH_TRANSPORT
def test_a_peer_that_does_not_read_delays_no_other_attempt(lab: Lab) -> None:
    authority = CertificateAuthority()
    trusted = lab.server(authority=authority)
    server = lab.tcp(faults.deaf(server_context(authority.issue(faults.NAMES))))
    lab.configure(CA_BUNDLE=trusted.ca_bundle, TOTAL_TIMEOUT_SECONDS=TOTAL_SECONDS)
    result = lab.send(server.url, b"x" * 50_000_000)
    assert (result.status_code, result.error_code) == (None, "timeout")
    assert result.duration_ms < TOTAL_SECONDS * 1000 + GRACE_MS


# Connecting


def allow_loopback(lab: Lab, **keys: Any) -> None:
    lab.configure(ALLOWED_PRIVATE_NETWORKS=["127.0.0.0/8"], ALLOWED_PORTS=None, **keys)


@EACH_TRANSPORT
def test_no_server_listens(lab: Lab) -> None:
    server = lab.tcp()
    server.stop()
    allow_loopback(lab)
    result = lab.send(server.url)
    assert (result.error_code, result.detail) == ("connect_refused", "The connection was refused.")


@EACH_TRANSPORT
def test_no_server_answers(lab: Lab) -> None:
    allow_loopback(lab, CONNECT_TIMEOUT_SECONDS=0.1)
    with faults.unreachable() as port:
        result = lab.send(f"https://127.0.0.1:{port}/")
    assert (result.error_code, result.detail) == ("connect_timeout", "The connection was not accepted in time.")
    assert result.duration_ms < 100 + GRACE_MS


@EACH_TRANSPORT
def test_connecting_ends_with_the_total_time_too(lab: Lab) -> None:
    allow_loopback(lab, CONNECT_TIMEOUT_SECONDS=30, TOTAL_TIMEOUT_SECONDS=0.1)
    with faults.unreachable() as port:
        result = lab.send(f"https://127.0.0.1:{port}/")
    assert result.error_code == "connect_timeout"
    assert result.duration_ms < 100 + GRACE_MS


@EACH_TRANSPORT
@pytest.mark.allow_hosts(["255.255.255.255"])
def test_there_is_no_way(lab: Lab) -> None:
    # The broadcast address: the kernel says at once that no connection leads there.
    lab.configure(ALLOWED_PRIVATE_NETWORKS=["255.255.255.255/32"])
    assert lab.send("https://255.255.255.255/").error_code == "connect_failed"


@EACH_TRANSPORT
@pytest.mark.allow_hosts(["127.0.0.0/8"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(lambda rest: OK + rest, st.binary(max_size=200)),
        st.builds(lambda rest: b"HTTP/1.1 " + rest, st.binary(max_size=50)),
        st.builds(lambda rest: chunked(rest), st.binary(max_size=100)),
        st.lists(
            st.sampled_from([b"HTTP/1.1", b" ", b"200", b"100", b"\r\n", b"\n", b":", b"Content-Length", b"5", b"\0"])
        ).map(b"".join),
    )
)
def test_any_bytes_are_an_answer_or_a_known_error(lab: Lab, data: bytes) -> None:
    server = lab.server()
    server.behave(Raw(data))
    result = lab.send(server.url)
    assert result.error_code in {"", "protocol_error", "reset"}
    assert result.status_code is None or 100 <= result.status_code <= 999


@EACH_TRANSPORT
def test_a_peer_that_never_reads_a_large_request_times_out_once_it_had_all_the_time(lab: Lab) -> None:
    # Were it too late instead, the start would be undone again and again, and the endpoint never left to rest.
    lab.monkeypatch.setattr(lease_times, "WRITE_WITHIN_SECONDS", 0.9)
    authority = CertificateAuthority()
    trusted = lab.server(authority=authority)
    server = lab.tcp(faults.deaf(server_context(authority.issue(faults.NAMES))))
    lab.configure(CA_BUNDLE=trusted.ca_bundle, TOTAL_TIMEOUT_SECONDS=1)
    lease = lease_times.attempt_time(patient=True).total_seconds()
    # More than the buffers of two sockets hold.
    result = lab.send(server.url, b"x" * 24_000_000, not_after=local_now() + lease - 1)
    assert (result.error_code, result.request_written) == ("timeout", False)
