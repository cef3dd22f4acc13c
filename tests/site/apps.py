import os

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "tests.site"
    label = "site_under_test"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tests.site import counting

        if os.environ.get("COUNT_STATEMENTS"):
            counting.start()
