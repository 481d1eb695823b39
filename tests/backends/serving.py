"""What the test servers share: arguments, a script that tests rewrite while they run, and a log of all requests.

A server listens on loopback unless it is told otherwise, prints its port, and ends when its standard input does, so that it does not outlive its test.
"""

import argparse
import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Logs a request, then answers as the script says, or as `answer` of the server does."""

    protocol_version = "HTTP/1.1"

    def handle_request(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("utf-8")
        certificate = None
        if isinstance(self.connection, ssl.SSLSocket):
            certificate = self.connection.getpeercert() or None
        with self.server.lock:
            entry = {
                "line": f"{self.command} {self.path}",
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "body": body,
                "certificate": certificate,
            }
            with open(self.server.log_file, "a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
        script = self.server.script()
        if script.get("hang"):
            # Nobody waits that long.
            time.sleep(3600)
        if "status" in script:
            self.reply(script["status"], script.get("body", ""))
        else:
            self.reply(*self.answer(script, body))

    do_GET = do_POST = do_PUT = handle_request

    def reply(self, status, body):
        text = body if isinstance(body, str) else json.dumps(body)
        data = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, script, body):
        raise NotImplementedError

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, arguments, handler):
        super().__init__((arguments.address, arguments.port), handler)
        self.lock = threading.Lock()
        self.log_file = arguments.log
        self.script_file = arguments.script

    def script(self):
        with open(self.script_file, encoding="utf-8") as script:
            return json.load(script)

    def handle_error(self, request, client_address):
        """A client that goes away is nothing to report."""


def main(handler):
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", required=True, help="file for one JSON object for each request")
    parser.add_argument("--script", required=True, help="JSON file that says how to answer")
    parser.add_argument("--cert", help="PEM file; with it the server speaks TLS")
    parser.add_argument("--key")
    parser.add_argument("--client-ca", help="authority that clients must have a certificate of")
    arguments = parser.parse_args()
    server = Server(arguments, handler)
    if arguments.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.cert, arguments.key)
        if arguments.client_ca:
            context.load_verify_locations(arguments.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    os._exit(0)
