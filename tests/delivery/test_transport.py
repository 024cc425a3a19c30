"""One request, sent and answered: what goes out, what comes back, which connection carries it."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from live_push.delivery import tls
from live_push.testing.certificate_authority import CertificateAuthority
from live_push.testing.https_server import Answer, Behaviour, Reset
from tests.faults import Raw, echo, hang_up, sequence, silence

from .lab import EACH_TRANSPORT, Lab, dialled

pytestmark = pytest.mark.allow_hosts(["127.0.0.0/8", "::1"])

BODY = '{"firstName": "Zoë", "points": 9007199254740993}'.encode()


# What goes out and what comes back


@EACH_TRANSPORT
def test_the_body_arrives_byte_for_byte(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url + "push?client=7", BODY)
    (received,) = server.received
    assert (received.method, received.path, received.body) == ("POST", "/push?client=7", BODY)


@EACH_TRANSPORT
@pytest.mark.parametrize(
    ("typed", "target"),
    [
        *((f"/a{sign}b?c={sign}", f"/a%{ord(sign):02X}b?c=%{ord(sign):02X}") for sign in '{}|<>"^`[]'),
        ("/100%", "/100%25"),
        ("/%zz/%4?%", "/%25zz/%254?%25"),
        ("/%7b%c3%a9/%", "/%7B%C3%A9/%25"),
        ("/~a-b_c.d!$&'()*+,;=:@?~!$&'()*+,;=:@/?", "/~a-b_c.d!$&'()*+,;=:@?~!$&'()*+,;=:@/?"),
        ("/a/../b/./c//d", "/a/../b/./c//d"),
        ("/%2e%2e/%41", "/%2E%2E/%41"),
        ("/?", "/?"),
        ("?a", "/?a"),
        ("", "/"),
    ],
)
def test_every_transport_sends_the_same_request_target(lab: Lab, typed: str, target: str) -> None:
    server = lab.server()
    assert lab.send(server.url.rstrip("/") + typed).status_code == 200
    assert server.received[0].path == target


@EACH_TRANSPORT
def test_an_empty_body_is_sent_with_its_length(lab: Lab) -> None:
    server = lab.server()
    assert lab.send(server.url, b"").status_code == 200
    assert server.received[0].headers["content-length"] == "0"


@EACH_TRANSPORT
def test_headers_arrive_as_given_text_or_bytes(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url, headers={"webhook-id": "e-1", "Authorization": b"Basic Zm9vOmLDpHI="})
    headers = server.received[0].headers
    assert (headers["webhook-id"], headers["authorization"]) == ("e-1", "Basic Zm9vOmLDpHI=")


@EACH_TRANSPORT
def test_only_what_http_needs_is_added_to_the_headers(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url, BODY, {"User-Agent": "live-push/1"})
    assert server.received[0].headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "live-push/1",
        "content-length": str(len(BODY)),
        "accept-encoding": "identity",
    }


@EACH_TRANSPORT
def test_a_wrong_length_in_the_headers_is_corrected(lab: Lab) -> None:
    server = lab.server()
    assert lab.send(server.url, BODY, {"content-length": "1", "accept-encoding": "gzip"}).status_code == 200
    assert server.received[0].body == BODY
    assert server.received[0].headers["accept-encoding"] == "identity"


@EACH_TRANSPORT
def test_the_answer_comes_back(lab: Lab) -> None:
    server = lab.server()
    server.answer(503, b'{"error": "busy"}', {"Retry-After": "120"})
    result = lab.send(server.url)
    assert (result.status_code, result.error_code, result.detail) == (503, "", "")
    assert (result.body, result.body_complete, result.retry_after) == (b'{"error": "busy"}', True, "120")
    assert 0 <= result.duration_ms < 10_000


@EACH_TRANSPORT
@pytest.mark.parametrize("status", [200, 201, 202, 204, 301, 304, 400, 404, 410, 413, 429, 500, 503, 599, 999])
def test_every_status_comes_back_as_it_is(lab: Lab, status: int) -> None:
    server = lab.server()
    server.answer(status)
    assert lab.send(server.url).status_code == status


@EACH_TRANSPORT
@pytest.mark.parametrize("status", [100, 102, 103])
def test_interim_answers_are_not_the_answer(lab: Lab, status: int) -> None:
    server = lab.server()
    server.behave(sequence(Raw(f"HTTP/1.1 {status} Wait\r\nLink: </a>\r\n\r\n".encode(), then="keep"), Answer(201)))
    assert lab.send(server.url).status_code == 201


@EACH_TRANSPORT
def test_an_international_host_is_looked_up_and_addressed_in_a_labels(lab: Lab) -> None:
    server = lab.server(names=["xn--bcher-kva.test"])
    lab.dns.answer("xn--bcher-kva.test", ["127.0.0.1"])
    result = lab.send(f"https://BÜCHER.test.:{server.port}/push")
    assert result.status_code == 200
    assert lab.dns.asked == ["xn--bcher-kva.test"]
    assert server.received[0].headers["host"] == f"xn--bcher-kva.test:{server.port}"


@EACH_TRANSPORT
def test_an_ipv6_address_is_reached(lab: Lab) -> None:
    server = lab.server(host="::1")
    assert lab.send(server.url).status_code == 200
    assert server.received[0].headers["host"] == f"[::1]:{server.port}"


# Connections


@EACH_TRANSPORT
def test_twenty_pushes_share_one_connection(lab: Lab) -> None:
    server = lab.server()
    with dialled() as addresses:
        for _ in range(20):
            assert lab.send(server.url).body_complete
    assert {received.connection for received in server.received} == {1}
    assert addresses == [("127.0.0.1", server.port)]


@EACH_TRANSPORT
def test_answers_with_bodies_keep_the_connection_too(lab: Lab) -> None:
    server = lab.server()
    server.script([Answer(200, b"x" * 65536), Answer(204), 304, Answer(404, b"no"), Answer(500, b"")])
    server.script([Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", then="keep")])
    results = [lab.send(server.url) for _ in range(7)]
    assert all(result.body_complete for result in results)
    assert server.connections == 1


@EACH_TRANSPORT
def test_threads_share_connections_and_never_mix_up_answers(lab: Lab) -> None:
    server = lab.server()
    server.behave(echo)
    bodies = [f"member {number}".encode() for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda body: lab.send(server.url, body), bodies))
    assert [result.body for result in results] == bodies
    assert 1 <= server.connections <= 8


@EACH_TRANSPORT
def test_another_thread_uses_the_connection_that_is_idle(lab: Lab) -> None:
    server = lab.server()
    for _ in range(3):
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(lab.send, server.url).result(10).status_code == 200
    assert server.connections == 1


@EACH_TRANSPORT
def test_a_server_that_closes_after_its_answer_costs_nothing(lab: Lab) -> None:
    server = lab.server()
    server.answer(200, b"", {"Connection": "close"})
    assert [lab.send(server.url).status_code for _ in range(3)] == [200, 200, 200]
    assert server.connections == 3


@EACH_TRANSPORT
@pytest.mark.parametrize("close", [Reset(), hang_up], ids=["reset", "goodbye"])
def test_a_server_that_closes_idle_connections_as_a_push_comes_gets_the_same_push_anew(
    lab: Lab, close: Behaviour
) -> None:
    server = lab.server()
    server.script([200, close])
    headers: dict[str, str | bytes] = {"webhook-id": "e-1", "webhook-timestamp": "1490299200"}
    assert lab.send(server.url).status_code == 200
    assert lab.send(server.url + "push?client=7", BODY, headers).status_code == 200
    _, first, second = server.received
    assert (first.connection, second.connection) == (1, 2)
    assert (first.path, first.headers, first.body) == (second.path, second.headers, second.body)


@EACH_TRANSPORT
def test_the_new_connection_is_the_last_one(lab: Lab) -> None:
    server = lab.server()
    server.script([200, Reset(), Reset()])
    assert lab.send(server.url).status_code == 200
    assert lab.send(server.url).error_code == "reset"
    assert [received.connection for received in server.received] == [1, 1, 2]


@EACH_TRANSPORT
@pytest.mark.parametrize(
    "behaviour",
    [Raw(b"H", "reset"), Raw(b"HTTP/1.1 200 OK\r\n"), Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n")],
    ids=["a-letter", "a-status-line", "an-interim-answer"],
)
def test_once_an_answer_began_a_push_is_not_repeated(lab: Lab, behaviour: Behaviour) -> None:
    server = lab.server()
    server.script([200, behaviour])
    lab.send(server.url)
    assert lab.send(server.url).error_code in {"reset", "protocol_error"}
    assert [received.connection for received in server.received] == [1, 1]


@EACH_TRANSPORT
def test_a_timeout_on_a_kept_connection_is_not_repeated(lab: Lab) -> None:
    server = lab.server()
    server.script([200, silence])
    lab.send(server.url)
    lab.configure(TOTAL_TIMEOUT_SECONDS=0.4)
    assert lab.send(server.url).error_code == "timeout"
    assert [received.connection for received in server.received] == [1, 1]


@EACH_TRANSPORT
def test_a_reset_on_a_new_connection_is_reported_not_repeated(lab: Lab) -> None:
    server = lab.server()
    server.script([Reset()])
    assert lab.send(server.url).error_code == "reset"
    assert len(server.received) == 1


@EACH_TRANSPORT
@pytest.mark.parametrize(
    "stray", [b"HTTP/1.1 500 Stray\r\nContent-Length: 5\r\n\r\nstray", b"}"], ids=["answer", "sign"]
)
@pytest.mark.parametrize("size", [0, 1, 5000, 8192, 12_000, 16_000, 30_000])
def test_unrequested_bytes_are_not_an_answer_to_the_next_push(lab: Lab, size: int, stray: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    server = lab.server()
    server.script([Raw(head + b"a" * size + stray, then="keep"), Answer(202, b"mine")])
    assert lab.send(server.url).body == b"a" * size
    result = lab.send(server.url)
    assert (result.status_code, result.body) == (202, b"mine")


@EACH_TRANSPORT
def test_cookies_are_neither_kept_nor_sent(lab: Lab) -> None:
    server = lab.server()
    server.answer(200, b"", {"Set-Cookie": "session=of-another-client; Path=/"})
    lab.send(server.url)
    lab.send(server.url)
    assert all("cookie" not in received.headers for received in server.received)


@EACH_TRANSPORT
def test_settings_are_read_for_each_attempt(lab: Lab) -> None:
    server = lab.server()
    assert lab.send(server.url).status_code == 200
    lab.configure(EXTRA_BLOCKED_NETWORKS=["127.0.0.1/32"])
    assert lab.send(server.url).error_code == "address_refused"
    lab.configure(EXTRA_BLOCKED_NETWORKS=[], ALLOWED_PORTS=[443])
    assert lab.send(server.url).error_code == "url_refused"
    lab.configure(ALLOWED_PORTS=None)
    assert lab.send(server.url).status_code == 200


# What never happens


@EACH_TRANSPORT
@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "https://user:secret@127.0.0.1/", "https://127.1/", "ftp://127.0.0.1/", "nonsense", ""],
)
def test_a_url_that_breaks_the_rule_is_refused_before_anything_is_sent(lab: Lab, url: str) -> None:
    lab.configure(ALLOWED_PRIVATE_NETWORKS=["127.0.0.0/8"], ALLOWED_PORTS=None)
    with dialled() as addresses:
        result = lab.send(url)
    assert (result.status_code, result.error_code) == (None, "url_refused")
    assert result.detail
    assert "secret" not in result.detail
    assert addresses == []


@EACH_TRANSPORT
@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        pytest.param({"x-api-key": "hunter2\r\nX-Evil: 1"}, "ValueError", id="a-line-break"),
        pytest.param({"hunter2\n": "x"}, "ValueError", id="a-bad-name"),
    ],
)
def test_an_unexpected_error_is_a_result_too_and_shows_no_secret(
    lab: Lab, caplog: pytest.LogCaptureFixture, headers: dict[str, str | bytes], kind: str
) -> None:
    server = lab.server()
    with caplog.at_level(logging.DEBUG, "live_push"):
        result = lab.send(server.url, headers=headers)
    assert (result.error_code, result.detail) == ("unexpected", "The attempt failed in an unforeseen way.")
    assert kind in caplog.text
    assert "hunter2" not in caplog.text
    assert server.received == []


@EACH_TRANSPORT
def test_after_something_unforeseen_the_next_push_goes_out(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url, headers={"x-api-key": "a\r\nb"})
    assert lab.send(server.url).status_code == 200


@EACH_TRANSPORT
def test_odd_headers_of_an_answer_leave_no_url_in_the_log(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    server = lab.server()
    server.behave(Raw(b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 0\r\n\r\n"))
    with caplog.at_level(logging.INFO):
        lab.send(server.url + "?token=hunter2")
    assert len(server.received) == 1
    assert "hunter2" not in caplog.text


# Certificates and settings


@EACH_TRANSPORT
def test_private_authorities_are_trusted_in_addition_to_the_public_ones(lab: Lab) -> None:
    server = lab.server()
    public = tls.context(None).cert_store_stats()["x509_ca"]
    assert public > 50
    assert tls.context(server.ca_bundle).cert_store_stats()["x509_ca"] == public + 1


@EACH_TRANSPORT
def test_authorities_are_loaded_once(lab: Lab) -> None:
    server = lab.server()
    assert tls.context(server.ca_bundle) is tls.context(server.ca_bundle)
    assert tls.context(None) is tls.context(None)


@EACH_TRANSPORT
def test_a_bundle_is_looked_at_once_a_second(lab: Lab) -> None:
    server = lab.server()
    now = 1000.0
    lab.monkeypatch.setattr(tls, "monotonic", lambda: now)
    assert lab.send(server.url).status_code == 200
    Path(server.ca_bundle).unlink()
    now += 0.9
    assert lab.send(server.url).status_code == 200
    now += 0.1
    assert lab.send(server.url).error_code == "misconfigured"


@EACH_TRANSPORT
def test_a_bundle_that_changes_is_read_again(lab: Lab) -> None:
    server = lab.server()
    lab.monkeypatch.setattr(tls, "BUNDLE_CHECKED_EVERY_SECONDS", 0)
    bundle = Path(server.ca_bundle)
    trusted = bundle.read_bytes()
    bundle.write_bytes(CertificateAuthority("another").pem)
    assert lab.send(server.url).error_code == "tls_unknown_issuer"
    bundle.write_bytes(trusted + b"\n")
    assert lab.send(server.url).status_code == 200


@EACH_TRANSPORT
@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "nonsense"])
def test_a_bundle_that_cannot_be_read_is_our_own_fault(
    lab: Lab, tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    server = lab.server()
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    lab.configure(CA_BUNDLE=str(bundle))
    result = lab.send(server.url)
    sentence = "The CA bundle of our settings can't be read; manage.py check names the file."
    assert (result.error_code, result.detail) == ("misconfigured", sentence)
    assert f"LIVE_PUSH['CA_BUNDLE'] can't be read: {bundle}: " in caplog.text
    assert server.connections == 0


@EACH_TRANSPORT
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ALLOWED_PRIVATE_NETWORKS", ["127.0.0.1/8"]),
        ("EXTRA_BLOCKED_NETWORKS", ["127.0.0.1/8"]),
        ("EXTRA_BLOCKED_NETWORKS", "10.0.0.0/8"),
        ("ALLOWED_PORTS", "443"),
        ("CONNECT_TIMEOUT_SECONDS", "5"),
    ],
)
def test_a_setting_that_is_wrong_keeps_everything_in(
    lab: Lab, key: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    server = lab.server()
    lab.configure(**{key: value})
    result = lab.send(server.url)
    assert (result.error_code, result.detail) == ("misconfigured", "A value in our settings is wrong.")
    assert key in caplog.text
    assert server.connections == 0
