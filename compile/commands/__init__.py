"""What each command of edge-compile does; `compile/cli.py` reads its words.

torch and nncf take seconds to import and are not on the box, so a command that needs them
imports them itself.
"""
