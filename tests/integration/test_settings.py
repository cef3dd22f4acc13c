"""What the app is to a Django project: its names, its migrations, its start-up, its settings as read when used."""

import importlib
import pkgutil
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.core.management import call_command
from django.test import override_settings

import notifications
from notifications.conf import app_settings, defaults
from notifications.ringer import group
from notifications.rules import registry


def test_the_label_and_the_tables_are_ours_alone():
    config = apps.get_app_config("live_notifications")
    assert config.name == "notifications"
    assert all(model._meta.db_table.startswith("live_notifications_") for model in config.get_models())


@pytest.mark.django_db
def test_the_models_have_their_migrations():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_rules_of_every_installed_app_are_found_by_themselves():
    names = {declared.name for declared in registry.model_rules}
    assert "tests.site.notification_rules.status_changed" in names
    assert "order.status" in registry.kinds


@pytest.mark.parametrize("name", sorted(defaults()))
def test_a_setting_is_read_when_it_is_used(name):
    word = object()
    with override_settings(**{name: word}):
        assert getattr(app_settings, name.removeprefix("NOTIFICATIONS_")) is word
    assert getattr(app_settings, name.removeprefix("NOTIFICATIONS_")) is not word


def test_a_changed_prefix_is_heard_at_once():
    with override_settings(NOTIFICATIONS_GROUP_PREFIX="changed"):
        assert group("x").startswith("changed.")
    assert group("x").startswith("notifications.")


def test_the_settings_that_the_test_site_sets_are_known():
    assert {name for name in dir(django_settings) if name.startswith("NOTIFICATIONS_")} <= set(defaults())


def test_the_public_names_are_there_and_are_all():
    assert sorted(notifications.__all__) == notifications.__all__
    for name in notifications.__all__:
        assert getattr(notifications, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = notifications.no_such_name


MODULES = [
    module.name
    for module in pkgutil.walk_packages(notifications.__path__, "notifications.")
    if ".migrations" not in module.name and not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_lists_as_public_exists(name):
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in getattr(module, "__all__", ()))


def test_every_module_says_what_it_is_for():
    for path in Path(notifications.__file__).parent.glob("*.py"):
        assert path.read_text().startswith('"""'), path.name


def test_the_package_can_be_imported_before_the_apps_are_ready():
    """A settings file or an app's `__init__` may say `from notifications import Kind`."""
    import subprocess
    import sys

    code = "import notifications; from notifications import Kind, Text, rule, notification_created; Kind('early')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
