"""A host project as mypy sees it, with django-stubs and its plugin. mypy checks it; nothing of it is run."""
