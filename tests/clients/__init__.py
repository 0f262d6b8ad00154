"""Tests of ketama.clients, with real memcached servers."""
