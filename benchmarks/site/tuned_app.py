"""Plain Channels with what our deploy page advises for every process with many sockets."""

import gc

from benchmarks.site.channels_app import application

__all__ = ["application"]

gc.collect()
gc.freeze()
gc.set_threshold(50_000)
