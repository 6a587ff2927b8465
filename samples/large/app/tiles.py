"""Serves parts of one large file, which is mapped and never read whole."""

import http.server
import json
import mmap
import pathlib
import signal
import threading
import urllib.parse

HERE = pathlib.Path(__file__).parent
DATA = HERE / "data" / "all.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        if path == "/":
            self.send(200, "text/html", (HERE / "pages/index.html").read_bytes())
        elif path == "/style.css":
            self.send(200, "text/css", (HERE / "pages/style.css").read_bytes())
        elif path == "/health":
            self.json({"status": "ok"})
        elif path == "/size":
            self.json({"bytes": DATA.stat().st_size})
        elif path == "/part":
            self.part(query)
        elif path == "/mapped":
            self.mapped(query.get("word", "begin").encode())
        else:
            self.send(404, "text/html", b"<h1>Not here</h1>")

    def part(self, query):
        try:
            offset, length = int(query["at"]), min(int(query["length"]), 1 << 20)
            with DATA.open("rb") as file:
                file.seek(offset)
                self.send(200, "application/octet-stream", file.read(length))
        except (KeyError, ValueError) as error:
            self.send(400, "text/plain", repr(error).encode())

    def mapped(self, word):
        with DATA.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            self.json({"first": data.find(word, 0, 1 << 20), "last": data.rfind(word, len(data) - (1 << 20))})

    def json(self, value):
        self.send(200, "application/json", json.dumps(value, separators=(",", ":")).encode())

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
