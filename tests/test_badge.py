"""Binder's badge: made from the repository's own remote, and absent until then."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("binder_badge", ROOT / "binder" / "badge.py")
assert SPEC is not None
assert SPEC.loader is not None
badge = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(badge)


@pytest.mark.parametrize(
    ("remote", "at"),
    [
        ("https://github.com/ada/qviz.git", "gh/ada/qviz"),
        ("https://someone:secret@github.com/ada/qviz", "gh/ada/qviz"),
        ("git@github.com:ada/q.viz.git\n", "gh/ada/q.viz"),
        ("ssh://git@gitlab.com/group/part/qviz.git", "gl/group%2Fpart%2Fqviz"),
    ],
)
def test_remotes_that_binder_knows(remote, at):
    line = badge.badge(remote)
    assert f"(https://mybinder.org/v2/{at}/HEAD?urlpath=lab/tree/notebooks/00_start_here.ipynb)" in line
    assert "secret" not in line


@pytest.mark.parametrize("remote", ["/srv/git/qviz.git", "https://example.org/ada/qviz", "", "https://github.com/ada"])
def test_others_are_named(remote):
    with pytest.raises(SystemExit, match="is no address on GitHub or GitLab"):
        badge.badge(remote)


def test_the_readme_is_written_twice_alike(tmp_path):
    (tmp_path / "binder").mkdir()
    script = tmp_path / "binder" / "badge.py"
    script.write_text((ROOT / "binder" / "badge.py").read_text(encoding="utf-8"), encoding="utf-8")
    readme, before = tmp_path / "README.md", (ROOT / "README.md").read_text(encoding="utf-8")
    readme.write_text(before, encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    missing = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert missing.returncode == 1
    assert "name the remote where the course is published" in missing.stderr
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", "git@github.com:ada/qviz.git"], check=True)
    for _ in range(2):
        subprocess.run([sys.executable, str(script)], check=True)
        assert readme.read_text(encoding="utf-8").count("mybinder.org/v2/gh/ada/qviz/HEAD") == 1
    subprocess.run([sys.executable, str(script), "--remove"], check=True)
    assert readme.read_text(encoding="utf-8") == badge.BEFORE.sub("", before)


def test_no_badge_leads_to_nobody():
    assert "OWNER" not in (ROOT / "README.md").read_text(encoding="utf-8")
