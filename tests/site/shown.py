"""The demo in one language more, which is written from right to left: for the pictures in the docs."""

from django.utils.translation import gettext_lazy

from project.settings import *  # noqa: F403 - a variant of them
from project.settings import LANGUAGES

LANGUAGES = [*LANGUAGES, ("ar", gettext_lazy("Arabic"))]
