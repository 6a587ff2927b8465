"""Calls the running service as its clients do, posts included: python3 smoke.py"""

import json
import urllib.error
import urllib.parse
import urllib.request

BASE = "http://127.0.0.1:5000"


def expect(status, path, body=None, headers=None):
    request = urllib.request.Request(BASE + path, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            actual = answer.status
    except urllib.error.HTTPError as error:
        actual = error.code
    if actual != status:
        raise SystemExit(f"{path}: {actual}, not {status}")


JSON = {"Content-Type": "application/json"}
for page in ("/", "/health", "/search?q=note", "/api/notes", "/today", "/tls", "/static/style.css"):
    expect(200, page)
expect(201, "/api/notes", json.dumps({"text": "from smoke"}).encode(), JSON)
expect(400, "/api/notes", b"{", JSON)
expect(200, "/notes", urllib.parse.urlencode({"text": "from a form"}).encode())
expect(400, "/notes", urllib.parse.urlencode({"other": "field"}).encode())
expect(404, "/nowhere")
expect(405, "/health", b"")
print("smoke: all as expected")
