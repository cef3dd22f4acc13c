"""The test site as somebody looks at it: files served, under a strict policy, the bell in the admin's header.

THEME; NONCE=1: a policy that lets nothing run without the page's nonce, NONCE=styles: one of own files and of inline styles with
the nonce, which Turbo needs; HASHED=1: what `collectstatic` has put into STATIC_ROOT,
where only the hashed names are kept.
"""

import os
from pathlib import Path

from csp.constants import NONCE, NONE, SELF, STRICT_DYNAMIC

from tests.site.settings import *  # noqa: F403 - a variant of them
from tests.site.settings import INSTALLED_APPS, LANGUAGES, MIDDLEWARE, TEMPLATES

ROOT_URLCONF = "tests.site.look_pages"
INSTALLED_APPS = [*INSTALLED_APPS, "csp"]
LANGUAGES = [*LANGUAGES, ("ar", "Arabic")]
MIDDLEWARE = ["csp.middleware.CSPMiddleware", "whitenoise.middleware.WhiteNoiseMiddleware", *MIDDLEWARE]
TEMPLATES = [{**TEMPLATES[0], "DIRS": [Path(__file__).parent / "look_templates"]}]

NOTIFICATIONS_ADMIN_BELL = True
NOTIFICATIONS_THEME = os.environ.get("THEME", "plain")

SOURCES = [NONCE, STRICT_DYNAMIC] if os.environ.get("NONCE") == "1" else [SELF]
STYLES = {"1": [NONCE], "styles": [SELF, NONCE]}.get(os.environ.get("NONCE", ""), [SELF])
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {"default-src": [SELF], "script-src": SOURCES, "style-src": STYLES, "object-src": [NONE], "base-uri": [NONE]}
}

STATIC_ROOT = os.environ.get("STATIC_ROOT")
PACKAGES = Path(__file__).parents[1] / "js/node_modules"
STATICFILES_DIRS = [
    ("bootstrap", PACKAGES / "bootstrap/dist"),
    ("htmx", PACKAGES / "htmx.org/dist"),
    ("turbo", PACKAGES / "@hotwired/turbo/dist"),
    *filter(None, [os.environ.get("STRIPPED")]),
]
if STATIC_ROOT:
    STORAGES = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}}
    WHITENOISE_KEEP_ONLY_HASHED_FILES = True
else:
    WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = True
