from __future__ import annotations

from typing import Any

from django.db import migrations

from tests.databases import shop


def forwards(apps: Any, schema_editor: Any) -> None:
    shop.work(apps)


class Migration(migrations.Migration):
    dependencies = [("live_push", "0001_initial")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
