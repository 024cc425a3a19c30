"""Resolve once, judge every address, connect to a judged one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from live_push.exceptions import DestinationRefused

from .networks import Network, carried, is_always_refused, is_in, is_public, read
from .no_answer import NoAnswer, while_looking_up
from .resolver import Destination, resolver
from .result import ErrorCode


@dataclass(frozen=True)
class AddressGuard:
    """Says which addresses may be connected to.

    Public ones may, and those in the ``allowed`` networks, but for link-local and cloud metadata addresses. Those in
    the ``blocked`` networks may not, whatever else is said. What an IPv6 address leads to must be allowed like the
    address itself.
    """

    allowed: tuple[Network, ...] = ()
    blocked: tuple[Network, ...] = ()

    def judge(self, address: str) -> bool:
        """Whether the address may be connected to; what is no address may not."""
        found = read(address)
        if found is None or is_always_refused(found) or is_in(found, self.blocked):
            return False
        inner = carried(found)
        if inner is None:
            return is_public(found) or is_in(found, self.allowed)
        # Whoever allows a translator has not allowed what it leads to inside.
        may_go_there = is_public(inner) or is_in(inner, self.allowed)
        return is_in(found, self.allowed) and may_go_there and not is_in(inner, self.blocked)

    def resolve(self, host: str, port: int, seconds: float) -> list[Destination]:
        """Where to connect to, in the resolver's order; never empty.

        Raises :class:`~live_push.exceptions.DestinationRefused` where any answer is refused: a name that leads to an
        internal address among others is an attack or a mistake, and either way not ours to pick from. Raises
        :class:`~live_push.delivery.no_answer.NoAnswer` where there is no answer within ``seconds``.
        """
        with _faults_told():
            found = resolver().lookup(host, port, seconds)
        return self._judged(found)

    async def resolve_async(self, host: str, port: int) -> list[Destination]:
        """The same without a thread that waits; whoever awaits it sets the time."""
        with _faults_told():
            # Shielded, because others may wait for the same answer.
            found = await asyncio.shield(asyncio.wrap_future(resolver().begin(host, port)))
        return self._judged(found)

    def _judged(self, found: list[Destination]) -> list[Destination]:
        if not found:
            raise NoAnswer(ErrorCode.DNS_FAILED, "The host name has no address.")
        if not all(self.judge(_address(destination)) for destination in found):
            raise DestinationRefused("The destination is not a public address.")
        return list(dict.fromkeys(found))


@contextmanager
def _faults_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise while_looking_up(error) from None
    except UnicodeError:
        raise NoAnswer(ErrorCode.DNS_FAILED, "The host name is not a valid name.") from None


def _address(destination: Destination) -> str:
    address, _, *rest = destination.sockaddr
    # (flow label, scope) of IPv6: a scope is a zone, whichever way it is written.
    zone = f"%{rest[1]}" if len(rest) == 2 and rest[1] else ""
    return f"{address}{zone}"
