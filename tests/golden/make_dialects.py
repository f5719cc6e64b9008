"""Golden tensors of packed dialects, made by the packages that write them.

Run with torch, compressed-tensors 0.20.1 and the unpacked sources of autoawq 0.2.9, auto_gptq 0.7.1 and auto_round
0.16.1::

    python make_dialects.py FOLDER_OF_SOURCES

Each case holds what a checkpoint stores, as ``case/part``, its settings, and ``case/expected``: every third row of
what the package's own code makes of it, or for those whose readers need a GPU, scale · (code − zero point) of the
codes that its packer was given.
"""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from compressed_tensors.compressors.naive_quantized import IntQuantizationCompressor
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

SOURCES = Path(sys.argv[1])
found = {}


def module(path, name):
    spec = importlib.util.spec_from_file_location(name, SOURCES / path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def keep(case, tensors, weight, settings):
    for part, tensor in tensors.items():
        array = tensor.detach()
        if array.dtype == torch.float8_e4m3fn:
            found[f"{case}/{part}.f8"] = array.view(torch.uint8).numpy()
        elif array.dtype == torch.bfloat16:  # its bits; NumPy has no such type
            found[f"{case}/{part}.bf16"] = array.view(torch.int16).numpy()
        else:
            found[f"{case}/{part}"] = array.numpy()
    found[f"{case}/expected"] = weight.detach().float().numpy()[::3]
    found[f"{case}/settings"] = np.array(json.dumps(settings))


def grid(n_out, n_in, size, bits, sym, seed, dtype=torch.float32):
    torch.manual_seed(seed)
    weight = torch.randn(n_out, n_in)
    groups = weight.reshape(n_out, -1, size)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    if sym:
        scale = (2 * torch.maximum(-low, high) / (2**bits - 1)).to(dtype)
        return weight, scale, torch.full(scale.shape, 2 ** (bits - 1), dtype=torch.int32)
    scale = ((high - low) / (2**bits - 1)).to(dtype)
    return weight, scale, (-low / scale).round().clamp(0, 2**bits - 1).to(torch.int32)


# -- compressed-tensors: its own compress and decompress
CASES = {
    "ct_w4_group": (4, "group", 32, True, torch.bfloat16, PackedQuantizationCompressor),
    "ct_w4_group_asym": (4, "group", 32, False, torch.float32, PackedQuantizationCompressor),
    "ct_w8_channel": (8, "channel", None, True, torch.bfloat16, PackedQuantizationCompressor),
    "ct_w8_channel_asym": (8, "channel", None, False, torch.float16, PackedQuantizationCompressor),
    "ct_w3_group": (3, "group", 32, False, torch.float32, PackedQuantizationCompressor),
    "ct_w4_tensor": (4, "tensor", None, True, torch.float32, PackedQuantizationCompressor),
    "ct_int_channel": (8, "channel", None, True, torch.bfloat16, IntQuantizationCompressor),
    "ct_int_group_asym": (8, "group", 32, False, torch.float32, IntQuantizationCompressor),
}
for seed, (case, (bits, strategy, size, sym, dtype, compressor)) in enumerate(CASES.items()):
    n_out, n_in = 10, 64
    args = QuantizationArgs(num_bits=bits, type="int", symmetric=sym, strategy=strategy, group_size=size)
    weight, scale, zero = grid(n_out, n_in, size or n_in, bits, sym, seed, dtype)
    if strategy == "tensor":
        scale, zero = scale.max().reshape(1), zero[:1, :1].reshape(1)
    state = {
        "weight": weight.to(dtype),
        "weight_scale": scale,
        "weight_zero_point": (zero - 2 ** (bits - 1)).to(torch.int8),
    }
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    packed = compressor.compress(state, scheme)
    whole = compressor.decompress(packed, scheme)["weight"]
    if dtype != torch.float32:  # the same codes in exact arithmetic, for that package rounds its products
        wide = {k: v.float() if v.is_floating_point() else v for k, v in packed.items()}
        exact = compressor.decompress(wide, scheme)["weight"]
        assert torch.equal(exact.to(dtype), whole)
        whole = exact
    kind = "int-quantized" if compressor is IntQuantizationCompressor else "pack-quantized"
    weights = {"num_bits": bits, "type": "int", "symmetric": sym, "strategy": strategy, "group_size": size}
    settings = {"quant_method": "compressed-tensors", "format": kind, "quantization_status": "compressed", "ignore": []}
    settings["config_groups"] = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}
    keep(case, packed, whole, settings)

# -- compressed-tensors: floats of eight and of four bits
from compressed_tensors.compressors import FloatQuantizationCompressor, NVFP4PackedCompressor  # noqa: E402
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8  # noqa: E402
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme  # noqa: E402
from compressed_tensors.quantization.lifecycle.forward import dequantize  # noqa: E402

for case, strategy in (("ct_fp8_channel", "channel"), ("ct_fp8_tensor", "tensor"), ("ct_nvfp4", "tensor_group")):
    torch.manual_seed(len(case))
    weight, nvfp4 = torch.randn(10, 64), strategy == "tensor_group"
    kind = "nvfp4-pack-quantized" if nvfp4 else "float-quantized"
    weights = {"num_bits": 4 if nvfp4 else 8, "type": "float", "symmetric": True, "strategy": strategy}
    weights["group_size"] = 16 if nvfp4 else None
    args = QuantizationArgs(**weights)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    state = {"weight": weight}
    if nvfp4:
        whole = 448 * 6 / weight.abs().max()
        scale = (whole * weight.reshape(10, -1, 16).abs().amax(-1) / 6).to(torch.float8_e4m3fn).float()
        state |= {"weight_scale": scale, "weight_global_scale": whole.reshape(1)}
        packed = NVFP4PackedCompressor.compress(state, scheme)
        codes = unpack_fp4_from_uint8(packed["weight_packed"], 10, 64, dtype=torch.float32)
        whole, scale = packed["weight_global_scale"], packed["weight_scale"].float()
        values = dequantize(codes, scale, args=args, global_scale=whole, dtype=torch.float32)
    else:
        most = weight.abs().amax(1, keepdim=True) if strategy == "channel" else weight.abs().max().reshape(1)
        state["weight_scale"] = most / 448
        packed = FloatQuantizationCompressor.compress(state, scheme)
        values = FloatQuantizationCompressor.decompress(packed, scheme)["weight"]
    settings = {"quant_method": "compressed-tensors", "format": kind, "quantization_status": "compressed", "ignore": []}
    settings["config_groups"] = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}
    keep(case, packed, values, settings)

# -- AutoAWQ: packers; what unpacks runs on a GPU
for name in ("awq", "awq.utils", "awq.utils.module"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["awq.utils.module"].try_import = lambda name: (None, "not here")
for version, path in (("gemv", "gemv.py"), ("gemv_fast", "gemv_fast.py")):
    code = module(f"autoawq-0.2.9/awq/modules/linear/{path}", version)
    n_out, n_in, size = 16, 128, 32
    weight, scale, zero = grid(n_out, n_in, size, 4, False, 20, torch.float16)
    linear = torch.nn.Linear(n_in, n_out, bias=False, dtype=torch.float32)
    codes = ((weight / scale.float().repeat_interleave(size, 1)).round() + zero.repeat_interleave(size, 1)).clamp(0, 15)
    whole = (codes - zero.repeat_interleave(size, 1)) * scale.float().repeat_interleave(size, 1)
    linear.weight.data = whole
    kind = code.WQLinear_GEMV if version == "gemv" else code.WQLinear_GEMVFast
    made = kind.from_linear(linear, 4, size, scales=scale.float(), zeros=zero.float())
    settings = {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True, "version": version}
    keep(f"awq_{version}", dict(made.named_buffers()), whole, settings)

# -- AutoRound: packers of its three ways to store zero points
sys.path.insert(0, str(SOURCES))
for name in ("auto_round", "auto_round.utils", "auto_round.utils.device"):
    sys.modules.setdefault(name, types.ModuleType(name))
utils = sys.modules["auto_round.utils"]
utils.get_packing_device = lambda device="auto": "cpu"
utils.__path__ = []
transformers = types.ModuleType("transformers")
transformers.pytorch_utils = types.SimpleNamespace(Conv1D=type("Conv1D", (), {}))
sys.modules["transformers"] = transformers
utils.bit_packing = module("auto_round/utils/bit_packing.py", "auto_round.utils.bit_packing")
plain = module("auto_round_extension/torch/qlinear_torch.py", "auto_round_extension.torch.qlinear_torch")
less_one = module("auto_round_extension/torch/qlinear_torch_zp.py", "auto_round_extension.torch.qlinear_torch_zp")
for bits in (3, 4):
    for name, code, sym, packing in (
        ("gptq", less_one, True, "auto_round:auto_gptq"),
        ("model", plain, False, "auto_round:gptqmodel"),
        ("plain", plain, True, "auto_round:tritonv2"),
    ):
        n_out, n_in, size = 32, 64, 32
        weight, scale, zero = grid(n_out, n_in, size, bits, sym, bits, torch.float16)
        steps = (weight / scale.float().repeat_interleave(size, 1)).round() + zero.repeat_interleave(size, 1)
        codes = steps.clamp(0, 2**bits - 1)
        whole = (codes - zero.repeat_interleave(size, 1)) * scale.float().repeat_interleave(size, 1)
        linear = torch.nn.Linear(n_in, n_out, bias=False)
        linear.weight.data = whole.clone()
        made = code.QuantLinear(bits, size, n_in, n_out, False)
        made.device = "cpu"
        made.pack(linear, scale.float(), zero.float().clone(), None, device="cpu")
        settings = {
            "quant_method": "auto-round",
            "bits": bits,
            "group_size": size,
            "sym": sym,
            "packing_format": packing,
        }
        settings |= {"data_type": "int", "autoround_version": "0.16.1"}
        keep(f"auto_round_{name}_{bits}", dict(made.named_buffers()), whole, settings)

out = Path(__file__).parent / "dialects.npz"
np.savez_compressed(out, **found)
print(out, out.stat().st_size, len({name.split("/")[0] for name in found}))
