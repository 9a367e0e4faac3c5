"""What the command refuses."""

import click


class Refusal(click.ClickException):
    """Something that makes no sense, in one sentence; the exit status is 2."""

    exit_code = 2
