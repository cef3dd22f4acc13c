"""One server process of our own: start, wait until it answers, stop, kill, suspend, start again on the same port."""

import abc
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

__all__ = ["HOST", "NotReady", "ServerProcess", "free_port"]

HOST = "127.0.0.1"
READY_SECONDS = 60
STOP_SECONDS = 10
POLL_SECONDS = 0.02
LOG_TAIL = 3000
MARKS = 200  # far more servers than a test starts, and fewer files than a process may open


class NotReady(Exception):
    """A server ended, or did not answer in time; the message ends with the tail of its log."""


marks: deque[socket.socket] = deque()
"""Of the ports that this process was given last: UDP's of the same numbers."""


def free_port() -> int:
    """A port nobody listens on, below the range that outgoing connections take: a restart finds it free again.

    Nor is it another test process's, whose server is only about to listen: two that were given the same one would take the
    server that is faster for theirs.
    """
    while True:
        port = random.randint(20000, 30000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            mark = socket.socket(type=socket.SOCK_DGRAM)
            try:
                probe.bind((HOST, port))
                mark.bind((HOST, port))
            except OSError:
                mark.close()
                continue
        marks.append(mark)
        if len(marks) > MARKS:
            marks.popleft().close()
        return port


class ServerProcess(abc.ABC):
    """Subclasses say by `command()` what to start and by `is_ready()` when it answers."""

    stop_signal = signal.SIGTERM

    def __init__(self, *, directory: Path, port: int | None = None, env: Mapping[str, str | None] | None = None) -> None:
        self.directory = directory
        """Working files and the log; the caller makes and removes it."""
        self.port = port or free_port()
        merged = {**os.environ, **(env or {})}
        self.env = {name: value for name, value in merged.items() if value is not None}
        """Ours, with what the caller adds, or takes away by None."""
        self.process: subprocess.Popen[bytes] | None = None
        """The running process; the leader of a session of its own, so that Ctrl-C in a terminal leaves it to us."""
        self.log_path = directory / f"{type(self).__name__.lower()}-{self.port}.log"

    @abc.abstractmethod
    def command(self) -> Sequence[str | Path]: ...

    @abc.abstractmethod
    def is_ready(self) -> bool: ...

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.running().pid

    @property
    def log(self) -> str:
        """All that the process has printed so far, through all its restarts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self) -> None:
        """Starts the process and returns once it answers. Raises `NotReady`."""
        if self.process is not None:
            raise RuntimeError(f"{self.log_path.stem} runs already")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.working_directory(),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.wait_until_ready()
        except BaseException:  # also when the user interrupts: nobody else would end the process
            self.kill()
            raise

    def stop(self, timeout: float = STOP_SECONDS) -> int | None:
        """Asks the process to end; kills it after `timeout` seconds. Its exit status, None if it did not run."""
        if self.process is None:
            return None
        self.resume()
        self.process.send_signal(self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        return self.kill()

    def kill(self) -> int | None:
        """Ends the process, and what it started, at once and without a word."""
        if self.process is None:
            return None
        with contextlib.suppress(ProcessLookupError):  # it has ended, and so has all that it started
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        self.process = None
        return status

    def restart(self) -> None:
        """Stops it, if it runs, and starts it on the same port."""
        self.stop()
        self.start()

    def suspend(self) -> None:
        """Freezes the process: its connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            os.killpg(self.running().pid, number)

    def running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError(f"{self.log_path.stem} does not run")
        return self.process

    def working_directory(self) -> Path:
        return self.directory

    def wait_until_ready(self) -> None:
        process = self.running()
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if process.poll() is not None:
                raise NotReady(f"{process.args!r} ended with {process.returncode}:\n{self.log[-LOG_TAIL:]}")
            if time.monotonic() > deadline:
                raise NotReady(f"{process.args!r} did not answer in {READY_SECONDS} s:\n{self.log[-LOG_TAIL:]}")
            time.sleep(POLL_SECONDS)  # a process that comes up tells nobody: it can only be asked
