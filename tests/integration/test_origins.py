"""From which pages a socket may be opened: those of this site (scheme, host and port), and those that the site trusts."""

import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from notifications.session import is_own_origin
from tests.site.client import Page
from tests.site.sockets import whatever_the_database

OWN = "http://shop.example:8000"


def handshake(origin: str | bytes | list[str] | None, *, scheme: str | None = "ws", **headers: str) -> dict[str, Any]:
    """The scope of a handshake. Daphne's has no scheme."""
    origins = origin if isinstance(origin, list) else [] if origin is None else [origin]
    sent = {"host": "shop.example:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [(name.encode(), value.encode()) for name, value in sent.items()]
    lines += [(b"origin", each if isinstance(each, bytes) else each.encode()) for each in origins]
    scope: dict[str, Any] = {"type": "websocket", "headers": lines, "server": ("127.0.0.1", 8000)}
    return scope if scheme is None else {**scope, "scheme": scheme}


@pytest.fixture(autouse=True)
def any_host(settings):
    settings.ALLOWED_HOSTS = ["*"]


@pytest.mark.parametrize("scheme", ["ws", None])
def test_the_own_origin_is_own(scheme):
    assert is_own_origin(handshake(OWN, scheme=scheme))
    assert is_own_origin(handshake(OWN.upper().replace("HTTP", "http"), scheme=scheme))


FOREIGN = {
    "another scheme": "https://shop.example:8000",
    "another host": "http://evil.example:8000",
    "another port": "http://shop.example:8001",
    "no port": "http://shop.example",
    "a subdomain": "http://a.shop.example:8000",
    "the parent": "http://example:8000",
    "a longer name": "http://shop.example.evil.example:8000",
    "a name that ends alike": "http://evilshop.example:8000",
    "null": "null",
    "empty": "",
    "a space": " ",
    "no scheme": "shop.example:8000",
    "no scheme, slashes": "//shop.example:8000",
    "a socket's scheme": "ws://shop.example:8000",
    "a file": "file://",
    "an extension": "chrome-extension://shop.example:8000",
    "with a path": f"{OWN}/",
    "with a longer path": f"{OWN}/page",
    "with a query": f"{OWN}?a=b",
    "with a fragment": f"{OWN}#a",
    "with an empty query": f"{OWN}?",
    "with an empty fragment": f"{OWN}#",
    "with a user": "http://shop.example:8000@evil.example",
    "with a user of its own": "http://user@shop.example:8000",
    "with a backslash": "http://evil.example\\@shop.example:8000",
    "with a tab": "http://shop.exa\tmple:8000",
    "with a trailing dot": "http://shop.example.:8000",
    "an empty port": "http://shop.example:",
    "a port beyond": "http://shop.example:800000",
    "a port that is no number": "http://shop.example:8000x",
    "half an IPv6 address": "http://[::1",
    "two in one": f"{OWN}, http://evil.example",
    "two, spaced": f"{OWN} http://evil.example",
    "not ASCII": "http://shöp.example:8000",
    "the own one twice": [OWN, OWN],
    "the own and another": [OWN, "http://evil.example"],
    "none": None,
}


@pytest.mark.parametrize("origin", FOREIGN.values(), ids=FOREIGN)
def test_any_other_origin_is_foreign_though_every_host_is_allowed(origin):
    assert not is_own_origin(handshake(origin, scheme="ws"))


def test_without_a_scheme_in_the_scope_https_passes_and_http_only_where_nothing_demands_tls(settings):
    """Daphne behind a proxy that ends TLS and says nothing about it."""
    assert is_own_origin(handshake("https://shop.example:8000", scheme=None))
    assert is_own_origin(handshake("http://shop.example:8000", scheme=None))
    for demanding in ("SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE"):
        setattr(settings, demanding, True)
        assert is_own_origin(handshake("https://shop.example:8000", scheme=None))
        assert not is_own_origin(handshake("http://shop.example:8000", scheme=None))
        setattr(settings, demanding, False)


def test_default_ports_may_be_left_out():
    assert is_own_origin(handshake("http://shop.example", host="shop.example:80"))
    assert is_own_origin(handshake("http://shop.example:80", host="shop.example"))
    assert is_own_origin(handshake("https://shop.example", host="shop.example:443", scheme="wss"))
    assert not is_own_origin(handshake("https://shop.example:80", host="shop.example", scheme="wss"))
    assert not is_own_origin(handshake("http://shop.example:443", host="shop.example"))


def test_an_ipv6_host_is_a_host():
    assert is_own_origin(handshake("http://[::1]:8000", host="[::1]:8000"))
    assert not is_own_origin(handshake("http://[::2]:8000", host="[::1]:8000"))


def test_the_proxys_word_about_the_scheme_counts_where_the_site_says_so(settings):
    https = {"x_forwarded_proto": "https"}
    assert not is_own_origin(handshake("https://shop.example:8000", **https))
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert is_own_origin(handshake("https://shop.example:8000", **https))
    assert not is_own_origin(handshake("http://shop.example:8000", **https))
    assert not is_own_origin(handshake("http://shop.example:8000", scheme=None, **https))
    assert not is_own_origin(handshake("https://shop.example:8000", x_forwarded_proto="http"))


def test_a_header_with_underscores_is_not_the_proxys(settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    scope = handshake("https://shop.example:8000")
    scope["headers"].append((b"x_forwarded_proto", b"https"))
    assert not is_own_origin(scope)


def test_the_forwarded_host_counts_where_the_site_says_so(settings):
    forwarded = {"host": "inner:9000", "x_forwarded_host": "shop.example"}
    assert not is_own_origin(handshake("http://shop.example", **forwarded))
    settings.USE_X_FORWARDED_HOST = True
    assert is_own_origin(handshake("http://shop.example", **forwarded))
    assert not is_own_origin(handshake("http://inner:9000", **forwarded))


def test_a_host_that_is_not_allowed_has_no_pages(settings):
    settings.ALLOWED_HOSTS = ["other.example"]
    assert not is_own_origin(handshake(OWN))


def test_trusted_origins_may_open_sockets_and_nobody_who_looks_like_them(settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://partner.example", "https://*.friends.example", "http://lab.example:8080"]
    for origin in (
        "https://partner.example",
        "https://partner.example:443",
        "https://a.friends.example",
        "https://a.b.friends.example",
        "http://lab.example:8080",
    ):
        assert is_own_origin(handshake(origin)), origin
    for origin in (
        "http://partner.example",
        "https://partner.example:8443",
        "https://a.partner.example",
        "http://a.friends.example",
        "https://a.friends.example:8443",
        "https://evilfriends.example",
        "https://a.friends.example.evil.example",
        "http://lab.example",
        "https://lab.example:8080",
    ):
        assert not is_own_origin(handshake(origin)), origin
    assert is_own_origin(handshake(OWN))


def test_a_wildcard_trusts_the_domain_itself_as_djangos_csrf_check_does(settings):
    from django.middleware.csrf import CsrfViewMiddleware
    from django.test import RequestFactory

    settings.CSRF_TRUSTED_ORIGINS = ["https://*.friends.example"]
    request = RequestFactory().post("/", headers={"origin": "https://friends.example"})
    assert CsrfViewMiddleware(lambda request: None)._origin_verified(request)  # type: ignore[arg-type, attr-defined]
    assert is_own_origin(handshake("https://friends.example"))


def test_with_all_hosts_allowed_a_missing_origin_is_still_refused(settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert not is_own_origin(handshake(None))


async def answer(site: Any, session: str, **options: Any) -> int:
    """The HTTP status of a handshake."""
    page = Page(site, session)
    try:
        await page.connect(**options)
    except InvalidStatus as refused:
        return refused.response.status_code
    await page.until(lambda page: page.position)
    await page.disconnect()
    return 101


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
@whatever_the_database
async def test_a_server_answers_foreign_pages_with_403(request, mina_session, server):
    site = request.getfixturevalue(server)
    host = f"127.0.0.1:{site.port}"
    assert await answer(site, mina_session) == 101
    foreign = [None, "null", "http://evil.example", f"http://localhost:{site.port}", "http://127.0.0.1:1", f"ftp://{host}"]
    for origin in foreign:
        assert await answer(site, mina_session, origin=origin) == 403, origin
    doubled = [("Origin", f"http://{host}"), ("Origin", f"http://{host}")]
    assert await answer(site, mina_session, origin=None, headers=doubled) in (400, 403)  # uvicorn itself refuses it
    assert "Traceback" not in site.log


@pytest.mark.django_db(transaction=True)
@whatever_the_database
async def test_a_server_trusts_what_its_settings_trust(start_site, mina_session):
    chosen = {
        "CSRF_TRUSTED_ORIGINS": ["https://*.friends.example"],
        "SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"],
    }
    with start_site({"SITE_SETTINGS": json.dumps(chosen)}, settings="tests.site.varied") as site:
        behind_tls = [("X-Forwarded-Proto", "https")]
        own, own_tls = f"http://127.0.0.1:{site.port}", f"https://127.0.0.1:{site.port}"
        assert await answer(site, mina_session, origin="https://a.friends.example") == 101
        assert await answer(site, mina_session, origin="https://friends.example.evil.example") == 403
        assert await answer(site, mina_session, origin=own_tls, headers=behind_tls) == 101
        assert await answer(site, mina_session, origin=own, headers=behind_tls) == 403
