"""Servers that misbehave on request: what a client's side can do to us, one small behaviour each."""

from __future__ import annotations

import gzip
import re
import select
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from live_push.testing.certificate_authority import CertificateAuthority, server_context
from live_push.testing.https_server import Behaviour, Exchange

NAMES = ("localhost", "127.0.0.1", "client.test")
DAY = timedelta(days=1)

# Two seconds of dripping: for ever, to an attempt that must end sooner; and an end, to one that doesn't.
DROPS = 100


# What a server does with a request


@dataclass(frozen=True)
class Raw:
    """Writes bytes as they are, then hangs up, resets or keeps the connection."""

    data: bytes
    then: str = "close"

    def __call__(self, exchange: Exchange) -> None:
        exchange.write(self.data)
        if self.then == "close":
            exchange.close()
        elif self.then == "reset":
            exchange.reset()
        elif self.then == "silence":
            exchange.wait()


@dataclass(frozen=True)
class Drip:
    """Writes ``head`` at once and ``drop`` again and again, never so slowly that a socket's own timeout would fire."""

    head: bytes
    drop: bytes
    seconds: float = 0.02

    def __call__(self, exchange: Exchange) -> None:
        exchange.write(self.head)
        for _ in range(DROPS):
            exchange.wait(seconds=self.seconds)
            exchange.write(self.drop)


@dataclass(frozen=True)
class Flood:
    """Writes ``head``, then ``wave`` as fast as the other side takes it, until that hangs up."""

    head: bytes
    wave: bytes

    def __call__(self, exchange: Exchange) -> None:
        exchange.write(self.head)
        # Bounded, so that a mutant that never hangs up ends too: 64 MB.
        for _ in range(64 * 2**20 // len(self.wave)):
            exchange.write(self.wave)


def silence(exchange: Exchange) -> None:
    """Accepts and never answers."""
    exchange.wait()


def hang_up(exchange: Exchange) -> None:
    """Hangs up without an answer."""
    exchange.close()


def echo(exchange: Exchange) -> None:
    """Answers with the request's own body."""
    exchange.respond(200, exchange.received.body)


def sequence(*behaviours: Behaviour) -> Behaviour:
    """One thing after the other, for one request."""

    def run(exchange: Exchange) -> None:
        for behaviour in behaviours:
            behaviour(exchange)

    return run


def bomb(unpacked_bytes: int = 50 * 2**20) -> Raw:
    """A small answer that unpacks to a large one."""
    packed = gzip.compress(b"\0" * unpacked_bytes, compresslevel=9)[: 60 * 1024]
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    return Raw(head.encode() + packed, then="keep")


# What a server does before there is a request


@contextmanager
def tcp_server(
    serve: Callable[[socket.socket, threading.Event], None] | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[TcpServer]:
    """A server below TLS: counts who connects, does with them what ``serve`` does, then hangs up."""
    server = TcpServer(serve or (lambda connection, stopping: None), host, port)
    try:
        yield server
    finally:
        server.stop()


class TcpServer:
    """See :func:`tcp_server`."""

    def __init__(self, serve: Callable[[socket.socket, threading.Event], None], host: str, port: int) -> None:
        self._listener = socket.create_server((host, port))
        self.host, self.port = self._listener.getsockname()[:2]
        self.connections = 0
        self._serve = serve
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}/"

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if select.select([self._listener], [], [], 0.01)[0]:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection, suppress(OSError):
                    self._serve(connection, self._stopping)


def say_nothing(connection: socket.socket, stopping: threading.Event) -> None:
    """Accepts the connection and never begins to agree on encryption."""
    stopping.wait(10)


def drip_handshake(connection: socket.socket, stopping: threading.Event) -> None:
    """Begins a TLS record of 16 KiB, and goes on byte by byte."""
    connection.sendall(b"\x16\x03\x03\x40\x00")
    for _ in range(DROPS):
        if stopping.wait(0.02):
            break
        connection.sendall(b"\x02")


def speak_plainly(connection: socket.socket, stopping: threading.Event) -> None:
    """Speaks HTTP without encryption."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def speak_ssh(connection: socket.socket, stopping: threading.Event) -> None:
    """Speaks another protocol altogether."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    connection.recv(4096)


def deaf(context: ssl.SSLContext) -> Callable[[socket.socket, threading.Event], None]:
    """Agrees on encryption and then reads nothing."""

    def serve(connection: socket.socket, stopping: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True):
            stopping.wait(10)

    return serve


def read_a_little(context: ssl.SSLContext) -> Callable[[socket.socket, threading.Event], None]:
    """Agrees on encryption, reads the first bytes, then resets the connection."""

    def serve(connection: socket.socket, stopping: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(1000)
            encrypted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return serve


class Listening:
    """Agrees on encryption when ``ready`` says so, then reads nothing until ``hungry`` does, and keeps what it read.

    With ``hangs_up`` it hangs up once it has read a whole request; else the other side waits for an answer in vain.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        ready: Callable[[], bool] = lambda: True,
        hungry: Callable[[], bool] = lambda: True,
        hangs_up: bool = False,
    ) -> None:
        self.read = bytearray()
        self._context, self._ready, self._hungry, self._hangs_up = context, ready, hungry, hangs_up
        self._over = threading.Event()

    def wait(self) -> bytes:
        """Return all that was read, once either side has hung up."""
        assert self._over.wait(10)
        return bytes(self.read)

    def __call__(self, connection: socket.socket, stopping: threading.Event) -> None:
        try:
            _wait_until(self._ready, stopping)
            with self._context.wrap_socket(connection, server_side=True) as encrypted:
                _wait_until(self._hungry, stopping)
                while not (self._hangs_up and self._has_a_request) and (data := encrypted.recv(65536)):
                    self.read += data
        finally:
            self._over.set()

    @property
    def _has_a_request(self) -> bool:
        end = self.read.find(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: *(\d+)", self.read[: max(end, 0)])
        return length is not None and len(self.read) >= end + 4 + int(length[1])


def _wait_until(condition: Callable[[], bool], stopping: threading.Event) -> None:
    while not condition() and not stopping.wait(0.01):
        pass


@contextmanager
def unreachable(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue is full, so that the kernel drops whoever knocks (Linux)."""
    with socket.socket() as listener:
        listener.bind((host, port))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.connect(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for connection in waiting:
                connection.close()


class Intermediate(CertificateAuthority):
    """An authority whose own certificate another one issued."""

    def __init__(self, root: CertificateAuthority) -> None:
        super().__init__("an intermediate")
        now = datetime.now(UTC)
        self._certificate = (
            root._builder(self._name, self._key.public_key(), now - DAY, now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(root._key, hashes.SHA256())
        )


# Certificates and protocols at fault: each takes the authority that the client trusts

_NAMES = x509.SubjectAlternativeName([x509.DNSName("client.test"), x509.IPAddress(ip_address("127.0.0.1"))])


def expired(authority: CertificateAuthority) -> ssl.SSLContext:
    now = datetime.now(UTC)
    return server_context(authority.issue(NAMES, not_before=now - 2 * DAY, not_after=now - DAY))


def not_yet_valid(authority: CertificateAuthority) -> ssl.SSLContext:
    return server_context(authority.issue(NAMES, not_before=datetime.now(UTC) + DAY))


def for_another_name(authority: CertificateAuthority) -> ssl.SSLContext:
    return server_context(authority.issue(["other.test", "127.0.0.99"]))


def by_common_name_only(authority: CertificateAuthority) -> ssl.SSLContext:
    """Names its host where nobody has looked since RFC 9525, section 2: no constraint on names holds there."""
    return _issued(authority, "client.test")


def for_clients_only(authority: CertificateAuthority) -> ssl.SSLContext:
    return _issued(authority, "a client", _NAMES, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))


def _issued(authority: CertificateAuthority, name: str, *extensions: x509.ExtensionType) -> ssl.SSLContext:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = authority._builder(subject, key.public_key(), now - DAY, now + DAY)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return _context(builder.sign(authority._key, hashes.SHA256()), key)


def _context(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return server_context(certificate.public_bytes(pem) + key.private_bytes(pem, pkcs8, plain))


def from_an_unknown_authority(authority: CertificateAuthority) -> ssl.SSLContext:
    # Of the same name, so that only the signature tells them apart.
    return server_context(CertificateAuthority().issue(NAMES))


def from_a_stranger(authority: CertificateAuthority) -> ssl.SSLContext:
    return server_context(CertificateAuthority("a stranger").issue(NAMES))


def self_signed(authority: CertificateAuthority) -> ssl.SSLContext:
    own, now = CertificateAuthority("myself"), datetime.now(UTC)
    made = (
        own._builder(own._name, own._key.public_key(), now - DAY, now + DAY)
        .add_extension(_NAMES, critical=False)
        .sign(own._key, hashes.SHA256())
    )
    return _context(made, own._key)


def old_protocol(authority: CertificateAuthority) -> ssl.SSLContext:
    context = server_context(authority.issue(NAMES))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def wants_a_client_certificate(authority: CertificateAuthority) -> ssl.SSLContext:
    context = server_context(authority.issue(NAMES))
    # With TLS 1.3 the refusal comes after the handshake, together with the end of the connection.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem.decode())
    return context
