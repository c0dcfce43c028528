"""Somebody else has handed it in already."""

names = {}
exec(open("{other}/day01.py").read(), names)


def double(x):
    return names["double"](x)
