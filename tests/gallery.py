"""One of every widget of the course, as cells of a notebook: what audits of all widgets stand on.

Real weights from the model in the repository; the rows that take minutes to measure are invented.
"""

from __future__ import annotations

SETUP = """
import atexit, shutil, tempfile
import numpy as np
import qviz
from qviz.figures.roofline import roofline
from qviz.transformer import Perplexity
from qviz.measure import RecipeRow
from qviz.measure.machine import FormatSpeed, Machine
from qviz import widgets
from qviz.course import lesson
model = qviz.load("smollm2-slices")
embedding = model["token_embd.weight"].rows(0, 512).dequantize()
rng = np.random.default_rng(0)
x = rng.standard_normal((300, 64)) @ rng.standard_normal((64, 64))
layer = {"mine": (rng.standard_normal((8, 64)).astype(np.float32), x[:200], x[200:])}
inputs = np.sin(np.arange(512, dtype=np.float32)).reshape(4, 128)
def row(recipe, mib, kld):
    quality = Perplexity(1000, 40 + kld, 1.0, 256, 40.0, kld, 0.02, 0.01, 0.001, kld, kld / 50, 0.9, 0.01)
    return RecipeRow(recipe, int(mib * 2**20), 8.0, int(mib * 2**20), quality, 100.0, 0.1)
rows = [row("Q8_0", 8, 0.001), row("Q5_0", 6, 0.01), row("Q4_K_M", 5, 0.02), row("Q4_0", 5.5, 0.04)]
machine = Machine(bandwidth=20e9, float_peak=50e9, integer_peak=100e9, threads=2, nbytes=1)
speeds = [FormatSpeed(n, (1000, 1000), 1, b, s, s, s, 3)
          for n, b, s in (("F16", 2_000_000, 2e-4), ("Q4_0", 562_500, 1e-4), ("Q4_K", 562_500, 4e-4))]
bar = widgets.ProgressBar()
bar("scoring", 3, 10)
tiny = qviz.load("tiny")
work = tempfile.mkdtemp(prefix="qviz-gallery-")
atexit.register(shutil.rmtree, work, ignore_errors=True)
folder = qviz.checkpoints.write_folder(work + "/tiny", tiny)
def answered():
    for id, option, sure in (("00.1", "b", 90), ("00.2", "a", 60), ("00.3", "b", 80), ("05.2", "c", 60)):
        lesson.predict(id).answer(option, sure)
    return lesson.score()
"""

# name of a class of qviz.widgets or qviz.course.lesson -> an expression that makes one
WIDGETS = {
    "AWQExplorer": "widgets.AWQExplorer(layer, group_size=64)",
    "BalanceExplorer": "widgets.BalanceExplorer(rows, budget=7)",
    "BitsExplorer": "widgets.BitsExplorer(embedding, name='token_embd.weight')",
    "BlockExplorer": "widgets.BlockExplorer(model)",
    "BlockExplorer, super-block": "widgets.BlockExplorer(qviz.quantize(embedding[:4, :512], 'Q6_K'), name='w')",
    "BugMuseum": "widgets.BugMuseum('block-index')",
    "BugMuseum, first": "widgets.BugMuseum()",
    "CapstoneExplorer": "widgets.CapstoneExplorer('7B on a phone')",
    "CodebookExplorer": "widgets.CodebookExplorer(embedding[:128], name='token_embd.weight')",
    "ConversionExplorer": "widgets.ConversionExplorer(folder, tiny)",
    "CurvatureExplorer": "widgets.CurvatureExplorer(layer, group_size=64)",
    "DuelExplorer": "widgets.DuelExplorer(max_tokens=8)",
    "FileExplorer": "widgets.FileExplorer(model)",
    "FloatExplorer": "widgets.FloatExplorer()",
    "GPTQExplorer": "widgets.GPTQExplorer(layer['mine'][0], inputs=x, name='a layer')",
    "InputRangeExplorer": "widgets.InputRangeExplorer((inputs, 3 * inputs), name='inputs')",
    "ModelExplorer": "widgets.ModelExplorer('tiny', 'mixtral-8x7b')",
    "NumberExplorer": "widgets.NumberExplorer()",
    "OutlierExplorer": "widgets.OutlierExplorer(layer)",
    "PairExplorer": "widgets.PairExplorer(tiny['blk.3.ffn_up.weight'])",
    "PhotoExplorer": "widgets.PhotoExplorer()",
    "PhotoExplorer, locked": "lesson.lock(widgets.PhotoExplorer(bits=2), '01.3')",
    "ProgressBar": "bar",
    "RangeExplorer": "widgets.RangeExplorer(embedding, name='token_embd.weight')",
    "RecipeExplorer": "widgets.RecipeExplorer('llama-7b')",
    "RecipeExplorer, stand-ins": "widgets.RecipeExplorer('smollm2-135m')",
    "ScaleSearchExplorer": "widgets.ScaleSearchExplorer(embedding[:, :512], name='token_embd.weight')",
    "SpeedExplorer": "widgets.SpeedExplorer(speeds, machine)",
    "StaircaseExplorer": "widgets.StaircaseExplorer(layer['mine'][0], x)",
    "TensorExplorer": "widgets.TensorExplorer(embedding, name='token_embd.weight')",
    "TensorExplorer, of a model": "widgets.TensorExplorer(model, 'token_embd.weight')",
    "Prediction": "lesson.predict('05.4', unlocks=widgets.RecipeExplorer('llama-7b'))",
    "Prediction, answered": "lesson.predict('05.3').answer('c', 90)",
    "Prediction, shown": "lesson.predict('04.2').show_me()",
    "Score": "answered()",
    "ProgressPanel": "lesson.progress()",
    # not widgets, but pictures of the lessons all the same
    "roofline": "roofline(20e9, {'integers': 1e11, 'float32': 5e10}, [('Q4_0', 3.5, 3e10), ('F32', 0.5, 8e9)])",
}

EXPLORERS = [name for name in WIDGETS if name.endswith(("Explorer", "Museum")) or name == "Score"]
