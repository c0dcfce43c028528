"""Somewhere in the network it is."""

import socket

socket.create_connection(("127.0.0.1", {port}), timeout=2).close()


def double(x):
    return 2.0 * x
