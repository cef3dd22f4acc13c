"""The order story: somebody acts in one browser, the people concerned know in theirs."""

import contextlib
import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import APPLICATION, environment, in_both_browsers, manage
from tests.conftest import not_run
from tests.servers import Missing, daphne_process, postgres_server


@in_both_browsers
def test_a_status_changed_on_a_page_rings_the_customers_bell_without_reload(person):
    mina = person().sign_in("mina", "/orders/1044/").listening()
    mina.stay()
    mina.expect_unseen(0)
    expect(mina.toasts).to_have_count(0)

    noor = person().sign_in("noor")
    noor.page.get_by_role("button", name="Send it off, Order 1044").click()

    mina.expect_unseen(1)
    expect(mina.toasts).to_have_count(1)
    expect(mina.toasts).to_contain_text("Order 1044 is on its way")
    expect(mina.toasts).not_to_contain_text("away")  # she is here
    expect(mina.page.locator(".route-now")).to_have_text("On its way")  # the page itself follows
    assert mina.has_stayed
    noor.expect_unseen(0)


def test_a_status_changed_in_the_admin_rings_the_customers_bell_without_reload(person):
    mina = person().signed_in("mina").listening()
    mina.stay()

    noor = person().signed_in("noor", "/admin/shop/order/")
    noor.page.get_by_role("link", name="Order 1044").click()
    noor.page.get_by_label("Status").select_option("shipped")
    noor.page.get_by_role("button", name="Save", exact=True).click()
    expect(noor.page.get_by_text("was changed successfully")).to_be_visible()

    mina.expect_unseen(1)
    expect(mina.toasts).to_contain_text("Order 1044 is on its way")
    assert mina.has_stayed


def test_a_comment_tells_everybody_in_the_order_except_its_author(person):
    teo = person().signed_in("teo").listening()
    noor = person().signed_in("noor").listening()
    mina = person().signed_in("mina", "/orders/1044/").listening()

    mina.page.get_by_label("Write to everybody in this order").fill("Will it be in time for Saturday?")
    mina.page.get_by_role("button", name="Send", exact=True).click()
    expect(mina.page.locator(".comment-body").last).to_have_text("Will it be in time for Saturday?")

    for reader in (teo, noor):
        reader.expect_unseen(1)
        expect(reader.toasts).to_contain_text("Will it be in time for Saturday?")
    # What her own comment would have caused comes before what Noor does now: one, so it was not sent.
    noor.page.get_by_role("button", name="Send it off, Order 1044").click()
    mina.listening().expect_unseen(1)
    expect(mina.toasts).to_contain_text("Order 1044 is on its way")


def test_a_signal_of_the_shop_tells_the_workshop(person):
    noor = person().signed_in("noor").listening()
    teo = person().signed_in("teo", "/orders/1043/")

    teo.page.get_by_role("button", name="Pay now").click()

    noor.expect_unseen(1)
    expect(noor.toasts).to_contain_text("Order 1043 is paid")
    expect(noor.page.locator(".order-row", has_text="Order 1043")).not_to_contain_text("not paid yet")


def test_a_notification_leads_to_what_it_is_about(person, demo):
    mina = person().signed_in("mina", "/bells/").listening()
    demo.run("halcyon.move_to('shipped', by=noor)")
    mina.toasts.get_by_role("link").click()
    expect(mina.page).to_have_url(re.compile(r"/orders/1044/$"))
    mina.bell.click()
    expect(mina.rows).to_have_count(1)
    expect(mina.rows).not_to_have_attribute("data-unread", re.compile(".*"))


def test_the_readers_language_counts_not_the_writers(person, demo):
    german = person(locale="de-DE").window("/login/")
    german.page.locator("#id_username").fill("mina")
    german.page.locator("#id_password").fill("ring-the-bell")
    german.page.locator("main button").click()
    german.page.wait_for_url(f"{german.base}/orders/")
    german.listening()
    demo.run("halcyon.move_to('shipped', by=noor)")
    expect(german.toasts).to_contain_text("Bestellung 1044 ist unterwegs")


@pytest.fixture
def two_processes(postgres_cluster_url, redis_url):
    """The demo as a real site runs it: two server processes on one PostgreSQL and one Redis."""
    manage(postgres_cluster_url, "migrate", "--verbosity", "0")
    manage(postgres_cluster_url, "seed_demo")
    ours = environment(postgres_cluster_url, redis_url)
    with daphne_process(ours, application=APPLICATION) as one, daphne_process(ours, application=APPLICATION) as two:
        yield one, two


@pytest.fixture
def postgres_cluster_url():
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgres_server())
        except Missing as missing:
            not_run(missing)
        yield server.url


def test_two_processes_on_postgresql_and_redis_tell_the_same_story(person, two_processes):
    one, two = two_processes
    mina = person(at=one.url).sign_in("mina", "/orders/1044/").listening()
    mina.stay()
    noor = person(at=two.url).sign_in("noor").listening()
    noor.page.get_by_role("button", name="Send it off, Order 1044").click()
    mina.expect_unseen(1)
    expect(mina.toasts).to_contain_text("Order 1044 is on its way")

    mina.page.get_by_label("Write to everybody in this order").fill("Thank you")
    mina.page.get_by_role("button", name="Send", exact=True).click()
    noor.expect_unseen(1)
    expect(noor.toasts).to_contain_text("Thank you")
