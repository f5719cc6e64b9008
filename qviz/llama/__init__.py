"""A Llama that runs on quantized weights: tokenizer, forward pass, generation, perplexity."""

from qviz.llama import evaluate
from qviz.llama._groups import group_tensor
from qviz.llama.cache import KVCache
from qviz.llama.config import LlamaConfig
from qviz.llama.evaluate import Perplexity, compare, perplexity
from qviz.llama.generate import Sampler, generate, generate_tokens
from qviz.llama.inputs import linear_inputs
from qviz.llama.model import Llama
from qviz.llama.tokenizer import Tokenizer

__all__ = [
    "KVCache",
    "Llama",
    "LlamaConfig",
    "Perplexity",
    "Sampler",
    "Tokenizer",
    "compare",
    "evaluate",
    "generate",
    "generate_tokens",
    "group_tensor",
    "linear_inputs",
    "perplexity",
]
