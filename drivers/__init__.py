"""Real instruments, one file per family. None is in this version: a bench file that names one is
refused with the list of drivers that there are."""
