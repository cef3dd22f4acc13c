"""The test site under settings of one server's own: `SITE_SETTINGS` in its environment, as JSON, over `tests.site.settings`."""

import json
import os

from tests.site.settings import *  # noqa: F403 - a settings module is a bag of names

globals().update(json.loads(os.environ.get("SITE_SETTINGS", "{}")))
