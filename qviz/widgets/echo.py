"""The picture first: what a hand did to a control goes back to other windows after it, not before."""

from __future__ import annotations

from typing import Any

import ipywidgets


def after_picture(control: ipywidgets.Widget) -> None:
    """Let a control answer a move only when those who listen to it have sent what came of the move.

    ipywidgets repeats each move for windows that show the same widget, before anybody hears of it. Kernel, server and
    page handle one message after the other, so a picture waited for a message that its own window does not need. What
    is repeated is what the control holds by then: a listener may have put another value there.

    Parameters
    ----------
    control : ipywidgets.Widget

    Examples
    --------
    >>> slider = ipywidgets.IntSlider()
    >>> after_picture(slider)
    >>> slider.set_state({"value": 3})  # as a message from the browser does
    >>> slider.value
    3
    """
    take, send = control.set_state, control._send

    def set_state(moved: dict[str, Any]) -> None:
        repeats: list[tuple[dict[str, Any], Any]] = []

        def keep(message: dict[str, Any], buffers: Any = None) -> None:
            if message.get("method") == "echo_update" and not buffers:
                repeats.append((message, buffers))
            else:
                send(message, buffers=buffers)

        control._send = keep
        try:
            take(moved)
        finally:
            control._send = send
            for message, buffers in repeats:
                send({**message, "state": control.get_state(list(message["state"]))}, buffers=buffers)

    control.set_state = set_state
