"""Several people and sessions in one browser: whoever stays signed in stays connected, and nobody sees what was another's."""

from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD


def test_after_ones_own_password_change_the_other_tab_stays_live(person, demo):
    """Its socket ends with the old session and comes back with the new cookie, without a word to the reader."""
    noor = person()
    one = noor.signed_in("noor").listening()
    one.stay()
    two = noor.window("/admin/password_change/")
    for name, value in {
        "old_password": PASSWORD,
        "new_password1": "another-bell-rings",
        "new_password2": "another-bell-rings",
    }.items():
        two.page.locator(f"input[name={name}]").fill(value)
    two.page.locator("input[type=submit]").click(timeout=90_000)  # three slow hashes, on a busy machine
    expect(two.page).to_have_url(f"{demo.url}/admin/password_change/done/")
    demo.run("from notifications import notify\nnotify('order.status', to=noor, title='Still here')")
    expect(one.toasts.filter(has_text="Still here")).to_be_visible()
    assert one.has_stayed
    one.listening()


def test_who_signs_in_after_somebody_else_sees_nothing_of_theirs(person, demo):
    """Without a sign-out between them: a tab that was left open becomes the second one's, emptied of the first one's."""
    browser = person()
    left_open = browser.signed_in("mina", "/notifications/").listening()
    demo.run("from notifications import notify\nnotify('order.status', to=mina, title='For Mina alone')")
    expect(left_open.rows.filter(has_text="For Mina alone")).to_be_visible()
    form = browser.window("/admin/login/?next=/orders/").page
    form.locator("input[name=username]").fill("noor")
    form.locator("input[name=password]").fill(PASSWORD)
    form.locator("input[type=submit]").click()
    form.wait_for_url(f"{demo.url}/orders/")
    expect(left_open.rows.filter(has_text="For Mina alone")).to_have_count(0)
    demo.run(
        "from notifications import notify\n"
        "notify('order.status', to=mina, title='Mina again')\n"
        "notify('order.status', to=noor, title='For Noor')"
    )
    expect(left_open.rows.filter(has_text="For Noor")).to_be_visible()
    expect(left_open.rows.filter(has_text="Mina again")).to_have_count(0)
