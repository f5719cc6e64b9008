"""``import qviz`` is instant: it loads neither numba nor anything that draws."""

import importlib.metadata
import subprocess
import sys

import pytest

import qviz

DRAWS = ("plotly", "ipywidgets", "anywidget", "IPython")
HEAVY = ("numba", "llvmlite", "scipy", *DRAWS, "rich", "click", "platformdirs", "tokenizers")


def loaded_by(statement):
    code = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_loads_nothing_heavy():
    loaded = loaded_by("import qviz; qviz.__version__; dir(qviz)")
    assert "qviz" in loaded
    assert not loaded & set(HEAVY)
    assert "numpy" not in loaded


@pytest.mark.parametrize(
    "statement",
    [
        "import qviz; qviz.quantize, qviz.QTensor",
        "import qviz; qviz.AffineGrid(4, 128, True).bpw((64, 128))",
        "import qviz; qviz.metrics.bits_per_weight(1, 2)",
        "import qviz; print(qviz.load('smollm2-slices').summary)",
    ],
)
def test_numba_waits_for_the_first_kernel(statement):
    assert not loaded_by(statement) & {"numba", "llvmlite", "plotly", "ipywidgets", "anywidget"}


def test_every_public_name_is_there():
    for name in qviz.__all__:
        assert getattr(qviz, name) is not None
    assert set(qviz.__all__) <= set(dir(qviz))
    with pytest.raises(AttributeError, match="qviz attribute quantise"):
        _ = qviz.quantise


def test_version_is_the_installed_one():
    assert importlib.metadata.version("qviz-toolkit") == qviz.__version__
