"""XML, made and read, and mail."""

import email.message
import xml.etree.ElementTree as tree


def answer(_query):
    feed = tree.fromstring("<feed><entry>one</entry></feed>")
    tree.SubElement(feed, "entry").text = "two"
    mail = email.message.EmailMessage()
    mail.set_content("grüße")
    return {"text": tree.tostring(feed, encoding="unicode"), "mail": mail.get_content().strip()}
