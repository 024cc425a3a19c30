"""The pure parts: differences, masked headers, pictures, words."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from live_push.admin.shared import formatting, svg
from live_push.admin.shared.differences import Difference, differences
from live_push.admin.shared.request_shown import indented, outlined, shown_headers
from live_push.figures.pages import Share
from live_push.rules import retry
from live_push.rules.endpoint_url import shown_url
from tests.support import START

A, B = {"city": "Vienna", "tierInfo": {"score": 1}}, {"city": "Graz", "tierInfo": {"score": 1}}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        pytest.param(A, A, [], id="nothing changed"),
        pytest.param(A, B, [Difference("city", "Vienna", "Graz")], id="a value"),
        pytest.param({"a": None}, {"a": 0}, [Difference("a", None, 0)], id="null is not zero"),
        pytest.param(
            {"tierInfo": {"nextLevel": {"title": "2"}}},
            {"tierInfo": {"nextLevel": {"title": "3"}}},
            [Difference("tierInfo.nextLevel.title", "2", "3")],
            id="deep inside",
        ),
        pytest.param(
            {"c": {"x": 1}},
            {"c": {"y": 1}},
            [Difference("c.y", None, 1, was_there=False), Difference("c.x", 1, None, is_there=False)],
            id="a key that came and one that went",
        ),
        pytest.param(
            {"c": None},
            {"c": {"x": 1}},
            [Difference("c.x", None, 1, was_there=False), Difference("c", None, None, is_there=False)],
            id="null that became an object",
        ),
    ],
)
def test_differences_are_told_by_path(before: dict[str, Any], after: dict[str, Any], found: list[Difference]) -> None:
    assert differences(before, after) == found


def test_a_masked_header_shows_only_how_it_is_sent() -> None:
    sent = {"Authorization": "Basic dGVzdDpwdw==", "X-API-Key": "k", "webhook-id": "e", "X-Source": b"\xe9"}
    assert shown_headers(sent) == [
        ("Authorization", "Basic ••••"),
        ("X-API-Key", "••••"),
        ("webhook-id", "e"),
        ("X-Source", "é"),
    ]


def test_of_a_body_that_may_not_be_seen_the_members_and_their_kinds_are_told() -> None:
    body = b'{"city":"Vienna","points":7,"active":true,"phone":null,"tier":{"title":"Gold"},"tags":["a",1.5]}'
    assert json.loads(outlined(body)) == {
        "city": "•••• text",
        "points": "•••• number",
        "active": "•••• boolean",
        "phone": None,
        "tier": {"title": "•••• text"},
        "tags": ["•••• text", "•••• number"],
    }


def test_what_is_no_json_is_shown_as_it_is() -> None:
    assert indented(b'{"a":1}') == '{\n  "a": 1\n}'
    assert indented(b"\xff{") == "\ufffd{"


HOSTILE = "<script>alert('boo')</script>"


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(svg.icon("ok"), id="an icon"),
        pytest.param(svg.share_bar(2, 1, HOSTILE), id="a bar"),
        pytest.param(svg.share_bar(0, 0, "nothing"), id="a bar of nothing"),
        pytest.param(svg.columns([], title="t", description=HOSTILE), id="a chart of nothing"),
        pytest.param(
            svg.columns([svg.Column(1, 2, HOSTILE), svg.Column(0, 0)], title="t", description="d"),
            id="a chart",
        ),
        pytest.param(svg.ladder([svg.LadderStep(HOSTILE, "0 to 9", here=True)], "d"), id="a ladder"),
        pytest.param(svg.ladder([], "d"), id="a ladder without rungs"),
    ],
)
def test_every_picture_is_well_formed_and_harmless(picture: str) -> None:
    drawn = ET.fromstring(picture)  # noqa: S314  (our own text)
    assert drawn.tag == "svg"
    assert not [node for node in drawn.iter() if "script" in node.tag or "style" in node.attrib]
    assert drawn.get("role") == "img" or drawn.get("aria-hidden") == "true"


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_the_words_of_many_or_long_tiers_do_not_run_into_each_other(count: int) -> None:
    steps = [svg.LadderStep(f"{place} {'long ' * 19}", "1,000,000 to 2,499,999 points") for place in range(count)]
    drawn = ET.fromstring(svg.ladder(steps, "d"))  # noqa: S314  (our own text)
    rungs = [float(rect.get("width", "")) for rect in drawn.iter("rect")]
    titles = [text.text or "" for text in drawn.iter("text") if text.get("class") == "lp-rung-title"]
    assert min(rungs) >= 190
    assert all(len(title) * 8 < rung for title, rung in zip(titles, rungs, strict=True))
    assert float(drawn.get("width", "")) == float(drawn.get("viewBox", "").split()[2])


def test_a_single_failure_among_thousands_is_seen() -> None:
    assert 'class="lp-fill-ok" width="98"' in svg.share_bar(99_999, 1, "")


@pytest.mark.parametrize(
    ("accepted", "attempts", "sentence"),
    [
        pytest.param(0, 0, "nothing sent", id="nothing"),
        pytest.param(1204, 1204, "100.0 % of 1204", id="all"),
        pytest.param(17_870, 17_987, "99.3 % of 17987", id="most"),
        pytest.param(9999, 10_000, "99.9 % of 10000", id="all but one is not all"),
    ],
)
def test_a_share_in_words(accepted: int, attempts: int, sentence: str) -> None:
    assert formatting.share_in_words(Share(accepted, attempts)) == sentence


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        pytest.param(timedelta(seconds=-20), "now 11:59 a.m. UTC", id="a moment ago"),
        pytest.param(timedelta(minutes=12), "in 12\xa0minutes 12:12 p.m. UTC", id="soon"),
        pytest.param(timedelta(hours=-3), "3\xa0hours ago 9 a.m. UTC", id="today"),
        pytest.param(timedelta(days=-2), "2\xa0days ago Feb. 27, 2026, noon UTC", id="days ago"),
    ],
)
def test_a_moment_is_told_as_seen_from_now_and_by_the_clock(offset: timedelta, text: str) -> None:
    drawn = ET.fromstring(str(formatting.moment(START + offset, START)))  # noqa: S314  (our own text)
    assert "".join(drawn.itertext()) == text
    assert drawn.get("datetime") == (START + offset).isoformat()


def test_a_schedule_in_words() -> None:
    assert formatting.schedule(retry.CROWDTWIST) == (
        "at once, then after 10 s, 50 s, 9 min, 20 min, 30 min, then every 12 min, for 8 h"
    )


def test_a_code_of_a_hosts_own_transport_is_explained_by_itself() -> None:
    assert formatting.explained("carrier_pigeon") == "carrier_pigeon"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://acme.example.com/a=b", "https://acme.example.com/a=b"),
        ("https://acme.example.com/?", "https://acme.example.com/?"),
        ("https://acme.example.com/?T0P", "https://acme.example.com/?••••"),
        ("https://acme.example.com/?a=T0P&b=&c=T0P=T0P", "https://acme.example.com/?a=••••&b=&c=••••"),
        ("https://acme.example.com/?a=T0P;b=T0P?T0P", "https://acme.example.com/?a=••••;b=••••"),
        ("https://acme.example.com/?T0P&a=T0P", "https://acme.example.com/?••••&a=••••"),
    ],
)
def test_of_a_query_only_the_names_show(url: str, seen: str) -> None:
    assert shown_url(url) == seen
