from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "tests.site"
    label = "site_under_test"
    default_auto_field = "django.db.models.BigAutoField"
