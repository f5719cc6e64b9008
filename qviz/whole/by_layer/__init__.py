"""Rounding methods on a whole model, layer by layer, each calibrated on what the rounded layers before it send.

Within a layer, matrices that share their input are rounded together, in the order in which the model uses them::

    attn_norm → q, k, v → attention → attn_output → ffn_norm → gate, up → SwiGLU → ffn_down → next layer

Before each of these four steps the calibration tokens go through what is rounded already ("true sequential" in
IST-DASLab/gptq, ``llama.py``), so a step also sees, and GPTQ partly repairs, the errors before it. Only the residual
stream of the calibration tokens is kept, and the weights of one layer.

What is measured is what is stored: scales are rounded to float16 before the next step sees them. AWQ's channel scales s
go where llm-awq puts them (``auto_scale.py``): into the norm before q, k, v and before gate, up; into the rows of
ffn_up before ffn_down; into the rows of attn_v before attn_output, unless heads share their values (grouped-query
attention), where one row of attn_v feeds several channels: there attn_output gets no scale. To divide a row by s, its
groups' scales are divided: codes stay as they are, for rounding to nearest does not mind the unit. So a matrix that is
rounded already can take up the scale of the one after it, exactly.
"""

from __future__ import annotations

from qviz.whole.by_layer.gguf_file import gptq_model
from qviz.whole.by_layer.packing import CHECKPOINTS, PackPlan, Written, pack_model, plan_packing
from qviz.whole.by_layer.rounded import RoundedLayer, RoundedMatrix, RoundedModel
from qviz.whole.by_layer.rounding import INTEGER_METHODS
from qviz.whole.by_layer.steps import calibration_windows, round_model

__all__ = [
    "CHECKPOINTS",
    "INTEGER_METHODS",
    "PackPlan",
    "RoundedLayer",
    "RoundedMatrix",
    "RoundedModel",
    "Written",
    "calibration_windows",
    "gptq_model",
    "pack_model",
    "plan_packing",
    "round_model",
]
