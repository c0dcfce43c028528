"""Changes what it was given."""


def double(x):
    x *= 2
    return x
