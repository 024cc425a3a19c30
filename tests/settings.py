"""Django settings of the test suite: SQLite unless ``DATABASE_URL`` names another database."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from zlib import crc32

import environ

env = environ.Env()

SECRET_KEY = "a test key that protects nothing at all"
DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.urls"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "live_push",
    "tests.flushing",
]
MIDDLEWARE = [
    "tests.policy.StrictPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
STATIC_URL = "/static/"

DATABASES = {"default": env.db("DATABASE_URL", default="sqlite:///live_push_tests.sqlite3")}
# So that several runs can share one server.
test_name = "test_live_push" + env.str("TEST_DB_SUFFIX", default="")
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    DATABASES["default"]["OPTIONS"] = {"charset": "utf8mb4"}
    DATABASES["default"]["TEST"] = {"NAME": test_name, "CHARSET": "utf8mb4"}
elif DATABASES["default"]["ENGINE"].endswith("postgresql"):
    DATABASES["default"]["TEST"] = {"NAME": test_name}
else:
    # A file, not memory: tests with threads and processes need a database that several connections share.
    # One folder for each checkout, so that two of them can be tested at once.
    checkout = crc32(str(Path(__file__).parent).encode())
    folder = Path(tempfile.gettempdir()) / f"live_push_tests_{os.getuid()}_{checkout:x}"
    folder.mkdir(exist_ok=True)
    DATABASES["default"]["TEST"] = {"NAME": str(folder / f"{test_name}.sqlite3")}
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }

# Two more for tests/databases, which says what they hold. Nothing is routed to them.
DATABASES["replica"] = {**DATABASES["default"], "TEST": {"MIRROR": "default"}}
DATABASES["legacy"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "TEST": {"MIRROR": "default"}}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# From Django 6.1 on; the test runner replaces it, as it does older versions' EMAIL_BACKEND.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}}
