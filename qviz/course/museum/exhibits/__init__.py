"""The faults on show, one file each."""
