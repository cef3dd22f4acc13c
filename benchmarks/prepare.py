"""Makes the site's database with its people: users, sessions, inboxes and two orders. Prints who there is."""

import json
import os

import django

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.site.settings"
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection

    from benchmarks.site.models import PlainOrder, WatchedOrder
    from notifications.models import Inbox
    from tests.site.people import users_with_sessions

    call_command("migrate", verbosity=0)
    call_command("migrate", run_syncdb=True, verbosity=0)  # our own tables, which refer to the users of the line above
    people = [(user.pk, session) for user, session in users_with_sessions(int(os.environ["PEOPLE"]))]
    absent = max(0, 10_000 - len(people))  # as many recipients as can be named one by one, not all of them with a session
    people += [(user.pk, "") for user in User.objects.bulk_create(User(username=f"absent{number}") for number in range(absent))]
    users = [user for user, _ in people]
    Inbox.objects.bulk_create(Inbox(pk=user) for user in users)
    WatchedOrder._default_manager.create(pk=1, customer=User(pk=users[0]))
    PlainOrder._default_manager.create(pk=1, customer=User(pk=users[0]))
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    print(json.dumps(people))
