"""Whoever sees what happens inside: the log at its most talkative, error reports, and Sentry without its safeguards."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import sentry_sdk
from django.core.signals import got_request_exception
from django.test import override_settings
from django.views.debug import ExceptionReporter
from sentry_sdk.envelope import Envelope
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception

from .marker import Places

TESTS = str(Path(__file__).parents[1])
QUERYING = ("django.db", "django.template", "psycopg")
OURSELVES = (TESTS, "_pytest", "pluggy")


class _Collector(Transport):
    """Takes events instead of sending them."""

    places: Places

    def capture_envelope(self, envelope: Envelope) -> None:
        self.places.add("sentry", envelope.serialize())


class Witness(logging.Handler):
    """Hears every log record, and reports errors as a site's tools would."""

    def __init__(self, places: Places) -> None:
        super().__init__(logging.DEBUG)
        self.places = places
        self._thread = threading.local()
        self.setFormatter(logging.Formatter("%(name)s %(threadName)s %(message)s"))
        collector = _Collector()
        collector.places = places
        self.sentry = sentry_sdk.Client(
            dsn="https://public@localhost/1",
            transport=collector,
            default_integrations=False,
            auto_enabling_integrations=False,
            attach_stacktrace=True,
            max_value_length=1_000_000,
            event_scrubber=EventScrubber(denylist=[], pii_denylist=[]),
            before_send=_without_our_frames,
        )

    def emit(self, record: logging.LogRecord) -> None:
        self.places.add("logs", self.format(record))
        # To show a local variable may run a query: not while one is under way.
        if getattr(self._thread, "is_reporting", False) or record.name.startswith(QUERYING):
            return
        self._thread.is_reporting = True
        try:
            if record.exc_info and record.exc_info[1] is not None:
                self.error(record.exc_info[1])
            else:
                # With the stack of where it was said, local variables included.
                self.sentry.capture_event({"message": record.getMessage(), "level": "error"})
        finally:
            self._thread.is_reporting = False

    def error(self, error: BaseException, request: Any = None) -> None:
        """An error as a traceback with local variables, as Django's pages and mails, and in Sentry."""
        frames = below_the_tests(error.__traceback__)
        exc_info = (type(error), error, frames)
        self.places.add("errors", f"{error} {error!r}")
        self.places.add("tracebacks", "".join(traceback.TracebackException(*exc_info, capture_locals=True).format()))
        reporter = ExceptionReporter(request, *exc_info)
        self.places.add("error mails", reporter.get_traceback_text())
        self.places.add("error mails", reporter.get_traceback_html())
        with override_settings(DEBUG=True):
            # Without the request: with DEBUG on Django repeats what was just typed.
            self.places.add("debug pages", ExceptionReporter(None, *exc_info).get_traceback_html())
        event, hint = event_from_exception(exc_info, client_options=self.sentry.options)
        self.sentry.capture_event(event, hint)

    def request_failed(self, request: Any, **kwargs: Any) -> None:
        """A view raised."""
        error = sys.exc_info()[1]
        assert error is not None
        self.error(error, request)


@contextmanager
def watching(places: Places) -> Iterator[Witness]:
    """Everything that is said while this lasts, by whatever library, is heard."""
    witness = Witness(places)
    root = logging.getLogger()
    before = {
        logger: (logger.level, logger.propagate)
        for logger in [root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    }
    for logger in before:
        logger.setLevel(logging.DEBUG)
        logger.propagate = True
    root.addHandler(witness)
    got_request_exception.connect(witness.request_failed)
    try:
        yield witness
    finally:
        got_request_exception.disconnect(witness.request_failed)
        root.removeHandler(witness)
        for logger, (level, propagate) in before.items():
            logger.setLevel(level)
            logger.propagate = propagate
        witness.sentry.close()


def below_the_tests(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_ours(path: str) -> bool:
    return any(name in path for name in OURSELVES)


def _without_our_frames(event: Any, hint: Any) -> Any:
    """Sentry sees the whole stack: the tests' own frames hold the markers, and are no part of the site."""
    event = json.loads(json.dumps(event, default=repr))
    threads = event.get("threads", {}).get("values", [])
    for holder in [*event.get("exception", {}).get("values", []), *threads]:
        stack = holder.get("stacktrace") or {}
        stack["frames"] = [frame for frame in stack.get("frames", []) if not _is_ours(frame.get("abs_path") or "")]
    return event
