"""A process that runs what it is told, on the SQLite file that it is told, without being started anew for each.

python -m tests.site.shell     on every line of its input `[file, code]` as JSON; answers each with `[printed, error]`
"""

import contextlib
import io
import json
import sys
import traceback

import django

__all__: list[str] = []


def main() -> None:
    django.setup()
    from django.contrib.contenttypes.models import ContentType
    from django.db import connection

    from notifications.turn import forget

    for line in sys.stdin:
        database, code = json.loads(line)
        connection.close()
        connection.settings_dict["NAME"] = database
        ContentType.objects.clear_cache()
        forget()
        printed, error = io.StringIO(), ""
        try:
            with contextlib.redirect_stdout(printed):
                exec(code, {"__name__": "told"})
        except Exception:  # noqa: BLE001 - whoever has told it is to know what came of it
            error = traceback.format_exc()
        connection.close()  # so that the file can be copied and removed
        print(json.dumps([printed.getvalue(), error]), flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main()
