"""What the simulation has in its hands, how it does each thing, and what must be so in the end."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from hypothesis import note

from notifications import notify
from notifications.inbox import read_page, states
from notifications.models import Event, Inbox, Notification
from notifications.relay import relay
from notifications.session import Identity
from notifications.steps import mark, mark_seen
from tests.simulator.expected import UNDO, Expected
from tests.simulator.tabs import Browser, Tab, plain
from tests.simulator.world import World

__all__ = ["KILLED", "SLOTS", "USERS", "Scene"]

USERS = ("mina", "teo")
MODELS: Any = (Event, Notification, Inbox)
KILLED = -1  # a process that ends between each commit and its ring
SLOTS = {"m0": "mina", "m1": "mina", "t0": "teo", "t1": "teo"}


@contextmanager
def undone(is_undone: bool) -> Iterator[None]:
    """A transaction, or a savepoint in one, that is perhaps rolled back."""
    with transaction.atomic():
        yield
        if is_undone:
            transaction.set_rollback(True)


class Scene:
    """Two users with two tabs each, two servers, one database, and the book of what was committed."""

    def __init__(self, browser: Browser, ids: dict[str, int]) -> None:
        super().__init__()
        self.ids = ids
        self.expected = Expected({user: {} for user in USERS})
        self.world = World({user: Identity(ids[user], str(ids[user]), "") for user in USERS})
        self.tabs = {slot: Tab(browser, slot, user) for slot, user in SLOTS.items()}
        self.count = 0
        self.printed: dict[str, Any] = {}
        self.backup: Any = None
        self.was_restored = False
        self.steps: dict[str, list[tuple[int, str, int]]] = {user: [] for user in USERS}
        """Each user's marks: the stamp that the product gave, the action, and the mark's number in the book."""
        self.leaks: list[str] = []
        self.has_wide = False

    def _check(self, when: str) -> None:
        assert not self.leaks
        assert not Event.objects.filter(pending=True).exists(), f"{when}: an event waits for a relay"
        for user in USERS:
            fresh = read_page(self.ids[user], limit=1000)
            archived = read_page(self.ids[user], limit=1000, show="archived")
            self._check_inbox(user, fresh, archived)
            for tab in self._tabs_of(user):
                note(f"{when}: {tab.slot} at {tab.shown['position']}, the inbox at {fresh.position}")
                self._check_tab(tab, fresh, archived)

    def _check_inbox(self, user: str, fresh: Any, archived: Any) -> None:
        """Nothing lost, nothing added, each in its state, in the order of the commits."""
        wanted = self.expected.titles(user, lambda state: not state.deleted and not state.archived)
        shown = [item.title for item in fresh.items]
        assert sorted(shown) == sorted(wanted)
        assert self.has_wide or shown == wanted, "out of order"
        put_away = self.expected.titles(user, lambda state: state.archived and not state.deleted)
        assert sorted(item.title for item in archived.items) == sorted(put_away)
        for item in [*fresh.items, *archived.items]:
            assert item.read == self.expected.inboxes[user][item.title].read
        assert fresh.unread == self.expected.unread(user)

    def _check_tab(self, tab: Tab, fresh: Any, archived: Any) -> None:
        """The deltas applied to the old page make what a fresh page shows."""
        page = tab.beside
        assert tab.wire is not None, f"{tab.slot} is away, closed by {tab.closed_by}"
        assert page.position == fresh.position, f"{tab.slot} is behind"
        assert (page.unread, page.unseen) == (fresh.unread, fresh.unseen)
        assert page.seen_upto <= fresh.seen_upto  # of a look that changes no count nobody is told
        unsure = {title for user, title in self.expected.was_hidden if user == tab.user}
        by_inbox = {item.id: plain(item) for item in [*fresh.items, *archived.items] if item.title not in unsure}
        by_page = {id: plain(item) for id, item in page.items.items() if item["title"] not in unsure}
        active = {item.id for item in fresh.items if item.number >= page.floor and item.title not in unsure}
        missing = active - {id for id, item in by_page.items() if not item["archived"]}
        assert not missing, f"{tab.slot} does not show {missing}"
        for id, item in by_page.items():
            newest = by_inbox.get(id)
            assert newest is not None, f"{tab.slot} still shows {item}"
            assert item["stamp"] <= newest["stamp"]  # an operation moves no stamp
            assert {**item, "stamp": 0} == {**newest, "stamp": 0}
        tab.agree()
        tab.may_hear_twice = False

    def _sees(self, tab: Tab, frame: dict[str, Any]) -> None:
        """Whatever leaves the server is its reader's, and may be seen by them now. Told by `_check`: a send may not fail."""
        for title in [item["title"] for item in frame.get("items", ()) if "title" in item]:
            is_own = title in self.expected.inboxes[tab.user] or self.was_restored
            if not is_own or (tab.user, title) in self.expected.hidden:
                self.leaks.append(f"{title} to {tab.slot}")

    # --- how ---

    def _act(self, action: Callable[[], Any], process: int | None, fates: Iterable[Any], pause: float) -> None:
        self._fate(fates)
        if process == KILLED:
            with self.world.dying():
                action()
        else:
            with self.world.acting(None if process is None else self.world.hubs[process]):
                action()
        self.world.wait(pause)

    def _fate(self, fates: Iterable[Any]) -> None:
        self.world.post.fates = {self.world.channel(server): fate for server, fate in enumerate(fates)}

    def _write(self, audience: Iterable[str], outcome: str, kind: str) -> None:
        """A transaction; what is rolled back, it or a savepoint in it, is in nobody's book."""
        self.count += 1
        title = f"n{self.count}"
        to = [self.ids[user] for user in audience]
        with undone(outcome == "rollback"):
            if outcome == "savepoint":
                with undone(True):
                    notify(kind, to=to, title=f"{title} taken back")
            notify(kind, to=to, title=title)
            if outcome != "rollback":
                self.expected.commit(title, audience)  # before its rows, so that no frame comes too early

    def _step(self, user: str, action: Any, which: set[int] | int) -> None:
        """On some of the rows, or on all but what the newest so many steps brought; or undo one of the last marks."""
        rows = self._rows(user)
        if isinstance(which, set):
            titles = sorted(rows, key=lambda title: rows[title])
            chosen = {titles[number % len(titles)] for number in which if titles}
            if chosen:
                self._mark(user, action, chosen, ids=[rows[title][1] for title in chosen])
            return
        if action == "undo":
            if self.steps[user]:
                stamp, done, number = self.steps[user][-1 - which % len(self.steps[user])]
                touched = [title for title in self.expected.touched_by(user, number) if title in rows]  # the rest is pruned
                self._mark(user, UNDO[done], touched, stamp=stamp)
            return
        upto = max(0, self._top(user) - which)
        if action == "seen":
            mark_seen(self.ids[user], upto)
        else:
            self._mark(user, action, [title for title, (number, _) in rows.items() if number <= upto], upto=upto)

    def _mark(self, user: str, action: Any, titles: Iterable[str], **how: Any) -> None:
        number = self.expected.mark(user, action, titles)
        stamp = mark(self.ids[user], action, **how)
        assert bool(stamp) is bool(number), f"{action} by {how}: step {stamp}"
        if stamp:
            self.steps[user].append((stamp, action, number))

    def _do(self, what: Iterable[Any]) -> None:
        for each in what:
            (self._step if each[0] in USERS else self._write)(*each)

    def _backup(self) -> Any:
        self._relay()
        rows = {model: list(model.objects.order_by("pk").values()) for model in MODELS}
        return rows, self.expected.copy()

    def _restore(self, backup: Any) -> None:
        """The rows and the book are as they were. What was once hidden stays uncertain: pages remember."""
        rows, expected = backup
        for model in MODELS:
            model.objects.all().delete()
            model.objects.bulk_create([model(**values) for values in rows[model]])
        was_hidden = self.expected.was_hidden | expected.was_hidden
        self.expected = expected.copy()
        self.expected.was_hidden = was_hidden
        self.was_restored = True
        for taken in self.steps.values():
            taken.clear()  # what a stamp meant may not have happened
        # A wake-up of the life before, held until now, may be believed by a page of an inbox that is not there any more; the
        # watermark finds out.
        self.world.post.lost |= {held.channel for held in self.world.post.held}
        if connection.vendor == "sqlite":  # ids are given again, as they are after a real one
            newest = max((values["id"] for values in rows[Event]), default=0)
            with connection.cursor() as cursor:
                cursor.execute("UPDATE sqlite_sequence SET seq = %s WHERE name = %s", [newest, Event._meta.db_table])

    def _prune(self, user: str) -> None:
        """As design 4.7 has it: tombstones go, and `pruned` rises to the highest stamp that went."""
        with transaction.atomic():
            if not Inbox.objects.filter(pk=self.ids[user]).update(pruned=F("pruned")):  # takes its lock
                return
            tombstones = Notification.objects.filter(recipient_id=self.ids[user], deleted_at__isnull=False)
            stamps = list(tombstones.values_list("stamp", flat=True))
            if stamps:
                tombstones.delete()
                Inbox.objects.filter(pk=self.ids[user], pruned__lt=max(stamps)).update(pruned=max(stamps))

    def _rows(self, user: str) -> dict[str, tuple[int, int]]:
        """Number and event of each row by its title."""
        rows = Notification.objects.filter(recipient_id=self.ids[user]).select_related("event")
        return {row.event.content["title"]: (row.number, row.event_id) for row in rows}

    def _top(self, user: str) -> int:
        found = states([self.ids[user]]).get(str(self.ids[user]))
        return 0 if found is None else found.position.top

    def _relay(self) -> None:
        with self.world.acting(None):
            relay()

    def _print(self, user: str) -> Any:
        return read_page(self.ids[user])

    def _open(self, tab: Tab, printed: Any, server: int) -> None:
        tab.open(printed, server, lambda tab: self.world.wire_of(tab, self._sees))
        self._connect(tab, server)

    def _connect(self, tab: Tab, server: int) -> None:
        if tab.wire is None:
            tab.server = server
            self.world.run(tab.connect())

    def _speed_up(self, tab: Tab) -> None:
        tab.reads.set()
        if tab.wire is not None:
            tab.wire.gate.set()
        self.world.run(tab.acknowledge())

    def _deliver_all(self) -> None:
        held, self.world.post.held = self.world.post.held, []
        for each in held:
            self.world.post.deliver(each)

    def _tabs_of(self, user: str) -> list[Tab]:
        return [tab for tab in self.tabs.values() if tab.user == user]

    def _is_listening(self, tab: Tab) -> bool:
        return tab.wire is not None and tab.wire.gate.is_set() and tab.reads.is_set() and tab.acks
