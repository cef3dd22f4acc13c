"""The simulation: what people, processes, networks and operators do, in any order that Hypothesis thinks of.

After every `settle` each open page shows what a fresh page shows, and each inbox holds what was committed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from notifications import Kind
from notifications.inbox import states
from notifications.models import Event, Inbox, new_epoch
from tests.simulator.expected import ACTIONS
from tests.simulator.post import FATES
from tests.simulator.scene import KILLED, SLOTS, USERS, Scene
from tests.simulator.tabs import Browser
from tests.simulator.world import SERVERS

__all__ = ["make_machine"]

WATERMARK_SECONDS = 16.0  # one of 15 s, and the look that follows
AT_ONCE_SECONDS = 1.5  # a few looks, each after gathering for what comes with it

users = st.sampled_from(USERS)
slots = st.sampled_from(sorted(SLOTS))
servers = st.integers(0, SERVERS - 1)
processes = st.sampled_from([None, None, *range(SERVERS), KILLED])  # None: a command or worker, which has no hub
fates = st.tuples(*[st.sampled_from(["deliver", "deliver", *FATES])] * SERVERS)
pauses = st.sampled_from([0.0, 0.002, 0.006, 0.05])
numbers = st.integers(0, 6)
audiences = st.sampled_from([("mina",), ("teo",), USERS])
outcomes = st.sampled_from(["commit", "commit", "commit", "rollback", "savepoint"])
kinds = st.sampled_from(["simulated", "simulated", "simulated.secret"])
writing = st.tuples(audiences, outcomes, kinds)
actions = st.sampled_from(sorted(ACTIONS))
marks = st.one_of(
    st.tuples(users, actions, st.sets(numbers, min_size=1, max_size=3)),
    st.tuples(users, actions.filter(lambda action: action != "undelete"), numbers),  # all but so many of the newest steps
    st.tuples(users, st.just("seen"), numbers),
    st.tuples(users, st.just("undo"), numbers),  # of the mark so many before the last
)
happenings = st.sampled_from(["write", "mark", "mark all", "write, mark all", "prune", "prune"])
doings = st.lists(st.one_of(writing, marks), min_size=1, max_size=6)
bursts = st.tuples(doings, processes, fates, pauses)
endings = st.sampled_from([None, True, True, False])  # settle, and do the wake-ups that were held come


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
    @initialize(narrow=st.sampled_from([1, 100]), few=st.sampled_from([1, 8]), letter_bytes=st.sampled_from([300, 256 * 1024]))
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

    @rule(bursts=st.lists(bursts, min_size=1, max_size=5), ending=endings)
    def live(self, bursts: Any, ending: bool | None) -> None:
        """Transactions and steps in bursts, each of one process: faster than wake-ups can be sent, so that they are merged."""
        for what, process, fates, pause in bursts:
            self._act(partial(self._do, what), process, fates, pause)
        if ending is not None:
            self.settle(ending)

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

    @rule(user=users, which=numbers, hides=st.booleans(), after=doings, ending=endings)
    def change_who_may_see(self, user: str, which: int, hides: bool, after: Any, ending: bool | None) -> None:
        """Of what nobody is told. What has been rung before is delivered first: it was fanned out to who could see it."""
        self.world.post.fates = {}
        self._write((user,), "commit", "simulated.secret")
        self._relay()
        self._deliver_all()
        self.world.wait(0.1)
        secrets = sorted(Event.objects.filter(kind="simulated.secret").values_list("content__title", flat=True))
        key = (user, secrets[-1 - which % len(secrets)])
        self.expected.was_hidden.add(key)
        (self.expected.hidden.add if hides else self.expected.hidden.discard)(key)
        self._do(after)
        if ending is not None:
            self.settle(ending)

    @rule(user=users, fates=fates)
    def prune(self, user: str, fates: Any) -> None:
        self._fate(fates)
        self._prune(user)

    @rule(away=doings, what=happenings, queries=st.integers(0, 4), slot=slots)
    def look_meanwhile(self, away: Any, what: str, queries: int, slot: str) -> None:
        """A page comes back, and in the middle of the look at the database another process is at work."""
        user, tab = SLOTS[slot], self.tabs[slot]
        actions: dict[str, Callable[[], None]] = {
            "write": partial(self._write, (user,), "commit", "simulated"),
            "mark": partial(self._step, user, "read", {0, 1, 2}),
            "mark all": partial(self._step, user, "archive", 3),
            "write, mark all": partial(self._do, [((user,), "commit", "simulated"), (user, "read", 2)]),
            "prune": partial(self._prune, user),
        }
        self.world.run(tab.cut())
        self._do(away)
        if what == "prune":
            self._step(user, "delete", 3)
        self.world.wait(0.05)
        self.world.meanwhile = (queries, actions[what])
        for each in self._tabs_of(user):
            each.may_hear_twice = True  # until it has settled
        self._connect(tab, tab.server)
        self.world.wait(0.05)

    @rule(after=doings, fates=fates, is_noticed=st.booleans(), is_old=st.booleans())
    def restore(self, after: Any, fates: Any, is_noticed: bool, is_old: bool) -> None:
        """Something happens, and the database is as it was before it, or much earlier. Either a page that is ahead makes the
        product notice, or the operator says so."""
        newest = self._backup()
        backup, self.backup = (self.backup if is_old and self.backup is not None else newest), newest
        self._fate(fates)
        self._do(after)
        self.world.wait(AT_ONCE_SECONDS)
        before = states(self.ids.values())
        self._restore(backup)
        changes = {}
        for user in USERS:
            was, now = (found.get(str(self.ids[user])) for found in (before, states(self.ids.values())))
            if was is None or now is None or was == now:
                continue
            ahead = [tab for tab in self._tabs_of(user) if self._is_listening(tab) and tab.shown["position"] == str(was.position)]
            if is_noticed and ahead and was.position.epoch == now.position.epoch and was.position != now.position:
                changes[user] = now.position.epoch
            else:
                Inbox.objects.filter(pk=self.ids[user]).update(epoch=new_epoch())
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

    @rule(seconds=st.sampled_from([0.001, 0.003, 0.005, 0.02, 1.0, 6.0, 30.0]), forgets=st.sampled_from([False, False, True]))
    def let_time_pass(self, seconds: float, forgets: bool) -> None:
        """And perhaps the layer forgets who is a member of what."""
        if forgets:
            self.world.post.forget()
        self.world.wait(seconds)

    # --- what pages do, and what is done to them ---

    @rule(slot=slots, server=servers, returns=st.booleans(), pause=pauses)
    def cut(self, slot: str, server: int, returns: bool, pause: float) -> None:
        self.world.run(self.tabs[slot].cut())
        self.world.wait(pause)
        if returns:
            self._connect(self.tabs[slot], server)

    @rule(slot=slots, server=servers, pause=pauses)
    def come_back(self, slot: str, server: int, pause: float) -> None:
        """Connect, or say hello again where the page is connected."""
        tab = self.tabs[slot]
        if tab.wire is None:
            self._connect(tab, server)
        else:
            self.world.run(tab.hello())
        self.world.wait(pause)

    @rule(slot=slots, server=servers, is_old=st.booleans(), pause=pauses)
    def load_page(self, slot: str, server: int, is_old: bool, pause: float) -> None:
        """Printed now, or taken out of the browser's cache."""
        tab = self.tabs[slot]
        newest = self._print(tab.user)
        printed = self.printed.get(tab.user, newest) if is_old else newest
        self.printed[tab.user] = newest
        self.world.run(tab.cut())
        self._open(tab, printed, server)
        self.world.wait(pause)

    @rule(slot=slots, how=st.sampled_from(["does not acknowledge", "network stands", "peer does not read", "recovers"]))
    def slow_down(self, slot: str, how: str) -> None:
        tab = self.tabs[slot]
        if how == "recovers":
            self._speed_up(tab)
        elif how == "does not acknowledge":
            tab.acks = False
        elif how == "network stands":
            tab.reads.clear()
        elif tab.wire is not None:
            tab.wire.gate.clear()

    # --- what must be so ---

    @rule(comes=st.booleans())
    def settle(self, comes: bool) -> None:
        """Nothing more happens: if all wake-ups came, everything is shown at once; else after a watermark."""
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
            return
        self.world.wait(WATERMARK_SECONDS)
        for tab in self.tabs.values():
            self.world.run(tab.wait(2))
            self._connect(tab, tab.server)
        self.world.wait(AT_ONCE_SECONDS)
        self._check("by the watermark")
        self.world.post.lost.clear()
