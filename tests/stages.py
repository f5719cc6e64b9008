"""Run every test, in three stages: all of them, whatever fails in one.

    python tests/stages.py [NAME ...]

The exit code is 0 only if every stage passed. At the end stands a table of the stages, and the last line of each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# A kernel of the first stage is compiled once: its cache serves the other two.
SPREAD = ("-n", str(min(CORES, 8)), "--dist", "loadscope")
# A browser often waits for its kernel, and a kernel for its browser: one more of them than cores. Put in the order of
# their tests, the longest lesson would come last.
WAITING = ("-n", str(min(CORES, 3) + 1), "--dist", "loadscope", "--no-loadscope-reorder")
# What is deselected has been imported by every process; what is ignored has not.
NO_BROWSER = ("--ignore=tests/browser", "-p", "no:nbval", *SPREAD)
STAGES = {
    "tests": NO_BROWSER,
    "browser": ("-m", "browser", "tests/browser", *WAITING),
    "lessons": ("--nbval", "notebooks/", *SPREAD),
}
QUICK = {"quick": ("-m", "not slow", *NO_BROWSER)}
# Hundreds of processes import qviz: where the environment forbids to keep what Python compiles, each would compile it.
KEPT = {"PYTHONDONTWRITEBYTECODE": ""}

# What `make check` leaves to `make test`: file, and names of tests; all of a file where none is named.
SLOW = {
    "formats/test_iq_encoders.py": ("IQ1_S", "IQ2_S", "IQ2_XS", "test_adversarial_rows"),
    "machine/test_plain.py": ("without_the_compiler",),
    "machine/test_elsewhere.py": ("compiled_elsewhere",),
    "machine/test_stops.py": ("at_random",),
    "machine/test_blas.py": ("stopped_anywhere",),
    "machine/test_cache.py": ("calls_or_reads", "damage_is_a_miss"),
    "machine/test_buffers.py": ("held_buffer",),
    "gguf/test_gguf_writer.py": ("test_round_trip", "gguf_py_reads"),
    "gguf/test_legacy.py": ("cut_short", "every_layout", "mutations_end"),
    "gguf/test_gguf_malformed.py": ("test_mutations",),
    "gguf/test_remote.py": ("servers_that_cannot",),
    "recipes/test_recipes.py": ("modern_sizes", "finished_reason"),
    "checkpoints/test_folder_fuzz.py": (),
    "checkpoints/test_safetensors.py": ("cut_short_anywhere",),
    "checkpoints/test_write_packed.py": ("killed_anywhere",),
    "checkpoints/test_to_folder.py": ("there_and_back",),
    "checkpoints/test_to_gguf.py": ("json_of_nonsense",),
    "architectures/test_against_transformers.py": ("test_logits",),
    "architectures/test_damaged_folders.py": ("test_odd_settings", "test_tensors_that_are_missing"),
    "whole/test_packed_families.py": ("convert_reads", "by_the_familys_own_names"),
    "whole/test_training.py": ("gradients_are",),
    "grids/test_affine.py": ("test_any_weights", "touch_one_another"),
    "cli/test_cli_compare.py": ("tensors_and_text",),
    "methods/test_refine.py": (),
    "methods/test_gptq_format.py": ("test_better_than",),
    "methods/test_lattice.py": (),
    "test_stages.py": ("stops_no_other",),
    "course/lesson/test_answers.py": ("test_01_5", "test_10_3", "test_13_7"),
    "course/lesson/test_answers_04_11.py": ("test_11_4",),
    "course/lesson/test_answers_12.py": ("test_12_1", "test_12_3"),
    "course/lesson/test_answers_14.py": ("test_14_1", "test_14_3", "test_14_4"),
    "course/lesson/test_answers_16.py": ("test_16_3", "test_16_4"),
    "course/lesson/test_answers_17.py": ("test_17_3",),
    "course/lesson/test_progress.py": ("six_kernels",),
    "course/museum/test_museum.py": ("schur_complements",),
    "transformer/test_agreement.py": ("F16", "Q8_0", "folder", "llama_cpps"),
    "transformer/test_damaged_models.py": (),
    "transformer/test_evaluate.py": (),
    "transformer/test_inputs.py": (),
    "transformer/test_tiles.py": ("test_older_processors",),
    "transformer/test_tokenizer.py": ("test_held_out_text",),
    "machine/test_kernels.py": ("process", "scipy", "blas", "cached"),
    "machine/test_team.py": ("test_each_piece",),
    "course/missions/test_capstone.py": (
        "test_a_choice_is_measured",
        "test_a_cache_is_felt",
        "test_importance",
        "test_bytes_equal",
    ),
    "cli/test_cli_methods.py": (),
    "cli/test_cli_ending.py": ("messages_that_cannot", "a_server_ends", "a_full_disk"),
    "cli/test_cli_quantize.py": ("test_a_polite_kill",),
    "test_doctests.py": (),
    "test_exercises.py": ("nbgrader", "test_students_get", "test_release", "test_answers_fail"),
    "measure/test_cloze.py": ("what_a_model_has_learnt",),
    "measure/test_measured_tables.py": (),
    "models/test_agreement_fetched.py": (),
    "models/test_models.py": (),
    "models/test_whisper_model.py": ("publishes", "hears"),
    "test_notebooks.py": (
        "build",
        "nbval",
        "test_measured",
        "test_a_cell_that_fails",
        "without_kernel",
        "new_words",
        "compared_as_they",
    ),
    "test_packaging.py": (
        "binder_shuts",
        "makes_what_it_needs",
        "elsewhere",
        "test_the_tests_bring",
        "test_an_interrupted",
    ),
    "whole/test_agreement_files.py": (),
    "whole/test_by_recipe.py": ("byte_identical", "importance_matrix_too", "killed_process", "memory_does_not_grow"),
    "whole/test_switches.py": ("llama_quantize",),
    "whole/test_whisper.py": ("byte_identical",),
    "whole/test_best.py": (),
    "whole/test_dask.py": (),
    "whole/test_by_layer.py": (),
    "whole/test_by_layer_families.py": (),
    "cli/test_cli_by_size.py": ("at_most",),
    "cli/test_show.py": (),
    "measure/test_machine.py": ("test_the_machine_is_measured",),
    "widgets/test_awq_explorer.py": ("test_the_shipped_layers",),
    "course/missions/test_capstone_explorer.py": (),
    "widgets/test_every_widget.py": (),
    "widgets/test_whole_model_explorers.py": (),
}


def told(command: Sequence[str], **environment: str) -> tuple[int, str]:
    """Run a command and pass on what it says.

    Returns
    -------
    code, last : int, str
        Its exit code, and the last line that is not empty.
    """
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as job:
        assert job.stdout is not None
        end = b""
        while part := os.read(job.stdout.fileno(), 1 << 16):
            sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
            end = (end + part)[-4096:]
        code = job.wait()
    lines = [line for line in end.decode(errors="replace").splitlines() if line.strip()]
    return code, lines[-1] if lines else ""


def main(names: Sequence[str]) -> int:
    """Run the stages of these names, or the three that stand for every test."""
    stages = STAGES | QUICK
    if unknown := [name for name in names if name not in stages]:
        print(f"no stage {unknown[0]!r}; there are {', '.join(stages)}", file=sys.stderr)
        return 2
    colour = ["--color=yes"] if sys.stdout.isatty() and "NO_COLOR" not in os.environ else []
    rows: list[tuple[str, int, float, str]] = []
    # tables that lessons measure are kept from one stage to the next, but not from older sources
    with tempfile.TemporaryDirectory(prefix="qviz-measured-") as kept, suppress(KeyboardInterrupt):
        worst = 128 + signal.SIGINT  # unless all is run
        for name in names or STAGES:
            print(f"== {name}", flush=True)
            start = time.monotonic()
            command = [sys.executable, "-m", "pytest", *colour, *stages[name]]
            code, last = told(command, QVIZ_CACHE=str(Path(kept, "models")), **KEPT)
            rows.append((name, code, time.monotonic() - start, last))
        worst = max(abs(code) for _, code, *_ in rows)
    print(f"\n{'stage':<10}{'result':<12}{'seconds':>8}")
    for name, code, seconds, _ in rows:
        print(f"{name:<10}{'passed' if code == 0 else f'failed ({code})':<12}{seconds:8.0f}")
    for *_, last in rows:
        print(last)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
