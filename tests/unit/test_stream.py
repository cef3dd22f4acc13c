"""A step is sent live only onto the position it starts from: whatever was lost, doubled or late, none is skipped or repeated."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifications.stream import CATCH_UP_BYTES, WINDOW_BYTES, WINDOW_SECONDS, WINDOW_STEPS, Stream, Verdict

EPOCH = "e"


def standing_at(top: int, epoch: str = EPOCH) -> Stream:
    """A stream whose page has been brought to `top`."""
    stream = Stream()
    stream.stand_at(epoch, top)
    stream.look()
    assert stream.caught_up()
    return stream


def send(
    stream: Stream, top: int, *, ack: str = "a", size: int = 1, steps: int = 1, now: float = 0.0, epoch: str = EPOCH
) -> None:
    """A message that asks for an acknowledgement, whether it must or not."""
    stream.sent(epoch=epoch, top=top, steps=steps, size=size)
    stream.asked(ack, now=now)


def test_the_next_step_is_sent():
    assert standing_at(5).offer(EPOCH, 5, 7) is Verdict.SEND


@pytest.mark.parametrize(("base", "top"), [(4, 5), (0, 3), (3, 5)])
def test_a_step_that_the_page_has_is_dropped(base, top):
    stream = standing_at(5)
    assert stream.offer(EPOCH, base, top) is Verdict.DROP
    assert not stream.is_behind


@pytest.mark.parametrize(("epoch", "base", "top"), [(EPOCH, 6, 7), (EPOCH, 4, 6), ("other", 5, 6), ("other", 0, 1), ("", 5, 6)])
def test_a_step_that_does_not_fit_makes_the_stream_behind(epoch, base, top):
    stream = standing_at(5)
    assert stream.offer(epoch, base, top) is Verdict.BEHIND
    assert stream.is_behind


def test_a_stream_that_is_behind_sends_nothing_live_not_even_what_would_fit():
    stream = standing_at(5)
    stream.offer(EPOCH, 6, 7)
    assert stream.offer(EPOCH, 5, 6) is Verdict.BEHIND


def test_the_first_step_of_a_new_inbox_fits_a_page_that_knew_none():
    assert standing_at(0, "").offer("new", 0, 1) is Verdict.SEND
    assert standing_at(0, "").offer("new", 1, 2) is Verdict.BEHIND


def test_a_page_that_says_where_it_stands_is_behind_until_a_look_at_the_database():
    stream = Stream()
    stream.stand_at(EPOCH, 5)
    assert stream.offer(EPOCH, 5, 6) is Verdict.BEHIND
    assert not stream.caught_up()


def test_news_heard_during_a_look_asks_for_another_look():
    stream = standing_at(5)
    stream.offer(EPOCH, 6, 7)
    stream.look()
    stream.offer(EPOCH, 7, 8)
    send(stream, 7)
    assert not stream.caught_up()
    stream.look()
    send(stream, 8, ack="b")
    assert stream.caught_up()
    assert stream.offer(EPOCH, 8, 9) is Verdict.SEND


def test_a_part_of_a_catch_up_moves_the_cursor_and_not_the_position():
    stream = standing_at(5)
    stream.offer(EPOCH, 8, 9)
    stream.sent_part(7, 3, steps=2, size=1)
    assert (stream.top, stream.cursor_stamp, stream.cursor_event) == (5, 7, 3)
    send(stream, 9, ack="b")
    assert (stream.top, stream.cursor_stamp, stream.cursor_event) == (9, 9, None)


@pytest.mark.parametrize(("steps", "size"), [(WINDOW_STEPS, 1), (1, WINDOW_BYTES)])
def test_a_full_window_makes_the_next_step_wait_for_an_ack(steps, size):
    stream = standing_at(0)
    assert stream.is_open
    send(stream, 1, steps=steps, size=size)
    assert not stream.is_open
    assert stream.offer(EPOCH, 1, 2) is Verdict.BEHIND
    assert stream.acknowledged("a")
    assert stream.is_open


def test_one_step_and_byte_below_the_bounds_is_open():
    stream = standing_at(0)
    send(stream, 1, steps=WINDOW_STEPS - 1, size=WINDOW_BYTES - 1)
    assert stream.offer(EPOCH, 1, 2) is Verdict.SEND


def test_an_ack_covers_what_was_sent_before_it_and_nothing_after():
    stream = standing_at(0)
    for number, ack in enumerate("abc", 1):
        send(stream, number, ack=ack, steps=WINDOW_STEPS // 3, size=10)
    send(stream, 4, ack="d", steps=WINDOW_STEPS // 3, size=10)
    assert not stream.is_open
    assert stream.acknowledged("c")
    assert not stream.acknowledged("b")
    assert not stream.is_overdue(WINDOW_SECONDS)
    assert stream.is_overdue(WINDOW_SECONDS + 0.1)
    assert stream.acknowledged("d")
    assert not stream.is_overdue(WINDOW_SECONDS * 9)


@pytest.mark.parametrize(("steps", "size"), [(WINDOW_STEPS // 2, 1), (1, WINDOW_BYTES // 2)])
def test_half_of_the_window_must_be_asked_for(steps, size):
    stream = standing_at(0)
    stream.sent(epoch=EPOCH, top=1, steps=steps - 1, size=size - 1)
    assert not stream.must_ask
    stream.sent(epoch=EPOCH, top=2, steps=1, size=1)
    assert stream.must_ask
    stream.asked("a", now=0.0)
    assert not stream.must_ask


def test_an_ack_covers_also_what_did_not_ask():
    stream = standing_at(0)
    stream.sent(epoch=EPOCH, top=1, steps=WINDOW_STEPS - 1, size=1)
    send(stream, 2)
    assert not stream.is_open
    assert stream.acknowledged("a")
    stream.sent(epoch=EPOCH, top=3, steps=WINDOW_STEPS - 1, size=1)
    assert stream.is_open


def test_what_did_not_ask_is_never_overdue():
    stream = standing_at(0)
    stream.sent(epoch=EPOCH, top=1, steps=1, size=1)
    assert not stream.is_overdue(1e9)


@pytest.mark.parametrize("ack", ["", "x", "a "])
def test_an_ack_that_nobody_gave_counts_for_nothing(ack):
    stream = standing_at(0)
    send(stream, 1, steps=WINDOW_STEPS)
    assert not stream.acknowledged(ack)
    assert not stream.is_open


def test_an_ack_counts_once():
    stream = standing_at(0)
    send(stream, 1)
    assert stream.acknowledged("a")
    assert not stream.acknowledged("a")


def test_while_a_send_is_under_way_nothing_else_is_sent():
    stream = standing_at(0)
    stream.is_sending = True
    assert stream.offer(EPOCH, 0, 1) is Verdict.BEHIND


def test_the_oldest_that_asked_decides_who_is_overdue():
    stream = standing_at(0)
    assert not stream.is_overdue(1e9)
    send(stream, 1, ack="a", now=100.0)
    send(stream, 2, ack="b", now=125.0)
    assert not stream.is_overdue(100.0 + WINDOW_SECONDS)
    assert stream.is_overdue(100.1 + WINDOW_SECONDS)


FULL = [(WINDOW_STEPS // 2, 0), (0, WINDOW_BYTES // 2)]


def one_way(top: int = 5) -> Stream:
    stream = Stream(is_one_way=True)
    stream.stand_at(EPOCH, top)
    return stream


@pytest.mark.parametrize(("steps", "size"), FULL)
def test_a_one_way_stream_ends_where_another_would_ask(steps, size):
    stream = one_way()
    stream.sent(epoch=EPOCH, top=6, steps=steps - 1, size=size - 1)
    assert not stream.must_end
    stream.sent(epoch=EPOCH, top=7, steps=1, size=1)
    assert stream.must_end
    assert not stream.must_ask


def test_a_one_way_stream_ends_amid_no_catch_up():
    """The page's position moves by whole ones: it would begin again, for ever."""
    stream = one_way()
    for event in (None, 17):
        stream.sent_part(9, event, steps=WINDOW_STEPS, size=WINDOW_BYTES)
        assert not stream.must_end
        assert stream.is_open, "no acknowledgement will come to open it"
    stream.sent(epoch=EPOCH, top=9, steps=1, size=1)
    assert stream.must_end


def test_a_one_way_stream_waits_for_a_send_as_any_other():
    stream = one_way()
    stream.is_sending = True
    assert not stream.is_open


def test_a_one_way_catch_up_longer_than_a_fresh_page_is_given_up_for_one():
    stream = one_way()
    stream.sent_part(9, 17, steps=1, size=CATCH_UP_BYTES)
    assert not stream.must_start_over
    stream.sent_part(9, 18, steps=1, size=1)
    assert stream.must_start_over
    stream.stand_at("?", 0)
    assert not stream.must_start_over
    stream.sent(epoch=EPOCH, top=9, steps=20, size=1)
    assert not stream.must_start_over
    assert stream.must_end


def test_a_stream_that_is_answered_ends_by_itself_never():
    stream = standing_at(5)
    stream.sent_part(9, 17, steps=WINDOW_STEPS, size=2 * CATCH_UP_BYTES)
    assert not stream.must_start_over
    stream.sent(epoch=EPOCH, top=9, steps=WINDOW_STEPS, size=WINDOW_BYTES)
    assert not stream.must_end
    assert stream.must_ask


class Simulated:
    """An inbox, the wake-ups on their way, a stream as the hub handles it, and the page that checks what it is sent."""

    def __init__(self, top: int) -> None:
        self.epoch, self.top = EPOCH, top
        self.on_their_way: list[tuple[str, int, int]] = []
        self.stream = standing_at(top)
        self.page = (EPOCH, top)
        self.heard: tuple[str, int] = (EPOCH, top)
        self.snapshot: tuple[str, int] | None = None
        self.acks: list[str] = []
        self.sent = self.epochs = 0

    def step(self, count: int) -> None:
        self.on_their_way.append((self.epoch, self.top, self.top + count))
        self.top += count

    def new_epoch(self) -> None:
        self.epochs += 1
        self.epoch, self.top = f"e{self.epochs}", 0  # as random as the real one: none comes twice

    def hear(self, at: int, *, keep: bool) -> None:
        if not self.on_their_way:
            return
        at %= len(self.on_their_way)
        epoch, base, top = self.on_their_way[at] if keep else self.on_their_way.pop(at)
        if epoch == self.epoch:
            self.heard = (epoch, max(top, self.heard[1] if self.heard[0] == epoch else 0))
        verdict = self.stream.offer(epoch, base, top)
        if verdict is Verdict.SEND:
            assert (epoch, base) == self.page, "a step was sent onto a position that it does not start from"
            assert not self.stream.is_sending
            self._send(epoch, top)
        elif verdict is Verdict.DROP:
            assert self.page[0] == epoch
            assert self.page[1] >= top, "a step that the page lacks was dropped"
        else:
            assert self.stream.is_behind

    def lose(self, at: int) -> None:
        if self.on_their_way:
            self.on_their_way.pop(at % len(self.on_their_way))

    def begin_look(self) -> None:
        if self.stream.is_behind and self.stream.is_open and self.snapshot is None:
            self.stream.look()
            self.snapshot = (self.epoch, self.top)

    def end_look(self) -> None:
        if self.snapshot is None or not self.stream.is_open:
            return
        if self.snapshot != self.page:
            assert self.snapshot[0] != self.page[0] or self.snapshot[1] > self.page[1], "a look took the page backwards"
            self._send(*self.snapshot)
        self.snapshot = None
        self.stream.caught_up()

    def acknowledge(self, at: int) -> None:
        if self.acks:
            at %= len(self.acks)
            assert self.stream.acknowledged(self.acks[at])
            del self.acks[: at + 1]

    def stall(self) -> None:
        self.stream.is_sending = not self.stream.is_sending

    def _send(self, epoch: str, top: int) -> None:
        self.sent += 1
        self.stream.sent(epoch=epoch, top=top, steps=7, size=1000)
        if self.stream.must_ask:
            self.acks.append(str(self.sent))
            self.stream.asked(str(self.sent), now=0.0)
        self.page = (epoch, top)

    def check(self) -> None:
        assert (self.stream.epoch, self.stream.top) == self.page
        if not self.stream.is_behind and self.heard[0] == self.page[0]:
            assert self.page[1] >= self.heard[1], "a step was heard of and forgotten"


index = st.integers(0, 9)
action = st.one_of(
    st.tuples(st.just("step"), st.integers(1, 4)),
    st.tuples(st.just("hear"), index),
    st.tuples(st.just("hear"), index),
    st.tuples(st.just("hear_and_again"), index),
    st.tuples(st.just("lose"), index),
    st.tuples(st.just("begin_look")),
    st.tuples(st.just("end_look")),
    st.tuples(st.just("acknowledge"), index),
    st.tuples(st.just("stall")),
    st.tuples(st.just("new_epoch")),
)


@settings(max_examples=60)
@given(st.lists(action, max_size=40), st.integers(0, 3))
def test_whatever_happens_no_step_is_skipped_repeated_or_forgotten(actions, top):
    world = Simulated(top)
    for name, *arguments in actions:
        if name.startswith("hear"):
            world.hear(*arguments, keep=name == "hear_and_again")
        else:
            getattr(world, name)(*arguments)
        world.check()
    # All calms down: the stream stands where the inbox stands once it is looked after and hears of the last step.
    world.stream.is_sending = False
    world.step(1)
    world.on_their_way = world.on_their_way[-1:]
    world.hear(0, keep=False)
    while world.stream.is_behind:
        if not world.stream.is_open:
            world.acknowledge(-1)
        world.begin_look()
        world.end_look()
    assert world.page == (world.epoch, world.top)
