"""Rules and kinds that one test declares, taken back when it ends."""

import contextlib
from collections.abc import Iterator

from notifications.rules import registry

__all__ = ["own_declarations"]


@contextlib.contextmanager
def own_declarations(*, without_the_sites: bool = False) -> Iterator[None]:
    """What is declared inside is gone afterwards. `without_the_sites`: inside, the host project's model rules are silent."""
    kinds, model_rules, signal_rules = dict(registry.kinds), list(registry.model_rules), list(registry.signal_rules)
    if without_the_sites:
        registry.model_rules.clear()
        registry.on_change()
    try:
        yield
    finally:
        for declared in registry.signal_rules[len(signal_rules) :]:
            declared.signal.disconnect(sender=declared.sender, dispatch_uid=id(declared))  # type: ignore[arg-type]
        registry.kinds.clear()
        registry.kinds.update(kinds)
        registry.model_rules[:] = model_rules
        registry.signal_rules[:] = signal_rules
        registry.on_change()
