"""All that a page can show of an inbox, one state after the other: what tests look at and what docs/states.md pictures."""

from collections.abc import Iterator
from datetime import UTC, datetime

from playwright.sync_api import Route, expect

from tests.browser.conftest import BACK_OFF, Demo, Window
from tests.servers import TcpProxy

__all__ = ["MOMENT", "fill", "walk"]

MOMENT = datetime(2026, 3, 14, 12, tzinfo=UTC)
"""When it is told. A page whose clock stands there shows the same ages on whatever day it is looked at."""

FILL = f"""
from datetime import datetime, timedelta
from django.db import transaction
from notifications import Action, answer, notify
from notifications.steps import mark
from notifications.models import Event

def tell(minutes, kind, title, body="", *, words=(), is_read=False, **more):
    actions = [Action(word, "/orders/1044/arrived/yes/", primary=not place) for place, word in enumerate(words)]
    with transaction.atomic():
        event = notify(kind, to=mina, title=title, body=body, url="/orders/1044/", actions=actions, **more)
        told_at = datetime.fromisoformat("{MOMENT.isoformat()}") - timedelta(minutes=minutes)
        Event.objects.filter(pk=event.pk).update(created_at=told_at)
    if is_read:
        mark(mina.pk, "read", ids=[event.pk])
    return event

days = 1440
"""
STORIES = {
    "en": """
for week in range(16, 2, -1):
    tell(week * 7 * days, "order.status", f"Order {1041 - week} has arrived", is_read=True)
tell(9 * days, "order.paid", "Order 1041 is paid", severity="success", is_read=True)
done = tell(8 * days, "order.status", "Order 1041 has arrived", words=["It is here"], is_read=True)
answer(done.pk, "You said that it is here", to=mina)
tell(days + 130, "order.status", "Order 1044 is in the workshop", target="Order 1044", is_read=True)
tell(days + 60, "order.comment", "Noor on order 1044", "Of course. Jonas pours on Thursday, so there is time to change the "
     "pattern.", actor="Noor", is_read=True)
tell(200, "order.status", "The engraving of order 1044 is too long", "There is room for 20 letters, and it has 23. Which may go?",
     severity="warning", icon="warning", target="order 1044")
tell(95, "order.paid", "The payment for order 1043 did not go through", "The bank said no. Nothing was charged.",
     severity="error", icon="error", target="order 1043")
tell(40, "order.comment", "Jonas on order 1044", "Poured this morning. A shade under C, which suits a boat.", actor="Jonas")
tell(5, "order.status", "Order 1044 has arrived", words=["It is here", "It is not here"], target="Order 1044")
""",
    "ar": """
for week in range(16, 2, -1):
    tell(week * 7 * days, "order.status", f"وصل الطلب {1041 - week}", is_read=True)
tell(9 * days, "order.paid", "دُفع ثمن الطلب 1041", severity="success", is_read=True)
done = tell(8 * days, "order.status", "وصل الطلب 1041", words=["لقد وصل"], is_read=True)
answer(done.pk, "قلتِ إنه وصل", to=mina)
tell(days + 130, "order.status", "الطلب 1044 في الورشة", target="الطلب 1044", is_read=True)
tell(days + 60, "order.comment", "كتبت نور في الطلب 1044", "بالطبع. سيصبّ يوناس الجرس يوم الخميس، فلدينا وقت لتغيير القالب.",
     actor="نور", is_read=True)
tell(200, "order.status", "نقش الطلب 1044 أطول من اللازم", "يتسع لعشرين حرفًا وفيه ثلاثة وعشرون. أيّها نحذف؟", severity="warning",
     icon="warning", target="الطلب 1044")
tell(95, "order.paid", "لم تتم عملية دفع الطلب 1043", "رفضها المصرف، ولم يُخصم أي مبلغ.", severity="error",
     icon="error", target="الطلب 1043")
tell(40, "order.comment", "كتب يوناس في الطلب 1044", "صببناه هذا الصباح. نغمته أخفض قليلًا من دو، وهذا يناسب القارب.",
     actor="يوناس")
tell(5, "order.status", "وصل الطلب 1044", words=["لقد وصل", "لم يصل"], target="الطلب 1044")
""",
}
NEWS = {
    "en": """
tell(1, "order.comment", "Teo on order 1044", "I can fetch it on Saturday.", actor="Teo")
tell(1, "order.paid", "Order 1043 is paid", severity="success", target="Order 1043")
""",
    "ar": """
tell(1, "order.comment", "كتب تيو في الطلب 1044", "أستطيع أن أحضره يوم السبت.", actor="تيو")
tell(1, "order.paid", "دُفع ثمن الطلب 1043", severity="success", target="الطلب 1043")
""",
}
MORE_NEWS = {
    "en": """
tell(0, "order.status", "Order 1045 is in the workshop", target="Order 1045")
tell(0, "order.paid", "Your voucher ends tomorrow", severity="warning", icon="warning")
tell(0, "order.comment", "Noor on order 1044", "We could bring the desk bell too. Is Saturday at ten good for you?", actor="Noor",
     words=["Yes", "Another day"])
""",
    "ar": """
tell(0, "order.status", "الطلب 1045 في الورشة", target="الطلب 1045")
tell(0, "order.paid", "قسيمتك تنتهي غدًا", severity="warning", icon="warning")
tell(0, "order.comment", "كتبت نور في الطلب 1044", "يمكننا إحضار جرس المكتب أيضًا. هل يناسبك السبت في العاشرة؟", actor="نور",
     words=["نعم", "يوم آخر"])
""",
}
STRANGE = "qqqq"
"""What no search finds."""


def fill(demo: Demo, language: str = "en") -> None:
    """Mina's inbox: read and unread, of every severity, with a question and an answer, over some days."""
    demo.run(FILL + STORIES[language])


def walk(mina: Window, demo: Demo, line: TcpProxy, language: str = "en") -> Iterator[str]:
    """Leads Mina's window, signed in, from state to state, and stops in each. `line`: the one that her browser has to the server.

    A state lasts as long as somebody looks at it, whatever the size of the window becomes meanwhile.
    """
    page = mina.page
    panel = page.locator(".notifications-panel")
    part = "[data-part={}]".format
    tab = "[data-tab={}]".format
    mina.open("/orders/").listening()
    yield "bell"

    mina.bell.click()
    expect(panel).to_be_focused()
    page.mouse.move(0, 0)
    yield "panel"

    mina.rows.nth(1).locator("summary").click()
    yield "menu"

    page.keyboard.press("Escape")
    mina.rows.nth(1).focus()
    page.keyboard.press("?")
    expect(panel.locator(".notifications-keys")).to_be_visible()
    yield "keys"

    page.keyboard.press("Escape")
    mina.rows.nth(1).focus()
    page.keyboard.press("e")
    panel.locator("[data-done=archive] button").focus()  # for as long as that has the focus it is offered
    yield "undo"

    page.keyboard.press("Enter")
    mina.rows.nth(6).evaluate("row => row.scrollIntoView()")
    demo.run(FILL + NEWS[language])
    expect(panel.locator(part("fresh"))).to_be_visible()
    yield "fresh"

    panel.locator(part("fresh")).click()
    panel.locator(tab("archived")).click()
    expect(panel.locator("[data-show=archived]")).to_be_visible()
    yield "nothing-archived"

    panel.locator(tab("unread")).click()
    expect(mina.rows.first).to_be_visible()
    yield "unread"

    panel.locator(part("mark-all")).click()
    expect(mina.rows).to_have_count(0)
    panel.locator("[data-done=read_upto] button").focus()
    yield "all-read"

    page.keyboard.press("Enter")
    expect(mina.rows.first).to_be_visible()
    unanswered: list[Route] = []

    def keep(route: Route) -> None:
        unanswered.append(route)

    page.route("**/items/*", keep)
    panel.locator(tab("active")).click()
    expect(panel.locator(".notifications-skeleton")).to_be_visible()
    yield "loading"

    for route in unanswered:
        route.abort()
    page.unroute_all()
    page.route("**/items/*", lambda route: route.abort())
    panel.locator(tab("active")).click()
    expect(panel.locator(part("retry"))).to_be_visible()
    yield "error"

    page.unroute_all()
    panel.locator(part("retry")).click()
    expect(mina.rows.first).to_be_visible()
    line.refuse()
    expect(panel.locator("[data-state=reconnecting]")).to_be_visible()
    yield "reconnecting"

    page.context.set_offline(True)
    expect(panel.locator("[data-state=offline]")).to_be_visible(timeout=BACK_OFF)  # when it has tried once more
    yield "offline"

    line.mend()
    page.context.set_offline(False)
    mina.listening()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    demo.run(FILL + MORE_NEWS[language])
    expect(mina.toasts.first).to_be_visible()
    mina.toasts.last.get_by_role("button").last.focus()  # so that they stay
    yield "toasts"

    mina.open("/notifications/").listening()
    expect(mina.rows.first).to_be_visible()
    yield "inbox"

    mina.open(f"/notifications/?q={STRANGE}").listening()
    yield "nothing-found"

    mina.open("/orders/").listening()
    mina.bell.click()
    demo.run("mina.set_password('another-bell-rings')\nmina.save()")
    expect(panel.locator("[data-state=signed-out]")).to_be_visible()
    yield "signed-out"
