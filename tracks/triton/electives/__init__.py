"""Triton track: 35 days from the first kernel to Flash Attention."""
