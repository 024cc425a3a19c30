"""Each measurement in miniature: it counts right, and leaves no line of its table out."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.db import connection

from .by_celery import has_broker

ROOT = Path(__file__).parents[2]
NAMES = {"postgresql": "postgresql", "mysql": "mariadb", "sqlite": "sqlite"}
LISTS = ("all", "succeeded", "failed", "pending", "of one endpoint", "of one cause")
ROUNDS = 2

pytestmark = pytest.mark.slow


def measured(name: str, tmp_path: Path) -> dict[str, str]:
    """The lines of this measurement on the database that is tested, with their goals.

    It fails where a request is missing or doubled.
    """
    result = tmp_path / "rows.json"
    words = [name, NAMES[connection.vendor], str(ROUNDS), "1", str(result)]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.benchmarks.one", *words], check=True, cwd=ROOT)  # noqa: S603
    return {row["what"]: row["goal"] for row in json.loads(result.read_text())}


def test_a_drain(tmp_path: Path) -> None:
    expected: dict[str, str] = {}
    if has_broker():
        expected["drain, Celery / one worker, 8 in flight"] = ""
    for in_flight in ("8 in flight", "64 in flight"):
        expected |= {
            f"drain, one worker / bare loop of the same transport, {in_flight}": "≥ 0.7",
            f"drain, fast worker / one worker, {in_flight}": "",
            f"CPU of a delivery, one worker / bare loop, {in_flight}": "",
        }
        if find_spec("aiohttp"):
            expected[f"drain, fast worker / bare loop of aiohttp, {in_flight}"] = "≥ 0.6"
        if connection.vendor == "postgresql":
            if has_broker() and find_spec("django_webhook"):
                expected[f"drain, fast worker / django-webhook, {in_flight}"] = "≥ 60"
            if find_spec("django_outbound_webhooks"):
                expected[f"drain, fast worker / django-outbound-webhooks, {in_flight}"] = ""
    assert measured("drain", tmp_path) == expected


def test_the_hot_path(tmp_path: Path) -> None:
    where = "full outbox, 8 in flight"
    expected = {f"statements / deliveries, {where}": "≤ 0.1"}
    if find_spec("aiohttp"):
        # SQLite itself works in the thread that is measured.
        goal = "" if connection.vendor == "sqlite" else "≤ 0.6"
        expected[f"CPU of the database thread per delivery / CPU of a bare aiohttp request, {where}"] = goal
    assert measured("hot_path", tmp_path) == expected


def test_tiers(tmp_path: Path) -> None:
    assert measured("tiers", tmp_path) == {
        "live_push_tiers with 200 members due / recording their pushes": "",
        "peak memory of live_push_tiers, 200 members minus 50": "≤ 20 MB",
    }


if connection.vendor in {"postgresql", "mysql"}:

    def test_scaling(tmp_path: Path) -> None:
        what = "drain, two fast workers / one, receiver that takes 20 ms, 16 in flight each"
        assert measured("scaling", tmp_path) == {what: "≥ 1.6"}


if connection.vendor in {"postgresql", "sqlite"}:

    def test_a_resend(tmp_path: Path) -> None:
        assert measured("resend", tmp_path) == {
            "resend_profile --all of 200 profiles / bare INSERT … SELECT": "≥ 0.5",
            "peak memory of resend_profile, 200 profiles minus 50": "≤ 20 MB",
        }


if connection.vendor == "postgresql":

    def test_status(tmp_path: Path) -> None:
        of = "3,000 members, 3 endpoints"
        assert measured("status", tmp_path) == {
            f"queries of live_push_status --quick, {of} / 0.2 s": "≤ 1",
            f"queries of the overview, {of} / 0.2 s": "≤ 1",
            f"queries of live_push_status, --quick / --fresh, {of}": "",
            f"counting {of} in slices": "",
        }

    def test_growth(tmp_path: Path) -> None:
        expected = {"claim", "convergence figure", *(f"delivery list, {name}" for name in LISTS)}
        goals = {"": "≤ 2", ", p99": ""}
        assert measured("growth", tmp_path) == {
            f"{what}, 5,000 deliveries / 2,000{more}": goal for what in expected for more, goal in goals.items()
        }


def test_logins(tmp_path: Path) -> None:
    of = "40 saves, 70% of them logins"
    assert measured("logins", tmp_path) == {
        f"updates left out, {of}": "",
        f"CPU of the worker, {of}: only changes / all updates": "",
    }
