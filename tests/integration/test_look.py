"""What the tags print for the look of a page: its theme, its policy's nonce, the signs of the unseen, the bell in the admin."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from csp.constants import NONCE, SELF, UNSAFE_INLINE
from django.contrib.auth.models import User
from django.core.signals import request_started
from django.http import HttpRequest
from django.template import RequestContext, Template, engines
from django.test import Client, RequestFactory, override_settings
from django.utils.functional import SimpleLazyObject, empty

from notifications import admin_header
from notifications.conf import THEMES
from tests.integration.page_reader import Element, read
from tests.site.settings import INSTALLED_APPS, MIDDLEWARE, TEMPLATES

pytestmark = pytest.mark.django_db(transaction=True)

STATIC = Path(__file__).parents[2] / "notifications/static"
TAGS = "{% notification_bell %}{% notification_toasts %}"


def page(source: str, user: User, **on_request: Any) -> Element:
    request = RequestFactory().get("/orders/")
    request.user = user
    for name, value in on_request.items():
        setattr(request, name, value)
    return read(Template("{% load notifications %}" + source).render(RequestContext(request)))


def stylesheets(page: Element) -> list[str]:
    return [str(link.attributes["href"]).removeprefix("/static/notifications/") for link in page.all("link")]


# The signs of the unseen


def test_the_bell_says_what_may_tell_of_the_unseen_and_a_site_turns_each_off(mina):
    bell = page(TAGS, mina).one("notification-bell").attributes
    assert bell["favicon"] == "/static/notifications/bell-unseen.svg"
    assert {"title-count", "app-badge"} <= set(bell)
    for off, gone in {"title": "title-count", "favicon": "favicon", "app_badge": "app-badge"}.items():
        bell = page(f"{{% notification_bell {off}=False %}}", mina).one("notification-bell").attributes
        assert gone not in bell
        assert {"title-count", "favicon", "app-badge"} - {gone} <= set(bell)


def test_the_site_has_an_icon_of_its_own_for_the_unseen(mina):
    bell = page("{% notification_bell favicon='/static/own.svg' %}", mina).one("notification-bell")
    assert bell.attributes["favicon"] == "/static/own.svg"


def test_our_icon_carries_nothing_that_a_strict_policy_forbids():
    icon = (STATIC / "notifications/bell-unseen.svg").read_text()
    assert "<style" not in icon
    assert "style=" not in icon
    assert "http" not in icon.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_sound_and_the_systems_notifications_are_the_sites_to_offer_and_the_persons_to_switch_on(mina):
    toasts = page(TAGS, mina).one("notification-toasts").attributes
    assert "browser" in toasts
    assert "sound" not in toasts
    toasts = page("{% notification_toasts sound=True browser=False %}", mina).one("notification-toasts").attributes
    assert toasts["sound"] == "/static/notifications/ping.mp3"
    assert "browser" not in toasts
    toasts = page("{% notification_toasts sound='/static/own.mp3' %}", mina).one("notification-toasts").attributes
    assert toasts["sound"] == "/static/own.mp3"
    for switch in page(TAGS, mina).all("button", class_="notifications-switch"):
        assert switch.attributes["aria-pressed"] == "false"
        assert "hidden" in switch.attributes, "without JavaScript there is nothing to switch"
        assert switch.attributes["aria-label"]


# Themes


def test_every_theme_has_its_stylesheet_and_every_stylesheet_is_a_theme():
    files = {path.stem for path in (STATIC / "notifications/themes").glob("*.css")}
    assert files | {"plain"} == set(THEMES)


@pytest.mark.parametrize("theme", ["bootstrap", "admin"])
def test_the_sites_theme_comes_after_the_styles_of_all(mina, settings, theme):
    assert stylesheets(page(TAGS, mina)) == ["notifications.css"]
    settings.NOTIFICATIONS_THEME = theme
    assert stylesheets(page(TAGS, mina)) == ["notifications.css", f"themes/{theme}.css"]


def test_a_page_that_looks_unlike_the_rest_of_the_site_names_its_theme(mina, settings):
    settings.NOTIFICATIONS_THEME = "bootstrap"
    assert stylesheets(page("{% notification_bell theme='admin' %}{% notification_toasts %}", mina))[1:] == ["themes/admin.css"]
    assert stylesheets(page("{% notification_toasts theme='plain' %}{% notification_bell %}", mina))[1:] == []


@pytest.mark.parametrize("theme", ["no such", "../admin", 5, None])
def test_a_theme_that_there_is_not_breaks_no_page(mina, settings, theme):
    settings.NOTIFICATIONS_THEME = theme
    assert stylesheets(page(TAGS, mina)) == ["notifications.css"]


def test_a_page_may_have_the_styles_in_its_head_and_has_them_once(mina):
    found = page("<head>{% notification_styles theme='admin' %}</head><body>" + TAGS + "</body>", mina)
    assert stylesheets(found) == ["notifications.css", "themes/admin.css"]
    assert stylesheets(found.one("head")) == stylesheets(found)
    assert len(found.all("notification-stream")) == 1, "the first tag of the body still brings the rest"
    assert len(found.all("script")) == 4


def test_our_own_frame_of_the_inbox_page_has_the_theme_in_its_head(mina, client, settings):
    settings.NOTIFICATIONS_THEME = "bootstrap"
    client.force_login(mina)
    found = read(client.get("/notifications/").content.decode())
    assert stylesheets(found) == stylesheets(found.one("head")) == ["notifications.css", "themes/bootstrap.css"]


# The nonce of a Content-Security-Policy


def nonces(page: Element) -> set[str | None]:
    return {each.attributes.get("nonce") for each in page.all("script") + page.all("link")}


class LazyNonce(SimpleLazyObject):  # type: ignore[type-arg]
    """As Django 6 documents its own: made when it is first looked at, and only then true."""

    def __init__(self) -> None:
        super().__init__(lambda: "made-by-django-6")

    def __bool__(self) -> bool:
        return self._wrapped is not empty


@pytest.fixture
def with_policy(mina) -> Callable[..., tuple[Element, str]]:
    """A page under django-csp with this `script-src`, and the policy that went with it."""
    client = Client()
    client.force_login(mina)

    def get(*sources: str, path: str = "/") -> tuple[Element, str]:
        policy = {"DIRECTIVES": {"default-src": [SELF], "script-src": list(sources)}}
        with override_settings(CONTENT_SECURITY_POLICY=policy, MIDDLEWARE=["csp.middleware.CSPMiddleware", *MIDDLEWARE]):
            answer = client.get(path)
        return read(answer.content.decode()), answer["Content-Security-Policy"]

    return get


@pytest.mark.parametrize("path", ["/", "/notifications/"])
def test_under_a_policy_of_nonces_scripts_and_styles_carry_the_pages_own(with_policy, path):
    found, policy = with_policy(SELF, NONCE, path=path)
    (nonce,) = nonces(found)
    assert nonce
    assert f"'nonce-{nonce}'" in policy


@pytest.mark.parametrize("path", ["/", "/notifications/"])
def test_a_policy_without_nonces_stays_as_it_is(with_policy, path):
    found, policy = with_policy(SELF, UNSAFE_INLINE, path=path)
    assert nonces(found) == {None}
    assert "nonce" not in policy


def test_without_any_policy_there_is_no_nonce(mina):
    assert nonces(page(TAGS, mina)) == {None}


def test_djangos_own_nonce_is_used_where_the_policy_asks_for_one_or_the_page_has_made_it(mina, settings):
    assert nonces(page(TAGS, mina, _csp_nonce=LazyNonce())) == {None}
    made = LazyNonce()
    str(made)
    assert nonces(page(TAGS, mina, _csp_nonce=made)) == {"made-by-django-6"}
    settings.SECURE_CSP = {"script-src": ["'self'", "<CSP_NONCE_SENTINEL>"]}
    assert nonces(page(TAGS, mina, _csp_nonce=LazyNonce())) == {"made-by-django-6"}


def test_an_older_django_csp_is_not_made_to_put_a_nonce_where_none_was(mina, settings):
    """Before its release 4 it wrote every nonce that somebody had looked at into `default-src`."""

    def looked_at() -> str:
        asked.append(True)
        return "old"

    asked: list[bool] = []
    assert nonces(page(TAGS, mina, csp_nonce=SimpleLazyObject(looked_at))) == {None}
    assert not asked
    settings.CSP_INCLUDE_NONCE_IN = ["script-src"]
    assert nonces(page(TAGS, mina, csp_nonce=SimpleLazyObject(looked_at))) == {"old"}


# The admin's header

SITES_OWN = """{% extends 'admin/base.html' %}
{% block branding %}Acme{% endblock %}
{% block usertools %}{{ block.super }}<samp>mine</samp>{% endblock %}"""
OPTIONS: Any = TEMPLATES[0]["OPTIONS"]
FILES = "django.template.loaders.filesystem.Loader"
APPS = "django.template.loaders.app_directories.Loader"
OWN = ("django.template.loaders.locmem.Loader", {"admin/base_site.html": SITES_OWN})
LOADERS: dict[str, Any] = {
    "Django's own": None,
    "of the site, cached": [("django.template.loaders.cached.Loader", [OWN, FILES, APPS])],
    "of the site, not cached": [OWN, APPS],
    "of the site, no files": [OWN, ("django.template.loaders.cached.Loader", [APPS])],
}


def engine(loaders: Any, **more: Any) -> dict[str, Any]:
    options = OPTIONS | ({"loaders": loaders} if loaders else {})
    return {"BACKEND": TEMPLATES[0]["BACKEND"], "APP_DIRS": not loaders, "OPTIONS": options, **more}


@pytest.fixture
def admin_bell() -> Iterator[None]:
    """As in a process that has started with the setting."""
    admin_header.start()
    yield
    request_started.disconnect(dispatch_uid="notifications.admin_header")


@pytest.fixture
def ada(transactional_db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    return client


def get(client: Client, path: str) -> Element:
    return read(client.get(path).content.decode())


@pytest.mark.parametrize("name", LOADERS)
def test_the_admins_header_has_the_bell_beside_whatever_the_site_has_there(ada, admin_bell, name):
    with override_settings(TEMPLATES=[engine(LOADERS[name])]):
        for path in ("/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/password_change/", "/admin/"):
            found = get(ada, path)
            header = found.one("header", id="header")
            assert len(header.all("notification-bell")) == len(found.all("notification-bell")) == 1
            assert len(found.one("footer").all("notification-toasts")) == 1
            assert header.all(id="user-tools"), "what was there stays"
            assert [each.text for each in header.all("samp")] == (["mine"] if "the site" in name else [])
            assert stylesheets(header)[1:] == ["themes/admin.css"]


@pytest.mark.parametrize("place", [0, len(INSTALLED_APPS)])
def test_the_order_of_the_apps_does_not_matter(ada, admin_bell, place):
    apps = [name for name in INSTALLED_APPS if name != "notifications"]
    apps.insert(place, "notifications")
    with override_settings(INSTALLED_APPS=apps, TEMPLATES=[engine(None)]):
        assert get(ada, "/admin/").all("notification-bell")


def test_without_the_setting_the_admin_is_as_it_was(ada):
    with override_settings(TEMPLATES=[engine(None)]):
        assert not get(ada, "/admin/").all("notification-bell")


def test_the_login_page_and_popups_have_neither_bell_nor_toasts(ada, admin_bell):
    with override_settings(TEMPLATES=[engine(None)]):
        for client, path in ((Client(), "/admin/login/"), (ada, "/admin/auth/group/add/?_popup=1")):
            found = get(client, path)
            assert found.all("form"), "the premise"
            assert not found.all("notification-bell") + found.all("notification-toasts") + found.all("notification-stream")


def test_who_may_not_use_the_admin_gets_no_bell_there(mina, client, admin_bell):
    client.force_login(mina)
    with override_settings(TEMPLATES=[engine(None)]):
        found = get(client, "/admin/login/")
    assert "not authorized" in found.text
    assert not found.all("notification-stream")


def test_every_engine_knows_it_and_none_of_them_twice(ada, admin_bell):
    two = [engine(None, NAME="pages"), engine([OWN, APPS], NAME="mails")]
    with override_settings(TEMPLATES=two):
        for _ in range(3):
            get(ada, "/admin/")
        request: HttpRequest = RequestFactory().get("/")
        request.user = User.objects.get()
        for name in ("pages", "mails"):
            text = engines[name].get_template("admin/base_site.html").render({"has_permission": True}, request)
            assert text.count("<notification-bell") == 1


def test_the_site_may_replace_what_we_put_there(ada, admin_bell):
    own = "{% extends 'admin/base_site.html' %}{% block usertools %}{{ block.super }}<b>other</b>{% endblock %}"
    files = {"notifications/admin_base_site.html": own}
    with override_settings(TEMPLATES=[engine([("django.template.loaders.locmem.Loader", files), APPS])]):
        found = get(ada, "/admin/")
    assert [each.text for each in found.one("header").all("b")] == ["other"]
    assert not found.all("notification-bell")
