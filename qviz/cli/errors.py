"""How commands end: a `QvizError` is one line and exit code 2."""

from __future__ import annotations

from typing import Any

import click

from qviz.errors import QvizError


class Refusal(click.ClickException):
    """One line, and exit code 2 as for wrong usage."""

    exit_code = 2


class Group(click.Group):
    """Turns a `QvizError` into one line and exit code 2; a traceback would only hide what it says."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except QvizError as error:
            from qviz.gguf.report import printable

            raise Refusal(printable(str(error))) from None
