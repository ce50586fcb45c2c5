"""moshi-cluster under one importable name.

The parts live in folders of the repository's root; the links beside this file, and the wheel's layout, put them below
this package. `v1` holds the messages and stubs generated from protos/.
"""
