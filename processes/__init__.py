"""Processes beside each other: channels, signs of life, shared memory, and one handle.

A part of the line that lives in a process of its own has two files, and the names
say which side they run on:

- the handle (`X/handle.py`, or `X.py`) is the gateway's: it starts the child, tells
  it things, hears it, and never waits. It loads neither numpy nor anything that may
  hang.
- the body (`X/body.py`, or `X_body.py`) is the child's: it may load what it likes and
  take its time. The handle names a function that imports the body within.

What the two tell each other is typed, `channel.Message`, and stands in a module of its
own that both import (`messages.py`, `events.py`): a body never imports its handle.
"""
