"""The simulation: what people, processes, networks and operators do, in any order that Hypothesis thinks of.

After every `settle` each open page shows what a fresh page shows, and each inbox holds what was committed.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from notifications import Kind
from notifications.inbox import mark_seen, states
from notifications.models import Event, Inbox, Notification, new_epoch
from tests.simulator.expected import ACTIONS
from tests.simulator.post import FATES
from tests.simulator.scene import SLOTS, USERS, Scene
from tests.simulator.tabs import Browser
from tests.simulator.world import SERVERS

__all__ = ["make_machine"]

WATERMARK_SECONDS = 16.0  # one of 15 s, and the look that follows
AT_ONCE_SECONDS = 0.5
MODELS: Any = (Event, Notification, Inbox)

users = st.sampled_from(USERS)
slots = st.sampled_from(sorted(SLOTS))
servers = st.integers(0, SERVERS - 1)
processes = st.sampled_from([None, *range(SERVERS)])  # None: a command or worker, which has no hub
fates = st.tuples(*[st.sampled_from(["deliver", "deliver", *FATES])] * SERVERS)
pauses = st.sampled_from([0.0, 0.002, 0.006, 0.05])
numbers = st.integers(0, 6)
audiences = st.sampled_from([("mina",), ("teo",), USERS])
outcomes = st.sampled_from(["commit", "commit", "commit", "rollback", "savepoint"])
writings = st.lists(st.tuples(audiences, outcomes, st.booleans()), min_size=1, max_size=4)


def make_machine(browser: Browser, ids: dict[str, int]) -> type[RuleBasedStateMachine]:
    """The state machine over these tabs and users (ids by name). Call inside `own_declarations()`: it declares a kind."""
    current: list[Simulation] = []

    def visible_to(asked: Any, event: Event) -> Any:
        title = event.content["title"]
        return asked.exclude(pk__in=[ids[user] for user, hidden in current[-1].expected.hidden if hidden == title])

    Kind("simulated")
    Kind("simulated.secret", visible_to=visible_to)

    class Machine(Simulation):
        def __init__(self) -> None:
            super().__init__(browser, ids)
            current[:] = [self]

    return Machine


class Simulation(Scene, RuleBasedStateMachine):
    @initialize(narrow=st.sampled_from([1, 100]), few=st.sampled_from([1, 8]), letter_bytes=st.sampled_from([700, 256 * 1024]))
    def begin(self, narrow: int, few: int, letter_bytes: int) -> None:
        self.has_wide = narrow < len(USERS)
        self.world.start(narrow=narrow, few=few, letter_bytes=letter_bytes)
        for number, tab in enumerate(self.tabs.values()):
            self._open(tab, self._print(tab.user), number % SERVERS)
        self.world.wait(AT_ONCE_SECONDS)

    def teardown(self) -> None:
        if hasattr(self.world, "loop"):
            self.world.end()

    # --- what is written ---

    @rule(writings=writings, process=processes, fates=fates, pause=pauses)
    def write(self, writings: Any, process: int | None, fates: Any, pause: float) -> None:
        """Transactions of one process, one after the other, before anything else happens anywhere."""

        def commit() -> None:
            for audience, outcome, is_secret in writings:
                self._write(audience, outcome, "simulated.secret" if is_secret else "simulated")

        self._act(commit, process, fates, pause)

    @rule(user=users, action=st.sampled_from(sorted(ACTIONS)), which=st.sets(numbers, min_size=1, max_size=3), process=processes,
          fates=fates, pause=pauses)  # fmt: skip
    def mark_some(self, user: str, action: Any, which: set[int], process: int | None, fates: Any, pause: float) -> None:
        self._act(lambda: self._mark(user, action, which=which), process, fates, pause)

    @rule(user=users, action=st.sampled_from(sorted(ACTIONS)), upto=numbers, process=processes, fates=fates, pause=pauses)
    def mark_all(self, user: str, action: Any, upto: int, process: int | None, fates: Any, pause: float) -> None:
        self._act(lambda: self._mark(user, action, upto=upto), process, fates, pause)

    @rule(user=users, back=numbers, process=processes, fates=fates, pause=pauses)
    def see(self, user: str, back: int, process: int | None, fates: Any, pause: float) -> None:
        self._act(lambda: mark_seen(self.ids[user], max(0, self._top(user) - back)), process, fates, pause)

    @rule(slot=slots, action=st.sampled_from(sorted(ACTIONS)), which=numbers, fates=fates)
    def command(self, slot: str, action: str, which: int, fates: Any) -> None:
        """From a page, over its socket. It is carried out before anything else happens, so that the book stays simple."""
        tab, rows = self.tabs[slot], self._rows(self.tabs[slot].user)
        if tab.wire is None or not tab.wire.gate.is_set() or not rows:
            return
        title, (_, event) = sorted(rows.items())[which % len(rows)]
        self._fate(fates)
        self.world.run(tab.command(type=action, ids=[event]))
        self.world.wait(0.1)
        self.expected.mark(tab.user, action, [title])

    @rule(user=users, which=numbers, hides=st.booleans())
    def change_who_may_see(self, user: str, which: int, hides: bool) -> None:
        """Of what nobody is told. What has been rung before is delivered first: it was fanned out to who could see it."""
        self._relay()
        self._deliver_all()
        self.world.wait(0.1)
        secrets = sorted(Event.objects.filter(kind="simulated.secret").values_list("content__title", flat=True))
        if secrets:
            key = (user, secrets[which % len(secrets)])
            self.expected.was_hidden.add(key)
            (self.expected.hidden.add if hides else self.expected.hidden.discard)(key)

    @rule(user=users, fates=fates)
    def prune(self, user: str, fates: Any) -> None:
        self._fate(fates)
        self._prune(user)

    @rule(what=st.sampled_from(["write", "mark", "mark all", "prune"]), queries=st.integers(0, 5), user=users)
    def meanwhile(self, what: str, queries: int, user: str) -> None:
        """In the middle of the next look at the database another process is at work."""
        actions: dict[str, Callable[[], None]] = {
            "write": lambda: self._write((user,), "commit", "simulated"),
            "mark": lambda: self._mark(user, "read", which={0, 1, 2}),
            "mark all": lambda: self._mark(user, "archive", upto=3),
            "prune": lambda: (self._mark(user, "delete", upto=5), self._prune(user)),  # type: ignore[dict-item, func-returns-value]
        }
        self.world.meanwhile = (queries, actions[what])

    @rule()
    def back_up(self) -> None:
        self._relay()
        rows = {model: list(model.objects.order_by("pk").values()) for model in MODELS}
        self.backup = (rows, self.expected.copy())

    @precondition(lambda self: self.backup is not None)
    @rule(is_noticed=st.booleans())
    def restore(self, is_noticed: bool) -> None:
        """The database is as it was. Either a page that is ahead of it makes the product notice, or the operator says so."""
        self.world.wait(AT_ONCE_SECONDS)
        before = states(self.ids.values())
        rows, expected = self.backup
        for model in MODELS:
            model.objects.all().delete()
            model.objects.bulk_create([model(**values) for values in rows[model]])
        was_hidden = self.expected.was_hidden | expected.was_hidden
        self.expected = expected.copy()
        self.expected.was_hidden = was_hidden
        changes = {}
        for user in USERS:
            was, now = (found.get(str(self.ids[user])) for found in (before, states(self.ids.values())))
            if was is None or now is None or was.position == now.position:
                continue
            ahead = [tab for tab in self._tabs_of(user) if self._is_listening(tab) and tab.shown["position"] == str(was.position)]
            if is_noticed and ahead and was.position.epoch == now.position.epoch:
                changes[user] = now.position.epoch
            else:
                Inbox.objects.filter(pk=self.ids[user]).update(epoch=new_epoch())
        if changes:
            self.world.wait(WATERMARK_SECONDS)
            for user, epoch in changes.items():
                assert states([self.ids[user]])[str(self.ids[user])].position.epoch != epoch, "a restored inbox kept its epoch"

    # --- what becomes of wake-ups ---

    @precondition(lambda self: self.world.post.held)
    @rule(which=numbers, is_lost=st.booleans(), pause=pauses)
    def let_go(self, which: int, is_lost: bool, pause: float) -> None:
        """A wake-up that was held comes at last, perhaps before an older one; or never."""
        post = self.world.post
        held = post.held.pop(which % len(post.held))
        if is_lost:
            post.lost.add(held.channel)
        else:
            post.deliver(held)
        self.world.wait(pause)

    @rule()
    def forget_members(self) -> None:
        self.world.post.forget()

    @rule(seconds=st.sampled_from([0.001, 0.003, 0.005, 0.02, 1.0, 6.0, 30.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.world.wait(seconds)

    # --- what pages do, and what is done to them ---

    @rule(slot=slots)
    def cut(self, slot: str) -> None:
        self.world.run(self.tabs[slot].cut())

    @rule(slot=slots, server=servers, pause=pauses)
    def return_(self, slot: str, server: int, pause: float) -> None:
        self._connect(self.tabs[slot], server)
        self.world.wait(pause)

    @rule(slot=slots, pause=pauses)
    def say_hello(self, slot: str, pause: float) -> None:
        self.world.run(self.tabs[slot].hello())
        self.world.wait(pause)

    @rule(slot=slots, server=servers, is_old=st.booleans(), pause=pauses)
    def load_page(self, slot: str, server: int, is_old: bool, pause: float) -> None:
        """Printed now, or taken out of the browser's cache."""
        tab = self.tabs[slot]
        old = self.printed.get(tab.user)
        printed = old if is_old and old is not None else self._print(tab.user)
        self.world.run(tab.cut())
        self._open(tab, printed, server)
        self.world.wait(pause)

    @rule(user=users)
    def keep_page(self, user: str) -> None:
        self.printed[user] = self._print(user)

    @rule(slot=slots, how=st.sampled_from(["does not acknowledge", "network stands", "peer does not read"]))
    def slow_down(self, slot: str, how: str) -> None:
        tab = self.tabs[slot]
        if how == "does not acknowledge":
            tab.acks = False
        elif how == "network stands":
            tab.reads.clear()
        elif tab.wire is not None:
            tab.wire.gate.clear()

    @rule(slot=slots, pause=pauses)
    def speed_up(self, slot: str, pause: float) -> None:
        self._speed_up(self.tabs[slot])
        self.world.wait(pause)

    # --- what must be so ---

    @rule(comes=st.booleans())
    def settle(self, comes: bool) -> None:
        """Nothing more happens: if all wake-ups came, everything is shown at once; in any case after a watermark."""
        self.world.post.fates = {}
        if comes:
            self._deliver_all()
        else:
            self.world.post.lost |= {held.channel for held in self.world.post.held}
            self.world.post.held.clear()
        for tab in self.tabs.values():
            self._speed_up(tab)
            self._connect(tab, tab.server)
        self.world.wait(AT_ONCE_SECONDS)
        if not self.world.post.lost:
            self._check("at once")
        self.world.wait(WATERMARK_SECONDS)
        for tab in self.tabs.values():
            self.world.run(tab.wait(2))
            self._connect(tab, tab.server)
        self.world.wait(AT_ONCE_SECONDS)
        self._check("by the watermark")
        self.world.post.lost.clear()
