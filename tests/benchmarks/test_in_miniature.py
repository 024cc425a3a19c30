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


def measured(name: str, tmp_path: Path) -> set[str]:
    """The lines of this measurement on the database that is tested; it fails where a request is missing or doubled."""
    result = tmp_path / "rows.json"
    words = [name, NAMES[connection.vendor], str(ROUNDS), "1", str(result)]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.benchmarks.one", *words], check=True, cwd=ROOT)  # noqa: S603
    return {row["what"] for row in json.loads(result.read_text())}


def test_a_drain(tmp_path: Path) -> None:
    expected = {
        "drain, one worker / bare loop of the same client",
        "drain, fast worker / one worker",
        "drain, two workers / one",
        "CPU of a delivery, one worker / bare loop",
    }
    if has_broker():
        expected |= {"drain, Celery / one worker"}
    if find_spec("aiohttp"):
        expected |= {"drain, bare loop of aiohttp / fast worker"}
    if connection.vendor == "postgresql":
        peers = {"django-webhook": has_broker(), "django-outbound-webhooks": True}
        found = {name for name, usable in peers.items() if usable and find_spec(name.replace("-", "_"))}
        expected |= {f"drain, one worker / {name}" for name in found}
        expected |= {"drain, one worker / best peer"} if found else set()
    assert measured("drain", tmp_path) == expected


def test_tiers(tmp_path: Path) -> None:
    assert measured("tiers", tmp_path) == {
        "live_push_tiers with 200 members due / recording their pushes",
        "peak memory of live_push_tiers, 200 members minus 50",
    }


if connection.vendor in {"postgresql", "sqlite"}:

    def test_a_resend(tmp_path: Path) -> None:
        assert measured("resend", tmp_path) == {
            "resend_profile --all of 200 profiles / bare INSERT … SELECT",
            "peak memory of resend_profile, 200 profiles minus 50",
        }


if connection.vendor == "postgresql":

    def test_growth(tmp_path: Path) -> None:
        expected = {"claim", "convergence figure", *(f"delivery list, {name}" for name in LISTS)}
        found = measured("growth", tmp_path)
        assert found == {f"{what}, 5,000 deliveries / 2,000{more}" for what in expected for more in ("", ", p99")}
