"""Jobs over whole models: by recipe, or layer by layer with a rounding method.

Its names load on first use, so that a worker which gets pieces of a model loads no more than it needs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["best", "by_layer", "by_recipe", "imatrix", "training"],
    {"best": ["best_file"], "by_recipe": ["quantize_model"], "training": ["Training"]},
)
