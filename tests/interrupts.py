"""A KeyboardInterrupt at every single step of some code: nothing may be left behind by any of them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any


def interrupts(call: Callable[[], object], file: str, *, deep: bool, hold: bool = False) -> Iterator[int]:
    """Run `call` with KeyboardInterrupt raised at the first step that the code of a file takes, then the second, ...

    Steps are bytecodes, if `deep`, else lines. Yields which step it was after each call that was interrupted; with
    `hold`, while the traceback and all that it names are still there, as Jupyter keeps them.
    """
    for at in itertools.count(1):
        left, held = at, None

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != file:
                return None
            frame.f_trace_opcodes = deep
            if event in ("line", "opcode"):
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt as stop:
            held = stop if hold else None
        finally:
            sys.settrace(before)
        if left > 0:
            return
        yield at
        del held
