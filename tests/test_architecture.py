"""The walls of the house: which folder may import which, and who alone may do what."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import live_push
from live_push import api, models, signals
from live_push.management import commands

HOUSE = Path(live_push.__file__).parent

HEIGHTS = {
    "exceptions": 0,
    "signals": 0,
    "rules": 1,
    "conf": 2,
    "contract": 2,
    "secrets": 3,
    "models": 4,
    "migrations": 5,
    "outbox": 5,
    "tiers": 5,
    "delivery": 6,
    "figures": 6,
    "housekeeping": 6,
    "engines": 7,
    "api": 8,
    "receivers": 9,
    "admin": 9,
    "templatetags": 9,
    "management": 9,
    "checks": 9,
    "tasks": 9,
    "django_tasks": 9,
    "testing": 9,
    "apps": 10,
}
"""The height of each folder and of each module at the top. Imports go down, or stay in the folder."""

PURE = ("rules", "contract")

NETWORK = (
    "requests",
    "urllib3",
    "pycurl",
    "http",
    "socket",
    "ssl",
    "asyncio",
    "ftplib",
    "smtplib",
    "selectors",
    "select",
)
TALKERS = ("delivery", "testing.https_server", "testing.certificate_authority")
"""Only these use the modules of ``NETWORK``."""


@dataclass(frozen=True)
class Module:
    """One file, by its name without the package's: ``rules.retry``."""

    name: str
    path: Path

    @property
    def tree(self) -> ast.Module:
        return _tree(self.path)

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    @property
    def height(self) -> int:
        assert self.room in HEIGHTS, f"live_push.{self.name} has no height: give its folder one in this test."
        return HEIGHTS[self.room]

    def is_in(self, *names: str) -> bool:
        return any(f"{self.name}.".startswith(f"{name}.") for name in names)

    def imports(self) -> Iterator[str]:
        """Absolute names of all that is imported, at the top or inside functions."""
        package = ["live_push", *self.name.split(".")]
        if self.path.name != "__init__.py":
            package.pop()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = ".".join([*package[: len(package) - node.level + 1], node.module or ""]) if node.level else ""
                base = base.rstrip(".") or node.module or ""
                yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _modules() -> dict[str, Module]:
    found = {}
    for path in sorted(HOUSE.rglob("*.py")):
        name = ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            found[name] = Module(name, path)
    return found


MODULES = _modules()


def for_every_module(check: Callable[[Module], None]) -> Callable[[], None]:
    """Make one test of a check on a module. A test for each module would be 1,800, which cost more than they check."""

    def test() -> None:
        for module in MODULES.values():
            check(module)

    test.__name__ = check.__name__
    return test


def _of_ours(imported: str) -> Module | None:
    """The module of ours that an absolute name leads to."""
    name = imported.removeprefix("live_push.")
    return MODULES.get(name) or MODULES.get(name.rpartition(".")[0]) if imported.startswith("live_push.") else None


def _targets(module: Module) -> Iterator[Module]:
    """The modules of ours that a module imports, at the top, in functions or for the type checker alone."""
    for imported in module.imports():
        target = _of_ours(imported)
        if target is not None and target is not module:
            yield target


@for_every_module
def test_imports_go_down_or_stay_in_the_folder(module: Module) -> None:
    for target in _targets(module):
        down = target.room == module.room or target.height < module.height
        assert down, (
            f"live_push.{module.name} imports live_push.{target.name}, but {module.room} (height {module.height}) "
            f"may not import {target.room} (height {target.height})."
        )


def test_no_modules_import_each_other_in_a_circle() -> None:
    finished: set[str] = set()

    def visit(module: Module, path: tuple[str, ...]) -> None:
        if module.name in path:
            circle = " -> ".join([*path[path.index(module.name) :], module.name])
            pytest.fail(f"These modules import each other in a circle: {circle}.")
        if module.name not in finished:
            for target in _targets(module):
                visit(target, (*path, module.name))
            finished.add(module.name)

    for module in MODULES.values():
        visit(module, ())


def test_few_modules_stand_at_the_top() -> None:
    assert sorted(name for name, module in MODULES.items() if module.path.parent == HOUSE) == [
        "api",
        "apps",
        "checks",
        "conf",
        "django_tasks",
        "exceptions",
        "receivers",
        "signals",
        "tasks",
    ]


def test_an_engine_creates_no_work() -> None:
    for module in MODULES.values():
        if module.is_in("engines"):
            assert "api" not in {target.name for target in _targets(module)}


@for_every_module
def test_no_file_is_longer_than_400_lines(module: Module) -> None:
    if not module.is_in("migrations"):
        lines = len(module.path.read_text().splitlines())
        assert lines <= 400, f"live_push.{module.name} has {lines} lines: does it still hold one idea?"


def test_an_admin_has_pages_and_is_not_mixed_from_them() -> None:
    for module in MODULES.values():
        if module.is_in("admin"):
            for node in ast.walk(module.tree):
                bases = len(node.bases) if isinstance(node, ast.ClassDef) else 0
                assert bases <= 2, f"live_push.{module.name} has a class with {bases} bases; at most one is a mixin."


# rules.local_clock reads the clock of the machine. It lies so low because the outbox sets deadlines by this clock and
# delivery/ compares them with it.
IMPURE = ("django.db", "time", "random", "secrets", "threading", "live_push.conf", *NETWORK)


@pytest.mark.parametrize(
    "module", [module for module in MODULES.values() if module.is_in(*PURE)], ids=lambda module: module.name
)
def test_pure_rooms_know_no_database_no_clock_no_randomness_and_no_network(module: Module) -> None:
    for imported in module.imports():
        impure = any(f"{imported}.".startswith(f"{name}.") for name in IMPURE) and module.name != "rules.local_clock"
        assert not impure, f"live_push.{module.name} is pure, but imports {imported}."
    for call in _calls(module):
        asked = isinstance(call.func, ast.Attribute) and call.func.attr in {"now", "utcnow", "today"}
        assert not asked, f"live_push.{module.name} is pure, but asks the clock in line {call.lineno}."


def _calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


WAITER = "engines.selectable_event"
"""Waits for the database's connection, and for a pair of sockets within the process. It talks to nobody."""


@for_every_module
def test_only_the_transport_and_its_siblings_talk_to_the_network(module: Module) -> None:
    if module.is_in(*TALKERS):
        return
    # The host's own name is no network; it is how a worker is called.
    harmless = {"socket", "selectors"} if module.name == WAITER else {"socket"}
    for imported in module.imports():
        if imported.split(".")[0] in NETWORK and imported not in harmless:
            pytest.fail(f"live_push.{module.name} imports {imported}; only the transport and its siblings may.")
    used = {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "socket"
    }
    allowed = {"socket", "socketpair"} if module.name == WAITER else {"gethostname"}
    assert used <= allowed, f"live_push.{module.name} uses socket.{used}; only the transport may."


DELIVERY_ROWS = {
    "delivery.send": {"live_push.models.ClientEndpoint"},
    "delivery.test_push": {"live_push.models.ClientEndpoint"},
}
"""What delivery/ imports from models/, for annotations only: it is handed these rows and reads their columns."""

DELIVERY_IMPORTS = {
    "delivery.send": {"live_push.outbox.claimed_delivery.ClaimedDelivery", "live_push.outbox.outcome.Outcome"}
}
"""What delivery/ imports from outbox/: what it is handed, and the type in which it hands the result back."""


@pytest.mark.parametrize(
    "module", [module for module in MODULES.values() if module.is_in("delivery")], ids=lambda module: module.name
)
def test_delivery_does_not_use_the_database(module: Module) -> None:
    rows = DELIVERY_ROWS.get(module.name, set())
    allowed = rows | DELIVERY_IMPORTS.get(module.name, set())
    database = {
        imported
        for imported in module.imports()
        if f"{imported}.".startswith(("django.db.", "live_push.models.", "live_push.outbox."))
    }
    assert database <= allowed, f"live_push.{module.name} imports {database - allowed}; delivery/ has no database."
    annotations = {id(node) for annotation in _annotations(module) for node in ast.walk(annotation)}
    for node in ast.walk(module.tree):
        used = isinstance(node, ast.Name) and f"live_push.models.{node.id}" in rows and id(node) not in annotations
        line = getattr(node, "lineno", 0)
        assert not used, f"live_push.{module.name} uses a model in line {line}; delivery/ may only annotate with it."
        queries = isinstance(node, ast.Attribute) and node.attr in QUERIES
        assert not queries, f"live_push.{module.name} queries the database in line {line}."


QUERIES = {"objects", "_base_manager", "_default_manager", "save", "delete", "refresh_from_db"}


def _annotations(module: Module) -> Iterator[ast.expr]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield node.returns


@for_every_module
def test_only_conf_reads_the_setting(module: Module) -> None:
    if module.name == "conf":
        return
    sentence = f"live_push.{module.name} reads LIVE_PUSH itself; ask live_push.conf."
    for node in ast.walk(module.tree):
        reads = isinstance(node, ast.Attribute) and node.attr == "LIVE_PUSH"
        assert not reads, sentence
    for call in _calls(module):
        assert not any(isinstance(item, ast.Constant) and item.value == "LIVE_PUSH" for item in call.args), sentence


@for_every_module
def test_only_engines_sleep_or_wait(module: Module) -> None:
    # The watchdog's thread waits for the next deadline, and the test receiver for whoever calls.
    if module.name.startswith("engines") or module.name in {"delivery.watchdog", "testing.https_server"}:
        return
    for call in _calls(module):
        waits = isinstance(call.func, ast.Attribute) and call.func.attr in {"sleep", "wait"}
        assert not waits, f"live_push.{module.name} waits in line {call.lineno}; only engines may."


@for_every_module
def test_no_database_is_taken_from_what_was_read(module: Module) -> None:
    if module.name == "models.databases" or module.name.startswith("migrations"):
        return
    for node in ast.walk(module.tree):
        taken = isinstance(node, ast.Attribute) and node.attr in {"db", "_db"} and isinstance(node.ctx, ast.Load)
        assert not taken, (
            f"live_push.{module.name} takes the database of something that was read, perhaps a replica, in line "
            f"{getattr(node, 'lineno', 0)}; ask models.databases or router.db_for_write()."
        )


@for_every_module
def test_only_pages_read_from_a_replica(module: Module) -> None:
    if module.name.startswith(("admin.", "figures.pages")) or module.name == "models.databases":
        return
    assert not any(imported.endswith(".read_from") for imported in module.imports())
    for node in ast.walk(module.tree):
        asks = isinstance(node, ast.Attribute) and node.attr == "db_for_read"
        assert not asks, f"live_push.{module.name} reads from a replica, which may lag; only admin pages may."


WRITES = {"create", "bulk_create", "get_or_create", "update_or_create", "update", "bulk_update", "delete", "save"}


@for_every_module
def test_only_the_outbox_writes_deliveries(module: Module) -> None:
    if module.is_in("outbox", "migrations"):
        return
    for call in _calls(module):
        made = isinstance(call.func, ast.Name) and call.func.id in {"Delivery", "Push"}
        written = isinstance(call.func, ast.Attribute) and call.func.attr in WRITES and _root(call.func) == "Delivery"
        sentence = f"live_push.{module.name} writes deliveries in line {call.lineno}; only the outbox may."
        assert not made, sentence
        assert not written, sentence


def _root(node: ast.AST) -> str:
    """The name that a chain of attributes and calls begins with."""
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return ""
    return node.id


def test_the_public_functions_are_these() -> None:
    assert sorted(api.__all__) == [
        "Redelivered",
        "Skipped",
        "apply_due_tier_changes",
        "award_points",
        "contract_schema",
        "profile_changed",
        "push_profile",
        "push_profiles",
        "redeliver",
        "spend_points",
    ]


def test_the_public_models_are_these() -> None:
    from django.apps import apps

    assert sorted(model.__name__ for model in apps.get_app_config("live_push").get_models()) == [
        "Attempt",
        "ClientEndpoint",
        "Confirmation",
        "Delivery",
        "EndpointHealth",
        "EndpointHour",
        "ListedBranding",
        "Push",
        "StoredConvergence",
        "Tier",
        "TierEvent",
        "TierMembership",
        "TierProgram",
        "UserProfile",
        "WorkerHeartbeat",
    ]
    assert all(hasattr(models, name) for name in models.__all__)


def test_the_public_signals_are_these() -> None:
    assert sorted(name for name, value in vars(signals).items() if isinstance(value, signals.Signal)) == [
        "credentials_changed",
        "delivery_failed",
        "delivery_succeeded",
        "endpoint_activated",
        "endpoint_disabled",
        "endpoint_failing",
        "endpoint_has_credentials",
        "endpoint_needs_credentials",
        "endpoint_recovered",
        "profiles_changed",
        "third_party_id_captured",
    ]


def test_the_commands_are_these() -> None:
    assert sorted(module.name for module in pkgutil.iter_modules(commands.__path__)) == [
        "live_push_contract",
        "live_push_endpoints",
        "live_push_erasure",
        "live_push_prune",
        "live_push_rotate_keys",
        "live_push_status",
        "live_push_tiers",
        "live_push_worker",
        "redeliver",
        "resend_profile",
    ]


def test_every_folder_stands_in_the_table_for_contributors() -> None:
    table = (HOUSE.parent / "CONTRIBUTING.md").read_text()
    rooms = {module.room for module in MODULES.values()} - {"migrations"}
    assert {room for room in rooms if not any(f"`{room}{end}`" in table for end in ("", "/", ".py"))} == set()


def test_importing_the_package_imports_nothing_else() -> None:
    assert list(Module("__init__", HOUSE / "__init__.py").imports()) == []
