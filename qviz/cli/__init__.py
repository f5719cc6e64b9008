"""``qviz``: the command line. Every command imports what it needs when it runs, so ``--help`` is instant."""

from __future__ import annotations

import sys

try:
    import click

    from qviz._version import __version__
    from qviz.cli import classroom, compare, containers, course, files, generate, importance, measure
    from qviz.cli import quantize as quantizing
    from qviz.cli.ending import Group
except KeyboardInterrupt:  # Ctrl-C while this is still being read
    sys.stderr.write("interrupted\n")
    sys.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qviz")
def main() -> None:
    """Look inside quantized language models, and learn how they are made."""


for _command in (
    compare.compare,
    classroom.class_,
    containers.edit,
    containers.merge,
    containers.split,
    course.lab,
    course.show,
    files.convert,
    files.fetch,
    files.inspect,
    generate.generate,
    importance.imatrix,
    measure.perplexity,
    quantizing.quantize,
):
    main.add_command(_command)
