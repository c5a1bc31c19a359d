"""A window's pictures, drawn in a process of their own so that the training is not held up.

Plain functions from plain data, as JSON has it, to the bytes of a PNG. They import matplotlib and
the standard library, and nothing of the package beside this folder: with torch the process would
take seconds to start and gigabytes to live.
"""
