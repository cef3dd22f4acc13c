"""How a server's end is noticed in time: here uvicorn's; Daphne's shows in `tests/integration/test_drain.py`."""

import signal

import pytest
import uvicorn

from notifications.servers import is_stopping


def test_a_uvicorn_that_means_to_stop_is_noticed(monkeypatch: pytest.MonkeyPatch):
    server = uvicorn.Server(uvicorn.Config("tests.site.asgi:application"))
    with server.capture_signals():
        assert not is_stopping()
        server.handle_exit(signal.SIGTERM, None)
        server._captured_signals.clear()  # it would send them to us once more
        assert is_stopping()
    assert not is_stopping()


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, lambda *_: None, pytest.fail])
def test_whoever_else_handles_the_signal_does_not_stop(handler, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: handler)
    assert not is_stopping()
