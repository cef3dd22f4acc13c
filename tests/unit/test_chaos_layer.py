"""`ChaosLayer` keeps no promise but one: by the same seed, the same messages meet the same fate."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from channels.layers import channel_layers, get_channel_layer
from django.core.exceptions import ImproperlyConfigured

from notifications.testing import ChaosLayer

MIXED: dict[str, Any] = {"drop": 0.2, "double": 0.2, "delay": 0.2, "reorder": 0.2, "longest_delay": 0.05}


async def heard(layer: ChaosLayer, count: int, *, seconds: float = 0.1, group: str = "g") -> list[int]:
    """What the one member of a group receives of so many messages, until nothing has come for `seconds`."""
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    found = []
    for number in range(count):
        await layer.group_send(group, {"type": "x", "number": number})
    while True:
        try:
            async with asyncio.timeout(seconds):
                found.append((await layer.receive(channel))["number"])
        except TimeoutError:
            return found


async def test_by_default_it_is_a_layer_like_any_other():
    assert await heard(ChaosLayer(), 20) == list(range(20))


async def test_what_is_dropped_does_not_come():
    layer = ChaosLayer(drop=1.0)
    assert await heard(layer, 20) == []
    assert layer.counts == {"drop": 20}


async def test_what_is_doubled_comes_twice():
    assert await heard(ChaosLayer(double=1.0), 3) == [0, 0, 1, 1, 2, 2]


async def test_what_is_delayed_comes_late_but_comes():
    layer = ChaosLayer(seed=3, delay=0.5, longest_delay=0.05)
    found = await heard(layer, 20)
    assert sorted(found) == list(range(20))
    in_time = [number for number in range(20) if layer.fate("g", number)[0] == "send"]
    assert [number for number in found if number in in_time] == in_time
    assert found != sorted(found)


async def test_what_is_reordered_comes_after_the_next_one():
    layer = ChaosLayer(seed=3, reorder=0.5, longest_delay=60)
    await layer.group_add("g", channel := await layer.new_channel())
    first = next(n for n in range(50) if layer.fate("g", n)[0] == "reorder" and layer.fate("g", n + 1)[0] == "send")
    for number in range(first + 2):
        await layer.group_send("g", {"type": "x", "number": number})
    came = [(await layer.receive(channel))["number"] for _ in range(first + 2)]
    assert came[-2:] == [first + 1, first]
    await layer.close()


async def test_a_reordered_message_that_none_follows_comes_in_the_end():
    assert await heard(ChaosLayer(reorder=1.0, longest_delay=0.05), 1) == [0]


async def test_the_same_seed_gives_the_same_fate_whatever_else_is_sent():
    one, two, other = ChaosLayer(seed=7, **MIXED), ChaosLayer(seed=7, **MIXED), ChaosLayer(seed=8, **MIXED)
    for number in range(50):
        await one.group_send("g", {"type": "x", "number": number})
    for number in range(50):
        await two.group_send("elsewhere", {"type": "x"})
        await two.group_send("g", {"type": "x", "number": number})
    fates = [one.fate("g", number) for number in range(50)]
    assert fates == [two.fate("g", number) for number in range(50)]
    assert fates != [two.fate("elsewhere", number) for number in range(50)]
    assert fates != [other.fate("g", number) for number in range(50)]
    assert one.counts == Counter(fate for fate, _ in fates)
    assert set(one.counts) == {"send", "drop", "double", "delay", "reorder"}
    for layer in (one, two):
        await layer.close()


async def test_a_channel_of_one_process_has_its_fate_by_the_part_of_its_name_that_is_no_chance():
    layers = [ChaosLayer(seed=5, drop=0.5) for _ in range(2)]
    for layer in layers:
        channel = await layer.new_channel()
        for _ in range(30):
            await layer.send(channel, {"type": "x"})
    assert layers[0].counts == layers[1].counts
    assert 0 < layers[0].counts["drop"] < 30


async def test_flushing_forgets_what_is_under_way():
    layer = ChaosLayer(delay=1.0, longest_delay=0.05)
    await layer.group_add("g", channel := await layer.new_channel())
    await layer.group_send("g", {"type": "x"})
    await layer.flush()
    await layer.group_add("g", channel)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await layer.receive(channel)


async def test_a_late_message_that_the_layer_refuses_is_lost_in_silence(caplog):
    layer = ChaosLayer(delay=1.0, longest_delay=0.01)

    async def refuse(*_: Any) -> None:
        raise ConnectionError

    layer.layer.group_send = refuse
    await layer.group_send("g", {"type": "x"})
    await asyncio.sleep(0.05)  # longer than any delay
    assert not layer._late
    assert caplog.records == []


async def test_it_stands_in_the_settings_and_wraps_any_layer(settings):
    wrapped = {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"group_expiry": 33}}
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "notifications.testing.ChaosLayer", "CONFIG": {"seed": 1, "drop": 0.3, "layer": wrapped}}
    }
    layer = get_channel_layer()
    assert isinstance(layer, ChaosLayer)
    assert layer.group_expiry == 33, "what it does not say itself is the wrapped layer's word"
    assert channel_layers["default"] is layer


async def test_names_are_checked_even_of_what_is_dropped():
    layer = ChaosLayer(drop=1.0)
    with pytest.raises(TypeError):
        await layer.group_send("not a name", {"type": "x"})
    with pytest.raises(TypeError):
        await layer.send("not a name", {"type": "x"})


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"drop": 1.1}, "drop is a probability from 0 to 1, not 1.1"),
        ({"double": -0.1}, "double is a probability"),
        ({"delay": "often"}, "delay is a probability from 0 to 1, not 'often'"),
        ({"reorder": True}, "reorder is a probability"),
        ({"drop": float("nan")}, "drop is a probability"),
        ({"drop": 0.6, "delay": 0.6}, "one fate, but the probabilities make 1.2 together"),
        ({"seed": "x"}, "seed is a whole number, not 'x'"),
        ({"longest_delay": 0}, "longest_delay is a number of seconds above 0, not 0"),
        ({"longest_delay": None}, "longest_delay is a number"),
        ({"layer": "channels.layers.InMemoryChannelLayer"}, "an entry as in CHANNEL_LAYERS, with a BACKEND"),
        ({"layer": {"CONFIG": {}}}, "with a BACKEND"),
        ({"layer": {"BACKEND": "nowhere.Layer"}}, "BACKEND cannot be imported"),
    ],
)
def test_wrong_settings_are_refused_in_words(config, what):
    with pytest.raises(ImproperlyConfigured) as refused:
        ChaosLayer(**config)
    assert what in str(refused.value)
