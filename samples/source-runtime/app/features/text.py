"""Tables, pages and mail, made and read."""

import csv
import email.message
import html.parser
import io


class Words(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_data(self, data):
        self.found.append(data)


def answer(_query):
    words = Words()
    words.feed("<p>one &amp; <b>two</b></p>")
    mail = email.message.EmailMessage()
    mail.set_content("grüße")
    rows = [row["name"] for row in csv.DictReader(io.StringIO("name,born\nAda,1815\n"))]
    return {"words": "".join(words.found), "mail": mail.get_content().strip(), "rows": rows}
