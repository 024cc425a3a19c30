"""A client: a loop with what its transfers share. There is one per address guard, set of authorities and process."""

from __future__ import annotations

import ctypes
import logging
import os
import weakref
from typing import Final

import certifi

from live_push.delivery import tls
from live_push.delivery.conditions import Conditions
from live_push.delivery.no_answer import NoAnswer
from live_push.rules.messages import Message
from live_push.rules.result import ErrorCode

from .libcurl import LOGS_KEYS, pycurl
from .loop import Loop
from .transfer import Options, Transfer, common_options

logger = logging.getLogger("live_push.delivery")

MOST_IDLE_TRANSFERS: Final = 64


class Client:
    """Has the loop, its connections and the idle transfers.

    A connection is valid only for the guard and the TLS context that checked it, so each pair has its own client.
    """

    def __init__(self, conditions: Conditions) -> None:
        """Raises :class:`NoAnswer` if libcurl would write our TLS keys to a file."""
        if LOGS_KEYS:
            logger.error(
                "SSLKEYLOGFILE is set, and pycurl was imported before live_push.delivery.fast, so nothing is sent."
            )
            raise NoAnswer(ErrorCode.MISCONFIGURED, Message("tls_keys_logged"))
        self.options = common_options(conditions.context) + self._trust(conditions.ca_bundle)
        self._idle: list[Transfer] = []
        self.loop = Loop()
        _clients.add(self)

    def take_transfer(self) -> Transfer:
        """Return a transfer for kept-alive connections. Transfers are reused, because creating one takes long."""
        return self._idle.pop() if self._idle else Transfer(self.options)

    def give_back(self, transfer: Transfer) -> None:
        """Keep the transfer for another attempt, and remove the credentials from it."""
        transfer.curl.unsetopt(pycurl.HTTPHEADER)
        if len(self._idle) < MOST_IDLE_TRANSFERS:
            self._idle.append(transfer)
        else:
            transfer.curl.close()

    def _trust(self, ca_bundle: str | None) -> Options:
        if ca_bundle is None:
            return [(pycurl.CAINFO, certifi.where())]
        authorities = tls.authorities(ca_bundle)
        if not hasattr(os, "memfd_create"):
            return [(pycurl.CAINFO_BLOB, authorities)]
        # libcurl parses a blob for each connection, which takes milliseconds, but a file only once.
        descriptor = os.memfd_create("live_push_authorities")
        weakref.finalize(self, os.close, descriptor)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(authorities)
        return [(pycurl.CAINFO, f"/proc/self/fd/{descriptor}")]


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _leave_to_the_parent() -> None:
    """Keep the parent's clients from being freed in a child process.

    libcurl would send a TLS close alert on connections that the parent still uses.
    """
    for client in _clients:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)
