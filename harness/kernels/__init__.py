"""Kernels explained: the checked interpreter and the compile report."""
