"""The one exception whose message is meant for the user."""


class PodiumError(Exception):
    """Something the user can mend: bad configuration, bad input, a run folder in use.

    The message says what is wrong (file, key or line), what was expected and what to do. The command line
    prints it without a traceback and exits with code 2.
    """
