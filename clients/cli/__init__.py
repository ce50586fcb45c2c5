"""A command-line caller: streams a recording to a gateway in real time and keeps the reply."""
