"""Data sets: label files and folders to one sample table, and the splits over it."""
