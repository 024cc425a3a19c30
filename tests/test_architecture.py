"""The walls of the house: who may import whom, who alone may do what. Each failure is a sentence naming the room."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import live_push
from live_push import api, models, signals
from live_push.management import commands

HOUSE = Path(live_push.__file__).parent


@dataclass(frozen=True)
class Room:
    """Modules that belong together. Imports go downhill, or stay in the room."""

    height: int
    modules: tuple[str, ...]
    may_not_import: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the room of {self.modules[0]} (height {self.height})"


PURE = Room(
    0,
    (
        "contract",
        "chunks",
        "conf",
        "concealed",
        "delivery.breaker",
        "delivery.networks",
        "delivery.request",
        "delivery.result",
        "delivery.retry",
        "endpoint_url",
        "exceptions",
        "ids",
        "tiers.ladder",
        "tiers.points",
        "tiers.rules",
        "tiers.timeframes",
        "unseen",
    ),
)
ROOMS = (
    PURE,
    Room(1, ("models", "encryption", "fields", "signals", "migrations")),
    Room(2, ("outbox",)),
    Room(2, ("convergence",)),
    Room(2, ("key_rotation",)),
    Room(3, ("delivery",)),
    Room(3, ("tiers",)),
    Room(4, ("engines",), may_not_import=("api",)),
    Room(5, ("api",), may_not_import=("delivery",)),
    Room(5, ("status",)),
    Room(6, ("receivers",)),
    Room(6, ("admin", "templatetags")),
    Room(6, ("management",)),
    Room(6, ("checks",)),
    Room(6, ("tasks",)),
    Room(6, ("django_tasks",)),
    # The client's side of the wire, for host projects' tests; nothing of ours may lean on it.
    Room(6, ("testing", "https_server", "certificate_authority")),
    Room(7, ("apps",)),
)

# Who may talk to the network, and with what. The rest of the house has no business with these modules.
NETWORK = (
    "requests",
    "urllib3",
    "aiohttp",
    "http",
    "socket",
    "ssl",
    "asyncio",
    "ftplib",
    "smtplib",
    "selectors",
    "select",
)
TALKERS = {
    "delivery.transport",
    "delivery.address_guard",
    "delivery.aiohttp_connection",
    "delivery.aiohttp_transport",
    "delivery.conditions",
    "delivery.dialling",
    "delivery.http_answer",
    "delivery.no_answer",
    "delivery.resolver",
    "delivery.tls",
    "delivery.watchdog",
    "https_server",
    "certificate_authority",
}


@dataclass(frozen=True)
class Module:
    """One file, by its name without the package's: ``delivery.retry``."""

    name: str
    path: Path

    @property
    def tree(self) -> ast.Module:
        return _tree(self.path)

    @property
    def room(self) -> Room:
        found = [
            (len(prefix), room)
            for room in ROOMS
            for prefix in room.modules
            if self.name == prefix or self.name.startswith(f"{prefix}.")
        ]
        assert found, f"live_push.{self.name} stands in no room: give it one in this test."
        return max(found, key=lambda item: item[0])[1]

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
EVERY_MODULE = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


def _of_ours(imported: str) -> Module | None:
    """The module of ours that an absolute name leads to."""
    name = imported.removeprefix("live_push.")
    return MODULES.get(name) or MODULES.get(name.rpartition(".")[0]) if imported.startswith("live_push.") else None


@EVERY_MODULE
def test_imports_go_downhill(module: Module) -> None:
    for imported in module.imports():
        target = _of_ours(imported)
        if target is None:
            continue
        downhill = target.room is module.room or target.room.height < module.room.height
        assert downhill, f"live_push.{module.name} imports {imported}, but {module.room} stands below {target.room}."
        for refused in module.room.may_not_import:
            forbidden = target.name == refused or target.name.startswith(f"{refused}.")
            assert not forbidden, f"{module.room} stays away from {refused}, but live_push.{module.name} imports it."


IMPURE = ("django.db", "time", "random", "secrets", "threading", *NETWORK)


@pytest.mark.parametrize(
    "module", [module for module in MODULES.values() if module.room is PURE], ids=lambda module: module.name
)
def test_pure_rooms_know_no_database_no_clock_no_dice_and_no_network(module: Module) -> None:
    for imported in module.imports():
        impure = any(f"{imported}.".startswith(f"{name}.") for name in IMPURE)
        assert not impure, f"live_push.{module.name} is pure, but imports {imported}."
    for call in _calls(module):
        asked = isinstance(call.func, ast.Attribute) and call.func.attr in {"now", "utcnow", "today"}
        assert not asked, f"live_push.{module.name} is pure, but asks the clock in line {call.lineno}."


def _calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


@EVERY_MODULE
def test_only_the_transport_and_its_siblings_talk_to_the_network(module: Module) -> None:
    if module.name in TALKERS:
        return
    for imported in module.imports():
        # The host's own name is no network; it is how a worker is called.
        if imported.split(".")[0] in NETWORK and imported != "socket":
            pytest.fail(f"live_push.{module.name} imports {imported}; only the transport and its siblings may.")
    used = {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "socket"
    }
    assert used <= {"gethostname"}, f"live_push.{module.name} uses socket.{used}; only the transport may."


@EVERY_MODULE
def test_only_conf_reads_the_setting(module: Module) -> None:
    if module.name == "conf":
        return
    sentence = f"live_push.{module.name} reads LIVE_PUSH itself; ask live_push.conf."
    for node in ast.walk(module.tree):
        reads = isinstance(node, ast.Attribute) and node.attr == "LIVE_PUSH"
        assert not reads, sentence
    for call in _calls(module):
        assert not any(isinstance(item, ast.Constant) and item.value == "LIVE_PUSH" for item in call.args), sentence


@EVERY_MODULE
def test_only_engines_sleep_or_wait(module: Module) -> None:
    # The watchdog's thread waits for the next deadline, and the test receiver for whoever calls.
    if module.name.startswith("engines") or module.name in {"delivery.watchdog", "https_server"}:
        return
    for call in _calls(module):
        waits = isinstance(call.func, ast.Attribute) and call.func.attr in {"sleep", "wait"}
        assert not waits, f"live_push.{module.name} waits in line {call.lineno}; only engines may."


WRITES = {"create", "bulk_create", "get_or_create", "update_or_create", "update", "bulk_update", "delete", "save"}


@EVERY_MODULE
def test_only_the_outbox_and_settlement_write_deliveries(module: Module) -> None:
    if module.name.startswith(("outbox", "migrations")) or module.name == "delivery.settle":
        return
    for call in _calls(module):
        made = isinstance(call.func, ast.Name) and call.func.id in {"Delivery", "Push"}
        written = isinstance(call.func, ast.Attribute) and call.func.attr in WRITES and _root(call.func) == "Delivery"
        sentence = f"live_push.{module.name} writes deliveries in line {call.lineno}; only outbox and settlement may."
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
        "Skipped",
        "apply_due_tier_changes",
        "award_points",
        "contract_schema",
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
        "Push",
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
        "live_push_erasure",
        "live_push_prune",
        "live_push_rotate_keys",
        "live_push_status",
        "live_push_tiers",
        "live_push_worker",
        "redeliver",
        "resend_profile",
    ]


def test_every_room_stands_in_the_table_for_contributors() -> None:
    table = (HOUSE.parent / "CONTRIBUTING.md").read_text()
    named = {prefix.split(".")[-1] for room in ROOMS for prefix in room.modules} - {"migrations"}

    assert {name for name in named if not any(f"`{name}{end}`" in table for end in ("", "/", ".py"))} == set()


def test_importing_the_package_imports_nothing_else() -> None:
    assert list(Module("__init__", HOUSE / "__init__.py").imports()) == []
