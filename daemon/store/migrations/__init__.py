"""The steps by which the tables came to be what they are; a file that was released is never edited.

A test says when `models.py` and these files tell different tables.
"""
