"""Where the `vitals` command begins: Ctrl-C while it still imports ends it at once, as nothing is begun yet.

Importing takes longer than a person waits who mistyped a command, and an interrupted import is a wall of text.
"""

from __future__ import annotations

import signal


def main() -> None:
    """Import the command line, and run it."""
    ends_at_once = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's background jobs ignore it
    if ends_at_once:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from service.cli import main as command_line

    if ends_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line.main()


if __name__ == "__main__":
    main()
