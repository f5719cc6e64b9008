"""``qviz split``, ``qviz merge``, ``qviz edit``: GGUF files of another cut, or with other metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qviz.cli.names import file_of
from qviz.cli.sizes import Size
from qviz.cli.terminal import bars_of, echo, echo_json, echo_path, read_text
from qviz.errors import GGUFError, printable


@click.command(short_help="Write a model as several files.")
@click.argument("source", metavar="IN.gguf")
@click.argument("prefix", metavar="OUT-PREFIX")
@click.option("--max-size", type=Size(), metavar="SIZE", help="Most bytes of tensors in a file, such as 500M or 2G.")
@click.option("--max-tensors", type=click.IntRange(1), help="Most tensors in a file; 128 unless --max-size is given.")
@click.option("--no-tensor-first-split", is_flag=True, help="The first file has metadata only.")
@click.option("--dry-run", is_flag=True, help="Only say which files there would be.")
def split(
    source: str,
    prefix: str,
    max_size: int | None,
    max_tensors: int | None,
    no_tensor_first_split: bool,
    dry_run: bool,
) -> None:
    """Write IN.gguf as OUT-PREFIX-00001-of-0000N.gguf and so on, byte for byte as llama.cpp's gguf-split does.

    Every program that reads GGUF opens all parts through the first. They appear when all are complete.
    """
    if max_size is not None and max_tensors is not None:
        raise click.UsageError("--max-size and --max-tensors are two ways to cut; give one of them")
    from qviz import gguf
    from qviz.gguf import splitting

    path = file_of(source)
    options: dict[str, Any] = {
        "max_size": max_size,
        "max_tensors": max_tensors,
        "tensors_in_first": not no_tensor_first_split,
    }
    with gguf.read(path) as file:
        plan = splitting.plan_split(file, prefix, **options)
    for part in plan:
        if dry_run:
            echo(printable(f"{part.path}  {len(part.tensors)} tensors, {part.nbytes:,} bytes"))
        if max_size is not None and part.tensor_bytes > max_size:
            echo(
                printable(f"{part.path.name}: {part.tensors[0].name} alone takes {part.tensor_bytes:,} bytes"), err=True
            )
    if not dry_run:
        for done in _with_bars(lambda progress: splitting.split(path, prefix, **options, progress=progress)):
            echo_path(done)


@click.command(short_help="Write a split model as one file.")
@click.argument("first", metavar="FIRST-PART.gguf")
@click.argument("target", metavar="OUT.gguf")
@click.option("--keep-split-keys", is_flag=True, help="Leave the three split.* keys, as llama.cpp's gguf-split does.")
def merge(first: str, target: str, keep_split_keys: bool) -> None:
    """Write the parts of a split model as OUT.gguf, which must not exist yet.

    What `qviz split` or llama.cpp's gguf-split took apart becomes the file that it was.
    """
    from qviz.gguf import splitting

    echo_path(
        _with_bars(lambda progress: splitting.merge(first, target, keep_split_keys=keep_split_keys, progress=progress))
    )


@click.command(short_help="Change the metadata of a model file.")
@click.argument("file")
@click.option("--out", metavar="OUT.gguf", help="Write a copy; FILE itself is replaced unless given.")
@click.option("--set", "given", metavar="KEY=VALUE", multiple=True, help="Set a key; may be given again.")
@click.option("--type", "type_", metavar="TYPE", help="Of what is set: u8 … i64, f32, f64, bool, str, arr[…].")
@click.option("--remove", metavar="KEY", multiple=True, help="Remove a key; may be given again.")
@click.option("--chat-template", metavar="FILE", help="Set the template that a chat is written by, from a text file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def edit(
    file: str,
    out: str | None,
    given: tuple[str, ...],
    type_: str | None,
    remove: tuple[str, ...],
    chat_template: str | None,
    as_json: bool,
) -> None:
    """Set and remove metadata keys of the GGUF file FILE; its tensors are copied as they are.

    A key that exists keeps its type. A new one gets the type that its value looks like: true or false, a whole number
    (u32 if it fits), a number with a point (f32), a JSON list, or a text. --type decides for all keys of the call.
    """
    from qviz.gguf import editing
    from qviz.gguf.reader import Part

    if type_ is not None and not given:
        raise click.UsageError("--type is for --set, which is not given")
    if not (given or remove or chat_template):
        raise click.UsageError("nothing to change; give --set KEY=VALUE, --remove KEY or --chat-template FILE")
    texts = _pairs(given)
    values: dict[str, Any] = {}
    if texts:
        part = Part(Path(file))
        try:
            types = part.metadata.types
        finally:
            part.file.close()
        for key, text in texts.items():
            try:
                values[key] = editing.parse(text, type_ or types.get(key))
            except GGUFError as error:
                raise GGUFError(f"--set {key}: {error}") from None
    if chat_template is not None:
        if editing.CHAT_TEMPLATE in values:
            raise click.UsageError(f"{editing.CHAT_TEMPLATE} is set twice: by --set and by --chat-template")
        values[editing.CHAT_TEMPLATE] = read_text(chat_template)
    changes = editing.edit(file, set=values, remove=remove, out=out)
    if as_json:
        echo_json([{"key": c.key, "type": c.type, "before": c.before, "after": c.after} for c in changes])
        return
    for change in changes:
        echo(printable(_described(change)), err=True)
    if not changes:
        echo("nothing is different", err=True)
    echo_path(Path(out or file))


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set {pair}: write KEY=VALUE")
        if key in texts:
            raise click.UsageError(f"--set {key} is given twice")
        texts[key] = text
    return texts


def _described(change: Any) -> str:
    before, after = (None if value is None else _short(value) for value in (change.before, change.after))
    if before is None:
        return f"{change.key} ({change.type}): {after}"
    return f"{change.key} ({change.type}): {before} {'removed' if after is None else f'→ {after}'}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value[:3]))}{', ...' if len(value) > 3 else ''}] {len(value):,} items"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _with_bars(work: Any) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        return work(bars_of(bars))
