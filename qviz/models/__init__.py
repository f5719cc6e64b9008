"""Where models come from: what is shipped in ``data/``, what `fetch` has put into the user's cache, any GGUF file."""

from qviz.models.fetching import fetch, verify
from qviz.models.known import KNOWN, SHIPPED, Packaged, Wheel, cache_dir, data_dir
from qviz.models.material import calibration_text, captured_inputs, heldout_text, mel_filters, photo
from qviz.models.model import Model, load

__all__ = [
    "KNOWN",
    "SHIPPED",
    "Model",
    "Packaged",
    "Wheel",
    "cache_dir",
    "calibration_text",
    "captured_inputs",
    "data_dir",
    "fetch",
    "heldout_text",
    "load",
    "mel_filters",
    "photo",
    "verify",
]
