"""The demo's open doors, its public key and its passwordless logins, exist on its developer's own machine only."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.site.sockets import whatever_the_database

pytestmark = whatever_the_database

ROOT = Path(__file__).resolve().parents[2]
READ = ("SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DEMO", "DEBUG", "HTTPS", "DATABASE_URL", "REDIS_URL")
PUBLIC_KEY = "the-demo-has-no-secrets-and-is-served-on-127.0.0.1-only"

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def demo_settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The demo's settings in an environment of these variables."""

    def read(**variables: str) -> dict[str, Any]:
        for name in READ:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "project/settings.py"))

    return read


def test_by_itself_it_is_a_demo_for_this_machine(demo_settings):
    settings = demo_settings()
    assert (settings["DEMO"], settings["SECRET_KEY"]) == (True, PUBLIC_KEY)
    assert set(settings["ALLOWED_HOSTS"]) == {"127.0.0.1", "localhost", "[::1]"}


@pytest.mark.parametrize("hosts", ["shop.example", "localhost,shop.example", "*", "localhost"])
def test_a_site_that_names_its_hosts_is_no_demo(demo_settings, hosts):
    assert demo_settings(ALLOWED_HOSTS=hosts, SECRET_KEY="own")["DEMO"] is False
    with pytest.raises(ImproperlyConfigured, match="Set SECRET_KEY"):
        demo_settings(ALLOWED_HOSTS=hosts)


@pytest.mark.parametrize("hosts", ["shop.example", "localhost,shop.example", "*", ".localhost.example", "0.0.0.0"])
@pytest.mark.parametrize("more", [{"DEMO": "1"}, {"DEMO": "1", "SECRET_KEY": ""}, {"SECRET_KEY": PUBLIC_KEY}])
def test_the_public_key_signs_nothing_for_a_public_host(demo_settings, hosts, more):
    with pytest.raises(ImproperlyConfigured, match="is public"):
        demo_settings(ALLOWED_HOSTS=hosts, **more)


def test_who_wants_a_public_demo_says_so_and_brings_a_key(demo_settings):
    settings = demo_settings(ALLOWED_HOSTS="shop.example", DEMO="1", SECRET_KEY="own")
    assert (settings["DEMO"], settings["SECRET_KEY"]) == (True, "own")
    assert demo_settings(ALLOWED_HOSTS="localhost", DEMO="1")["SECRET_KEY"] == PUBLIC_KEY


@pytest.mark.parametrize("key", [{}, {"SECRET_KEY": ""}])
def test_without_the_demo_there_is_no_key_but_ones_own(demo_settings, key):
    with pytest.raises(ImproperlyConfigured, match="Set SECRET_KEY"):
        demo_settings(DEMO="0", **key)


def test_who_deploys_it_without_a_key_is_told_so_at_the_start():
    env = {name: value for name, value in os.environ.items() if name not in READ} | {"ALLOWED_HOSTS": "shop.example"}
    env["DJANGO_SETTINGS_MODULE"] = "project.settings"
    done = subprocess.run([sys.executable, "manage.py", "check"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Set SECRET_KEY to a secret of your own" in done.stderr.splitlines()[-1]
