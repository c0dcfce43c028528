"""A loop without an end."""


def double(x):
    while True:
        pass
