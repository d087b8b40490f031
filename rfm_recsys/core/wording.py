"""How an error names what to pass: as an argument in Python, as an option on the command line."""

from contextvars import ContextVar

ON_COMMAND_LINE: ContextVar[bool] = ContextVar("on_command_line", default=False)


def option(name: str, value: object) -> str:
    """Return ``name=value``, or the option that means it, as ``--name value``."""
    if not ON_COMMAND_LINE.get():
        return f"{name}={value!r}" if isinstance(value, str | bool) else f"{name}={value}"
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    text = str(value)
    return f"--{flag} {_quoted(text)}"


def named(name: str) -> str:
    """Return the name of an argument, or of the option that means it."""
    return f"--{name.replace('_', '-')}" if ON_COMMAND_LINE.get() else f"{name}="


def _quoted(text: str) -> str:
    """Return text as a shell takes it."""
    if text == "\t":
        return "tab"
    plain = all(letter.isalnum() or letter in "-_.,:" for letter in text)
    return text if text and plain else f"'{text}'" if "'" not in text else f'"{text}"'
