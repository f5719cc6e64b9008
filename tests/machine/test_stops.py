"""The stop button at random moments: no call hangs afterwards, and each gives what it gave before.

``QVIZ_FUZZ=500`` presses it that often. Where lines and bytecodes are stopped one by one: test_team.py, test_blas.py.
"""

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import faulthandler, os, random, signal, sys, time
import numpy as np
import qviz
from qviz._machine import blas, team

team.allowed = lambda: 3  # helpers, however many cores there are
llama = qviz.transformer.Transformer(qviz.load("tiny"))
ids = np.random.default_rng(0).integers(0, llama.config.n_vocab, 70)
weight = np.random.default_rng(1).standard_normal((64, 128)).astype(np.float32)
stats = qviz.ActivationStats.from_inputs(np.random.default_rng(2).standard_normal((300, 128)).astype(np.float32))

def token():
    cache = llama.new_cache(4)
    return b"".join(llama.logits([i], cache).tobytes() for i in ids[:3])

calls = [
    lambda: llama.logits(ids).tobytes(),
    token,
    lambda: qviz.perplexity(llama, ids, n_ctx=32).ppl,
    lambda: qviz.gptq(weight, stats, qviz.AffineGrid(4, 32)).weight.tobytes(),
]
want = [call() for call in calls]
threads = [library.get_num_threads() for library in blas._one_thread.libraries()]
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have ignored it
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
rng, took = random.Random(0), [1.0] * len(calls)
stopped = 0
for k in range(int(sys.argv[1])):
    which = k % len(calls)
    faulthandler.dump_traceback_later(900, exit=True)
    try:
        start = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 1.05 * took[which]))
        calls[which]()
        took[which] = min(took[which], time.perf_counter() - start)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:  # it comes once
        stopped += 1
    again = (which + 1) % len(calls)
    assert calls[again]() == want[again], (k, again)
    assert threads == [library.get_num_threads() for library in blas._one_thread.libraries()]
print("ok", stopped)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that sends a signal")
def test_stopped_at_random(tmp_path):
    count = int(os.environ.get("QVIZ_FUZZ", "20"))
    run = subprocess.run([sys.executable, "-c", SCRIPT, str(count)], capture_output=True, text=True, check=False)
    assert run.stdout.startswith("ok"), run.stderr
    assert run.returncode == 0, run.stderr
