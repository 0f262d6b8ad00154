"""Tests that ask real programs for the servers of random keys, and compare."""
