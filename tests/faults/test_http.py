"""The HTTP half under attack: every address of the app, with every method, by strangers, forgers and the curious.

`ADDRESSES` says what each address may be asked; one that is missing from it fails the first test.
"""

import json
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from notifications.inbox import states
from notifications.models import Event, Inbox, Notification
from notifications.steps import mark
from notifications.urls import urlpatterns
from tests.site.client import new_session
from tests.site.people import CSRF, tell_all

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESSES = {
    "inbox": {"GET", "HEAD"},
    "items": {"GET"},
    "mark": {"POST"},
    "changes": {"GET", "HEAD"},
    "socket": set[str](),
    "events": set[str](),
}
ELSEWHERE = {"socket": 426, "events": 501}  # what they say that are not for plain HTTP
METHODS = ("GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE")
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
ACTIONS = ("read", "unread", "archive", "unarchive", "delete")
UNDOING = ("undelete", "undelete_stamp", *(f"{action}_stamp" for action in ACTIONS))
STEPS = [*ACTIONS, *(f"{action}_upto" for action in ACTIONS), *UNDOING, "seen_upto"]
JSON = {"accept": "application/json"}
EVERY = [(name, method) for name in ADDRESSES for method in METHODS]
KEPT_BY_NOBODY = "private, no-store"
FORM = "application/x-www-form-urlencoded"


def address(name: str) -> str:
    return reverse(f"live_notifications:{name}")


INBOX, MARK, ITEMS = address("inbox"), address("mark"), address("items")


@pytest.fixture
def secrets(mina: User, teo: User) -> list[str]:
    """What nobody but its reader may see."""
    tell_all(mina, ["a secret of Mina", "another secret of Mina"])
    tell_all(teo, ["a secret of Teo"])
    return ["secret of Mina", "secret of Teo", *(str(inbox.position) for inbox in Inbox.objects.all())]


@pytest.fixture
def reader(mina: User) -> Client:
    """Mina's, at a site that checks for forgeries as a real one does."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(mina)
    return client


def token(reader: Client) -> str:
    return csrf_token_in(reader.get(INBOX).content.decode())


def csrf_token_in(page: str) -> str:
    found = CSRF.search(page)
    assert found is not None
    return found[1]


def everything() -> list[Any]:
    """All rows that an answer might have changed."""
    return [list(model.objects.order_by("pk").values_list()) for model in (Event, Inbox, Notification, Session)]  # type: ignore[attr-defined]


def row_of(user: User, title: str) -> Notification:
    return Notification.objects.get(recipient=user, event__content__title=title)


def test_every_address_is_attacked_here():
    assert {pattern.name for pattern in urlpatterns} == set(ADDRESSES)


def of_the_deactivated(user: User) -> str:
    User.objects.filter(pk=user.pk).update(is_active=False)
    return new_session(user)


STRANGERS: dict[str, Callable[[User], str | None]] = {
    "nobody": lambda user: None,
    "an unknown session": lambda user: "a" * 32,
    "a deactivated user": of_the_deactivated,
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_gets_nothing(secrets, mina, stranger, figures):
    key = STRANGERS[stranger](mina)
    client = Client()
    if key:
        client.cookies["sessionid"] = key
    before, leaked = everything(), []
    for name, method in EVERY:
        for headers in ({}, JSON):
            answer = client.generic(method, address(name), headers=headers)
            told = answer.content.decode() + str(answer.headers)
            if answer.status_code not in (302, 401, 405, 426, 501) or any(secret in told for secret in secrets):
                leaked.append((name, method, answer.status_code))
            expected = (401, 405) if name == "changes" else (ELSEWHERE.get(name, 401 if headers else 302),)
            assert answer.status_code in expected, (name, method)
    figures.none("answers that told a stranger something", leaked)
    assert everything() == before


def test_a_method_that_only_reads_changes_nothing(secrets, reader, mina, figures):
    event = row_of(mina, "a secret of Mina").event_id
    before, changed = everything(), []
    for name, method in [(name, method) for name, method in EVERY if method in SAFE]:
        for step in STEPS if name == "mark" else ["read"]:
            reader.generic(method, f"{address(name)}?{step}={event}", f"{step}={event}", FORM)
        if everything() != before:
            changed.append((name, method))
    figures.none("changes by a method that only reads", changed)


def test_a_step_in_the_query_of_a_post_is_none(secrets, reader, mina):
    before = everything()
    given = {"csrfmiddlewaretoken": token(reader)}
    for step in STEPS:
        assert reader.post(f"{MARK}?{step}=1", given).status_code == 400
    assert everything() == before


FORGERIES: dict[str, tuple[str, dict[str, str]]] = {
    "no token": ("", {}),
    "a wrong token": ("x" * 64, {}),
    "half a token": ("x" * 10, {}),
    "a foreign origin": ("own", {"origin": "https://evil.example"}),
    "a null origin": ("own", {"origin": "null"}),
    "another port's origin": ("own", {"origin": "http://testserver:8001"}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_request_changes_nothing(secrets, reader, mina, forgery):
    event = row_of(mina, "a secret of Mina").event_id
    given, headers = FORGERIES[forgery]
    own = token(reader)
    before = everything()
    body = f"read={event}&csrfmiddlewaretoken={own if given == 'own' else given}"
    for name, method in [(name, method) for name, method in EVERY if method not in SAFE]:
        answer = reader.generic(method, address(name), body, FORM, headers=headers)
        assert answer.status_code in ((ELSEWHERE[name],) if name in ELSEWHERE else (403, 405)), (name, method)
        assert answer["Cache-Control"] == KEPT_BY_NOBODY, (name, method)
    assert everything() == before
    assert reader.post(MARK, {"read": event, "csrfmiddlewaretoken": own}).status_code == 302  # the premise
    assert everything() != before


@pytest.mark.parametrize("referer", [None, "https://evil.example/", "https://testserver.evil.example/", "http://testserver/"])
def test_over_tls_a_request_without_an_origin_needs_its_own_page_as_referer(secrets, reader, mina, referer):
    given = {"read": row_of(mina, "a secret of Mina").event_id, "csrfmiddlewaretoken": token(reader)}
    before = everything()
    assert reader.post(MARK, given, secure=True, headers={"referer": referer} if referer else {}).status_code == 403
    assert everything() == before
    assert reader.post(MARK, given, secure=True, headers={"referer": "https://testserver/"}).status_code == 302


def ids_that_are_not_hers(mina: User, teo: User) -> dict[str, int]:
    deleted = row_of(mina, "another secret of Mina").event_id
    mark(mina.pk, "delete", ids=[deleted])
    return {"another's": row_of(teo, "a secret of Teo").event_id, "missing": 987_654_321, "deleted": deleted}


@pytest.mark.parametrize("headers", [{}, JSON], ids=["form", "json"])
def test_anothers_id_and_a_missing_one_answer_alike(secrets, client, mina, teo, headers):
    ids = ids_that_are_not_hers(mina, teo)
    client.force_login(mina)
    before = everything()
    for step in ACTIONS:
        answers = {}
        for whose, event in ids.items():
            with CaptureQueriesContext(connection) as queries:
                answer = client.post(MARK, {step: event}, headers=headers)
            asked = [re.sub(r"\d+|'[^']*'", "?", query["sql"]) for query in queries if "SAVEPOINT" not in query["sql"]]
            answers[whose] = (answer.status_code, dict(answer.headers), answer.content, asked)
        assert answers["another's"] == answers["missing"] == answers["deleted"], step
    assert everything() == before


def test_what_another_has_deleted_and_a_missing_id_answer_alike(secrets, client, mina, teo):
    his = row_of(teo, "a secret of Teo").event_id
    stamp = mark(teo.pk, "delete", ids=[his])
    client.force_login(mina)
    before = everything()
    for step, whose in (("undelete", (his, 987_654_321)), ("undelete_stamp", (stamp, 987_654_321))):
        answers = [client.post(MARK, {step: event}, headers=JSON) for event in whose]
        assert len({(answer.status_code, answer.content) for answer in answers}) == 1
    assert everything() == before


@pytest.mark.long
def test_anothers_id_and_a_missing_one_take_as_long(secrets, client, mina, teo, figures):
    ids = ids_that_are_not_hers(mina, teo)
    client.force_login(mina)
    took: dict[str, list[float]] = {whose: [] for whose in ids}
    for _ in range(100):
        for whose, event in ids.items():  # by turns, so that what the machine does besides falls on all alike
            started = time.perf_counter()
            client.post(MARK, {"read": event})
            took[whose].append(time.perf_counter() - started)
    medians = {whose: statistics.median(times) for whose, times in took.items()}
    figures.at_most("slowest to fastest median", max(medians.values()) / min(medians.values()), 1.25, "times")


def test_no_field_but_the_steps_can_be_set(secrets, reader, mina, teo):
    mine = row_of(mina, "a secret of Mina")
    forged = {field.attname: "1" for model in (Notification, Event, Inbox) for field in model._meta.fields}
    forged |= {
        "recipient": str(teo.pk),
        "user": str(teo.pk),
        "title": "forged",
        "content": "{}",
        "top": "99",
        "unread_count": "7",
    }
    forged = {name: value for name, value in forged.items() if name not in STEPS}
    his, events = states([teo.pk]), everything()[0]
    given = {**forged, "read": mine.event_id, "csrfmiddlewaretoken": token(reader)}
    assert reader.post(MARK, given).status_code == 302
    now = Notification.objects.get(pk=mine.pk)
    changed = {field.attname for field in now._meta.fields if getattr(now, field.attname) != getattr(mine, field.attname)}
    assert changed == {"read_at", "stamp"}
    assert (now.stamp, states([mina.pk])[str(mina.pk)].unread) == (3, 1)
    assert (states([teo.pk]), everything()[0]) == (his, events)
    body = json.dumps({"read": mine.event_id, "read_at": None})
    assert reader.post(MARK, body, "application/json", headers={"x-csrftoken": token(reader)}).status_code == 400


def test_a_page_has_its_size_whatever_is_asked(client, mina):
    tell_all(mina, [f"n{number}" for number in range(60)])
    client.force_login(mina)
    greedy = "&".join(f"{name}=100000" for name in ("limit", "size", "page_size", "per_page", "count", "n", "rows", "first"))
    for query in ("", greedy, f"{greedy}&before=9007199254740991", "before=0", f"show=unread&{greedy}"):
        rows = json.loads(client.get(f"{ITEMS}?{query}").content)["items"]
        assert len(rows) == (0 if query == "before=0" else 20), query
    assert client.post(MARK, {"read": range(1, 202)}).status_code == 400


SPOILT: dict[str, tuple[str, str]] = {
    "too many fields": (FORM, "&".join(["read=1"] * 1500)),
    "a form without an end": ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=read"),
    "a form without a boundary": ("multipart/form-data", "read=1"),
    "too large": (FORM, "read=" + "1" * 2_700_000),
    "no UTF-8": ("application/x-www-form-urlencoded; charset=utf-8", "read=%ff%fe"),
    "no charset that there is": ("application/x-www-form-urlencoded; charset=nonsense", "read=x"),
    "JSON": ("application/json", '{"read": 1}'),
    "nothing": (FORM, ""),
}


def test_a_spoilt_form_is_refused_and_kept_by_no_cache(secrets, mina):
    clients = {(400, 403): Client(enforce_csrf_checks=True), (400,): Client()}
    before = everything()[:3]
    for statuses, client in clients.items():
        client.force_login(mina)
        for spoilt, (content_type, body) in SPOILT.items():
            answer = client.generic("POST", MARK, body, content_type)
            assert answer.status_code in statuses, spoilt
            assert answer["Cache-Control"] == KEPT_BY_NOBODY, spoilt
            assert everything()[:3] == before, spoilt


def test_no_answer_is_kept_by_a_cache(secrets, mina, reader, figures):
    kept = []
    for client in (Client(), reader):
        for name, method in EVERY:
            for query in ("", "?show=nonsense") if method == "GET" else ("",):
                for headers in ({}, JSON):
                    answer = client.generic(method, address(name) + query, headers=headers)
                    if answer.headers.get("Cache-Control") != KEPT_BY_NOBODY:
                        kept.append((name, method, query, answer.status_code))
                    if client is reader and not query and name not in ELSEWHERE:
                        allowed = method in ADDRESSES[name] or (method not in SAFE and answer.status_code == 403)
                        assert allowed or answer.status_code == 405, (name, method, answer.status_code)
    figures.none("answers that a cache may keep", kept)
