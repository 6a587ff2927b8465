"""XML, made and read."""

import xml.etree.ElementTree as tree


def answer():
    feed = tree.fromstring("<feed><entry>one</entry></feed>")
    tree.SubElement(feed, "entry").text = "two"
    return {"text": tree.tostring(feed, encoding="unicode")}
