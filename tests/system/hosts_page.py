"""The page for separate hosts as something that can be typed: its blocks, and shells to type into.

A shell is one window at one host. It is told lines as a person types them, and what a `read`
asks for stands on the next line.
"""

import os
import queue
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```sh\n# ([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## (\d+)\. ", re.MULTILINE)
READ = re.compile(r"\bread -r ([A-Z_]+)")
_END = "--- end of the block:"
_FAILED = "--- a command failed:"


@dataclass(frozen=True)
class Block:
    """What is typed at once: at a host, in a window, in a section of the page."""

    section: int
    host: str
    window: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """Read all blocks of the page, in order."""
    parts = SECTION.split(page.read_text())
    found = []
    for number, text in zip((0, *map(int, parts[1::2])), parts[0::2], strict=True):
        for place, typed in FENCE.findall(text):
            host, _, window = place.partition(", window ")
            found.append(Block(number, host, window, typed))
    return found


class Shell:
    """One window: a bash at a host."""

    def __init__(self, command, folder: Path, environment: dict[str, str]):
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._write(f"trap 'echo \"{_FAILED} $? $BASH_COMMAND\"' ERR\n")
        self.busy = False

    def start(self, text: str, answers=()) -> None:
        """Type a block; its commands go on when this returns."""
        answers = list(answers)
        self.said.clear()
        self.busy = True
        typed = []
        for line in text.splitlines():
            typed.append(line)
            typed += [answers.pop(0) for _ in READ.findall(line)]
        assert not answers
        self._write("\n".join((*typed, f'echo "{_END} $?"')) + "\n")

    def wait(self, timeout_s: float) -> tuple[int, str]:
        """Wait until the block has ended; returns its code and what it said."""
        self._wait_for(_END, timeout_s)
        self.busy = False
        code = int(self.said.pop().removeprefix(_END))
        return code, "\n".join(self.said)

    def wait_for(self, words: str, timeout_s: float) -> None:
        """Wait until a command that goes on has said something."""
        self._wait_for(words, timeout_s)

    def end_command(self, timeout_s: float = 30) -> None:
        """End the command that runs, as its operator does."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in map(int, children.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self.wait(timeout_s)

    def close(self) -> None:
        """End the window with all that runs in it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self._reader.join(10)
        self.process.stdout.close()

    def _write(self, text: str) -> None:
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _wait_for(self, words: str, timeout_s: float) -> None:
        ends_at = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, ends_at - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not in {timeout_s} s: {words}; said {self.said}") from None
            assert line is not None, f"the window has closed: {self.said}"
            self.said.append(line)
            if words in line:
                return


def failures(said: str) -> list[str]:
    """The commands of a block that failed."""
    return [line for line in said.splitlines() if line.startswith(_FAILED)]
