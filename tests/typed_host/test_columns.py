"""The host's file of columns names every column of every public model; that mypy agrees, the lane ``types`` checks."""

from __future__ import annotations

import ast
from configparser import ConfigParser
from pathlib import Path

import pytest
from django.db.models import Model

from live_push import models
from tests.readme import ROOT, snippets

PUBLIC = [model for name in models.__all__ if issubclass(model := getattr(models, name), Model)]


def columns_that_are_read() -> dict[str, list[str]]:
    """The attributes of ``row`` whose type is asserted, by the model that annotates ``row``."""
    found: dict[str, list[str]] = {}
    for function in ast.parse((Path(__file__).parent / "columns.py").read_text()).body:
        if isinstance(function, ast.FunctionDef):
            assertions = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            model = ast.unparse(function.args.args[0].annotation or function)
            found[model] = [ast.unparse(assertion.args[0]).removeprefix("row.") for assertion in assertions]
    return found


@pytest.mark.parametrize("model", PUBLIC)
def test_every_column_has_its_type_asserted(model: type[Model]) -> None:
    columns = model._meta.concrete_fields
    expected = {column.attname for column in columns} | {column.name for column in columns if column.is_relation}
    assert sorted(columns_that_are_read()[model.__name__]) == sorted(expected)


def test_mypy_checks_the_host_with_what_the_readme_says_that_it_needs() -> None:
    ours, theirs = ConfigParser(interpolation=None), ConfigParser()
    ours.read(ROOT / "setup.cfg")
    (snippet,) = snippets("README.md", "ini")
    theirs.read_string(snippet.code)
    assert "tests/typed_host" in ours["mypy"]["files"].split(", ")
    assert ours["mypy"].getboolean("strict")
    assert theirs["mypy"]["plugins"] == ours["mypy"]["plugins"]
    assert [*theirs["mypy.plugins.django-stubs"]] == [*ours["mypy.plugins.django-stubs"]]
