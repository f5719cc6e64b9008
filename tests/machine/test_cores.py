"""How many cores a process may use: what the system's files say, by hand."""

import os

import pytest

from qviz._machine import cores


@pytest.fixture
def system(tmp_path):
    def quota(own, **files):
        for name, text in files.items():
            path = tmp_path / "cgroup" / name.replace("__", "/").replace("_max", ".max").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "own").write_text(own)
        return cores._quota(tmp_path / "cgroup", tmp_path / "own")

    return quota


def test_a_container_of_its_own(system):
    assert system("0::/\n", cpu_max="max 100000\n") is None
    assert system("0::/\n", cpu_max="150000 100000\n") == 2
    assert system("0::/\n", cpu_max="10000 100000\n") == 1


def test_the_tightest_of_nested_groups(system):
    assert system("0::/a/b\n", a__b__cpu_max="max 100000", a__cpu_max="300000 100000", cpu_max="max 100000") == 3


def test_the_older_files(system):
    assert system("4:cpu:/\n", cpu__cpuDOTcfs_quota_us="250000\n", cpu__cpuDOTcfs_period_us="100000\n") == 3
    assert system("4:cpu:/\n", cpu__cpuDOTcfs_quota_us="-1\n", cpu__cpuDOTcfs_period_us="100000\n") is None


def test_nothing_or_nonsense(system, tmp_path):
    assert cores._quota(tmp_path / "none", tmp_path / "none") is None
    assert system("0::/../x\n", cpu_max="what") is None
    assert system("0::/\n", cpu_max="5 0") is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_counts():
    before = os.sched_getaffinity(0)
    cores.allowed.cache_clear()
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.allowed() == 1
    finally:
        os.sched_setaffinity(0, before)
        cores.allowed.cache_clear()
