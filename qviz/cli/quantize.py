"""``qviz quantize``: which options there are, and which go together."""

from __future__ import annotations

from typing import Any

import click

from qviz.cli.sizes import Size

_BY_METHOD = "With --method: "
_WITH_RECIPE = "With RECIPE: "
_SWITCHES = (
    *("pure", "leave_output_tensor", "output_tensor_type", "token_embedding_type", "tensor_type", "tensor_type_file"),
    *("include_weights", "exclude_weights", "keep_split", "prune_layers", "override_kv"),
)
_NOT_BY_METHOD = ("imatrix", "threads", "dask", *_SWITCHES)
_NOT_IN_GGUF = ("bits", "group_size", "sym", "act_order", "clip", "checkpoint")
_CALIBRATED = ("gptq", "awq", "adaround", "autoround", "recommended")
_OWNERS = {"clip": ("awq",), "act_order": ("gptq",), "calibration": _CALIBRATED}
_OWNERS["tokens"] = _OWNERS["calibration"]  # rtn looks at no text


@click.command(short_help="Quantize a whole model.")
@click.argument("source", metavar="IN.gguf")
@click.argument("target", metavar="OUT")
@click.argument("recipe", required=False)
@click.option("--imatrix", metavar="FILE", help="Importance matrices, GGUF or .dat.")
@click.option("--rules", metavar="NAME", help="With RECIPE: modern, 2023-06 or uniform; modern unless given.")
@click.option("--threads", type=click.IntRange(1, 4096), help="Threads to use; all cores unless given.")
@click.option("--dask", metavar="ADDRESS", help="A Dask scheduler whose workers do the work.")
@click.option("--pure", is_flag=True, default=None, help=_WITH_RECIPE + "its base format everywhere.")
@click.option("--leave-output-tensor", is_flag=True, default=None, help=_WITH_RECIPE + "output.weight stays as it is.")
@click.option("--output-tensor-type", metavar="TYPE", help=_WITH_RECIPE + "for output.weight, such as q8_0.")
@click.option("--token-embedding-type", metavar="TYPE", help=_WITH_RECIPE + "for the token embeddings.")
@click.option("--tensor-type", metavar="REGEX=TYPE", multiple=True, help="Tensors whose names fit; may be repeated.")
@click.option("--tensor-type-file", metavar="FILE", help="More of those, from a text file.")
@click.option("--include-weights", metavar="TEXT", multiple=True, help="Of the imatrix, only names with TEXT.")
@click.option("--exclude-weights", metavar="TEXT", multiple=True, help="Of the imatrix, no names with TEXT.")
@click.option("--keep-split", is_flag=True, default=None, help="A model in several files stays in as many.")
@click.option("--prune-layers", metavar="L0,L1,...", help="Layers to leave out.")
@click.option("--override-kv", metavar="KEY=TYPE:VALUE", multiple=True, help="Metadata: int, float, bool or str.")
@click.option("--allow-requantize", is_flag=True, help="Accept a model that is quantized already.")
@click.option("--method", metavar="NAME", help="Round by rtn, gptq, awq, adaround, autoround or recommended.")
@click.option("--bits", type=int, help=_BY_METHOD + "2, 3, 4 or 8; 4 unless given.")
@click.option("--group-size", type=int, help=_BY_METHOD + "weights that share a scale, -1 a row; 128 unless given.")
@click.option("--sym/--asym", default=None, help=_BY_METHOD + "no zero points; with them unless given.")
@click.option("--act-order/--no-act-order", default=None, help="With gptq: columns of large inputs first; on.")
@click.option("--clip/--no-clip", default=None, help="With awq: search the ranges, too; off.")
@click.option("--checkpoint", metavar="LAYOUT", help=_BY_METHOD + "gptq, gptq_v2, awq, compressed-tensors.")
@click.option("--format", "format_", metavar="RECIPE", help="With gptq: write GGUF by RECIPE, as the third argument.")
@click.option(
    "--calibration", metavar="FILE", help="With --method (not rtn) or --size: a text; the course's by default."
)
@click.option(
    "--tokens",
    type=click.IntRange(1, 2**31 - 1),
    help="Of the calibration text; 8192, with --size 24576, unless given.",
)
@click.option(
    "--size", type=Size(), metavar="SIZE", help="Choose formats and codes of least damage: 120M; K, M, G powers of ten."
)
@click.option("--bpw", type=float, help="Instead of --size: bits of the whole file for each weight.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def quantize(
    source: str,
    target: str,
    recipe: str | None,
    method: str | None,
    format_: str | None,
    **options: Any,
) -> None:
    """Quantize the model IN.gguf (or a name, such as tiny) into OUT.

    By RECIPE, such as Q4_K_M: OUT is the GGUF file that llama.cpp would write, byte for byte.

    IN may be a model of whisper.cpp, such as ggml-tiny.en.bin: RECIPE is one format for all matrices, such as Q5_1, and
    OUT is the file that whisper.cpp's own tool would write.

    By --method: OUT is a folder with weights packed as GPTQ, AWQ or compressed-tensors do, under Hugging Face's names,
    for the loaders of such checkpoints; `qviz convert` makes GGUF of it. With gptq and a RECIPE: OUT is a GGUF file of
    that recipe, whose codes GPTQ chose. OUT appears under its name when it is complete.

    By --size or --bpw: OUT is the GGUF file of at most that size that changes the model's answers least. Formats are
    chosen tensor by tensor, by what they cost on a calibration text; what was measured is kept beside OUT until it is
    complete, so that the same command goes on where it was ended.
    """
    if recipe is not None and format_ is not None:
        raise click.UsageError(f"RECIPE is given twice: {recipe} and --format {format_}")
    common = {name: options.pop(name) for name in ("allow_requantize", "dry_run", "as_json")}
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    if "size" in given or "bpw" in given:
        _check_size(recipe or format_ or method, given, common.pop("dry_run"))
        from qviz.cli.by_size import by_size

        by_size(source, target, given, **common)
    elif method is None:
        _check_recipe(recipe, format_, given)
        from qviz.cli.by_recipe import by_recipe

        told = {name: given.pop(name) for name in _SWITCHES if name in given}
        by_recipe(source, target, recipe or "", given, told, **common)
    else:
        recipe = recipe or format_
        _check_method(method, recipe, given)
        from qviz.cli.by_method import gguf_by_gptq, packed

        if recipe is None:
            packed(source, target, method, given, **common)
        else:
            gguf_by_gptq(source, target, recipe, given, **common)


def _check_size(other: str | None, given: dict[str, Any], dry_run: bool) -> None:
    if "size" in given and "bpw" in given:
        raise click.UsageError("--size and --bpw both say how large the file may be; give one of them")
    if other is not None:
        raise click.UsageError(f"{other} is not for --size or --bpw, which choose formats and codes themselves")
    if wrong := [name for name in given if name not in ("size", "bpw", "calibration", "tokens")]:
        raise click.UsageError(f"{_flag(wrong[0])} is not for --size or --bpw")
    if dry_run:
        raise click.UsageError(
            "--size and --bpw measure the model before they choose; --dry-run is for a RECIPE or --method"
        )


def _check_recipe(recipe: str | None, format_: str | None, given: dict[str, Any]) -> None:
    wrong = [name for name in given if name not in (*_NOT_BY_METHOD, "rules")]
    if wrong or format_ is not None:
        raise click.UsageError(
            f"{_flag([*wrong, 'format'][0])} is for --method; which one: rtn, gptq, awq, adaround, autoround or "
            "recommended?"
        )
    if recipe is None:
        raise click.UsageError("Missing argument 'RECIPE', such as Q4_K_M; or give --method")
    if "threads" in given and "dask" in given:
        raise click.UsageError(
            "--threads is for this machine, and with --dask the workers do the work; give one of them"
        )


def _check_method(method: str, recipe: str | None, given: dict[str, Any]) -> None:
    if wrong := [name for name in _NOT_BY_METHOD if name in given]:
        raise click.UsageError(f"{_flag(wrong[0])} is not for --method")
    if recipe is None and "rules" in given:
        raise click.UsageError("--rules is for a RECIPE, and none is given; packed folders have one format throughout")
    if recipe is not None:
        if method != "gptq":
            raise click.UsageError(f"RECIPE goes with gptq, which can round onto GGML formats; {method} cannot")
        if wrong := [name for name in _NOT_IN_GGUF if name in given]:
            raise click.UsageError(f"{_flag(wrong[0])} is for packed folders; {recipe} has its own grid")
    for name, owners in _OWNERS.items():
        if name in given and method not in owners and method in ("rtn", *_CALIBRATED):
            raise click.UsageError(f"{_flag(name)} is for {', '.join(owners)}, not for {method}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
