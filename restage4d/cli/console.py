"""Progress on the terminal."""

import signal
import sys

from restage4d.progress import Event, Progress, TaskId


def console_progress() -> Progress:
    """Progress on the terminal with time left; the first Ctrl-C stops at the next step and keeps
    the work, the second at once."""
    stopping = False

    def stop(signum: int, frame: object) -> None:
        nonlocal stopping
        if stopping:
            raise KeyboardInterrupt
        stopping = True
        print("\nStopping at the next step ...", file=sys.stderr)

    signal.signal(signal.SIGINT, stop)
    return Progress(_Console(), lambda: stopping)


class _Console:
    """One line that renews itself on a terminal; elsewhere a line when a task begins, ends, and
    every 20 seconds."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.task: TaskId | None = None
        self.printed = 0.0  # when, in seconds of the task

    def __call__(self, event: Event) -> None:
        begins, ends = event.task is not self.task or event.step == 0, event.step >= event.total
        if not self.live and not begins and not ends and event.seconds - self.printed < 20:
            return
        if self.live and begins and self.task:
            print()
        self.task, self.printed = event.task, event.seconds
        text = line(event)
        print(f"\r{text:<100}" if self.live else text, end="" if self.live else "\n", flush=True)


def line(event: Event) -> str:
    """The whole job's share, the task with its own, and the time left of the whole.

    For example "63 %  photometric fusion  45 %  120 s, 190 s left  loss 0.031".
    """
    text = (
        f"{int(100 * event.share):3d} %  {event.task.label:<24} "
        f"{100 * event.step // event.total:3d} %  {event.seconds:5.0f} s"
    )
    if event.whole_seconds_left is not None and event.share < 1:
        text += f", {event.whole_seconds_left:.0f} s left"
    return text + "".join(f"  {name} {value:.4g}" for name, value in event.figures.items())


def printable(text: str) -> str:
    """Text from elsewhere, without what would move a terminal's cursor, colour it or begin a line.

    Example:
        >>> printable("a\x1b[2Jb")
        'a?[2Jb'
    """
    return "".join(c if c.isprintable() else "?" for c in text)
