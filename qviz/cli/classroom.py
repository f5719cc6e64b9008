"""``qviz class``: what a class believes, from the progress files that students hand in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qviz.cli.terminal import echo, echo_json

if TYPE_CHECKING:
    from qviz.course.classroom import Class, Gain, Row


@click.command("class", short_help="What a class believes, from its progress files.")
@click.argument("folder")
@click.option("--before", metavar="FOLDER", help="Files of a test before the course: the gain from there to FOLDER.")
@click.option("--discuss", type=click.IntRange(0, 50), default=5, show_default=True, help="Questions to discuss.")
@click.option("--kit", is_flag=True, help="Write a test in two forms into FOLDER instead, for before and after.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def class_(folder: str, before: str | None, discuss: int, kit: bool, as_json: bool) -> None:
    """Read the progress files (.json) in FOLDER and say what the class believes.

    Per question: who was right, how sure, and which misconceptions how many showed. Files hold no names, and nothing
    leaves this machine. Students download their file in any lesson, from the panel of `qviz.lesson.progress()`.
    """
    from qviz.course import classroom

    if kit:
        for path in classroom.write_kit(folder):
            echo(str(path))
        return
    together = classroom.read(folder)
    learned = None if before is None else classroom.gain(classroom.read(before), together)
    if as_json:
        echo_json(_as_json(together, learned, discuss))
    else:
        _print(together, learned, discuss)


def _as_json(together: Class, learned: Gain | None, discuss: int) -> dict[str, Any]:
    from dataclasses import asdict

    from qviz.course.lesson import bank

    def told(row: Row) -> dict[str, Any]:
        return asdict(row) | {"question": row.question.id}

    return {
        "students": len(together.students),
        "refused": dict(together.refused),
        "questions": [told(row) for row in together.rows],
        "misconceptions": [asdict(belief) for belief in together.beliefs()],
        "not_opened": {lesson: list(together.not_opened(lesson)) for lesson in bank.lessons()},
        "discuss": [row.question.id for row in together.to_discuss(discuss)],
        "gain": None if learned is None else asdict(learned),
    }


def _print(together: Class, learned: Gain | None, discuss: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from qviz.course.lesson import bank
    from qviz.errors import printable

    console, n = Console(), len(together.students)

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, box=box.SIMPLE, title_justify="left")
        for name in columns:
            made.add_column(
                name, justify="left" if name in ("question", "misconception", "lesson", "files") else "right"
            )
        return made

    overall = together.calibration()
    console.print(
        f"{n} student{'s' * (n != 1)}, {int(overall.counts.sum())} answers"
        + (f": {overall.right:.0%} right, {overall.sure:.0%} sure on average" if overall.counts.size else "")
    )
    for name, why in together.refused.items():
        console.print(Text(f"not read: {printable(name)}: {printable(why)}"))
    if not together.rows:
        return
    answers = table("Questions", "question", "answers", "right", "± 1 SE", "sure", "sure and wrong")
    for row in together.rows:
        within = f"{row.low:.0%}–{row.high:.0%}"
        answers.add_row(
            row.question.id, str(row.answers), f"{row.right:.0%}", within, f"{row.sure:.0%}", str(row.sure_and_wrong)
        )
    console.print(answers)
    beliefs = table("Misconceptions, by students", "misconception", "students", "sure", "question")
    for belief in together.beliefs():
        beliefs.add_row(belief.mistake, str(belief.count), f"{belief.sure:.0%}", ", ".join(belief.questions))
    console.print(beliefs)
    missing = table("Not begun", "lesson", "students", "files")
    for lesson in bank.lessons():
        if names := together.not_opened(lesson):
            some = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            missing.add_row(lesson, str(len(names)), Text(printable(some)))
    if missing.row_count:
        console.print(missing)
    for k, row in enumerate(together.to_discuss(discuss), 1):
        console.print(Text(f"Discuss {k}. [{row.question.id}] {row.question.text}"))
        for option in row.question.options:
            mark = "✓" if option.right else " "
            console.print(Text(f"   {mark} {row.chosen[option.key]:3d}  {option.text}"))
    if learned is not None:
        console.print(
            f"{learned.students} took both tests: {learned.before:.0%} right before, {learned.after:.0%} after; "
            f"normalised gain {learned.gain:.2f} (95 %: {learned.low:.2f} … {learned.high:.2f})"
        )
