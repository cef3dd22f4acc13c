"""A notification that asks: its buttons post to the site, which answers in their place, without JavaScript too."""

import pytest
from playwright.sync_api import expect


@pytest.fixture
def delivered(demo):
    demo.run("halcyon.move_to('delivered', by=noor)")
    return demo


@pytest.mark.parametrize(
    ("button", "answer", "comment"),
    [
        ("It is here", "You said that it is here", "It is here. Thank you."),
        ("It is not here", "You said that it is not here", "It is not here yet."),
    ],
)
def test_without_javascript_a_button_is_answered_in_its_place(person, delivered, button, answer, comment):
    mina = person(java_script_enabled=False).signed_in("mina", "/notifications/")
    expect(mina.rows).to_have_count(1)
    mina.rows.get_by_role("button", name=button, exact=True).click()
    expect(mina.page).to_have_url(f"{mina.base}/notifications/")  # where the button was
    expect(mina.rows).to_contain_text(answer)
    for gone in ("It is here", "It is not here"):
        expect(mina.rows.get_by_role("button", name=gone, exact=True)).to_have_count(0)
    expect(mina.page.locator("main [data-id][data-unread]")).to_have_count(0)
    mina.open("/orders/1044/")
    expect(mina.page.locator(".comment-body").last).to_have_text(comment)


def test_the_answer_is_in_the_language_of_its_reader(person, delivered):
    plain = person(java_script_enabled=False, locale="de-DE").signed_in("mina", "/notifications/")
    plain.rows.get_by_role("button", name="Sie ist da", exact=True).click()
    expect(plain.rows).to_contain_text("Sie haben gesagt, dass sie da ist")
    english = person(java_script_enabled=False).signed_in("mina", "/notifications/")
    expect(english.rows).to_contain_text("You said that it is here")


def test_an_open_page_of_another_person_hears_what_was_said(person, delivered):
    teo = person().signed_in("teo").listening()
    mina = person(java_script_enabled=False).signed_in("mina", "/notifications/")
    mina.rows.get_by_role("button", name="It is here", exact=True).click()
    teo.expect_unseen(1)
    expect(teo.toasts).to_contain_text("It is here. Thank you.")


def test_nobody_else_answers_for_the_customer(person, delivered):
    stranger = person().signed_in("teo", "/orders/1044/")
    token = stranger.page.locator("[name=csrfmiddlewaretoken]").first.get_attribute("value")
    for path in ("/orders/1044/arrived/yes/", "/orders/1044/arrived/perhaps/", "/orders/1041/arrived/yes/"):
        form = {"csrfmiddlewaretoken": token, "notification": "1"}
        assert stranger.page.request.post(stranger.base + path, form=form).status == 404, path
    mina = person(java_script_enabled=False).signed_in("mina", "/notifications/")
    expect(mina.rows.get_by_role("button", name="It is here", exact=True)).to_have_count(1)
