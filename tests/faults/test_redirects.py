"""No answer leads to a foreign site, whatever the form, the referring page or a header of the request says."""

import re
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import clear_script_prefix, reverse, set_script_prefix

from tests.site.people import CSRF, Browser

pytestmark = pytest.mark.django_db(transaction=True)

INBOX, MARK, ITEMS = (reverse(f"live_notifications:{name}") for name in ("inbox", "mark", "items"))
FORM = "application/x-www-form-urlencoded"

FOREIGN = [
    "https://evil.example/",
    "http://testserver.evil.example/",
    "http://testserver@evil.example/",
    "//evil.example/",
    "///evil.example/",
    "\\\\evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "/\t/evil.example/",
    "\t//evil.example/",
    "http:evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>",
    "ftp://testserver/",
    "http://[evil.example/",
    "/" + "a" * 5000,
    "/\r\nSet-Cookie: a=b",
]


def is_of_this_host(location: str, host: str = "testserver") -> bool:
    """As a browser reads it, which takes a backslash for a slash and drops tabs and line ends."""
    parts = urlsplit(re.sub(r"[\t\r\n]", "", location).replace("\\", "/"))
    return parts.scheme in ("", "http") and parts.netloc in ("", host) and location.startswith(("/", f"http://{host}/"))


def test_no_answer_leads_to_a_foreign_site(client, mina, figures):
    stranger = Client()
    foreign: list[tuple[str, str]] = []
    client.force_login(mina)
    for target in FOREIGN:
        from_there = {"referer": target if target.isprintable() else "https://evil.example/"}
        answers = [stranger.get(path, {"next": target}, headers=from_there) for path in (INBOX, ITEMS)]
        answers += [each.post(MARK, {"read": 1, "next": target}) for each in (stranger, client)]
        answers += [client.post(MARK, {"read": 1}, headers=from_there)]
        foreign += [
            answer["Location"] for answer in answers if answer.status_code == 302 and not is_of_this_host(answer["Location"])
        ]
        assert {answer.status_code for answer in answers} <= {302, 400}
        assert not any("Set-Cookie" in answer.headers for answer in answers)
    figures.none("redirects to a foreign site", foreign)


ROOTS = ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)//", "data:,"]


def links(page: str) -> list[str]:
    return [link for link in re.findall(r'(?:href|action|src|url|post-to)="([^"]*)"', page) if link[:1] not in ("", "?", "#")]


def test_a_forged_root_path_leads_nowhere(live_site, mina, figures):
    """Daphne takes the script prefix from a header of the request."""
    browser = Browser(live_site)
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    browser.sign_in("mina", "mina")
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    found = CSRF.search(browser.get(INBOX))
    assert found is not None
    form = f"read=1&csrfmiddlewaretoken={found[1]}"
    host = urlsplit(live_site.url).netloc
    foreign: list[tuple[str, str]] = []

    def ask(root: str, method: str, path: str, body: str | None = None, **headers: str) -> tuple[HTTPResponse, str]:
        connection = HTTPConnection(host, timeout=10)
        connection.request(method, path, body, {"Daphne-Root-Path": root, "Content-Type": FORM, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text

    for root in ROOTS:
        answers = [ask(root, "GET", path) for path in (INBOX, ITEMS)]
        answers += [ask(root, "POST", MARK, form, Cookie=cookies)]
        assert {answer.status for answer, _ in answers} == {302}
        page, text = ask(root, "GET", INBOX, Cookie=cookies)
        assert (page.status, len(links(text)) > 5) == (200, True)
        printed = [str(answer.headers["Location"]) for answer, _ in answers] + links(text)
        foreign += [(root, link) for link in printed if not is_of_this_host(link, host)]
    figures.none("links and redirects to a foreign site", foreign)


def test_a_sign_in_page_known_by_name_is_reversed_to_this_host_and_one_elsewhere_is_taken_as_it_stands(client, settings):
    for setting, leads_to in {"admin:login": "/admin/login/", "https://sso.example/in": "https://sso.example/in"}.items():
        settings.LOGIN_URL = setting
        set_script_prefix("https://evil.example/")
        try:
            answer = client.get("/notifications/", SCRIPT_NAME="https://evil.example")
        finally:
            clear_script_prefix()
        assert answer["Location"].partition("?")[0] == leads_to
