"""Who asks, where the command line does not say.

Enters: nothing but the process's user. Leaves: a name for histories.
"""

import getpass
import os


def user_name() -> str:
    """The user of this process on this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"  # a container whose user has no name
