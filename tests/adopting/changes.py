"""What a site that followed docs/adopting.md changes, judged by what its client receives.

Runs inside the site, by ``manage.py test``: the models of ``members`` exist there only.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Iterable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import update_last_login
from django.core import serializers
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import ProtectedError
from django.test import TransactionTestCase, override_settings
from django.utils import timezone
from jsonschema import Draft202012Validator
from members.campaigns import join, move
from members.clients import connect
from members.mirror import mirror_all
from members.models import Brand, Employee, Guest, Member, MemberProfile

from live_push.api import contract_schema, profile_changed
from live_push.models import ClientEndpoint, Delivery, Push, UserProfile
from live_push.testing import EndpointServer, drain
from tests.adopting.site import live_push_of, shell_lines

CONTRACT = Draft202012Validator(contract_schema())
LATER = timedelta(minutes=1)


def run(line: str) -> str:
    """Run a line of the page in this process, because the test's database is known here only."""
    name, *arguments = shlex.split(line)
    out = StringIO()
    call_command(name, *arguments, stdout=out, stderr=out)
    return out.getvalue()


class SiteTests(TransactionTestCase):
    """One client behind real TLS; each body that it receives must keep the contract."""

    way = "a"

    def setUp(self) -> None:
        self.server = self.enterContext(EndpointServer())
        engine = {"ENGINE": "live_push.engines.manual.ManualEngine"}
        settings = {**live_push_of(self.way), **engine, **self.server.settings}
        self.enterContext(override_settings(LIVE_PUSH=settings))

    def connect(self, name: str = "CRM") -> ClientEndpoint:
        endpoint = ClientEndpoint(name=name, url=self.server.url)
        endpoint.full_clean()
        endpoint.save()
        return endpoint

    def arrived(self, change: Callable[[], object], *, within: timedelta | None = None) -> list[dict[str, Any]]:
        """The bodies that a change sends."""
        self.server.clear()
        change()
        drain(until=within and timezone.now() + within)
        bodies = [request.json() for request in self.server.received]
        for body in bodies:
            CONTRACT.validate(body)
            self.assertIs(type(body["id"]), int)
        self.assertFalse(Delivery.objects.exclude(status="succeeded").exclude(status="cancelled").exists())
        return bodies

    def assert_arrives(self, change: Callable[[], object], key: str, values: Iterable[object]) -> None:
        self.assertCountEqual([body[key] for body in self.arrived(change)], values)

    def assert_nothing_arrives(self, change: Callable[[], object]) -> None:
        self.assertEqual(self.arrived(change), [])


class InUserProfileAlone(SiteTests):
    way = "a"

    def setUp(self) -> None:
        super().setUp()
        self.connect()

    def test_every_change_of_a_profile_arrives(self) -> None:
        profiles = UserProfile.objects
        self.assert_arrives(lambda: profiles.create(city="Graz"), "city", ["Graz"])
        self.assert_arrives(lambda: profiles.bulk_create([UserProfile(city="Linz")]), "city", ["Linz"])
        self.assert_arrives(lambda: profiles.update(city="Wien"), "city", ["Wien"] * 2)
        first, _second = changed = profiles.all()
        first.city = "Bern"
        self.assert_arrives(lambda: profiles.bulk_update(changed, ["city"]), "city", ["Bern", "Wien"])
        self.assert_nothing_arrives(first.delete)
        self.assertEqual(profiles.count(), 1)

    def test_a_linked_user_with_a_uuid_is_followed_but_not_at_logins(self) -> None:
        user = get_user_model().objects.create_user("ada", "ada@example.com")
        self.assert_arrives(lambda: UserProfile.objects.create(user=user), "emailAddress", ["ada@example.com"])
        with self.assertNumQueries(1):
            update_last_login(None, user)
        self.assert_nothing_arrives(lambda: update_last_login(None, user))
        user.email = "lovelace@example.com"
        self.assert_arrives(user.save, "emailAddress", ["lovelace@example.com"])

    def test_with_two_endpoints_each_gets_every_member_by_default(self) -> None:
        self.connect("Shop")
        bodies = self.arrived(lambda: UserProfile.objects.create(client_branding_id="north"))
        self.assertEqual([body["clientBrandingId"] for body in bodies], ["north"] * 2)


class Mirrored(SiteTests):
    way = "b"

    def setUp(self) -> None:
        super().setUp()
        self.north, self.south = Brand.objects.bulk_create([Brand(code=code, name=code) for code in ("north", "south")])

    def member(self, **columns: Any) -> Member:
        return Member(**{"brand": self.north, "email": "ada@example.com", "given_name": "Ada", **columns})

    def test_a_back_fill_pushes_nothing_and_the_first_client_is_sent_everybody_at_a_rate(self) -> None:
        Member.objects.bulk_create(self.member(shoe_size=size) for size in range(300))
        mirror_all(Member.objects.filter(shoe_size__lt=100), step=30)
        for line in shell_lines("mirror_all"):
            run(line)
        self.assertEqual(UserProfile.objects.count(), 300)
        self.assertFalse(Push.objects.exists())

        self.connect()
        self.assertIn("no issues", run(*shell_lines("check --database")))
        (catch_up,) = shell_lines("--rate")
        started = timezone.now()
        bodies = self.arrived(lambda: run(catch_up), within=LATER)
        sizes = {body["customData"]["memberId"]: body["customData"]["shoeSize"] for body in bodies}
        self.assertEqual(sizes, {str(member.pk): member.shoe_size for member in Member.objects.all()})
        self.assertEqual(len(bodies), 300)
        # Fifty a second: the last of six steps is due after five seconds.
        last = Delivery.objects.latest("pk").attempts.get().started_at
        self.assertGreaterEqual(last - started, timedelta(seconds=4.5))
        self.assert_nothing_arrives(mirror_all)
        self.assert_nothing_arrives(lambda: run("resend_profile --stale --verify"))

    def test_every_change_of_a_member_arrives(self) -> None:
        self.connect()
        member = self.member()
        self.assert_arrives(member.save, "firstName", ["Ada"])
        member.given_name = ""
        self.assert_arrives(member.save, "firstName", [None])
        self.assert_nothing_arrives(member.save)
        self.assert_arrives(lambda: join([self.member(given_name=name) for name in "abc"]), "firstName", "abc")
        north = Member.objects.filter(brand=self.north)
        self.assert_arrives(lambda: move(north, self.south), "clientBrandingId", ["south"] * 4)
        self.assert_arrives(
            lambda: Member.objects.update_or_create({"brand": self.north}, pk=member.pk), "clientBrandingId", ["north"]
        )
        self.assert_nothing_arrives(member.delete)
        self.assertEqual(UserProfile.objects.count(), 3)
        self.assert_nothing_arrives(Member.objects.all().delete)
        self.assertEqual((UserProfile.objects.count(), MemberProfile.objects.count()), (0, 0))

    def test_two_brands_go_to_two_endpoints(self) -> None:
        for brand in (self.north, self.south):
            connect(brand.name, f"{self.server.url}{brand.code}", [brand])

        def sent_to(change: Callable[[], object]) -> list[tuple[str, str]]:
            bodies = self.arrived(change)
            paths = [request.path for request in self.server.received]
            # Each endpoint has connections of its own, so the order is not known.
            return sorted((path, body["clientBrandingId"]) for path, body in zip(paths, bodies, strict=True))

        ada, bob = self.member(), self.member(brand=self.south)
        self.assertEqual(sent_to(lambda: (ada.save(), bob.save())), [("/north", "north"), ("/south", "south")])
        ada.brand = self.south
        self.assertEqual(sent_to(ada.save), [("/south", "south")])
        ada.given_name = "Augusta"
        self.assertEqual(sent_to(ada.save), [("/south", "south")])

    def test_what_sends_no_signal_is_mirrored_by_hand(self) -> None:
        self.connect()
        member = self.member()
        member.save()
        drain()
        self.assert_nothing_arrives(lambda: Member.objects.update(given_name="Grace"))
        self.assert_arrives(mirror_all, "firstName", ["Grace"])

        text = serializers.serialize("json", [self.member(pk=member.pk, given_name="Emmy")])
        with TemporaryDirectory() as folder:
            fixture = Path(folder) / "members.json"
            fixture.write_text(text)
            self.assert_nothing_arrives(lambda: run(f"loaddata {fixture}"))
        self.assert_arrives(mirror_all, "firstName", ["Emmy"])

        with connection.cursor() as cursor:
            self.assert_nothing_arrives(lambda: cursor.execute("UPDATE members_member SET given_name = 'Ida'"))
        self.assert_arrives(mirror_all, "firstName", ["Ida"])

    def test_what_a_data_migration_changed_is_mirrored_after_it(self) -> None:
        self.connect()
        join([self.member(), self.member(shoe_size=38)])
        drain()
        run("migrate members 0002_link")
        self.assert_nothing_arrives(lambda: run("migrate members"))
        self.assert_nothing_arrives(lambda: run("resend_profile --stale --verify"))
        (body,) = self.arrived(mirror_all)
        self.assertEqual(body["customData"]["shoeSize"], 42)

    def test_a_historical_model_saves_and_deletes_without_the_mirror(self) -> None:
        self.connect()
        join([self.member(), self.member()])
        drain()
        historical = MigrationExecutor(connection).loader.project_state().apps.get_model("members", "Member")
        member, other = historical.objects.all()
        member.given_name = "Hedy"
        self.assert_nothing_arrives(member.save)
        self.assert_arrives(mirror_all, "firstName", ["Hedy"])

        self.assert_nothing_arrives(other.delete)
        self.assert_nothing_arrives(mirror_all)
        self.assertEqual((MemberProfile.objects.count(), UserProfile.objects.count()), (1, 2))
        for line in shell_lines("link=None"):
            run(line)
        self.assertEqual(UserProfile.objects.get().first_name, "Hedy")

    def test_member_and_profile_find_each_other(self) -> None:
        member = self.member()
        member.save()
        profile = UserProfile.objects.get(link__member=member.pk)
        self.assertEqual(profile.link.member_id, member.pk)
        self.assertIsInstance(profile.link.member_id, uuid.UUID)
        with self.assertRaises(ProtectedError):
            profile.delete()

    def test_a_login_costs_what_the_page_says(self) -> None:
        self.connect()
        user = get_user_model().objects.create_user("ada", "ada@example.com")
        member = self.member(user=user)
        member.save()
        drain()
        member.last_seen = timezone.now()
        with transaction.atomic():
            with self.assertNumQueries(1):
                update_last_login(None, user)
            # Its own, a savepoint and two that read.
            with self.assertNumQueries(1 + 2 + 2):
                member.save(update_fields=["last_seen"])
            with self.assertNumQueries(1):
                Member.objects.filter(pk=member.pk).update(last_seen=timezone.now())
        self.assert_nothing_arrives(lambda: None)

    def test_what_is_written_past_the_manager_of_profiles_is_found_by_contents(self) -> None:
        self.connect()
        join([self.member(), self.member()])
        drain()
        stale = "resend_profile --stale"
        self.assert_nothing_arrives(lambda: UserProfile._base_manager.update(city="Graz"))
        self.assert_nothing_arrives(lambda: run(stale))
        self.assert_arrives(lambda: run(f"{stale} --verify"), "city", ["Graz"] * 2)
        self.assert_nothing_arrives(lambda: UserProfile._base_manager.bulk_create([UserProfile(city="Linz")]))
        self.assert_arrives(lambda: run(stale), "city", ["Linz"])


class ReadFromOtherTables(SiteTests):
    way = "c"

    def test_a_new_name_of_a_brand_arrives_for_its_members_alone(self) -> None:
        north, south = (Brand.objects.create(code=code, name=code) for code in ("north", "south"))
        self.assertIn("no issues", run(*shell_lines("check --database")))
        self.connect()
        members = [Member(brand=brand, email="ada@example.com") for brand in (north, north, south)]
        self.assertEqual(len(self.arrived(lambda: join(members))), 3)

        @transaction.atomic
        def rename() -> None:
            north.name = "Northern stores"
            north.save()
            profile_changed(UserProfile.objects.filter(link__member__brand=north))

        bodies = self.arrived(rename)
        self.assertEqual([body["customData"]["brandName"] for body in bodies], ["Northern stores"] * 2)
        self.assertEqual({body["customData"]["memberId"] for body in bodies}, {str(one.pk) for one in members[:2]})
        self.assert_nothing_arrives(lambda: Brand.objects.filter(pk="south").update(name="Southern stores"))
        self.assert_nothing_arrives(lambda: run("resend_profile --stale"))
        (body,) = self.arrived(lambda: run("resend_profile --stale --verify"))
        self.assertEqual(body["customData"]["brandName"], "Southern stores")


class OwnClasses(SiteTests):
    def setUp(self) -> None:
        super().setUp()
        self.connect()

    def test_every_change_of_a_proxy_arrives(self) -> None:
        self.assert_arrives(lambda: Guest.objects.create(city="Graz"), "city", ["Graz"])
        self.assert_arrives(lambda: Guest.objects.bulk_create([Guest(city="Linz")]), "city", ["Linz"])
        self.assert_arrives(lambda: Guest.objects.update(city="Wien"), "city", ["Wien"] * 2)
        self.assert_nothing_arrives(Guest.objects.all().delete)
        self.assertFalse(UserProfile.objects.exists())

    def test_a_member_that_remains_without_its_child_keeps_its_log(self) -> None:
        self.arrived(lambda: Employee.objects.create(city="Graz", staff_number="1"))
        Employee.objects.get().delete(keep_parents=True)
        self.assertEqual(UserProfile.objects.get().city, "Graz")
        self.assertIsNotNone(Push.objects.get().payload)
        UserProfile.objects.get().delete()
        self.assertIsNone(Push.objects.get().payload)

    def test_a_child_is_erased_with_its_member(self) -> None:
        self.arrived(lambda: Employee.objects.create(city="Graz", staff_number="1"))
        Employee.objects.get().delete()
        self.assertFalse(UserProfile.objects.exists())
        self.assertIsNone(Push.objects.get().payload)

    def test_every_change_of_a_child_arrives(self) -> None:
        self.assert_arrives(lambda: Employee.objects.create(city="Graz", staff_number="1"), "city", ["Graz"])
        employee = Employee.objects.get()
        employee.city = "Linz"
        self.assert_arrives(employee.save, "city", ["Linz"])
        employee.staff_number = "2"
        self.assert_arrives(lambda: employee.save(update_fields=["staff_number"]), "city", ["Linz"])
        self.assert_arrives(lambda: Employee.objects.update(staff_number="3"), "city", ["Linz"])
        self.assert_arrives(lambda: Employee.objects.update(city="Wien", staff_number="4"), "city", ["Wien"])
        employee.refresh_from_db()
        employee.city = "Bern"
        self.assert_arrives(
            lambda: Employee.objects.bulk_update([employee], ["city", "staff_number"]), "city", ["Bern"]
        )
        self.assert_arrives(lambda: UserProfile.objects.update(city="Rom"), "city", ["Rom"])
        with self.assertRaisesMessage(ValueError, "multi-table inherited"):
            Employee.objects.bulk_create([Employee(staff_number="5")])
        self.assert_nothing_arrives(employee.delete)
        self.assertFalse(UserProfile.objects.exists())
