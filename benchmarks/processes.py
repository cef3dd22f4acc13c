"""A process of our own that is asked in JSON lines and answers in JSON lines: the client and the sender."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["Helper", "serve"]

ROOT: Final = Path(__file__).resolve().parents[1]
ANSWER_SECONDS: Final = 120.0


class Helper:
    """`module` as a child process, until the block ends."""

    def __init__(self, module: str, *words: str, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.name = module

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, do: str, **told: Any) -> Any:
        """The answer. Raises `RuntimeError` if the process fails, ends, or does not answer in time."""
        self.tell(do, **told)
        return self.answer()

    def tell(self, do: str, **told: Any) -> None:
        """Ask, and fetch the answer later: other work goes on meanwhile."""
        if self._process.stdin is None:
            raise RuntimeError("a helper has no standard input")
        self._process.stdin.write(json.dumps({"do": do, **told}) + "\n")
        self._process.stdin.flush()

    def answer(self, seconds: float = ANSWER_SECONDS) -> Any:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise RuntimeError(f"{self.name} did not answer within {seconds:g} s") from None
        if not line:
            raise RuntimeError(f"{self.name} has ended")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(line)
        self._answers.put("")


def serve(perform: Callable[[dict[str, Any]], Any]) -> None:
    """The other end, for a process that does one thing at a time."""
    for line in sys.stdin:
        try:
            answer = perform(json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to who asked
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)
