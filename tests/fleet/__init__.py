"""Tests of ketama.fleet, with real etcd."""
