"""django-eventstream: everybody may read their own channel and the one of all."""

from typing import Any

from django_eventstream.channelmanager import DefaultChannelManager

__all__ = ["OwnChannels"]


class OwnChannels(DefaultChannelManager):  # type: ignore[misc]
    def can_read_channel(self, user: Any, channel: str) -> bool:
        return user is not None and channel in {f"user-{user.pk}", "everybody"}

    def is_channel_reliable(self, channel: str) -> bool:
        return False
