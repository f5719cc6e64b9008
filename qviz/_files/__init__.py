"""Files: opened so that none can hang or lie, read in pieces, and replaced whole or not at all.

=================  =====================================================================================
`opening`          regular files only, read by position; what has changed since it was opened is noticed
`copying`          bytes from one file into another, by the system where it can
`cursor`           walks over a header and says at which byte something is wrong
`jsontext`         JSON from anywhere, its memory bounded before it is parsed
`arrays`           NumPy's archives, which unpack to no more than they hold
`atomic`           a new file or folder takes the place of an older one in one step
`scratch`          names of unfinished files, which tell whether their owner still lives
`problems`         what the system reports, as one sentence with a next step
=================  =====================================================================================
"""

from __future__ import annotations

from qviz._files.arrays import read_arrays
from qviz._files.atomic import (
    read_folder,
    recover_folder,
    refuse_no_place,
    replacing,
    replacing_files,
    replacing_folder,
    write_bytes,
)
from qviz._files.copying import copy_bytes
from qviz._files.cursor import Cursor
from qviz._files.jsontext import MAX_JSON_BYTES, MAX_JSON_VALUES, NotJSONError, parse_json, read_json
from qviz._files.opening import OpenFile, as_path, open_file, read_bytes, read_text, refuse_source
from qviz._files.problems import explained, failure, os_problem
from qviz._files.scratch import sweep

__all__ = [
    "MAX_JSON_BYTES",
    "MAX_JSON_VALUES",
    "Cursor",
    "NotJSONError",
    "OpenFile",
    "as_path",
    "copy_bytes",
    "explained",
    "failure",
    "open_file",
    "os_problem",
    "parse_json",
    "read_arrays",
    "read_bytes",
    "read_folder",
    "read_json",
    "read_text",
    "recover_folder",
    "refuse_no_place",
    "refuse_source",
    "replacing",
    "replacing_files",
    "replacing_folder",
    "sweep",
    "write_bytes",
]
