"""A program that tells a user something from every context that Python code runs in: `every_context.py USER_ID TIMES`.

Each so many times; what forks only once, since a child has connections of its own. Prints each title once it has been told.
"""

import asyncio
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from asgiref.sync import async_to_sync, sync_to_async

django.setup()

from django.core.management import call_command  # noqa: E402 - only a set-up Django has commands
from django.db import connections  # noqa: E402

from notifications import anotify, notify  # noqa: E402


def report(title: str) -> None:
    sys.stdout.write(f"{title}\n")
    sys.stdout.flush()


def tell(title: str) -> None:
    notify("plain", to=USER, title=title)
    report(title)


async def atell(title: str) -> None:
    await anotify("plain", to=USER, title=title)
    report(title)


def closing(function: Callable[..., Any], *arguments: Any) -> None:
    """A thread's own connections to the database end with it: that is the site's part."""
    try:
        function(*arguments)
    finally:
        connections.close_all()


def plainly(title: str) -> None:
    tell(title)


def by_a_loop_of_its_own(title: str) -> None:
    asyncio.run(atell(title))


def by_sync_to_async(title: str) -> None:
    asyncio.run(sync_to_async(tell)(title))


def by_async_to_sync(title: str) -> None:
    async_to_sync(atell)(title)


def by_async_to_sync_inside(title: str) -> None:
    """Sync code that asynchronous code has called goes back to async."""

    async def outside() -> None:
        await sync_to_async(by_async_to_sync)(title)

    asyncio.run(outside())


def by_a_task(title: str) -> None:
    async def both() -> None:
        await asyncio.gather(asyncio.create_task(atell(title)), asyncio.sleep(0))

    asyncio.run(both())


def by_a_thread(title: str) -> None:
    thread = threading.Thread(target=closing, args=(tell, title))
    thread.start()
    thread.join()


def by_a_loop_in_a_thread(title: str) -> None:
    thread = threading.Thread(target=closing, args=(asyncio.run, atell(title)))
    thread.start()
    thread.join()


def by_a_pool(title: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: closing(tell, f"{title} {number}"), range(4)))


def by_a_command(title: str) -> None:
    call_command("tell", USER, title)
    report(title)


def by_a_forked_child(title: str) -> None:
    """As a pre-forking server has it: the parent has rung already."""
    connections.close_all()
    child = os.fork()
    if not child:
        closing(tell, title)
        sys.exit()  # unlike os._exit() it cleans up, and what it inherited must not mind
    assert os.waitpid(child, 0)[1] == 0


def by_a_child_that_ends_hard(title: str) -> None:
    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=closing, args=(tell, title))
    process.start()
    process.join()
    assert process.exitcode == 0


CONTEXTS = [
    plainly,
    by_a_loop_of_its_own,
    by_sync_to_async,
    by_async_to_sync,
    by_async_to_sync_inside,
    by_a_task,
    by_a_thread,
    by_a_loop_in_a_thread,
    by_a_pool,
    by_a_command,
]
FORKING = [by_a_child_that_ends_hard, plainly, by_a_forked_child]
"""In this order: a ring that the last one lost is not made up for by the gap that the next one shows."""
USER, TIMES = int(sys.argv[1]), int(sys.argv[2])

if __name__ == "__main__":
    for context in CONTEXTS:
        for time in range(TIMES):
            context(f"{context.__name__} {time}")
    for context in FORKING:
        context(f"{context.__name__}, at last")
    connections.close_all()
