"""`BackgroundExplorer`: long work in a thread of its own, with a button that stops it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from qviz.widgets.base import Explorer, in_words


class StoppedError(Exception):
    """Somebody pressed Stop; the text is what the explorer then says."""


class BackgroundExplorer(Explorer):
    """An explorer whose long work does not hold up the page.

    A subclass has a control ``stop``, hands its work to `_begin` and shows `_note`, which says how the work ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self._note = ""
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None

    def stop(self) -> None:
        """Stop the work that goes on; what is done by then stays."""
        self._halt.set()
        self.wait()

    def wait(self) -> None:
        """Return when no work goes on any more."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _begin(self, work: Callable[[threading.Event], object]) -> None:
        """Start work, after what goes on has stopped; `work` looks at the event, and may raise `StoppedError`."""
        self.stop()
        self._halt, self._note = threading.Event(), ""
        self._switch(True)
        self._thread = threading.Thread(target=self.__carry_out, args=(work, self._halt), daemon=True)
        self._thread.start()

    def __carry_out(self, work: Callable[[threading.Event], object], halt: threading.Event) -> None:
        try:
            work(halt)
        except StoppedError as stopped:
            self._note = str(stopped)
        except Exception as error:  # in a thread of its own nobody else would hear of it
            self._note = in_words(error)
        finally:
            self._switch(False)
        self.update()

    def _switch(self, busy: bool) -> None:
        """Let the buttons say whether work goes on."""
        self.controls["stop"].disabled = not busy
        if "measure" in self.controls:
            self.controls["measure"].disabled = busy
