"""A setting is read when it is used, and its default stands in one place."""

import pytest

from notifications import conf
from notifications.conf import app_settings, defaults


@pytest.mark.parametrize("name", sorted(defaults()))
def test_without_the_sites_word_the_default_holds(name, settings):
    if hasattr(settings, name):
        delattr(settings, name)
    assert getattr(app_settings, name.removeprefix(conf.PREFIX)) == defaults()[name]


@pytest.mark.parametrize("name", sorted(defaults()))
def test_the_sites_word_holds_from_the_moment_it_is_said(name, settings):
    word = object()
    setattr(settings, name, word)
    assert getattr(app_settings, name.removeprefix(conf.PREFIX)) is word


def test_a_setting_that_does_not_exist_is_an_error():
    with pytest.raises(AttributeError):
        _ = app_settings.NO_SUCH_THING


def test_there_are_at_most_a_dozen_and_each_says_its_reason():
    assert 0 < len(defaults()) <= 12
    source = conf.__loader__.get_source(conf.__name__)  # type: ignore[union-attr]
    for name in defaults():
        _, _, after = source.partition(f"    {name.removeprefix(conf.PREFIX)}: ")
        assert after.splitlines()[1].strip().startswith('"""'), name


def test_time_is_said_in_seconds():
    assert not [name for name in defaults() if any(word in name for word in ("INTERVAL", "TIMEOUT", "DELAY", "_MS"))]
