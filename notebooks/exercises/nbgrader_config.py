"""This folder as an nbgrader course: run ``nbgrader`` in here. See docs/teaching.md.

source/     exercises with their solutions: edit these
release/    what students get, made from source/ by release.py
submitted/, autograded/, feedback/, gradebook.db    appear when a class is graded
"""

c = get_config()  # noqa: F821  (nbgrader hands it in)

c.CourseDirectory.course_id = "qviz"
c.ClearSolutions.code_stub = {"python": "# your code here\nraise NotImplementedError()"}
c.ClearSolutions.text_stub = "*Your answer here.*"
c.ExecutePreprocessor.timeout = 120  # seconds a cell; the first one may compile
