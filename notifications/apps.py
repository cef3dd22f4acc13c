"""Start-up: find the site's rules, listen to its signals, connect the stations of the way."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

__all__ = ["NotificationsConfig"]


class NotificationsConfig(AppConfig):
    """The label is not `notifications`: django-notifications-hq owns that one, its tables and its migration names."""

    name = "notifications"
    label = "live_notifications"
    verbose_name = _("notifications")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from notifications import admin_header, checks, receivers, relay, ringer, session, signals
        from notifications.conf import app_settings

        checks.register_all()
        signals.event_committed.connect(relay.after_commit, dispatch_uid="notifications.relay")
        signals.inbox_stepped.connect(ringer.inbox_stepped, dispatch_uid="notifications.ringer")
        session.start()
        receivers.start()
        if app_settings.ADMIN_BELL:
            admin_header.start()
        autodiscover_modules("notification_rules")
