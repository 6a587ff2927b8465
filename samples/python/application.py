"""Notes in a SQLite database: pages, a small JSON API, and a call over TLS to a service of its own."""

import sqlite3
import ssl
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flask import Flask, jsonify, redirect, render_template, request, url_for

DATABASE = "/var/lib/notes/notes.db"
TLS_ADDRESS = ("127.0.0.1", 5443)

application = Flask(__name__)


def database():
    connection = sqlite3.connect(DATABASE, timeout=10)
    connection.row_factory = sqlite3.Row
    return connection


def all_notes():
    with database() as connection:
        return [dict(row) for row in connection.execute("SELECT id, text FROM notes ORDER BY id")]


def add_note(text):
    with database() as connection:
        return connection.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid


@application.get("/")
def index():
    return render_template("index.html", notes=all_notes())


@application.get("/health")
def health():
    return jsonify(status="ok", notes=len(all_notes()))


@application.get("/search")
def search():
    query = request.args.get("q", "")
    return render_template("search.html", query=query, notes=[n for n in all_notes() if query in n["text"]])


@application.post("/notes")
def post_form():
    add_note(request.form["text"])
    return redirect(url_for("index"), code=303)


@application.post("/api/notes")
def post_json():
    text = request.get_json()["text"]
    return jsonify(id=add_note(text), text=text), 201


@application.get("/api/notes")
def list_json():
    return jsonify(all_notes())


@application.get("/today")
def today():
    # Imported by the first call only.
    from calendar import month_name
    from zoneinfo import ZoneInfo

    return jsonify(january=month_name[1], zone=str(ZoneInfo("UTC")))


@application.get("/tls")
def call_over_tls():
    """Verified against what the image trusts, as any client's call is."""
    context = ssl.create_default_context()
    host, port = TLS_ADDRESS
    with urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=5) as answer:
        return jsonify(status=answer.status, body=answer.read().decode(), verified=context.check_hostname)


@application.errorhandler(404)
def not_found(_error):
    return render_template("not_found.html", path=request.path), 404


class TlsHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"over TLS"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


def serve_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/srv/notes/tls/server.pem", "/srv/notes/tls/server.key")
    server = ThreadingHTTPServer(TLS_ADDRESS, TlsHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


serve_tls()
