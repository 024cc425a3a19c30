"""Name lookups that end in time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from live_push.delivery import resolver as resolver_module
from live_push.delivery.guard import AddressGuard
from live_push.delivery.no_answer import NoAnswer
from live_push.delivery.resolver import Resolver, resolver

ANSWER = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))


class SlowDns:
    """A resolver that answers once it is let go, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, host: str, port: int, **kwargs: Any) -> list[Any]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.let_go.wait(10)
        return [ANSWER]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDns]:
    slow = SlowDns()
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    yield slow
    slow.let_go.set()


def test_a_lookup_that_hangs_ends_with_the_budget(dns: SlowDns) -> None:
    with pytest.raises(TimeoutError):
        Resolver().begin("slow.example", 443).result(0.01)


def test_the_guard_says_so_in_words_of_its_own(dns: SlowDns) -> None:
    with pytest.raises(NoAnswer) as failure:
        AddressGuard().resolve("slow.example", 443, 0.01)
    assert (failure.value.code, failure.value.detail) == ("dns_timeout", "The name lookup took too long.")


def test_a_name_that_hangs_occupies_one_thread_for_any_number_of_lookups(dns: SlowDns) -> None:
    ours = Resolver()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            ours.begin("slow.example", 443).result(0.01)
    assert dns.asked == ["slow.example"]


def test_a_name_that_hangs_holds_up_no_other(dns: SlowDns) -> None:
    ours = Resolver()
    with pytest.raises(TimeoutError):
        ours.begin("slow.example", 443).result(0.01)
    assert ours.begin("quick.example", 443).result(5)[0].sockaddr == ("8.8.8.8", 443)


def test_all_who_wait_for_a_name_get_its_answer(dns: SlowDns) -> None:
    ours = Resolver()
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(lambda: ours.begin("slow.example", 443).result(5)) for _ in range(4)]
        dns.let_go.set()
        assert all(answer.result(5)[0].sockaddr == ("8.8.8.8", 443) for answer in waiting)


def test_an_answer_is_never_used_twice(dns: SlowDns) -> None:
    ours = Resolver()
    ours.begin("quick.example", 443).result(5)
    ours.begin("quick.example", 443).result(5)
    assert dns.asked == ["quick.example", "quick.example"]


def test_a_failed_lookup_is_forgotten_too(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = iter([OSError("down"), [ANSWER]])

    def flaky(*args: Any, **kwargs: Any) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    monkeypatch.setattr(socket, "getaddrinfo", flaky)
    ours = Resolver()
    with pytest.raises(OSError, match="down"):
        ours.begin("client.example", 443).result(5)
    assert ours.begin("client.example", 443).result(5)


def test_too_many_hanging_lookups_fail_at_once(dns: SlowDns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "MAX_LOOKUPS", 2)
    ours = Resolver()
    for name in ("slow1.example", "slow2.example"):
        with pytest.raises(TimeoutError):
            ours.begin(name, 443).result(0.01)
    with pytest.raises(TimeoutError):
        ours.begin("quick.example", 443).result(10)
    assert "quick.example" not in dns.asked


def test_a_lookup_keeps_no_process_from_exiting(dns: SlowDns) -> None:
    before = set(threading.enumerate())
    with pytest.raises(TimeoutError):
        Resolver().begin("slow.example", 443).result(0.01)
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)


def test_a_forked_process_has_a_resolver_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = resolver()
    assert resolver() is parent
    monkeypatch.setattr(resolver_module.os, "getpid", lambda: -1)
    assert resolver() is not parent
