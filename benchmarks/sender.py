"""A plain command process of the site: orders come in over standard input."""

import os

import django

from benchmarks.processes import serve

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.site.settings"
    django.setup()
    from benchmarks.site.work import perform

    serve(perform)
