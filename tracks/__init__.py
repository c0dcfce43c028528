"""The tracks: triton, pytorch and autodiff, each a package of days."""
