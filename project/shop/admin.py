from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from project.shop.models import Bell, Comment, Order, OrderLine

if TYPE_CHECKING:
    OrderAdminBase = admin.ModelAdmin[Order]
else:
    OrderAdminBase = admin.ModelAdmin

admin.site.site_header = admin.site.site_title = "Hark"


class OrderLineInline(admin.TabularInline):  # type: ignore[type-arg]
    model = OrderLine
    extra = 0


@admin.register(Order)
class OrderAdmin(OrderAdminBase):
    list_display = ("__str__", "customer", "status", "paid_at", "placed_at")
    list_editable = ("status",)
    list_filter = ("status",)
    list_select_related = ("customer",)
    filter_horizontal = ("followers",)
    inlines: ClassVar = [OrderLineInline]

    def save_model(self, request: HttpRequest, obj: Order, form: Any, change: bool) -> None:
        obj.handled_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("order", "author", "body", "created_at")
    list_select_related = ("order", "author")


@admin.register(Bell)
class BellAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "note", "metal", "price")
    prepopulated_fields: ClassVar = {"slug": ["name"]}
