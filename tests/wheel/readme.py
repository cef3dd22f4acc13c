"""The README's steps of installation, as a program reads them, so that README and test cannot drift.

Each fenced block of the section "Install in five minutes" stands under a comment that says what a reader does with it:

    <!-- install: run -->                         type these lines in the folder that holds manage.py
    <!-- install: append mysite/settings.py -->   add this at the end of that file
    <!-- install: write news/rules.py -->         this is the whole of that file
"""

import re
from dataclasses import dataclass

__all__ = ["HEADING", "Step", "installation_steps"]

HEADING = "## Install in five minutes"
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"<!-- install: (?P<action>run|append|write)(?: (?P<path>\S+))? -->\n\Z")


@dataclass(frozen=True)
class Step:
    action: str
    path: str
    """Of the file, from the site's folder; empty for `run`."""
    text: str


def installation_steps(readme: str) -> list[Step]:
    """The steps in their order. Raises `ValueError` for a fenced block that does not say what to do with it."""
    _, heading, section = readme.partition(f"{HEADING}\n")
    if not heading:
        raise ValueError(f"the README has no section {HEADING!r}")
    section = re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0]
    steps = []
    for fence in FENCE.finditer(section):
        marker = MARKER.search(section[: fence.start()])
        if marker is None:
            raise ValueError(f"no <!-- install: ... --> stands right above this block:\n{fence['text']}")
        steps.append(Step(marker["action"], marker["path"] or "", fence["text"]))
    if not steps:
        raise ValueError("the README's section on installation has no steps")
    return steps
