"""Without the compiler kernels are Python: the same bytes, no warnings, and a debugger can step through them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import qviz

SCRIPT = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import numpy as np
import qviz
from qviz.formats import FORMATS, QTensor, quantize
from qviz._machine.team import in_parallel

golden = np.load(sys.argv[1])
names = [key.removesuffix(" weights") for key in golden if key.endswith(" weights")]
differ = []
for name in names:
    fmt, x = FORMATS[name], golden["x"]
    if f"{name} rows" in golden:
        x = x[golden[f"{name} rows"]]
    for kind, imatrix in (("bytes", None), ("weighted", golden["imatrix"])):
        if f"{name} {kind}" in golden:
            raw = golden[f"{name} {kind}"].reshape(len(x), -1)[-1:]
            if quantize(x[-1:], name, imatrix).tobytes() != raw.tobytes():
                differ.append(f"{name} {kind}")
            decoded = raw if kind == "bytes" or fmt.needs_imatrix else decoded
    weights = golden[f"{name} weights"][-1:]
    if not np.array_equal(QTensor.from_bytes(name, decoded, weights.shape).dequantize(), weights, equal_nan=True):
        differ.append(name + " decoded")

rng = np.random.default_rng(0)
weight = rng.standard_normal((4, 32)).astype(np.float32)
stats = qviz.ActivationStats.from_inputs(rng.standard_normal((64, 32)).astype(np.float32))
grid = qviz.AffineGrid(4, 16)
found = [method(weight, stats, grid).weight for method in (qviz.rtn, qviz.gptq, qviz.awq)]
found.append(qviz.AffineGrid(3, 8, sym=True).quantize(weight).dequantize())
found.append(qviz.methods.gptq_format(weight, stats, "Q8_0").dequantize())
np.savez(sys.argv[2], *found)
metrics = qviz.metrics.compare(weight, found[0])
model = qviz.load("tiny")
first = model["blk.0.attn_norm.weight"].dequantize()
parts = []
in_parallel(1000, lambda a, b: parts.append((a, b)), least=1)
print(json.dumps({"differ": differ, "names": names, "rmse": float(metrics.rmse), "parts": parts}))
"""


def test_the_same_bytes_without_the_compiler(tmp_path):
    golden = Path(__file__).parent.parent / "golden" / "formats.npz"
    found = tmp_path / "found.npz"
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(golden), str(found)],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["differ"] == []
    assert len(said["names"]) >= 20
    assert said["parts"] == [[0, 1000]]
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 32)).astype(np.float32)
    stats = qviz.ActivationStats.from_inputs(rng.standard_normal((64, 32)).astype(np.float32))
    grid = qviz.AffineGrid(4, 16)
    compiled = [method(weight, stats, grid).weight for method in (qviz.rtn, qviz.gptq, qviz.awq)]
    compiled.append(qviz.AffineGrid(3, 8, sym=True).quantize(weight).dequantize())
    compiled.append(qviz.methods.gptq_format(weight, stats, "Q8_0").dequantize())
    plain = np.load(found)
    for k, want in enumerate(compiled):
        np.testing.assert_array_equal(plain[f"arr_{k}"], want)
