"""Whatever happens in whatever order: the deltas applied to an old page make a fresh page."""

import os
import random
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import not_run
from tests.servers import Missing
from tests.simulator.machine import make_machine
from tests.simulator.tabs import Browser
from tests.simulator.world import World
from tests.site.declarations import own_declarations
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def node() -> Iterator[Browser]:
    try:
        process = Browser()
    except Missing as missing:
        not_run(missing)
    yield process
    process.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("examples", "steps"),
    [pytest.param(10, 20, id="quick"), pytest.param(120, 40, id="full size", marks=[pytest.mark.long, whatever_the_database])],
)
def test_deltas_applied_to_an_old_page_make_a_fresh_page(node, mina: User, teo: User, monkeypatch, figures, examples, steps):
    is_quick = examples < 100
    number = int(os.environ.get("FAULT_SEED", 1 if is_quick else random.randrange(10**6)))
    figures.record("seed", number)
    World.patch(monkeypatch)
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    with own_declarations():
        machine = make_machine(node, {"mina": mina.pk, "teo": teo.pk})
        run_state_machine_as_test(seed(number)(machine), settings=profile)  # type: ignore[no-untyped-call]
    figures.record("examples", examples)
