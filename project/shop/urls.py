from django.urls import path

from project.shop import views

urlpatterns = [
    path("", views.welcome, name="welcome"),
    path("as/<slug:username>/", views.sign_in_as, name="sign-in-as"),
    path("bells/", views.bells, name="bells"),
    path("bells/<slug:slug>/order/", views.place_order, name="place-order"),
    path("orders/", views.orders, name="orders"),
    path("orders/<int:number>/", views.order, name="order"),
    path("orders/<int:number>/pay/", views.pay, name="order-pay"),
    path("orders/<int:number>/status/", views.move, name="order-status"),
    path("orders/<int:number>/comment/", views.comment, name="order-comment"),
    path("orders/<int:number>/arrived/<slug:word>/", views.arrived, name="order-arrived"),
]
