"""``netserve check``: where a handler can run, and why not elsewhere."""

from collections.abc import Callable, Iterator

from netserve.cli._plan import Concurrency, Transport, kind_of, objection, usual_concurrency


def report(reference: str, handler: Callable[..., object]) -> Iterator[str]:
    """The lines that tell where *handler*, which *reference* names, can run."""
    yield f"{reference} is {kind_of(handler).value}"
    yield ""
    width = max(len(each.value) for each in Transport) + len("--")
    names = [each.value for each in Concurrency]
    yield " ".join([" " * width, *names])
    reasons: dict[str, None] = {}
    for transport in Transport:
        cells: list[str] = []
        for concurrency in Concurrency:
            why = objection(handler, transport, concurrency)
            cells.append(("no" if why else "yes").ljust(len(concurrency.value)))
            if why:
                reasons[why] = None
        yield " ".join([f"--{transport.value}".ljust(width), *cells]).rstrip()
    yield ""
    for why in reasons:
        yield f"no: {why}"
    yield f"unless --concurrency is given: {usual_concurrency(handler).value}"
