"""qviz: a course on LLM quantization, and the byte-exact quantizers under it.

Names load on first use: ``import qviz`` brings in neither numba nor plotly nor ipywidgets. Which names there are, and
where they live, stands once, in ``__init__.pyi``: a type checker reads it as it stands, Python through `lazy_loader`.
"""

import lazy_loader

from qviz._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
