"""From Django's model signals to `Change`, through the rules, to events: in the caller's transaction, unable to break it.

Old values are read from the database just before a save, not remembered from when the instance was loaded: that is right for
deferred fields, `refresh_from_db()` and two stale copies of one row, and costs one small query on models that a rule watches.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import OperationalError, ProgrammingError, connections, transaction
from django.db.models import Field, Model
from django.db.models.expressions import Col
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from notifications.logs import is_due
from notifications.outbox import event_alias, write
from notifications.rules import Change, Draft, ModelRule, SignalRule, registry
from notifications.savepoints import LazySavepoint
from notifications.statements import from_db

__all__ = ["start"]

logger = logging.getLogger(__name__)

OLD = "_notifications_old"  # on the instance, from pre_save to post_save
SAVES_AT_ONCE = 8  # of one instance, one inside the other
BEFORE = "_notifications_before"  # on the instance, from a many-to-many field's pre_ signal to its post_ signal


def start() -> None:
    """Connect to the model signals and to those of signal rules, also of rules declared later. Called once, by `ready()`."""
    uid = "notifications.receivers"
    pre_save.connect(_before_save, dispatch_uid=uid)
    post_save.connect(_after_save, dispatch_uid=uid)
    post_delete.connect(_after_delete, dispatch_uid=uid)
    m2m_changed.connect(_many_changed, dispatch_uid=uid)
    registry.on_change = _rules_changed
    _rules_changed()


def _rules_changed() -> None:
    _rules_of.cache_clear()
    _watched.cache_clear()
    _columns.cache_clear()
    _many_rules_of.cache_clear()
    for declared in registry.signal_rules:
        declared.signal.connect(_receiver(declared), sender=declared.sender, weak=False, dispatch_uid=id(declared))


@cache
def _rules_of(model: type[Model]) -> tuple[ModelRule, ...]:
    return tuple(rule for rule in registry.model_rules if issubclass(model, rule.model))


@cache
def _watched(model: type[Model]) -> frozenset[str]:
    return frozenset(name for rule in _rules_of(model) for name in rule.updated)


@cache
def _many_rules_of(through: type[Model]) -> tuple[tuple[ModelRule, str], ...]:
    return tuple(
        (rule, name)
        for rule in registry.model_rules
        for name in rule.m2m
        if rule.model._meta.get_field(name).remote_field.through is through  # type: ignore[union-attr]
    )


def _before_save(sender: Any, instance: Any, raw: bool, using: str, update_fields: Any, **_: Any) -> None:
    watched = _watched(sender)
    if not watched:
        return
    if update_fields is not None:
        watched = watched & {sender._meta.get_field(name).name for name in update_fields}
    # A stack: a receiver of the site's may save the instance again before ours hears of the first save. What a failed save
    # leaves lies beneath, and falls out in time.
    saves = instance.__dict__.setdefault(OLD, deque(maxlen=SAVES_AT_ONCE))
    saves.append(None)
    if raw or not watched or instance.pk is None or (instance._state.adding and sender._meta.pk.has_default()):
        return  # a new instance whose key was made by its default has no row yet
    try:
        saves[-1] = _old_values(sender, instance.pk, watched, using)
    except Exception as error:  # noqa: BLE001 - never in the way of the site's save
        _log("old_values", sender.__name__, error)


def _old_values(model: Any, pk: Any, watched: frozenset[str], using: str) -> dict[str, Any] | None:
    """What the row holds, by column name; None if there is none. In no savepoint, which would cost as much again: the save writes
    these columns next."""
    fields = _columns(model, watched)
    if fields is None:
        names = [model._meta.get_field(name).attname for name in watched]
        found: dict[str, Any] | None = model._base_manager.using(using).filter(pk=pk).values(*names).first()
        return found
    connection = connections[using]
    with connection.cursor() as cursor:
        statement = _selection(model, fields, connection.ops.quote_name)
        cursor.execute(statement, [model._meta.pk.get_db_prep_value(pk, connection)])
        row = cursor.fetchone()
    return row and {field.attname: from_db(field, value, connection) for field, value in zip(fields, row, strict=True)}


@cache
def _columns(model: Any, watched: frozenset[str]) -> tuple[Any, ...] | None:
    """The watched fields; None where a plain SELECT does not read them: some are in another table, the key is of several
    columns, or a field has SQL of its own. That is left to the ORM, which takes five times as long as the query."""
    fields = tuple(model._meta.get_field(name) for name in sorted(watched))
    return fields if all(_is_plain(each, model._meta.db_table) for each in (model._meta.pk, *fields)) else None


def _is_plain(field: Any, table: str) -> bool:
    is_here = bool(field.column) and field.model._meta.db_table == table
    return is_here and type(field).select_format is Field.select_format and type(field.cached_col) is Col


def _selection(model: Any, fields: Iterable[Any], quote: Callable[[str], str]) -> str:
    columns = ", ".join(quote(field.column) for field in fields)
    return f"SELECT {columns} FROM {quote(model._meta.db_table)} WHERE {quote(model._meta.pk.column)} = %s"


def _after_save(sender: Any, instance: Any, created: bool, raw: bool, using: str, **_: Any) -> None:
    saves = instance.__dict__.get(OLD)
    old_values = saves.pop() if saves else None
    if raw or not (rules := _rules_of(sender)):
        return
    if created:
        _run_all([rule for rule in rules if rule.created], _created(instance), using)
        return
    if old_values is None:
        return
    try:
        old, new = _difference(instance, old_values, using)
    except Exception as error:  # noqa: BLE001 - as in _before_save()
        _log("new_values", sender.__name__, error)
        return
    for rule in rules:
        fields = rule.updated & new.keys()
        if fields:
            before, after = ({name: values[name] for name in fields} for values in (old, new))
            _run_all([rule], Change("updated", instance, before, after, frozenset(fields)), using)


def _created(instance: Any) -> Change:
    fields = [field for field in instance._meta.concrete_fields if field.attname in instance.__dict__]
    new = {field.name: getattr(instance, field.attname) for field in fields}
    return Change("created", instance, {}, new, frozenset(new))


def _difference(instance: Any, old_values: Mapping[str, Any], using: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The watched fields that this save changed in the database."""
    old, new = {}, {}
    for attname, before in old_values.items():
        field = instance._meta.get_field(attname)
        if attname not in instance.__dict__:  # deferred: not saved
            continue
        after = getattr(instance, attname)
        if hasattr(after, "resolve_expression"):  # F("count") + 1: only the database knows
            rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
            after = rows.values_list(attname, flat=True).get()
        if _plain(field, after) != _plain(field, before):
            old[field.name], new[field.name] = before, after
    return old, new


def _plain(field: Any, value: Any) -> Any:
    try:
        return field.to_python(value)
    except (ValidationError, ValueError, TypeError):
        return value


def _after_delete(sender: Any, instance: Any, using: str, **_: Any) -> None:
    chosen = [rule for rule in _rules_of(sender) if rule.deleted and not _has_parent_for(sender, rule)]
    if chosen:
        created = _created(instance)
        _run_all(chosen, Change("deleted", instance, created.new, {}, created.fields), using)


def _has_parent_for(model: type[Model], rule: ModelRule) -> bool:
    """With multi-table inheritance a row is deleted with its parent's, which sends a signal of its own that the rule hears."""
    parents = model._meta.concrete_model._meta.parents  # type: ignore[union-attr]
    return any(issubclass(parent, rule.model) for parent, link in parents.items() if link is not None)


def _many_changed(sender: Any, instance: Any, action: str, reverse: bool, model: Any, pk_set: Any, using: str, **_: Any) -> None:
    for rule, name in _many_rules_of(sender):
        if not reverse and not isinstance(instance, rule.model):
            continue
        key = (rule, name)
        try:
            with LazySavepoint(using):
                if action.startswith("pre_"):
                    owners = _owners(rule, name, instance, reverse, pk_set, using)
                    instance.__dict__.setdefault(BEFORE, {})[key] = (owners, _sets(rule, name, owners, using))
                    continue
                owners, before = instance.__dict__.get(BEFORE, {}).pop(key, ({}, {}))
                after = _sets(rule, name, owners, using)
        except Exception as error:  # noqa: BLE001 - as in _before_save()
            _log("many_to_many", rule.name, error)
            continue
        for pk, owner in owners.items():
            if before[pk] != after[pk]:
                change = Change("m2m", owner, {name: before[pk]}, {name: after[pk]}, frozenset((name,)))
                _run_all([rule], change, using)


def _owners(rule: ModelRule, name: str, instance: Any, reverse: bool, pk_set: Any, using: str) -> dict[Any, Any]:
    """The instances of the rule's model whose set is about to move, whichever side it is moved from."""
    if not reverse:
        return {instance.pk: instance}
    rows = rule.model._base_manager.using(using)
    return {each.pk: each for each in (rows.filter(**{name: instance.pk}) if pk_set is None else rows.filter(pk__in=pk_set))}


def _sets(rule: ModelRule, name: str, owners: Iterable[Any], using: str) -> dict[Any, frozenset[Any]]:
    """The primary keys in each owner's set. One query."""
    found: dict[Any, set[Any]] = {pk: set() for pk in owners}
    for pk, other in rule.model._base_manager.using(using).filter(pk__in=found).values_list("pk", name):
        if other is not None:
            found[pk].add(other)
    return {pk: frozenset(others) for pk, others in found.items()}


def _receiver(declared: SignalRule) -> Callable[..., None]:
    def receive(sender: Any, **named: Any) -> None:
        given = named.get("using")
        using = given if given in list(connections) else event_alias()
        _run(declared.name, lambda: declared.function(sender, **named), using)

    return receive


def _run_all(rules: Iterable[ModelRule], change: Change, using: str) -> None:
    for rule in rules:
        _run(rule.name, partial(rule.function, change), using)


def _run(name: str, function: Callable[[], Any], using: str) -> None:
    """Call a rule and store its drafts in a savepoint of their own, so that neither can poison the site's transaction."""
    try:
        with LazySavepoint(using) as savepoint:
            drafts = list(_drafts(function()))
            if len(drafts) == 1:
                write(drafts[0], using=using, savepoint=savepoint)
            elif drafts:
                with transaction.atomic(using=using, savepoint=False):  # in autocommit all of them or none
                    for draft in drafts:
                        write(draft, using=using)
    except Exception as error:  # noqa: BLE001 - the site's rule, or our missing table: the save goes on, as do others
        _log("rule_failed", name, error)


def _drafts(result: Any) -> Iterator[Draft]:
    if result is None:
        return
    for draft in (result,) if isinstance(result, Draft) else result:
        if draft is None:
            continue
        if not isinstance(draft, Draft):
            raise TypeError(f"a rule returns drafts or None, not {type(draft).__name__}")
        yield draft


def _log(what: str, name: str, error: Exception) -> None:
    """One line a kind of failure a minute, with its traceback unless the database or its tables are away."""
    if not is_due(what, name, type(error).__name__):
        return
    if isinstance(error, OperationalError | ProgrammingError):
        logger.error("%s rule=%s error=%r (are the migrations applied?)", what, name, error)
    else:
        logger.error("%s rule=%s", what, name, exc_info=error)
