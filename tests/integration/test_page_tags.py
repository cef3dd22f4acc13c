"""What the template tags print into the site's pages: safe, once, cheap, and never an error of theirs."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.db import connection, transaction
from django.template import Context, RequestContext, Template
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import clear_script_prefix, reverse, set_script_prefix
from django.utils import timezone

from notifications import notify, views
from notifications.inbox import read_page
from notifications.models import Inbox, Notification
from notifications.steps import mark
from notifications.templatetags import notifications as tags
from tests.integration.page_reader import read, rows, titles

pytestmark = pytest.mark.django_db(transaction=True)

TAGS = "{% notification_bell %}{% notification_toasts %}{% notification_list %}{% unread_count %}"
FRAME = "{% load notifications %}{% notification_bell %}{% block content %}{% endblock %}"
PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "</template><script>alert(1)</script>",
    "{{ settings.SECRET_KEY }}{% debug %}",
    "&lt;b&gt;",
    "\u202egnp.exe",
]
LINKS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    " javascript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
]


@pytest.fixture
def mina() -> User:
    return User.objects.create_user("mina")


@pytest.fixture
def signed_in(client: Client, mina) -> Client:
    client.force_login(mina)
    return client


def render(source: str, user, path: str = "/orders/") -> str:
    request = RequestFactory().get(path)
    request.user = user
    return Template("{% load notifications %}" + source).render(RequestContext(request))


def tell(user: User, *names: str, **more) -> None:
    for name in names:
        notify("plain", to=user, title=name, **more)


@pytest.mark.parametrize("user", [AnonymousUser(), None], ids=["anonymous", "no user"])
def test_strangers_get_nothing(user):
    assert render(TAGS, user) == ""


def test_a_page_without_a_request_gets_nothing_and_no_error():
    assert Template("{% load notifications %}" + TAGS).render(Context()) == ""


def test_styles_scripts_and_stream_come_once_whichever_tag_is_first(mina):
    for source in (TAGS, "{% unread_count %}{% notification_bell %}{% notification_bell %}"):
        page = read(render(source, mina))
        assert len(page.all("notification-stream")) == 1
        assert len(page.all("link")) == 1
        scripts = [script.attributes["src"] for script in page.all("script")]
        assert len(scripts) == len(set(scripts)) == 4
        assert {script.attributes["type"] for script in page.all("script")} == {"module"}


def test_all_tags_of_a_page_share_one_read(signed_in, mina, django_assert_num_queries):
    tell(mina, "a")
    with django_assert_num_queries(4):  # session, user, inbox, rows
        signed_in.get("/")


def test_the_stream_is_told_every_way_by_which_news_may_come(signed_in):
    stream = read(signed_in.get("/")).one("notification-stream").attributes
    addresses = {name: stream[name] for name in ("url", "events-url", "changes-url", "post-to")}
    assert addresses == {
        name: reverse(f"live_notifications:{view}")
        for name, view in {"url": "socket", "events-url": "events", "changes-url": "changes", "post-to": "mark"}.items()
    }


def tabs(answer) -> str:
    return str(read(answer).one("notification-stream").attributes["tabs"])


def test_the_tabs_of_one_session_know_each_other_and_no_others(signed_in, mina):
    here = {tabs(signed_in.get(path)) for path in ("/", "/notifications/", "/")}
    assert len(here) == 1
    elsewhere = Client()
    elsewhere.force_login(mina)
    signed_in.force_login(User.objects.create_user("teo"))
    assert len(here | {tabs(elsewhere.get("/")), tabs(signed_in.get("/"))}) == 3
    (key,) = here
    assert re.fullmatch("[0-9a-f]{32}", key)
    assert not any(session.session_key in key or key in session.session_key for session in Session.objects.all())


async def test_in_an_async_view_the_tabs_are_those_of_the_others(transactional_db):
    client = AsyncClient()
    await client.aforce_login(await User.objects.acreate(username="mina"))
    assert tabs(await client.get("/async/")) == tabs(await client.get("/")) != ""


def test_the_tabs_write_no_session_and_need_none(client, mina):
    """Nothing ties the tabs of who is signed in by other means than a session."""
    assert 'tabs=""' in render("{% notification_bell %}", mina)
    request = RequestFactory().get("/")
    request.user, request.session = mina, SessionStore()
    page = Template("{% load notifications %}{% notification_bell %}").render(RequestContext(request))
    assert 'tabs=""' in page
    assert not request.session.modified
    assert request.session.session_key is None
    assert Session.objects.count() == 0


def test_the_inbox_pages_own_read_is_the_bells_too(signed_in, mina, django_assert_num_queries):
    tell(mina, "a")
    # Four as on any page, and for the page's own tabs and filters: two counts, the kinds.
    with with_templates({"notifications/base.html": FRAME}), django_assert_num_queries(7):
        page = read(signed_in.get("/notifications/"))
    assert titles(page) == ["a", "a"]


def with_templates(templates: dict[str, str]) -> override_settings:
    loaders = [("django.template.loaders.locmem.Loader", templates), "django.template.loaders.app_directories.Loader"]
    options = {"loaders": loaders, "context_processors": ["django.template.context_processors.request"]}
    return override_settings(TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": options}])


def test_the_page_prints_the_position_of_its_earliest_read(signed_in, mina, monkeypatch):
    """The archive is read by the view, the bell's rows later: what came between must reach both."""
    tell(mina, "a")
    before = Inbox.objects.get().position

    def read_and_then_somebody_writes(*args, **kwargs):
        page = read_page(*args, **kwargs)
        tell(mina, "between")
        return page

    monkeypatch.setattr(views, "read_page", read_and_then_somebody_writes)
    with with_templates(
        {"notifications/base.html": "{% load notifications %}{% notification_bell %}{% block content %}{% endblock %}"}
    ):
        page = read(signed_in.get("/notifications/?show=archived"))
    assert titles(page) == ["between", "a"], "the premise: the bell's read is later"
    assert {each.attributes["position"] for each in page.all(show="active") + page.all("notification-stream")} == {str(before)}


def test_the_bell_is_a_button_named_with_its_count(mina):
    tell(mina, "a", "b", "c")
    bell = read(render("{% notification_bell %}", mina)).one("button", class_="notifications-bell")
    assert bell.attributes["aria-label"] == "Notifications, 3 unseen"
    assert bell.one(data_part="badge").text == "3"
    Inbox.objects.update(unseen=1234)
    bell = read(render("{% notification_bell %}", mina)).one("button", class_="notifications-bell")
    assert bell.attributes["aria-label"] == "Notifications, 1234 unseen"
    assert bell.one(data_part="badge").text == "99+"
    Inbox.objects.update(unseen=0)
    bell = read(render("{% notification_bell %}", mina)).one("button", class_="notifications-bell")
    assert bell.attributes["aria-label"] == "Notifications"
    assert "hidden" in bell.one(data_part="badge").attributes


def test_two_bells_open_their_own_panels(mina):
    page = read(render("{% notification_bell %}{% notification_bell %}", mina))
    opened = [bell.attributes["popovertarget"] for bell in page.all("button", class_="notifications-bell")]
    assert len(set(opened)) == 2
    assert [panel.attributes["id"] for panel in page.all("div", class_="notifications-panel")] == opened


def test_live_regions_stand_in_the_page_from_the_start(mina):
    page = read(render(TAGS, mina))
    assert page.one("notification-toasts").one(role="log").attributes["aria-live"] == "polite"
    assert page.one("notification-bell").all(role="status")


def keys(page) -> list[str]:
    return [name for row in page.all("div") for name in str(row.attributes.get("data-keys", "")).split()]


def test_the_keys_are_those_that_the_help_lists_each_once(mina):
    page = read(render("{% notification_list %}", mina))
    assert {"j", "k", "pagedown", "pageup", "enter", "r", "u", "e", "delete", "shift+a", "z", "?"} < set(keys(page))
    assert len(keys(page)) == len(set(keys(page)))
    shown = page.one("div", class_="notifications-keys").attributes["id"]
    assert page.one("button", class_="notifications-quick notifications-help").attributes["popovertarget"] == shown


def test_a_list_without_shortcuts_has_no_keys(mina):
    for tag in ("notification_list", "notification_bell"):
        assert not keys(read(render(f"{{% {tag} shortcuts=False %}}", mina)))
        assert keys(read(render(f"{{% {tag} %}}", mina)))


def test_a_list_says_where_the_next_page_begins(signed_in, mina):
    tell(mina, *(f"n{number:02}" for number in range(1, 31)))
    for query, floor in {"": "11", "?before=11": "0"}.items():
        page = read(signed_in.get(f"/notifications/{query}")).all("notification-list")[-1]
        assert page.attributes["floor"] == floor
        more = page.one(data_part="more").attributes
        assert ("hidden" in more) is (floor == "0")
        assert ("rel" in more) is (floor != "0"), "a link to nowhere is none"


def test_later_rows_are_made_of_the_same_parts_as_printed_ones(mina):
    tell(mina, "a", body="b", url="/x/")
    page = read(render("{% notification_list %}", mina))
    assert page.one("template").one("article").shape == rows(page)[0].shape


def test_a_row_tells_its_age_state_and_severity_in_words(mina):
    tell(mina, "a", severity="warning")
    row = rows(read(render("{% notification_list %}", mina)))[0]
    time = row.one("time")
    assert time.text == "just now"
    assert time.attributes["datetime"] == Notification.objects.get().event.created_at.isoformat()
    assert "hidden" not in row.one(data_level="warning").attributes
    assert row.one(data_part="unread").text == "Unread"
    assert "hidden" not in row.one(data_part="unread").attributes
    mark(mina.pk, "read", upto=1)
    row = rows(read(render("{% notification_list %}", mina)))[0]
    assert "hidden" in row.one(data_part="unread").attributes
    assert "data-unread" not in row.attributes


def test_names_in_a_title_are_emphasised_as_text(mina):
    tell(mina, "<b>Ann</b> commented on Order 7", actor="<b>Ann</b>", target="Order 7")
    title = rows(read(render("{% notification_list %}", mina)))[0].one(data_part="title")
    assert [name.text for name in title.all("b")] == ["<b>Ann</b>", "Order 7"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_is_shown_as_text(mina, payload):
    tell(mina, payload, body=payload, actor=payload, target=payload, icon=payload, data={"x": payload})
    for source in (TAGS, "{% autoescape off %}" + TAGS + "{% endautoescape %}"):
        page = read(render(source, mina))
        row = rows(page)[0]
        assert row.one(data_part="title").text == payload
        assert row.one(data_part="body").text == payload
        assert len(page.all("script")) == 4
        assert not any(name.startswith("on") for each in page.all() for name in each.attributes)


@pytest.mark.parametrize("url", LINKS)
def test_a_hostile_link_is_dropped_though_it_was_stored(mina, url):
    tell(mina, "a", url="/fine/")
    event = Notification.objects.get().event
    event.content["url"] = url
    event.save()
    assert "href" not in rows(read(render("{% notification_list %}", mina)))[0].one("a", data_part="link").attributes


def test_a_forged_script_prefix_makes_no_link_of_ours_hostile(signed_in, mina):
    """Daphne sets the prefix from a request header."""
    set_script_prefix("javascript:alert(1)//")
    try:
        pages = [read(signed_in.get(path)) for path in ("/", "/notifications/")]
        assert reverse("live_notifications:mark").startswith("javascript:"), "the premise"
    finally:
        clear_script_prefix()
    addresses = [value for page in pages for each in page.all() for value in each.attributes.values()]
    assert not [value for value in addresses if (value or "").startswith("javascript:")]


def test_the_strictest_policy_has_nothing_to_forbid(signed_in, mina):
    tell(mina, "a", body="b", url="/x/")
    for path in ("/", "/notifications/", "/notifications/?show=archived"):
        page = read(signed_in.get(path))
        assert not page.all("style")
        assert all(script.attributes.get("src") and not script.text for script in page.all("script"))
        for each in page.all():
            assert "style" not in each.attributes
            assert not any("data:" in (value or "") for name, value in each.attributes.items() if name in ("src", "href"))


def missing_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE live_notifications_inbox RENAME TO away")


@pytest.fixture
def not_migrated():
    yield missing_tables
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE away RENAME TO live_notifications_inbox")


def test_without_our_tables_the_sites_page_stands_with_an_empty_bell(signed_in, caplog, not_migrated):
    not_migrated()
    page = read(signed_in.get("/"))
    assert page.one("button", class_="notifications-bell").attributes["aria-label"] == "Notifications"
    assert page.one("notification-stream").attributes["position"] == ""
    assert titles(page) == []
    (line,) = [record for record in caplog.records if record.name.startswith("notifications")]
    assert "migrate" in line.getMessage()
    assert line.exc_info is None
    assert "\n" not in line.getMessage()


def test_without_our_tables_the_sites_transaction_goes_on(mina, not_migrated):
    not_migrated()
    with transaction.atomic():
        render(TAGS, mina)
        User.objects.create_user("made in the same transaction")
    assert User.objects.count() == 2


async def test_in_an_async_view_the_tags_print_no_rows_and_wait_for_the_socket(transactional_db):
    mina = await User.objects.acreate(username="mina")
    client = AsyncClient()
    await client.aforce_login(mina)
    page = read(await client.get("/async/"))
    assert page.one("notification-stream").attributes["position"] == ""
    assert all("loading" in each.attributes for each in page.all("notification-list"))
    assert titles(page) == []
    assert "hidden" in page.all(data_part="empty")[0].attributes, "nobody is told that there is nothing"


async def test_in_an_async_view_strangers_get_nothing(transactional_db):
    assert not read(await AsyncClient().get("/async/")).all("notification-stream")


def test_the_reader_learns_when_something_happened():
    now = timezone.now()
    assert tags.notification_age(now - timedelta(minutes=5, seconds=1)) == "5\xa0minutes ago"
    assert tags.notification_age(now - timedelta(days=3, hours=2)) == "3\xa0days ago"
    assert tags.notification_age(now + timedelta(hours=1)) == "just now"


def test_a_site_overrides_a_block_and_keeps_the_rest(mina):
    own = "{% extends 'notifications/item.html' %}{% block notifications_item_text %}<p data-part='title'>own</p>{% endblock %}"
    tell(mina, "a")
    with with_templates({"notifications/item.html": own}):
        (row,) = rows(read(render("{% notification_list %}", mina)))
    assert row.one(data_part="title").text == "own"
    assert len(row.all("button", name="delete")) == 1


def test_hashed_file_names_lead_to_every_file(mina, tmp_path):
    storage = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    with override_settings(STATIC_ROOT=tmp_path, STORAGES={"staticfiles": storage}):
        call_command("collectstatic", verbosity=0, interactive=False)
        page = read(render(TAGS, mina))
        names = [each.attributes.get("src") or each.attributes.get("href") for each in page.all("script") + page.all("link")]
        assert len(names) == 5
        for name in names:
            assert re.fullmatch(r"/static/notifications/[a-z-]+\.[0-9a-f]{12}\.(js|css)", str(name))
            assert (tmp_path / str(name).removeprefix("/static/")).exists()


def test_no_script_imports_another():
    for script in static_files("*.js"):
        assert not re.search(r"^\s*import\s|\bimport\(\"\.(?!.*\"\)\.)", script.read_text(), re.MULTILINE), script


def static_files(pattern: str) -> list[Path]:
    found = sorted(Path(str(finders.find("notifications/notifications.css"))).parent.glob(pattern))
    assert found
    return found
