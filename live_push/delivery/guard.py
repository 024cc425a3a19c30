"""The address guard: resolve a host name once, check every address, and connect to a checked one only."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from live_push.exceptions import DestinationRefused
from live_push.rules.messages import Message
from live_push.rules.networks import AddressRule
from live_push.rules.result import ErrorCode

from .no_answer import NoAnswer, lookup_failed
from .resolver import Destination, resolver


class AddressGuard(AddressRule):
    """Resolves host names, and refuses names with an address that the rule does not permit."""

    def resolve(self, host: str, port: int, seconds: float) -> list[Destination]:
        """Return the addresses to connect to, in the resolver's order. The list is not empty.

        Raises :class:`~live_push.exceptions.DestinationRefused` if any of the addresses is refused, not only if all
        are: a name with one internal address is an attack or a mistake. Raises
        :class:`~live_push.delivery.no_answer.NoAnswer` if the name is not resolved within ``seconds``.
        """
        return self.checked(self.begin(host, port), seconds)

    def begin(self, host: str, port: int) -> Future[list[Destination]]:
        """Start a lookup and return at once. Pass the future to :meth:`checked`, and don't use its result directly."""
        with _lookup_errors():
            return resolver().begin(host, port)

    def checked(self, answer: Future[list[Destination]], seconds: float = 0) -> list[Destination]:
        """Return what :meth:`resolve` returns, from a lookup that was started with :meth:`begin`."""
        with _lookup_errors():
            destinations = answer.result(timeout=seconds)
        if not destinations:
            raise NoAnswer(ErrorCode.DNS_FAILED, Message("dns_no_address"))
        if not all(self.permits(_address(destination)) for destination in destinations):
            raise DestinationRefused(Message("address_refused"))
        # Without duplicates.
        return list(dict.fromkeys(destinations))


@contextmanager
def _lookup_errors() -> Iterator[None]:
    """Turn the errors of a lookup into :class:`NoAnswer`."""
    try:
        yield
    except OSError as error:
        raise lookup_failed(error) from None
    except UnicodeError:
        raise NoAnswer(ErrorCode.DNS_FAILED, Message("dns_name")) from None


def _address(destination: Destination) -> str:
    address, _, *rest = destination.sockaddr
    # For IPv6, the rest is (flow label, scope id). The scope id is the number of a zone.
    zone = f"%{rest[1]}" if len(rest) == 2 and rest[1] else ""
    return f"{address}{zone}"
