"""The one error a user is meant to read."""


class InputError(Exception):
    """Something the user gave is wrong: a file, a line, a field, a setting.

    The message names the place and the remedy. The command line prints it alone, without a traceback, and
    exits with status 2.

    Args:
        message: What is wrong, with the file, line or field.
        remedy: What to do about it, one sentence.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}\n  -> {remedy}" if remedy else message)
