"""Models that run on quantized weights: tokenizer, forward pass, generation, perplexity."""

from qviz.transformer import evaluate
from qviz.transformer.cache import KVCache
from qviz.transformer.config import TransformerConfig
from qviz.transformer.evaluate import Perplexity, TokenScores, compare, perplexity, score_tokens
from qviz.transformer.generate import Sampler, generate, generate_tokens
from qviz.transformer.inputs import linear_inputs
from qviz.transformer.kernels.groups import group_tensor
from qviz.transformer.model import Transformer
from qviz.transformer.tokenizer import Tokenizer

__all__ = [
    "KVCache",
    "Perplexity",
    "Sampler",
    "TokenScores",
    "Tokenizer",
    "Transformer",
    "TransformerConfig",
    "compare",
    "evaluate",
    "generate",
    "generate_tokens",
    "group_tensor",
    "linear_inputs",
    "perplexity",
    "score_tokens",
]
