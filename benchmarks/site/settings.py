"""The site's settings. `SUBJECT` in the environment says who is measured, `DATABASE_URL` and `REDIS_URL` where the rest is."""

import os
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

from benchmarks.subjects import by_name

SUBJECT = by_name(os.environ["SUBJECT"])
REDIS_URL = os.environ.get("REDIS_URL", "")

SECRET_KEY = "every process of a benchmark signs with this"  # noqa: S105 - it protects nothing
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "benchmarks.site.urls"
STATIC_URL = "/static/"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
    "notifications",
    "benchmarks.site",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"])}
# As docs/deploy.md advises. Without the pool PostgreSQL forks a process for each request, which then takes a core from the relay.
if SUBJECT.database == "sqlite":
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
else:
    DATABASES["default"]["OPTIONS"] = {"pool": {"max_size": 20}}

hosts = [{"address": REDIS_URL, "socket_timeout": 15}]  # redis-py's default of 5 s ends idle receivers of the core layer
BACKENDS = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": {"BACKEND": BACKENDS[SUBJECT.layer]}}
if SUBJECT.layer != "memory":
    CHANNEL_LAYERS["default"]["CONFIG"] = {"hosts": hosts}

NOTIFICATIONS_DIRECT_WRITES = SUBJECT.server == "direct"
NOTIFICATIONS_WATERMARK_SECONDS = float(os.environ.get("WATERMARK_SECONDS", "15"))

if SUBJECT.way == "eventstream":
    INSTALLED_APPS += ["django_eventstream"]
    EVENTSTREAM_CHANNELMANAGER_CLASS = "benchmarks.site.eventstream.OwnChannels"
    if REDIS_URL:
        address = urlsplit(REDIS_URL)
        EVENTSTREAM_REDIS = {"host": address.hostname, "port": address.port, "db": 0}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
