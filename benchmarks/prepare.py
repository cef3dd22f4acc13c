"""Makes the site's database with its people: users, sessions, inboxes, a group of 300 and two orders. Prints who there is."""

import json
import os

import django

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.site.settings"
    django.setup()
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.db import connection

    from benchmarks.site.models import PlainOrder, WatchedOrder
    from notifications.models import Inbox
    from tests.site.people import users_with_sessions

    call_command("migrate", verbosity=0)
    call_command("migrate", run_syncdb=True, verbosity=0)  # our own tables, which refer to the users of the line above
    people = users_with_sessions(int(os.environ["PEOPLE"]))
    users = [user for user, _ in people]
    Inbox.objects.bulk_create(Inbox(pk=user.pk) for user in users)
    group = Group.objects.create(name="three hundred")
    group.user_set.set(users[:300])
    WatchedOrder._default_manager.create(pk=1, customer=User(pk=users[0].pk))
    PlainOrder._default_manager.create(pk=1, customer=User(pk=users[0].pk))
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    print(json.dumps([[user.pk, session] for user, session in people]))
