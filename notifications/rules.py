"""Declarations: which changes matter (`rule`, `signal_rule`), what they become (`Draft`), and of which sort it is (`Kind`).

Pure: nothing here touches the database, the channel layer or the clock. `receivers.py` finds the rules that a signal concerns,
`outbox.py` turns the drafts into events, `items.py` renders a stored `Text` in its reader's language.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, cast

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db.models import Model, QuerySet
from django.dispatch import Signal
from django.urls import get_script_prefix
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext, npgettext, override, pgettext

if TYPE_CHECKING:
    from notifications.models import Event

__all__ = [
    "Action",
    "Change",
    "Draft",
    "Kind",
    "Severity",
    "Text",
    "clean",
    "is_own_path",
    "registry",
    "render_text",
    "rule",
    "signal_rule",
    "stored_text",
]

Severity: TypeAlias = Literal["info", "success", "warning", "error"]
SEVERITIES: Final = ("info", "success", "warning", "error")
Drafts: TypeAlias = "Draft | Iterable[Draft] | None"
Function = TypeVar("Function", bound=Callable[..., Any])
KIND_NAME: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")  # NUL: PostgreSQL refuses it; lone surrogates: no encoder takes them
OWN_PATH: Final = re.compile(r"/(?![/\\])[^\x00-\x20\x7f]*")
ACTIONS: Final = 3


def clean(text: str) -> str:
    """The text with what no database stores replaced by U+FFFD."""
    return UNSTORABLE.sub("\ufffd", text)


class Text:
    """A message id and its parameters, rendered in the reader's language, whenever that is.

    `msgid` may be lazy (`gettext_lazy`) or plain (`gettext_noop`). With `plural`, the parameter `count` chooses the form.
    `context` is pgettext's. Parameters are strings, numbers, booleans, None, lazy strings or other texts: anything else raises
    `TypeError`, since it could not be stored.
    """

    __slots__ = ("context", "msgid", "params", "plural")

    def __init__(
        self,
        msgid: str | Promise,
        /,
        *,
        plural: str | Promise | None = None,
        context: str | None = None,
        **params: Any,
    ) -> None:
        if plural is not None and not isinstance(params.get("count"), int):
            raise TypeError("a Text with a plural needs the whole number count=")
        self.msgid = _message_id(msgid)
        self.plural = None if plural is None else _message_id(plural)
        self.context = None if context is None else clean(context)
        self.params = {clean(name): _storable(name, value) for name, value in params.items()}

    def __repr__(self) -> str:
        return f"Text({self.msgid!r})"

    def as_json(self) -> dict[str, Any]:
        stored: dict[str, Any] = {"id": self.msgid, "params": self.params}
        if self.plural is not None:
            stored["plural"] = self.plural
        if self.context is not None:
            stored["context"] = self.context
        return stored


def stored_text(text: str | Promise | Text) -> str | dict[str, Any]:
    """The text as `render_text()` takes it: JSON."""
    if isinstance(text, Promise):
        text = Text(text)
    return text.as_json() if isinstance(text, Text) else clean(str(text))


def is_own_path(url: str) -> bool:
    """Whether a browser stays on this site when it follows the URL, wherever it stands: `/orders/7/?page=2`."""
    return OWN_PATH.fullmatch(url) is not None


def _without_forged_prefix(url: str) -> str:
    """What `reverse()` meant. Daphne takes the script prefix from a request header, and whoever forges that stops no rule."""
    prefix = get_script_prefix()
    is_forged = url.startswith(prefix) and not is_own_path(prefix)
    return "/" + url.removeprefix(prefix) if is_forged else url


def _message_id(text: str | Promise) -> str:
    if not isinstance(text, str | Promise):
        raise TypeError(f"a Text is made of a string, not of {type(text).__name__}")
    if isinstance(text, str):
        return clean(text)
    with override(None):  # without a language a lazy translation is its message id
        return clean(str(text))


def _storable(name: str, value: Any) -> Any:
    if isinstance(value, Promise):
        value = Text(value)
    if isinstance(value, Text):
        return value.as_json()
    if isinstance(value, str):
        return clean(str(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"Text parameter {name}: {type(value).__name__} cannot be stored; pass a string or a number")


def render_text(stored: str | Mapping[str, Any]) -> str:
    """A stored text in the active language. Never raises: a translation that does not fit falls back to the message id."""
    if isinstance(stored, str):
        return stored
    msgid, plural, context = stored["id"], stored.get("plural"), stored.get("context")
    params: dict[str, Any] = {
        name: render_text(value) if isinstance(value, Mapping) else value for name, value in stored["params"].items()
    }
    if plural is not None:
        count = params["count"]
        text = ngettext(msgid, plural, count) if context is None else npgettext(context, msgid, plural, count)
    else:
        text = gettext(msgid) if context is None else pgettext(context, msgid)
    if not params or not msgid:
        return text if msgid else ""
    original = msgid if plural is None or params["count"] == 1 else plural
    for candidate in (text, original):
        try:
            return candidate % params
        except (KeyError, ValueError, TypeError, OverflowError):
            continue
    return cast(str, original)


@dataclass(frozen=True)
class Kind:
    """A sort of notification under a stable dotted name: the unit of preferences. Making one registers it.

    `visible_to(users, event)` narrows a queryset of users to those who may see the event: asked at fan-out and at replay.
    Raises `ImproperlyConfigured` for a malformed name or severity, or a name that another kind has.
    """

    name: str
    _: KW_ONLY
    label: str | Promise = ""
    severity: Severity = "info"
    icon: str = ""
    visible_to: "Callable[[QuerySet[Any], Event], QuerySet[Any]] | None" = None

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and KIND_NAME.fullmatch(self.name) and len(self.name) <= 100):
            raise ImproperlyConfigured(f"Kind {self.name!r}: a name is lower-case words joined by dots, at most 100 characters")
        if self.severity not in SEVERITIES:
            raise ImproperlyConfigured(f"Kind {self.name}: severity {self.severity!r} is none of {', '.join(SEVERITIES)}")
        if self.visible_to is not None and not callable(self.visible_to):
            raise ImproperlyConfigured(f"Kind {self.name}: visible_to must be callable")
        registry.add_kind(self)


@dataclass(frozen=True)
class Action:
    """A button on a notification: it posts to `url`, with the CSRF token and `notification`, the event's id.

    `label`: plain text or a `Text`. `url`: a path of this site, since the token is nobody else's to know. Raises `TypeError` or
    `ValueError` for anything else.
    """

    label: str | Promise | Text
    url: str
    _: KW_ONLY
    primary: bool = False

    def __post_init__(self) -> None:
        _check_text("an action", "label", self.label, is_needed=True)
        if not isinstance(self.url, str):
            raise TypeError(f"url is a string, not {type(self.url).__name__}")
        object.__setattr__(self, "url", _without_forged_prefix(self.url))
        if not is_own_path(self.url):
            raise ValueError("an action posts to a path of this site, such as /orders/7/confirm/")


@dataclass(frozen=True)
class Draft:
    """A notification to be: who shall hear what. Returned by rules; `notify()` takes the same arguments.

    `to`: a user, a group, a queryset of users, or an iterable of users, user ids and groups. `title`, `body`: plain text or a
    `Text`. `actor`, `target`: model instances (kept as type, id and text, so that they may vanish) or plain text. `data`: JSON
    for the site's own scripts. `actions`: at most three. Raises `TypeError` or `ValueError` for what cannot be a notification.
    """

    kind: Kind | str
    _: KW_ONLY
    to: Any
    title: str | Promise | Text
    body: str | Promise | Text = ""
    url: str = ""
    actor: Model | str | Promise | Text | None = None
    target: Model | str | Promise | Text | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity | None = None
    icon: str = ""
    actions: Sequence[Action] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", registry.kind(self.kind))
        object.__setattr__(self, "actions", tuple(self.actions))
        _check_text("a notification", "title", self.title, is_needed=True)
        _check_text("a notification", "body", self.body)
        if not isinstance(self.url, str):
            raise TypeError(f"url is a string, not {type(self.url).__name__}")
        if not isinstance(self.icon, str):
            raise TypeError(f"icon is a string, not {type(self.icon).__name__}")
        if not isinstance(self.data, Mapping):
            raise TypeError(f"data is a mapping, not {type(self.data).__name__}")
        if self.severity is not None and self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r} is none of {', '.join(SEVERITIES)}")
        for action in self.actions:
            if not isinstance(action, Action):
                raise TypeError(f"actions are of the class Action, not {type(action).__name__}")
        if len(self.actions) > ACTIONS:
            raise ValueError(f"a notification has at most {ACTIONS} actions")


def _check_text(what: str, name: str, text: object, *, is_needed: bool = False) -> None:
    if not isinstance(text, str | Promise | Text):
        raise TypeError(f"{name} is text, not {type(text).__name__}")
    if is_needed and not (text.msgid if isinstance(text, Text) else text):
        raise ValueError(f"{what} needs a {name}")


@dataclass(frozen=True)
class Change:
    """What happened to a model instance.

    `old` and `new` map the changed fields to their values: a foreign key to a primary key, a many-to-many field to the frozen set
    of primary keys. `old` is empty when the instance was created, `new` when it was deleted.
    """

    action: Literal["created", "updated", "deleted", "m2m"]
    instance: Any
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    fields: frozenset[str]


@dataclass(frozen=True)
class ModelRule:
    function: Callable[[Change], Drafts]
    model: type[Model]
    created: bool
    updated: frozenset[str]
    deleted: bool
    m2m: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"


@dataclass(frozen=True)
class SignalRule:
    function: Callable[..., Drafts]
    signal: Signal
    sender: Any

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"


class Registry:
    """Every kind and rule of the process."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.model_rules: list[ModelRule] = []
        self.signal_rules: list[SignalRule] = []
        self.on_change: Callable[[], None] = lambda: None
        """Called after each declaration: `receivers` forgets what it looked up and connects what is new."""

    def add_kind(self, kind: Kind) -> None:
        known = self.kinds.setdefault(kind.name, kind)
        if known != kind:
            raise ImproperlyConfigured(f"Kind {kind.name!r} is declared twice, differently")

    def kind(self, kind: Kind | str) -> Kind:
        if isinstance(kind, Kind):
            return kind
        if not isinstance(kind, str):
            raise TypeError(f"kind is a Kind or its name, not {type(kind).__name__}")
        if kind not in self.kinds:
            raise ValueError(f"no Kind is declared under the name {kind!r}")
        return self.kinds[kind]

    def add(self, declared: ModelRule | SignalRule) -> None:
        if isinstance(declared, ModelRule):
            self.model_rules.append(declared)
        else:
            self.signal_rules.append(declared)
        self.on_change()


registry: Final = Registry()


def rule(
    model: type[Model],
    *,
    created: bool = False,
    updated: bool | Iterable[str] = False,
    deleted: bool = False,
    m2m: Iterable[str] = (),
) -> Callable[[Function], Function]:
    """Declare that the decorated function, called with a `Change`, returns the draft or drafts (or None) of such changes.

    `updated`: names of fields, or True for any. `m2m`: names of many-to-many fields. The rule holds for subclasses of `model`
    too. Raises `ImproperlyConfigured` where the declaration stands: no such field, nothing to listen to, no plain function.
    """
    if not _is_model(model):
        raise ImproperlyConfigured(f"rule: {model!r} is not a model class")
    if isinstance(updated, str) or isinstance(m2m, str):
        raise ImproperlyConfigured(f'rule on {model.__name__}: name fields in a set, as {{"status"}}, not in a string')
    concrete = {name for each in model._meta.concrete_fields for name in (each.name, each.attname)}
    watched = frozenset(each.name for each in model._meta.concrete_fields) if updated is True else frozenset(updated or ())
    many = frozenset(m2m)
    for name in watched - concrete:
        raise ImproperlyConfigured(f"rule on {model.__name__}: it has no column field {name!r} to watch")
    if many and model._meta.abstract:
        raise ImproperlyConfigured(
            f"rule on {model.__name__}: it is abstract; name the model that owns {', '.join(sorted(many))}"
        )
    for name in many:
        _check_many_to_many(model, name)
    if not (created or watched or deleted or many):
        raise ImproperlyConfigured(f"rule on {model.__name__}: say created=, updated=, deleted= or m2m=")
    names = frozenset(model._meta.get_field(name).name for name in watched) if watched else watched

    def declare(function: Function) -> Function:
        _check_function(function)
        registry.add(ModelRule(function, model, created, names, deleted, many))
        return function

    return declare


def signal_rule(signal: Signal, *, sender: Any = None) -> Callable[[Function], Function]:
    """Declare that the decorated function, called as a receiver of `signal` (`sender, **named`), returns drafts or None.

    Raises `ImproperlyConfigured` if `signal` is no signal or the function is not synchronous.
    """
    if not isinstance(signal, Signal):
        raise ImproperlyConfigured(f"signal_rule: {signal!r} is not a signal")

    def declare(function: Function) -> Function:
        _check_function(function)
        registry.add(SignalRule(function, signal, sender))
        return function

    return declare


def _is_model(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Model)


def _check_function(function: Any) -> None:
    if not callable(function) or iscoroutinefunction(function):
        raise ImproperlyConfigured(f"{function!r}: a rule is a plain function: it runs inside the change's transaction")


def _check_many_to_many(model: type[Model], name: str) -> None:
    try:
        found = model._meta.get_field(name)
    except FieldDoesNotExist:
        found = None
    if found is None or not found.many_to_many or found.auto_created:
        raise ImproperlyConfigured(f"rule on {model.__name__}: it has no many-to-many field {name!r}")
