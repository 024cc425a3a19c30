"""The types of columns that mypy can't derive from their classes: first what may be assigned, then what is read.

django-stubs derives them for Django's own classes. The columns of our own classes, those with JSON and the generated
ones are annotated with the types of this module. ``Combinable`` stands for expressions such as ``F()``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Never, TypeAlias

from django.db.models import Field
from django.db.models.expressions import Combinable

from live_push.rules.masking import Secret

JsonScalar: TypeAlias = str | int | float | bool | None

# These are texts, because Django's fields are not generic at run time.
Text: TypeAlias = "Field[str | Combinable, str]"
OptionalText: TypeAlias = "Field[str | Combinable | None, str | None]"
OptionalBytes: TypeAlias = "Field[bytes | Combinable | None, bytes | None]"
EncryptedText: TypeAlias = "Field[str | Secret | None, Secret | None]"
WholeNumber: TypeAlias = "Field[int | Combinable, int]"
OptionalWholeNumber: TypeAlias = "Field[int | Combinable | None, int | None]"
Flag: TypeAlias = "Field[bool | Combinable, bool]"
Moment: TypeAlias = "Field[datetime | Combinable, datetime]"
OptionalMoment: TypeAlias = "Field[datetime | Combinable | None, datetime | None]"
OptionalDate: TypeAlias = "Field[date | Combinable | None, date | None]"
BirthDate: TypeAlias = "Field[date | int | str | Combinable | None, datetime | None]"
JsonObject: TypeAlias = "Field[dict[str, Any] | Combinable, dict[str, Any]]"
CustomData: TypeAlias = "Field[Mapping[str, JsonScalar] | Combinable | None, dict[str, JsonScalar] | None]"
TextByName: TypeAlias = "Field[dict[str, str] | Combinable, dict[str, str]]"
TextList: TypeAlias = "Field[list[str] | Combinable, list[str]]"
GeneratedNumber: TypeAlias = "Field[Never, int | None]"
GeneratedMoment: TypeAlias = "Field[Never, datetime | None]"
