"""Where models come from: what is shipped in ``data/``, what `fetch` has put into the user's cache, any GGUF file."""

from qviz.models.fetching import fetch, verify
from qviz.models.known import KNOWN, SHIPPED, Packaged, Wheel, cache_dir, data_dir
from qviz.models.material import calibration_text, captured_inputs, heldout_text, mel_filters, photo
from qviz.models.model import Model, load
from qviz.models.speech import Heard, SpeechTable, word_errors

__all__ = [
    "KNOWN",
    "SHIPPED",
    "Heard",
    "Model",
    "Packaged",
    "SpeechTable",
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
    "word_errors",
]
