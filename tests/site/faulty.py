"""The test site with every broken rule that we could think of: see `faulty_urls`. `ATOMIC_REQUESTS=1` wraps its requests."""

import os

from tests.site.varied import *  # noqa: F403 - a settings module is a bag of names
from tests.site.varied import DATABASES

ROOT_URLCONF = "tests.site.faulty_urls"
DATABASES["default"]["ATOMIC_REQUESTS"] = bool(os.environ.get("ATOMIC_REQUESTS"))
