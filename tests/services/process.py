"""A server's process in a test's hands: ended in order or without warning, held where it stands, let go on.

Enters: a started process. Leaves: none, once it was ended. Whoever inherits says how it starts.
"""

import signal
import subprocess

STOP_SECONDS = 20.0


class ServerProcess:
    """`process` is None while it does not run."""

    process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Stop in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop without any warning."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Hold it where it stands: connections stay open, nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
