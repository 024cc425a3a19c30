"""Every page of the app, judged by axe-core: WCAG 2.2 A and AA, and its best practices."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest

from tests.admin.conftest import world as world
from tests.admin.pages import all_pages

from .conftest import NARROW, WIDE, Hire, Operator

pytestmark = pytest.mark.usefixtures("world")

# Django's own furniture, on every page of its admin, which this app neither draws nor mends.
NOT_OURS = [
    "#header",
    "#nav-sidebar",
    "#toggle-nav-sidebar",
    ".breadcrumbs",
    "#changelist-filter",
    "#changelist-search",
    ".actions",
    ".paginator",
    ".selector",
    ".messagelist",
    "th.original",
    ".delete-confirmation #content ul",
]


def axe_source() -> str:
    """The script, which a package of the test extra ships."""
    package = pytest.importorskip("axe_playwright_python", reason="pip install 'live-push[browser]'")
    return (resources.files(package) / "axe.min.js").read_text()


def violations(operator: Operator) -> list[str]:
    """What axe finds wrong with the open page, each with the element."""
    heard = list(operator.complaints)
    found: dict[str, Any] = operator.page.evaluate(
        "exclude => axe.run({exclude: exclude.map(selector => [selector])}, {resultTypes: ['violations']})", NOT_OURS
    )
    # To measure, axe styles elements inline, which the page's policy forbids and the browser tells.
    operator.complaints[:] = heard
    return [
        f"{violation['id']}: {node['target'][0]} ({node['failureSummary']})"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(
    ("viewport", "dark"),
    [
        pytest.param(WIDE, False, id="light"),
        pytest.param(WIDE, True, id="dark"),
        pytest.param(NARROW, False, id="narrow"),
    ],
)
def test_no_page_has_a_violation(hire: Hire, viewport: dict[str, int], dark: bool) -> None:
    source = axe_source()
    # The page's policy forbids it to add scripts; the judge comes in beside the page.
    operator = hire(viewport, dark=dark)
    operator.page.add_init_script(source)
    found: dict[str, list[str]] = {}
    for name, address in all_pages().items():
        operator.open(address)
        operator.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        if wrong := violations(operator):
            found[name] = wrong
    assert found == {}, "\n".join(f"{name}: {one}" for name, wrong in found.items() for one in wrong)
