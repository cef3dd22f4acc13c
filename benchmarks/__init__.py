"""`make bench`: the same work by plain Channels, python-socketio, django-eventstream and this app, measured side by side.

    python -m benchmarks --help

`__main__` chooses subjects and works, `scene` starts a subject's processes, `works/` measures, `report` and `charts` show.
"""
