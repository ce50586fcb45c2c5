"""Calls of telephone systems to a running cluster: the simulators of the tests, with real speech in real time."""
