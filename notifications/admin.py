"""The operator's view: events that wait or were set aside, and what was delivered. Read-only but for trying again."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from notifications.items import rendered
from notifications.models import Event, Notification
from notifications.querysets import EventQuerySet
from notifications.rules import registry

__all__: list[str] = []

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """These rows are written by the app alone: a row changed by hand would be a step that no page hears of."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class KindFilter(admin.SimpleListFilter):
    """The kinds that are declared: asking the table which occur would read all of it."""

    title = _("kind")
    parameter_name = "kind"
    field = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(kind.name, kind.label or kind.name) for kind in registry.kinds.values()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.field: self.value()}) if self.value() else queryset


class NotificationKindFilter(KindFilter):
    field = "event__kind"


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "title", "created_at", "state", "tries")
    list_filter: ClassVar = [KindFilter, ("set_aside_at", admin.EmptyFieldListFilter), "pending"]
    actions = ("try_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        events: QuerySet[Event] = super().get_queryset(request)
        is_list = request.resolver_match is None or not request.resolver_match.kwargs
        return events.defer("audience") if is_list else events  # up to 10,000 ids a row

    @admin.display(description=_("title"))
    def title(self, event: Event) -> str:
        return str(rendered(event.copy())["title"])

    @admin.display(description=_("state"))
    def state(self, event: Event) -> str:
        if event.set_aside_at:
            return str(_("set aside"))
        return str(_("waiting")) if event.pending else str(_("relayed"))

    def has_try_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("live_notifications.change_event")

    @admin.action(description=_("Try again: relay the chosen events that were set aside"), permissions=["try_again"])
    def try_again(self, request: HttpRequest, events: EventQuerySet) -> None:
        chosen = events.set_aside()
        count = chosen.update(pending=True, tries=0, retry_at=None, set_aside_at=None, error="")
        self.message_user(
            request, ngettext("%(count)d event waits again.", "%(count)d events wait again.", count) % {"count": count}
        )


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ("id", "recipient", "event", "number", "read_at", "archived_at", "deleted_at")
    list_select_related = ("recipient", "event")
    list_filter = (NotificationKindFilter,)
    raw_id_fields = ("recipient", "event")
