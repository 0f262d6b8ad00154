"""Adapters that let clients of memcached send each key to the server of a continuum.

One module for each client library, which needs the extra of the same name. `routing` has what
they share.
"""
