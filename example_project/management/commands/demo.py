"""Tell the whole story once, against pretend clients over real TLS."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.test.utils import override_settings

from example_project.narrator import Narrator, StoryBroken
from example_project.pretend_client import PretendClient
from example_project.story import tell
from live_push import conf
from live_push.engines.worker import WorkerLoop
from live_push.models import ClientEndpoint, UserProfile

LOGIN = "demo"


class Command(BaseCommand):
    help = (
        "Tell the story of live_push once, in under half a minute: three pretend clients over real TLS, a worker, "
        "members, tiers, a failure and its retry. Every step is checked; exit code 1 where one fails. "
        "It happens in a throw-away SQLite file, or in the database that DATABASE_URL names, which must be empty."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--serve", action="store_true", help="Leave the admin and the clients' page up until Ctrl-C."
        )
        parser.add_argument("--port", type=int, default=8000, help="Port of the admin (default: %(default)s).")

    def handle(self, *, serve: bool, port: int, **options: Any) -> None:
        narrator = Narrator(self.stdout, self.style)
        with _database(), PretendClient() as client, _settings(client), _worker():
            try:
                tell(narrator, client)
            except (StoryBroken, TimeoutError) as error:
                raise CommandError(f"The story did not come out as told: {error}") from None
            self.stdout.write(
                self.style.SUCCESS(f"\nAll {narrator.checks} checks held, in {narrator.seconds:.0f} seconds.")
            )
            if serve:
                self._serve(client, port)
            else:
                self.stdout.write("Look around yourself: add --serve, and the admin stays up.")

    def _serve(self, client: PretendClient, port: int) -> None:
        password = _login()
        try:
            server = make_server("127.0.0.1", port, StaticFilesHandler(WSGIHandler()), server_class=_AdminServer)
        except OSError as error:
            raise CommandError(
                f"The admin can't listen on port {port} ({error.strerror}): choose another --port."
            ) from None
        for ending in (signal.SIGINT, signal.SIGTERM):
            # Said, because who is started in the background inherits a deaf ear for Ctrl-C.
            signal.signal(ending, signal.default_int_handler)
        with server, suppress(KeyboardInterrupt):
            self.stdout.write(
                f"\nAdmin:          http://127.0.0.1:{server.server_port}/admin/  (user {LOGIN}, password {password})"
            )
            self.stdout.write(f"Clients' page:  {client.url()}  (your browser does not know its certificate authority)")
            self.stdout.write("Save a member, and see it arrive. Ctrl-C ends it all.\n")
            self.stdout.flush()
            server.serve_forever()


class _AdminServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def _login() -> str:
    """Make a superuser, and return its password."""
    password = secrets.token_urlsafe(9)
    user, _ = User.objects.get_or_create(username=LOGIN, defaults={"is_staff": True, "is_superuser": True})
    user.set_password(password)
    user.save()
    return password


@contextmanager
def _database() -> Iterator[None]:
    """A throw-away SQLite file, unless the environment names a database; with all tables in it, and no member."""
    with tempfile.TemporaryDirectory(prefix="live_push_demo_") as folder:
        if "DATABASE_URL" not in os.environ:
            connection.close()
            # Connections of other threads are made of the same dictionary.
            connection.settings_dict["NAME"] = str(Path(folder) / "demo.sqlite3")
        call_command("migrate", verbosity=0)
        if UserProfile.objects.exists() or ClientEndpoint.objects.exists():
            raise CommandError("The database has members or endpoints already; the demo needs one without.")
        try:
            yield
        finally:
            connection.close()


@contextmanager
def _settings(client: PretendClient) -> Iterator[None]:
    """The clients are on this machine and have an authority of their own: both must be allowed."""
    with override_settings(LIVE_PUSH=vars(conf.current()) | client.server.settings):
        yield


@contextmanager
def _worker() -> Iterator[None]:
    """What ``manage.py live_push_worker`` runs, in a thread."""
    loop = WorkerLoop(using="default", engine="demo")
    thread = threading.Thread(target=loop.run, name="demo-worker")
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join()
