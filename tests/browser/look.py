"""The test site as `tests/site/look.py` has it, with a browser's pages in it: Bootstrap's, htmx's, Turbo's."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.browser.conftest import Demo, environment, manage
from tests.servers import daphne_process

__all__ = ["Look", "look_site"]

SETTINGS = "tests.site.look"
HEAD = """
from django.contrib.auth.models import User
import tests.site.look_pages
mina = User.objects.get(username='mina')
"""
PEOPLE = """
import json
from django.contrib.auth.models import User
from tests.site.client import new_session
people = [User.objects.create_user('mina'), User.objects.create_superuser('noor')]
print(json.dumps({user.username: new_session(user) for user in people}))
"""


class Look(Demo):
    """Mina, and Noor, who may see the admin."""

    sessions: dict[str, str]


@contextlib.contextmanager
def look_site(directory: Path, redis_url: str = "", **variant: str) -> Iterator[Look]:
    """A running one, on a database of its own. `variant`: what `look.py` reads of its environment."""
    url = f"sqlite:///{directory / 'look.sqlite3'}"
    manage(url, "migrate", "--verbosity", "0", settings=SETTINGS)
    sessions = manage(url, "shell", "--no-imports", "-c", PEOPLE, settings=SETTINGS)
    env = environment(url, redis_url, SETTINGS) | variant
    with daphne_process(env, settings=SETTINGS) as server:
        look = Look(server, url, redis_url, settings=SETTINGS, head=HEAD)
        look.sessions = json.loads(sessions)
        yield look
