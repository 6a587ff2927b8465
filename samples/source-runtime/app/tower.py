"""A small service on the standard library alone; a feature is imported when its path is first asked for."""

import http.server
import importlib
import json
import os
import pathlib
import pkgutil
import signal
import threading
import urllib.parse

HERE = pathlib.Path(__file__).parent


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        if path == "/health":
            self.reply(200, {"status": "ok"})
        elif path.startswith("/feature/"):
            self.feature(path.removeprefix("/feature/"), query)
        elif path == "/plugins":
            folder = importlib.import_module("plugins")
            names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
            self.reply(200, {name: importlib.import_module(f"plugins.{name}").GREETING for name in names})
        elif path == "/self":
            self.reply(200, {"uid": os.getuid(), "groups": os.getgroups(), "notice": os.environ.get("TOWER_NOTICE")})
        else:
            self.page(path)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self.reply(201, {"received": json.loads(body)})
        except ValueError as error:
            self.reply(400, {"error": str(error)})

    def feature(self, name, query):
        try:
            module = importlib.import_module(f"features.{name}")
        except ModuleNotFoundError:
            self.reply(404, {"error": f"no feature {name}"})
            return
        self.reply(200, module.answer(query))

    def page(self, path):
        import mimetypes

        file = HERE / "pages" / ("index.html" if path == "/" else path.lstrip("/"))
        found = ".." not in path and file.is_file()
        self.send(
            200 if found else 404,
            (mimetypes.guess_type(file.name)[0] if found else None) or "text/html",
            (file if found else HERE / "missing.html").read_bytes(),
        )

    def reply(self, status, value):
        self.send(status, "application/json", json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer(("", 8000), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    # Read only when the program is stopped.
    print((HERE / "farewell.txt").read_text().strip(), flush=True)


if __name__ == "__main__":
    main()
