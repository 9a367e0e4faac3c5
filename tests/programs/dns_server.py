"""dnslib's DNS server, on UDP and on TCP."""

from netserve import socketserver

socketserver.install()

from dnslib import RR, DNSRecord  # dnslib must find the drop-in module in place
from dnslib.server import BaseResolver, DNSServer


class Resolver(BaseResolver):
    """Knows one address."""

    def resolve(self, request, handler):
        """Answer any question with that address."""
        reply = request.reply()
        reply.add_answer(*RR.fromZone("example.test. 60 A 192.0.2.1"))
        return reply


class Silent:
    """A logger that dnslib can call whatever it likes."""

    def __getattr__(self, name):
        """Take any call."""
        return lambda *args: None


for tcp in (False, True):
    service = DNSServer(Resolver(), port=0, address="127.0.0.1", tcp=tcp, logger=Silent())
    assert isinstance(service.server, socketserver.TCPServer)
    service.start_thread()
    host, port = service.server.server_address
    question = DNSRecord.question("example.test")
    print(tcp, DNSRecord.parse(question.send(host, port, tcp=tcp, timeout=10)).short())
    service.server.shutdown()
    service.thread.join()
    service.server.server_close()
