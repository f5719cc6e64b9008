"""Each test has a progress file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def progress_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kept" / "progress.json"
    monkeypatch.setenv("QVIZ_PROGRESS", str(path))
    monkeypatch.delenv("QVIZ_UNLOCKED", raising=False)
    return path
